from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest

from kyara_kedro.evaluation.benchmarks.align_bench import AlignBench
from kyara_kedro.evaluation.benchmarks.base import Question, item_row
from kyara_kedro.evaluation.comparison import compare
from kyara_kedro.evaluation.scores import (
    StatisticsOptions,
    benchmark_scores,
    layout,
)
from kyara_kedro.evaluation.statistics import wilson
from kyara_kedro.records import BENCHMARK_ITEM, BENCHMARK_SCORE, COMPARISON

QUICK = StatisticsOptions(resamples=2_000)


def _items(values: Mapping[str, Mapping[str, float]], benchmark: str = "b") -> pl.DataFrame:
    """Items of one metric: model to item id to value."""
    return BENCHMARK_ITEM.frame(
        item_row(
            benchmark,
            item,
            model,
            "accuracy",
            value=value,
            no_answer=False,
            stratum="all",
            scorer_version="s-1",
        )
        for model, of_item in values.items()
        for item, value in of_item.items()
    )


def _pattern(pattern: str) -> dict[str, float]:
    return {f"q{i}": float(mark) for i, mark in enumerate(pattern)}


def test_binary_scores_have_wilson_intervals() -> None:
    scores = BENCHMARK_SCORE.validate(benchmark_scores(_items({"m": _pattern("1101000111")})))
    (row,) = scores.to_dicts()
    assert row["score"] == 0.6 and row["items"] == 10
    assert (row["low"], row["high"]) == wilson(6, 10)


def test_ratings_have_bootstrap_intervals() -> None:
    ratings = {f"q{i}": float(v) for i, v in enumerate(np.linspace(2, 9, 40))}
    (row,) = benchmark_scores(_items({"m": ratings}), options=QUICK).to_dicts()
    spread = 1.96 * np.std(list(ratings.values())) / np.sqrt(40)
    assert row["score"] == pytest.approx(5.5)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(spread, rel=0.1)


def test_several_answers_to_a_question_count_as_one_cluster() -> None:
    repeated = {f"q{i}#{j}": float(i % 2) for i in range(20) for j in range(5)}
    (row,) = benchmark_scores(_items({"m": repeated}), options=QUICK).to_dicts()
    assert row["items"] == 100
    assert row["high"] - row["low"] > 1.8 * (wilson(50, 100).high - wilson(50, 100).low)


def test_scores_and_comparisons_do_not_depend_on_the_order_of_rows() -> None:
    random = np.random.default_rng(0)
    items = _items({m: {f"q{i}": random.random() for i in range(30)} for m in "ab"})
    shuffled = items.sample(fraction=1, shuffle=True, seed=3)
    assert benchmark_scores(items, options=QUICK).equals(benchmark_scores(shuffled, options=QUICK))
    assert compare(items, None, QUICK).equals(compare(shuffled, None, QUICK))


def test_a_better_model_is_found_better_in_both_directions() -> None:
    items = _items({"old": _pattern("0" * 30 + "1" * 30), "new": _pattern("1" * 50 + "0" * 10)})
    rows = COMPARISON.validate(compare(items)).to_dicts()
    forth = next(row for row in rows if row["model"] == "new")
    back = next(row for row in rows if row["model"] == "old")
    assert forth["difference"] == pytest.approx(20 / 60) == -back["difference"]
    assert forth["low"] > 0 and forth["p_value"] < 0.01 and forth["items"] == 60


def test_models_are_paired_on_common_items_and_unknown_baselines_passed_over() -> None:
    items = _items({"a": _pattern("1111"), "b": {"q1": 0.0, "q2": 1.0, "q9": 0.0}})
    (row,) = compare(items, ["b", "nobody"]).to_dicts()
    assert (row["model"], row["baseline"], row["items"]) == ("a", "b", 2)
    assert row["difference"] == 0.5
    assert compare(items, ["nobody"]).is_empty()


def test_p_values_are_adjusted_for_the_number_of_benchmarks() -> None:
    better = {"old": _pattern("0" * 8 + "1" * 8), "new": _pattern("1" * 16)}
    same = {"old": _pattern("10" * 8), "new": _pattern("10" * 8)}
    alone = compare(_items(better), ["old"])["p_value"].to_list()
    both = compare(pl.concat([_items(better), _items(same, "c")]), ["old"])
    assert alone == [2 / 2**8]
    assert both.sort("benchmark")["p_value"].to_list() == [4 / 2**8, 1.0]


def test_means_of_subjects_are_drawn_as_subjects() -> None:
    strata = pl.Series(["a", "b", "c", "d"])
    groups = {"a": "one", "b": "one", "c": "two", "d": "two"}
    found = layout(strata, "groups", groups)
    assert found is not None
    assert [[places.tolist() for places in group] for group in found] == [[[0, 1]], [[2, 3]]]
    repeated = layout(pl.Series(["a", "a", "c"]), "groups", groups)
    assert repeated is not None
    assert [[places.tolist() for places in group] for group in repeated] == [[[0, 1]], [[2]]]


def test_metrics_that_a_benchmark_does_not_know_are_plain_means() -> None:
    """Script and repetition are measured on every output, without the benchmark's strata."""
    task = AlignBench("align_bench", [Question("1", "?", stratum="数学计算")])
    rows = [
        item_row(
            *("align_bench", "1", model, name),
            value=value,
            no_answer=False,
            stratum=stratum,
            scorer_version="s-1",
        )
        for model, value in (("a", 1.0), ("b", 0.5))
        for name, stratum in (("score", "数学计算"), ("traditional_purity", "all"))
    ]
    found = compare(BENCHMARK_ITEM.frame(rows), ["b"], QUICK, [task])
    assert dict(found.select("metric", "difference").iter_rows()) == {
        "score": 0.5,
        "traditional_purity": 0.5,
    }


def test_lengths_are_described_and_not_compared() -> None:
    rows = [
        item_row(
            *("b", f"q{i}", model, metric),
            value=value,
            no_answer=False,
            stratum="all",
            scorer_version="s-1",
        )
        for i in range(20)
        for model in "ab"
        for metric, value in (("accuracy", float(model == "a")), ("reason_length", 10.0 * i))
    ]
    found = compare(BENCHMARK_ITEM.frame(rows))
    assert set(found["metric"]) == {"accuracy"}
    assert found["p_value"].max() == found["p_value"].min() < 1e-5
