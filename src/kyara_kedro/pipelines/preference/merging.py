"""All sources of preference pairs become one table."""

from typing import Any

import polars as pl

from kyara_kedro.judging.merging import by_source, margin_shares, merge
from kyara_kedro.params import PreferenceParams
from kyara_kedro.pipelines.balance import Flow, close
from kyara_kedro.records import drops
from kyara_kedro.reporting.charts import Figure, bar_chart, histogram
from kyara_kedro.reporting.contamination_page import contamination_page
from kyara_kedro.similarity.contamination import (
    ContaminationIndex,
    ContaminationOptions,
    find_contamination,
)
from kyara_kedro.similarity.protected import all_questions, worst_leaks

PIPELINE = "preference"


def pool_preferences(
    open_preferences: pl.DataFrame,
    rlaif_preferences: pl.DataFrame,
    self_play_preferences: pl.DataFrame,
    sppo_preferences: pl.DataFrame,
) -> pl.DataFrame:
    """Put the pairs of all sources into one table, ordered by id."""
    sources = (open_preferences, rlaif_preferences, self_play_preferences, sppo_preferences)
    return pl.concat(sources).sort("id")


def find_leaked_preferences(
    pooled_preferences: pl.DataFrame,
    benchmark_questions: pl.DataFrame,
    suite_questions: pl.DataFrame,
    protected_texts: pl.DataFrame,
    options: ContaminationOptions,
) -> pl.DataFrame:
    """Find pairs that contain a benchmark's question or a protected text in any of their parts."""
    questions = all_questions(benchmark_questions, suite_questions, protected_texts)
    return find_contamination(pair_texts(pooled_preferences), questions, options)


def draw_leaked_preferences(
    preference_contamination: pl.DataFrame,
    pooled_preferences: pl.DataFrame,
    benchmark_questions: pl.DataFrame,
    suite_questions: pl.DataFrame,
    protected_texts: pl.DataFrame,
    options: ContaminationOptions,
) -> str:
    """Draw the audit page: what was found of each benchmark, and where."""
    leaked = preference_contamination["record_id"].unique().implode()
    found = pooled_preferences.filter(pl.col("id").is_in(leaked))
    questions = all_questions(benchmark_questions, suite_questions, protected_texts)
    texts = pair_texts(found).join(found.select("id", "source"), on="id")
    boilerplate = ContaminationIndex(questions, options).boilerplate
    return contamination_page(preference_contamination, questions, texts, boilerplate)


def merge_preferences(
    pooled_preferences: pl.DataFrame,
    preference_contamination: pl.DataFrame,
    sft_refine_rows: pl.DataFrame,
    params: PreferenceParams,
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Leave out leaks, contradictions and copies, and take each source by its weight.

    Returns:
        The pairs, the drops and the counts by source.
    """
    leaked = worst_leaks(preference_contamination)
    found = merge(pooled_preferences, leaked, sft_refine_rows, params.weights)
    counts = by_source(pooled_preferences, found.pairs, found.drops)
    return found.pairs, drops(PIPELINE, found.drops.iter_rows()), counts


def draw_preferences(
    preferences: pl.DataFrame, preference_sources_summary: dict[str, Any]
) -> tuple[Figure, Figure]:
    """Draw the sources before and after the merge, and how far apart the rated sides are."""
    names = sorted(preference_sources_summary)
    mix = bar_chart(
        "偏好資料的來源 Preference pairs by source",
        names,
        {
            "進入 in": [preference_sources_summary[name]["in"] for name in names],
            "留下 out": [preference_sources_summary[name]["out"] for name in names],
        },
        x_label="筆 pairs",
    )
    margins = histogram(
        "評分差距 Margins",
        margin_shares(preferences),
        span=(0.0, 1.0),
        x_label="佔該來源最大差距的比例 share of the source's largest margin",
        y_label="筆 pairs",
    )
    return mix, margins


def close_preference(
    pooled_preferences: pl.DataFrame,
    preferences: pl.DataFrame,
    merge_drops: pl.DataFrame,
    prompts: pl.DataFrame,
    rlaif_preferences: pl.DataFrame,
    rlaif_drops: pl.DataFrame,
    candidate_responses: pl.DataFrame,
    response_drops: pl.DataFrame,
    responses_tried: int,
    verdicts: pl.DataFrame,
    verdict_drops: pl.DataFrame,
    verdicts_tried: int,
    self_play_preferences: pl.DataFrame,
    self_play_drops: pl.DataFrame,
    self_played: int,
    sppo_preferences: pl.DataFrame,
    sppo_drops: pl.DataFrame,
    sppo_tried: int,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Merge the drops of all steps, and check that what came in is what goes on or was dropped."""
    return close(
        [
            Flow("responses", responses_tried, candidate_responses.height, response_drops),
            Flow("verdicts", verdicts_tried, verdicts.height, verdict_drops),
            Flow("prompts", prompts.height, rlaif_preferences.height, rlaif_drops),
            Flow("self_play", self_played, self_play_preferences.height, self_play_drops),
            Flow("sppo", sppo_tried, sppo_preferences.height, sppo_drops),
            Flow("pairs", pooled_preferences.height, preferences.height, merge_drops),
        ]
    )


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
