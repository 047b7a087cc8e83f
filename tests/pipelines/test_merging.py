"""All sources of pairs merged into one table."""

import polars as pl

from kyara_kedro.params import PreferenceParams
from kyara_kedro.pipelines.preference import merging
from kyara_kedro.records import (
    CANDIDATE,
    CONTAMINATION,
    DROP,
    EVALUATION_QUESTION,
    PREFERENCE,
    PROMPT,
    PROTECTED_TEXT,
    VERDICT,
)
from kyara_kedro.similarity.contamination import ContaminationOptions

from .rows import benchmark, conversations, pair, pairs

NONE, LOST = PREFERENCE.frame(), DROP.frame()
LEAKED = "請問玉山的主峰海拔有多高，在東亞的群山之中又排在第幾名？"


def merged(
    opened: pl.DataFrame, questions: pl.DataFrame, learned: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, dict[str, object]]]:
    pool = merging.pool_preferences(opened, NONE, NONE, NONE)
    options, protected = ContaminationOptions(), PROTECTED_TEXT.frame()
    suites = EVALUATION_QUESTION.frame()
    leaks = merging.find_leaked_preferences(pool, questions, suites, protected, options)
    CONTAMINATION.validate(leaks)
    page = merging.draw_leaked_preferences(leaks, pool, questions, suites, protected, options)
    assert all(item in page for item in leaks["item_id"])
    kept, gone, counts = merging.merge_preferences(pool, leaks, learned, PreferenceParams())
    PREFERENCE.validate(kept)
    mix, margins = merging.draw_preferences(kept, counts)
    assert "<svg" in mix.svg()
    assert "<svg" in margins.svg()
    nobody = PROMPT.frame(), NONE, LOST, CANDIDATE.frame(), LOST, 0, VERDICT.frame(), LOST, 0
    table, summary = merging.close_preference(
        pool, kept, gone, *nobody, NONE, LOST, 0, NONE, LOST, 0
    )
    assert summary["pairs"] == {
        "in": pool.height,
        "out": kept.height,
        "dropped": dict(sorted(gone["reason"].value_counts().iter_rows())),
    }
    return kept, DROP.validate(table), counts


def test_merged_pairs_are_distinct_and_hold_no_benchmark_question() -> None:
    opened = pairs(
        pair("玉山多高？", "很高。", "很矮。"),
        pair("玉山多高？", "很高！", "很矮！", source="ultrafeedback"),
        pair("玉山多高？", "三千九百公尺。", "三千公尺。"),
        pair("雪山多高？", "三千公尺。", "三千八百公尺。", source="rlaif"),
        pair(LEAKED, "很高。", "很矮。"),
    )
    learned = conversations(("雪山多高？", "三千八百公尺。"))
    kept, gone, counts = merged(opened, benchmark(LEAKED), learned)
    assert kept["id"].is_sorted()
    assert kept.height == 2
    assert sorted(gone["reason"]) == ["contaminated", "exact_duplicate", "rejects_training_answer"]
    assert LEAKED not in [row[0]["content"] for row in kept["prompt"].to_list()]
    assert counts["rlaif"] == {"in": 1, "out": 0, "dropped": {"rejects_training_answer": 1}}
    assert sum(source["in"] for source in counts.values()) == opened.height  # type: ignore[misc]
    assert sum(source["out"] for source in counts.values()) == kept.height  # type: ignore[misc]


def test_nothing_merges_to_nothing() -> None:
    kept, gone, counts = merged(NONE, benchmark(), conversations())
    assert (kept.height, gone.height, counts) == (0, 0, {})
