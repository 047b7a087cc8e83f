"""Which differences between models are more than chance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.evaluation.benchmarks.base import Averaging, Task, cluster
from kyara_kedro.evaluation.metrics import metric
from kyara_kedro.evaluation.scores import DEFAULTS, StatisticsOptions, is_binary, layout, seed_of
from kyara_kedro.evaluation.statistics import Difference, holm, paired_binary, paired_bootstrap
from kyara_kedro.records import COMPARISON


def compare(
    items: pl.DataFrame,
    baselines: Sequence[str] | None = None,
    options: StatisticsOptions = DEFAULTS,
    tasks: Iterable[Task] = (),
) -> pl.DataFrame:
    """Compare every model with each baseline, item by item.

    Models are paired on the items that both have. Values of 0 and 1, one a question, are compared
    by McNemar's exact test, all others by a paired bootstrap over questions, within strata where
    the score is a mean of theirs. The p-values of one pair of models are adjusted after Holm for
    the number of benchmarks and metrics, so give only items whose metrics you would draw
    conclusions from; lengths, of which more is not better, are left out.

    Args:
        items: Rows of ``records.BENCHMARK_ITEM``.
        baselines: Names of models; without them, all. Names without items are passed over.
        options: Confidence and resamples.
        tasks: The benchmarks; the metrics of any other, and those that a benchmark does not
            know, are plain means.

    Returns:
        Rows of ``records.COMPARISON``, sorted by baseline, model, benchmark and metric;
        ``difference`` is model minus baseline, and ``items`` the number of pairs.
    """
    averagings = {(task.name, name): task.averaging for task in tasks for name in task.metrics}
    told = [name for name in items["metric"].unique() if metric(name).better is not None]
    items = items.filter(pl.col("metric").is_in(told))
    models = items["model"].unique().sort().to_list()
    chosen = models if baselines is None else sorted(set(baselines) & set(models))
    of_model = items.partition_by("model", as_dict=True)
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for baseline, model in product(chosen, models):
        if (model, baseline) in found:
            found[baseline, model] = [mirrored(row) for row in found[model, baseline]]
        elif model != baseline:
            both = of_model[model,], of_model[baseline,]
            found[baseline, model] = _pair(*both, model, baseline, options, averagings)
    return COMPARISON.frame(row for rows in found.values() for row in rows)


def mirrored(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ``records.COMPARISON`` seen from the other model."""
    model, baseline = row["baseline"], row["model"]
    return {
        **row,
        "id": content_id("comparison", row["benchmark"], row["metric"], model, baseline),
        "model": model,
        "baseline": baseline,
        "difference": -row["difference"],
        "low": -row["high"],
        "high": -row["low"],
    }


def _pair(
    mine: pl.DataFrame,
    others: pl.DataFrame,
    model: str,
    baseline: str,
    options: StatisticsOptions,
    averagings: Mapping[tuple[str, str], Averaging],
) -> list[dict[str, Any]]:
    keys = ["benchmark", "metric", "item_id"]
    ours = mine.select(*keys, "stratum", ours="value", our_weight="weight")
    theirs = others.select(*keys, theirs="value", their_weight="weight")
    pairs = ours.join(theirs, on=keys).sort(keys)
    groups = pairs.partition_by(keys[:2], as_dict=True, maintain_order=True)
    found = {
        (str(benchmark), str(metric)): (
            _difference(
                rows,
                averagings.get((str(benchmark), str(metric)), Averaging()),
                options,
                *(str(benchmark), str(metric), model, baseline),
            ),
            rows.height,
        )
        for (benchmark, metric), rows in groups.items()
    }
    adjusted = holm([difference.p_value for difference, _ in found.values()])
    return [
        {
            "id": content_id("comparison", benchmark, metric, model, baseline),
            "benchmark": benchmark,
            "metric": metric,
            "model": model,
            "baseline": baseline,
            **difference._replace(p_value=p_value)._asdict(),
            "items": number,
        }
        for ((benchmark, metric), (difference, number)), p_value in zip(
            found.items(), adjusted, strict=True
        )
    ]


def _difference(
    rows: pl.DataFrame, averaging: Averaging, options: StatisticsOptions, *key: str
) -> Difference:
    clusters = [cluster(item) for item in rows["item_id"]]
    binary = is_binary(rows["ours"]) and is_binary(rows["theirs"])
    equal = bool(((rows["our_weight"] == 1) & (rows["their_weight"] == 1)).all())
    if averaging.by == "items" and binary and equal and len(set(clusters)) == len(clusters):
        return paired_binary(rows["ours"], rows["theirs"], options.confidence)
    return paired_bootstrap(
        rows["ours"],
        rows["theirs"],
        clusters,
        weights=(rows["our_weight"], rows["their_weight"]),
        layout=layout(rows["stratum"], averaging.by, averaging.groups),
        seed=seed_of(options.seed, *key),
        resamples=options.resamples,
        confidence=options.confidence,
    )
