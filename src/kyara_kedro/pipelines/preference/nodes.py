"""Preference pairs from four sources: judged answers, self-play, open sets and math steps."""

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import polars as pl

from kyara_kedro.content import Message, content_id
from kyara_kedro.judging.pairs import PairOptions, preference_pairs, self_play_pairs
from kyara_kedro.knowledge.store import KnowledgeStore
from kyara_kedro.params import PreferenceParams
from kyara_kedro.pipelines.asking import Duel, Fault, answers, fault, user, verdicts
from kyara_kedro.pipelines.balance import Flow, close
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.records import CANDIDATE, drops
from kyara_kedro.reporting.contamination_page import contamination_page
from kyara_kedro.similarity.contamination import (
    ContaminationIndex,
    ContaminationOptions,
    find_contamination,
)
from kyara_kedro.similarity.protected import all_questions
from kyara_kedro.teachers.base import Teacher, ask
from kyara_kedro.text.fold import match_key
from kyara_kedro.training.generation import generate
from kyara_kedro.training.model_ref import ModelRef

PIPELINE = "preference"
MODEL = "sft_refine"


def collect_responses(
    prompts: pl.DataFrame,
    passages: pl.DataFrame,
    knowledge_base: KnowledgeStore,
    writer: Teacher,
    prompt_library: PromptLibrary,
    sft_refine_model: ModelRef,
    params: PreferenceParams,
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Let several contestants answer each prompt.

    The contestants are the teacher with retrieved passages, the teacher without any, and the
    refined model. Equal answers to one prompt count once.

    Returns:
        The answers, a drop for each contestant's failure, and the number of attempts.
    """
    prompts = prompts.filter(pl.col("language").is_in(list(params.languages)))
    grounds = _grounds(prompts, passages, knowledge_base, params.references)
    attempts: list[tuple[str, str, str, Fault | None]] = []
    for contestant, documents in (("grounded", grounds), ("closed_book", {})):
        requests = [
            ask(
                prompt_library,
                row["id"],
                "respond",
                row["language"],
                prompt=row["text"],
                documents=documents.get(row["id"], []),
            )
            for row in prompts.iter_rows(named=True)
        ]
        for row_id, completion in answers(writer, requests, f"{contestant} answers").items():
            name = f"{completion.teacher}:{contestant}"
            attempts.append((row_id, completion.text, name, fault(completion)))
    written = generate(
        sft_refine_model, [[user(text)] for text in prompts["text"]], params.sampling
    )
    for row_id, output in zip(prompts["id"], written, strict=True):
        unfinished = None if output.stopped else ("truncated", f"{output.tokens} tokens")
        attempts.append((row_id, output.text, MODEL, unfinished))
    texts = dict(prompts.select("id", "text").iter_rows())
    rows: dict[str, dict[str, Any]] = {}
    dropped: list[tuple[str, str, str]] = []
    for prompt_id, response, contestant, failure in attempts:
        attempt = content_id("response", contestant, prompt_id)
        row_id = content_id("candidate", prompt_id, response)
        if failure:
            dropped.append((attempt, *failure))
            continue
        if not response.strip():
            dropped.append((attempt, "blank", f"{contestant} said nothing"))
            continue
        if row_id in rows:
            dropped.append((attempt, "repeated", f"same as {rows[row_id]['contestant']}"))
            continue
        rows[row_id] = {
            "id": row_id,
            "prompt_id": prompt_id,
            "messages": [user(texts[prompt_id])],
            "response": response,
            "contestant": contestant,
            "licence": params.licence,
        }
    return CANDIDATE.frame(rows.values()), drops(PIPELINE, dropped), len(attempts)


def judge_responses(
    candidate_responses: pl.DataFrame, judge: Teacher, prompt_library: PromptLibrary
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Judge every pair of answers to one prompt in both orders.

    Returns:
        Verdicts, and a drop for each judgement without one.
    """
    duels = _duels(candidate_responses)
    judged, dropped = verdicts(judge, prompt_library, duels, "verdicts")
    return judged, drops(PIPELINE, dropped)


def pair_responses(
    prompts: pl.DataFrame,
    candidate_responses: pl.DataFrame,
    judged: pl.DataFrame,
    params: PreferenceParams,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Take the best and the worst answer to each prompt (RLAIF), where the margin is wide enough.

    Returns:
        Pairs, and a drop for each prompt that gives none.
    """
    found = preference_pairs(candidate_responses, judged, PairOptions(margin=params.margin))
    unanswered = prompts.filter(~pl.col("id").is_in(candidate_responses["prompt_id"].to_list()))
    missing = [
        (row_id, "no_answer", "no contestant answered")
        if language in params.languages
        else (row_id, "language_not_wanted", language)
        for row_id, language in unanswered.select("id", "language").iter_rows()
    ]
    return found.pairs, drops(PIPELINE, [*found.drops.iter_rows(), *missing])


def play_against_itself(
    sft_refine_rows: pl.DataFrame, sft_refine_model: ModelRef, params: PreferenceParams
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Pair the answers that the refined model learned with its own (SPIN, arXiv:2401.01335).

    Returns:
        Pairs, a drop for each conversation that gives none, and the number of conversations.
    """
    played = sft_refine_rows.head(params.self_play_rows or sft_refine_rows.height)
    prompts: list[list[Message]] = [row[:-1] for row in played["messages"].to_list()]
    written = generate(sft_refine_model, prompts, params.sampling)
    generations = pl.DataFrame(
        {
            "conversation_id": played["id"],
            "output": [output.text for output in written],
            "stopped": [output.stopped for output in written],
        },
        schema={"conversation_id": pl.String, "output": pl.String, "stopped": pl.Boolean},
    )
    found = self_play_pairs(played, generations)
    return found.pairs, drops(PIPELINE, found.drops.iter_rows()), played.height


def pool_preferences(
    open_preferences: pl.DataFrame,
    rlaif_preferences: pl.DataFrame,
    self_play_preferences: pl.DataFrame,
) -> pl.DataFrame:
    """Put the pairs of all sources into one table, ordered by id."""
    return pl.concat([open_preferences, rlaif_preferences, self_play_preferences]).sort("id")


def find_leaked_preferences(
    pooled_preferences: pl.DataFrame,
    benchmark_questions: pl.DataFrame,
    protected_texts: pl.DataFrame,
    options: ContaminationOptions,
) -> pl.DataFrame:
    """Find pairs that contain a benchmark's question or a protected text in any of their parts."""
    questions = all_questions(benchmark_questions, protected_texts)
    return find_contamination(pair_texts(pooled_preferences), questions, options)


def draw_leaked_preferences(
    preference_contamination: pl.DataFrame,
    pooled_preferences: pl.DataFrame,
    benchmark_questions: pl.DataFrame,
    protected_texts: pl.DataFrame,
    options: ContaminationOptions,
) -> str:
    """Draw the audit page: what was found of each benchmark, and where."""
    leaked = preference_contamination["record_id"].unique().implode()
    found = pooled_preferences.filter(pl.col("id").is_in(leaked))
    questions = all_questions(benchmark_questions, protected_texts)
    texts = pair_texts(found).join(found.select("id", "source"), on="id")
    boilerplate = ContaminationIndex(questions, options).boilerplate
    return contamination_page(preference_contamination, questions, texts, boilerplate)


def merge_preferences(
    pooled_preferences: pl.DataFrame,
    preference_contamination: pl.DataFrame,
    prompts: pl.DataFrame,
    candidate_responses: pl.DataFrame,
    response_drops: pl.DataFrame,
    responses_tried: int,
    judged: pl.DataFrame,
    verdict_drops: pl.DataFrame,
    rlaif_preferences: pl.DataFrame,
    rlaif_drops: pl.DataFrame,
    self_play_preferences: pl.DataFrame,
    self_play_drops: pl.DataFrame,
    self_played: int,
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Drop copies and pairs that contain a benchmark's question.

    Returns:
        The pairs, the drops and the counts.
    """
    hits = preference_contamination.sort("coverage", "id", descending=[True, False])
    leaks = hits.unique("record_id", keep="first", maintain_order=True)
    leaked = {
        row["record_id"]: f"{row['benchmark']} {row['item_id']}: {row['evidence']}"
        for row in leaks.iter_rows(named=True)
    }
    dropped: list[tuple[str, str, str]] = []
    seen: dict[str, str] = {}
    for row_id, text in pair_texts(pooled_preferences).iter_rows():
        if row_id in leaked:
            dropped.append((row_id, "contaminated", leaked[row_id]))
        elif (first := seen.setdefault(match_key(text), row_id)) != row_id:
            dropped.append((row_id, "exact_duplicate", f"of {first}"))
    table = drops(PIPELINE, dropped)
    kept = pooled_preferences.filter(~pl.col("id").is_in(table["record_id"].to_list()))
    duels = sum(1 for _ in _duels(candidate_responses))
    closed, summary = close(
        [
            Flow("responses", responses_tried, candidate_responses.height, response_drops),
            Flow("verdicts", duels, judged.height, verdict_drops),
            Flow("prompts", prompts.height, rlaif_preferences.height, rlaif_drops),
            Flow("self_play", self_played, self_play_preferences.height, self_play_drops),
            Flow("pairs", pooled_preferences.height, kept.height, table),
        ]
    )
    return kept, closed, summary


def pair_texts(preferences: pl.DataFrame) -> pl.DataFrame:
    """Everything that is said in each pair, columns id and text."""
    return pl.DataFrame(
        {
            "id": preferences["id"],
            "text": [_said(row) for row in preferences.iter_rows(named=True)],
        },
        schema={"id": pl.String, "text": pl.String},
    )


def _grounds(
    prompts: pl.DataFrame, passages: pl.DataFrame, store: KnowledgeStore, limit: int
) -> dict[str, list[dict[str, str]]]:
    ids = prompts["id"].to_list()
    hits = store.search(prompts["text"].to_list(), limit).join(
        passages.select("passage_id", "title", "text"), on="passage_id"
    )
    grounds: dict[str, list[dict[str, str]]] = {}
    for row in hits.sort("query", "rank").iter_rows(named=True):
        document = {name: row[name] for name in ("passage_id", "title", "text")}
        grounds.setdefault(ids[row["query"]], []).append(document)
    return grounds


def _duels(candidates: pl.DataFrame) -> Iterator[Duel]:
    ordered = candidates.sort("prompt_id", "id")
    for (prompt_id,), group in ordered.group_by("prompt_id", maintain_order=True):
        prompt = group["messages"][0][-1]["content"]
        sides = group.select("id", "response").rows()
        for first, second in permutations(sides, 2):
            yield Duel(str(prompt_id), prompt, first, second)


def _said(row: dict[str, Any]) -> str:
    turns = [turn["content"] for turn in row["prompt"]]
    return "\n".join([*turns, row["prefix"] or "", row["chosen"], row["rejected"]])
