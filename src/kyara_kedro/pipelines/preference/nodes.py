"""Preference pairs from four sources: judged answers, self-play, open sets and math steps."""

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import polars as pl

from kyara_kedro.judging.pairs import PairOptions, preference_pairs, self_play_pairs
from kyara_kedro.judging.verdicts import parse_verdict
from kyara_kedro.knowledge.store import KnowledgeStore
from kyara_kedro.params import PreferenceParams
from kyara_kedro.pipelines.asking import answers, fault, user
from kyara_kedro.pipelines.balance import Flow, close
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.records import CANDIDATE, PREFERENCE, VERDICT, Message, content_id, drops
from kyara_kedro.similarity.contamination import find_contamination
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
) -> pl.DataFrame:
    """Let several contestants answer each prompt.

    The contestants are the teacher with retrieved passages, the teacher without any, and the
    refined model. Equal answers to one prompt count once.
    """
    grounds = _grounds(prompts, passages, knowledge_base, params.references)
    rows: dict[str, dict[str, Any]] = {}
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
            if fault(completion) is None:
                name = f"{completion.teacher}:{contestant}"
                _add(rows, row_id, completion.text, name, prompts, "LicenseRef-teacher-output")
    written = generate(
        sft_refine_model, [[user(text)] for text in prompts["text"]], params.sampling
    )
    for row_id, output in zip(prompts["id"], written, strict=True):
        if output.stopped and output.text.strip():
            _add(rows, row_id, output.text, MODEL, prompts, "LicenseRef-model-output")
    return CANDIDATE.frame(rows.values())


def judge_responses(
    candidate_responses: pl.DataFrame, judge: Teacher, prompt_library: PromptLibrary
) -> pl.DataFrame:
    """Judge every pair of answers to one prompt in both orders."""
    sides = {}
    requests = []
    for row, other in _duels(candidate_responses):
        name = content_id("verdict", row["id"], other["id"])
        sides[name] = (row, other)
        requests.append(
            ask(
                prompt_library,
                name,
                "judge_pair",
                "zh-TW",
                prompt=row["messages"][-1]["content"],
                answer_a=row["response"],
                answer_b=other["response"],
            )
        )
    return VERDICT.frame(
        {
            "id": name,
            "prompt_id": sides[name][0]["prompt_id"],
            "first_id": sides[name][0]["id"],
            "second_id": sides[name][1]["id"],
            "verdict": verdict,
            "judge": completion.teacher,
            "reason": completion.text,
        }
        for name, completion in answers(judge, requests, "verdicts").items()
        if fault(completion) is None and (verdict := parse_verdict(completion.text))
    )


def pair_responses(
    prompts: pl.DataFrame,
    candidate_responses: pl.DataFrame,
    verdicts: pl.DataFrame,
    params: PreferenceParams,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Take the best and the worst answer to each prompt (RLAIF), where the margin is wide enough.

    Returns:
        Pairs, and a drop for each prompt that gives none.
    """
    found = preference_pairs(candidate_responses, verdicts, PairOptions(margin=params.margin))
    unanswered = prompts.join(candidate_responses, left_on="id", right_on="prompt_id", how="anti")
    missing = [(row_id, "no_answer", "no contestant answered") for row_id in unanswered["id"]]
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


def merge_preferences(
    open_preferences: pl.DataFrame,
    prompts: pl.DataFrame,
    rlaif_preferences: pl.DataFrame,
    rlaif_drops: pl.DataFrame,
    self_play_preferences: pl.DataFrame,
    self_play_drops: pl.DataFrame,
    self_played: int,
    benchmark_questions: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Merge all sources; copies and pairs that contain a benchmark's question are dropped.

    Returns:
        The pairs, the drops and the counts.
    """
    merged = pl.concat([open_preferences, rlaif_preferences, self_play_preferences]).sort("id")
    texts = pl.DataFrame(
        {"id": merged["id"], "text": [_said(row) for row in merged.iter_rows(named=True)]},
        schema={"id": pl.String, "text": pl.String},
    )
    leaks = find_contamination(texts, benchmark_questions).unique("record_id", keep="first")
    leaked = dict(leaks.select("record_id", "item_id").iter_rows())
    dropped: list[tuple[str, str, str]] = []
    seen: dict[str, str] = {}
    for row_id, text in texts.iter_rows():
        if row_id in leaked:
            dropped.append((row_id, "contaminated", f"benchmark item {leaked[row_id]}"))
        elif (first := seen.setdefault(match_key(text), row_id)) != row_id:
            dropped.append((row_id, "exact_duplicate", f"of {first}"))
    table = drops(PIPELINE, dropped)
    kept = merged.filter(~pl.col("id").is_in(table["record_id"].to_list()))
    closed, summary = close(
        [
            Flow("prompts", prompts.height, rlaif_preferences.height, rlaif_drops),
            Flow("self_play", self_played, self_play_preferences.height, self_play_drops),
            Flow("pairs", merged.height, kept.height, table),
        ]
    )
    return PREFERENCE.frame(kept.to_dicts()), closed, summary


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


def _add(
    rows: dict[str, dict[str, Any]],
    prompt_id: str,
    response: str,
    contestant: str,
    prompts: pl.DataFrame,
    licence: str,
) -> None:
    row_id = content_id("candidate", prompt_id, response)
    text = prompts.filter(pl.col("id") == prompt_id)["text"][0]
    rows.setdefault(
        row_id,
        {
            "id": row_id,
            "prompt_id": prompt_id,
            "messages": [user(text)],
            "response": response,
            "contestant": contestant,
            "licence": licence,
        },
    )


def _duels(candidates: pl.DataFrame) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    ordered = candidates.sort("prompt_id", "id")
    for _, group in ordered.group_by("prompt_id", maintain_order=True):
        yield from permutations(group.to_dicts(), 2)


def _said(row: dict[str, Any]) -> str:
    turns = [turn["content"] for turn in row["prompt"]]
    return "\n".join([*turns, row["prefix"] or "", row["chosen"], row["rejected"]])
