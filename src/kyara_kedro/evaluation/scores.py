"""From items to scores, each with the interval in which it may well lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field, PositiveInt

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import Averaging, Task, cluster
from kyara_kedro.evaluation.statistics import Estimate, Layout, bootstrap_interval, wilson
from kyara_kedro.options import Options
from kyara_kedro.records import BENCHMARK_SCORE, JUDGEMENT

WHOLE = "all"
"""The part of a benchmark that is all of it."""


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


def benchmark_scores(
    items: pl.DataFrame,
    tasks: Sequence[Task] = (),
    judgements: pl.DataFrame | None = None,
    options: StatisticsOptions = DEFAULTS,
) -> pl.DataFrame:
    """Average the items of each benchmark, model and metric, and of its groups and strata.

    The interval is Wilson's when every value is 0 or 1 and every question was answered once, else
    a bootstrap over questions, within strata where the score is a mean of theirs.

    Args:
        items: Rows of ``records.BENCHMARK_ITEM``.
        tasks: The benchmarks: how each is averaged, how many items it has, and its own intervals.
        judgements: Rows of ``records.JUDGEMENT`` behind the items.
        options: Confidence and resamples.

    Returns:
        Rows of ``records.BENCHMARK_SCORE``, sorted by benchmark, metric and model, the whole before
        its groups and these before their strata. ``items`` counts what was scored; a missing output
        is not one of them.
    """
    said = JUDGEMENT.frame() if judgements is None else judgements
    known = {(task.name, name): task for task in tasks for name in task.metrics}
    official = {
        (task.name, *key): interval
        for task in tasks
        for key, interval in task.official(
            items.filter(pl.col("benchmark") == task.name), task.judged(said)
        ).items()
    }
    keys = ["benchmark", "metric", "model"]
    groups = items.sort(*keys, "item_id").partition_by(keys, as_dict=True, maintain_order=True)
    return BENCHMARK_SCORE.frame(
        row
        for (benchmark, name, model), rows in groups.items()
        for row in _scores(
            (str(benchmark), str(name), str(model)),
            rows,
            known.get((str(benchmark), str(name))),
            said,
            official.get((str(benchmark), str(name), str(model))),
            options,
        )
    )


def _scores(
    key: tuple[str, str, str],
    rows: pl.DataFrame,
    task: Task | None,
    judgements: pl.DataFrame,
    official: tuple[float, float] | None,
    options: StatisticsOptions,
) -> Iterator[dict[str, Any]]:
    benchmark, name, model = key
    averaging = task.averaging if task else Averaging()
    strata = {q.item_id: q.stratum for q in task.questions.values()} if task else {}
    failed = [] if task is None else _unread(task, name, model, judgements)
    expected = task.expected().get(name) if task and strata else None
    for part, members, by in _parts(rows, averaging):
        inside = rows if members is None else rows.filter(pl.col("stratum").is_in(members))
        found = _mean(inside, by, averaging.groups, options, benchmark, name, model, part)
        mine = [s for s in strata.values() if members is None or s in members]
        yield {
            "id": content_id("benchmark score", benchmark, name, model, part),
            "benchmark": benchmark,
            "model": model,
            "metric": name,
            "part": part,
            "score": found.value,
            "low": found.low,
            "high": found.high,
            "official_low": official[0] if official and members is None else None,
            "official_high": official[1] if official and members is None else None,
            "items": inside.height,
            "expected": inside.height
            if expected is None
            else round(expected * len(mine) / len(strata)),
            "no_answer": inside["no_answer"].sum(),
            "unread": sum(members is None or stratum in members for stratum in failed),
            "scorer_version": "+".join(inside["scorer_version"].unique().sort()),
        }


def _unread(task: Task, name: str, model: str, judgements: pl.DataFrame) -> list[str]:
    """Strata of the judgements for a metric that have no verdict."""
    lost = task.judged(judgements).filter(pl.col("model") == model, pl.col("value").is_null())
    items = (item for item in lost["item_id"] if task.bears_on(item, name))
    asked = (task.questions.get(cluster(item)) for item in items)
    return [question.stratum if question else "all" for question in asked]


def _parts(
    rows: pl.DataFrame, averaging: Averaging
) -> Iterator[tuple[str, list[str] | None, Literal["items", "strata", "groups"]]]:
    """Name, strata (None for all of them) and average of everything that has a score."""
    yield WHOLE, None, averaging.by
    strata = rows["stratum"].unique().sort().to_list()
    for grouping in (averaging.groups, averaging.also):
        groups: dict[str, list[str]] = {}
        for stratum in strata:
            groups.setdefault(grouping.get(stratum, ""), []).append(stratum)
        for group, members in sorted(groups.items()):
            if group:
                yield group, members, "items" if averaging.by == "items" else "strata"
    if len(strata) > 1:
        for stratum in strata:
            above = averaging.groups.get(stratum)
            yield f"{above}/{stratum}" if above else stratum, [stratum], "items"


def _mean(
    rows: pl.DataFrame,
    by: Literal["items", "strata", "groups"],
    groups: Mapping[str, str],
    options: StatisticsOptions,
    *key: str,
) -> Estimate:
    clusters = [cluster(item) for item in rows["item_id"]]
    single = len(set(clusters)) == len(clusters) and bool((rows["weight"] == 1).all())
    if by == "items" and single and is_binary(rows["value"]):
        right = int(rows["value"].sum())
        return Estimate(right / rows.height, *wilson(right, rows.height, options.confidence))
    return bootstrap_interval(
        rows["value"],
        clusters,
        weights=rows["weight"],
        layout=layout(rows["stratum"], by, groups),
        seed=seed_of(options.seed, *key),
        resamples=options.resamples,
        confidence=options.confidence,
    )


def layout(
    strata: pl.Series, by: Literal["items", "strata", "groups"], groups: Mapping[str, str]
) -> Layout | None:
    """Where the items of each stratum are, group by group; None for a plain mean.

    Strata of one item each, as of published means, are drawn themselves, for nothing varies within.

    Raises:
        UserError: the score is a mean over groups, and no stratum belongs to one.
    """
    if by == "items":
        return None
    places: dict[str, dict[str, list[int]]] = {}
    for place, stratum in enumerate(strata):
        group = groups.get(stratum) if by == "groups" else WHOLE
        if group is not None:
            places.setdefault(group, {}).setdefault(stratum, []).append(place)
    if not places:
        known = ", ".join(list(groups)[:3])
        raise UserError(f"no stratum such as {strata[0]!r} belongs to a group; known are {known} …")
    if all(len(found) == 1 for one in places.values() for found in one.values()):
        return [[np.concatenate(list(one.values()))] for one in places.values()]
    return [[np.array(found) for found in one.values()] for one in places.values()]


def is_binary(values: pl.Series) -> bool:
    """Whether all values are 0 or 1."""
    return bool(values.is_in([0.0, 1.0]).all())


def seed_of(seed: int, *key: str) -> int:
    """A seed of its own for each result."""
    return int(content_id(seed, *key)[:8], 16)
