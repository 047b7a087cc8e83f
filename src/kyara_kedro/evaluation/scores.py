"""From items to scores, each with the interval in which it may well lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from pydantic import Field, PositiveInt

from kyara_kedro.content import content_id
from kyara_kedro.evaluation.benchmarks.base import cluster
from kyara_kedro.evaluation.statistics import Interval, bootstrap_interval, wilson
from kyara_kedro.options import Options
from kyara_kedro.records import BENCHMARK_SCORE


class StatisticsOptions(Options):
    """How sure a result has to be and how that is found out.

    Attributes:
        confidence: Coverage of the intervals; 1 minus it is the level of the tests.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resamples; each result has its own, derived from this one and its key.
    """

    confidence: float = Field(0.95, gt=0.5, lt=1)
    resamples: PositiveInt = 10_000
    seed: int = 0


DEFAULTS = StatisticsOptions()


def benchmark_scores(items: pl.DataFrame, options: StatisticsOptions = DEFAULTS) -> pl.DataFrame:
    """Average the items of each benchmark, model and metric.

    The interval is Wilson's when every value is 0 or 1 and every question was answered once, else
    a bootstrap over questions.

    Args:
        items: Rows of ``records.BENCHMARK_ITEM``.
        options: Confidence and resamples.

    Returns:
        Rows of ``records.BENCHMARK_SCORE``, sorted by benchmark, metric and model. ``items`` counts
        the outputs that were scored; a missing output is not one of them.
    """
    keys = ["benchmark", "metric", "model"]
    groups = items.sort(*keys, "item_id").partition_by(keys, as_dict=True, maintain_order=True)
    return BENCHMARK_SCORE.frame(
        _score(str(benchmark), str(metric), str(model), rows, options)
        for (benchmark, metric, model), rows in groups.items()
    )


def missing_outputs(
    items: pl.DataFrame, expected: Mapping[tuple[str, str], int]
) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Find models that have not answered everything.

    Args:
        items: Rows of ``records.BENCHMARK_ITEM``.
        expected: Items of each (benchmark, metric), see ``benchmarks.expected_items``.

    Returns:
        (benchmark, metric, model) to (outputs scored, items), for those that lack outputs.
    """
    counted = items.group_by("benchmark", "metric", "model").len().rows()
    found = {(benchmark, metric, model): rows for benchmark, metric, model, rows in counted}
    models = items["model"].unique().sort().to_list()
    return {
        (benchmark, metric, model): (rows, number)
        for (benchmark, metric), number in sorted(expected.items())
        for model in models
        if (rows := found.get((benchmark, metric, model), 0)) < number
    }


def _score(
    benchmark: str, metric: str, model: str, rows: pl.DataFrame, options: StatisticsOptions
) -> dict[str, Any]:
    interval = _interval(rows, options, benchmark, metric, model)
    return {
        "id": content_id("benchmark score", benchmark, metric, model),
        "benchmark": benchmark,
        "model": model,
        "metric": metric,
        "score": rows["value"].mean(),
        "low": interval.low,
        "high": interval.high,
        "items": rows.height,
        "no_answer": rows["no_answer"].sum(),
        "scorer_version": "+".join(rows["scorer_version"].unique().sort()),
    }


def _interval(rows: pl.DataFrame, options: StatisticsOptions, *key: str) -> Interval:
    clusters = [cluster(item) for item in rows["item_id"]]
    if is_binary(rows["value"]) and len(set(clusters)) == len(clusters):
        return wilson(int(rows["value"].sum()), rows.height, options.confidence)
    return bootstrap_interval(
        rows["value"],
        clusters,
        seed=seed_of(options.seed, *key),
        resamples=options.resamples,
        confidence=options.confidence,
    )


def is_binary(values: pl.Series) -> bool:
    """Whether all values are 0 or 1."""
    return bool(values.is_in([0.0, 1.0]).all())


def seed_of(seed: int, *key: str) -> int:
    """A seed of its own for each result."""
    return int(content_id(seed, *key)[:8], 16)
