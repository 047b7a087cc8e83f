"""Preference pairs from four sources: judged answers, self-play, open sets and math steps."""

from typing import Any

import polars as pl

from kyara_kedro.content import Message
from kyara_kedro.judging.pairs import self_play_pairs
from kyara_kedro.params import PreferenceParams
from kyara_kedro.pipelines.balance import Flow, close
from kyara_kedro.records import drops
from kyara_kedro.reporting.contamination_page import contamination_page
from kyara_kedro.similarity.contamination import (
    ContaminationIndex,
    ContaminationOptions,
    find_contamination,
)
from kyara_kedro.similarity.protected import all_questions
from kyara_kedro.text.fold import match_key
from kyara_kedro.training.generation import generate
from kyara_kedro.training.model_ref import ModelRef

PIPELINE = "preference"


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
    verdicts_tried: int,
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
    closed, summary = close(
        [
            Flow("responses", responses_tried, candidate_responses.height, response_drops),
            Flow("verdicts", verdicts_tried, judged.height, verdict_drops),
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


def _said(row: dict[str, Any]) -> str:
    turns = [turn["content"] for turn in row["prompt"]]
    return "\n".join([*turns, row["prefix"] or "", row["chosen"], row["rejected"]])
