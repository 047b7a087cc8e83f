"""From the tables of a run to what its report says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from kyara_kedro.evaluation.benchmarks import cluster
from kyara_kedro.evaluation.benchmarks.output import output_lengths
from kyara_kedro.evaluation.gate import Decision
from kyara_kedro.evaluation.metrics import metric
from kyara_kedro.evaluation.report.content import (
    Case,
    Curve,
    Judge,
    LengthPoint,
    Lengths,
    Report,
    ReportContext,
)
from kyara_kedro.evaluation.report.tables import Compared, ScoreTable
from kyara_kedro.evaluation.scores import WHOLE
from kyara_kedro.reporting.charts import Figure, bar_chart, line_chart, scatter

WIN_RATE = "win_rate"
_LOSSES = {"loss": "訓練損失 Training loss", "rewards/margins": "偏好差距 Preference margin"}
_STAGES = {stage: i for i, stage in enumerate(("sft_base", "sft_refine", "dpo"))}
_LONGEST_PROMPT = 300
"""Characters up to which an example shows the prompt itself, beyond them the bare question."""


def report_content(
    scores: pl.DataFrame,
    comparisons: pl.DataFrame,
    curves: pl.DataFrame,
    outputs: pl.DataFrame,
    decision: Decision,
    context: ReportContext,
) -> Report:
    """Put a report together.

    Args:
        scores: Rows of ``records.BENCHMARK_SCORE``.
        comparisons: Rows of ``records.COMPARISON``, best of all pairs of models: a score is bold
            only when it is significantly better than each other one.
        curves: Rows of ``records.TRAINING_CURVE``.
        outputs: Rows of ``records.MODEL_OUTPUT``.
        decision: What the gate decided.
        context: Everything else.
    """
    present = set(scores["model"])
    models = tuple(name for name in context.models if name in present)
    table = ScoreTable(scores, Compared(comparisons, context.level), models, context)
    cases = list(_cases(outputs, context, models))
    return Report(
        model=context.model,
        models=models,
        baseline=context.baseline,
        level=context.level,
        decision=decision,
        rules_corpus=context.rules_corpus,
        demonstration=context.demonstration,
        progress=_progress(table, context.held_out),
        chapters=tuple(table.chapters()),
        against=tuple(table.against()),
        breakdowns=tuple(table.breakdowns()),
        lengths=tuple(_lengths(table, outputs, context.judgements)),
        curves=tuple(_curves(curves)),
        curve_charts=tuple(_curve_charts(curves)),
        examples=_examples(cases, context),
        regressions=_regressions(cases, context) if context.tasks else None,
        measured=tuple(table.measured()),
        judges=tuple(_judges(context.judgements)),
        output_lengths=tuple(_in_order(output_lengths(outputs), models)),
        settings=context.settings,
    )


def _progress(table: ScoreTable, benchmark: str) -> Figure | None:
    """How well the held-out phrasings are answered, model by model."""
    metrics = [name for of, name in table.keys if of == benchmark and (of, name) in table.tasks]
    if not metrics:
        return None
    values: dict[str, list[float | None]] = {}
    intervals: dict[str, list[tuple[float, float] | None]] = {}
    for name in metrics:
        rows = [table.row((benchmark, name), WHOLE, model) for model in table.models]
        label = f"{metric(name).chinese} {metric(name).english}"
        values[label] = [row["score"] if row else None for row in rows]
        intervals[label] = [(row["low"], row["high"]) if row else None for row in rows]
    title = "換句話問：各階段答對的比例 Held-out phrasings answered, stage by stage"
    return bar_chart(title, table.models, values, intervals, unit="percent")


def _curves(curves: pl.DataFrame) -> Iterator[Curve]:
    """How each figure of each stage began and ended."""
    found = curves.filter(pl.col("metric").is_in(list(_LOSSES))).sort("step")
    groups = found.partition_by("stage", "metric", as_dict=True, maintain_order=True)
    for (stage, name), points in sorted(groups.items(), key=lambda one: _in_training(one[0])):
        values = points["value"]
        yield Curve(str(stage), str(name), points["step"][-1], values[0], values[-1])


def _in_training(key: tuple[Any, ...]) -> tuple[int, str, str]:
    stage, name = map(str, key)
    return _STAGES.get(stage, len(_STAGES)), stage, name


def _curve_charts(curves: pl.DataFrame) -> Iterator[Figure]:
    """The loss of every stage, and the margin of preference training."""
    for name, title in _LOSSES.items():
        rows = curves.filter(pl.col("metric") == name).sort("step")
        groups = rows.partition_by("stage", "metric", as_dict=True, maintain_order=True)
        if groups:
            lines = {
                str(key[0]): points.select("step", "value").rows()
                for key, points in sorted(groups.items(), key=lambda one: _in_training(one[0]))
            }
            yield line_chart(title, lines, x_label="最佳化步數 optimiser steps")


def _lengths(
    table: ScoreTable, outputs: pl.DataFrame, judgements: pl.DataFrame
) -> Iterator[Lengths]:
    """Win rates beside the length of what was compared, else of the outputs."""
    characters = {
        (benchmark, model): length
        for lengths in (
            outputs.select("benchmark", "model", chars=pl.col("output").str.len_chars()),
            judgements.filter(pl.col("chars").is_not_null()).select("benchmark", "model", "chars"),
        )
        for benchmark, model, length in lengths.group_by("benchmark", "model")
        .agg(pl.col("chars").mean())
        .iter_rows()
    }
    for benchmark in [of for of, name in table.keys if name == WIN_RATE]:
        found = [
            LengthPoint(model, characters[benchmark, model], row["score"], row["low"], row["high"])
            for model in table.models
            if (row := table.row((benchmark, WIN_RATE), WHOLE, model))
            and (benchmark, model) in characters
        ]
        if found:
            title = table.title((benchmark, WIN_RATE))
            chart = scatter(
                f"{title}：勝率與長度 Win rate against length",
                {point.model: [(point.characters, point.win_rate)] for point in found},
                {point.model: [(point.low, point.high)] for point in found},
                x_label="平均字元數 average characters",
                y_label="勝率 win rate",
                unit="percent",
            )
            yield Lengths(benchmark, title, tuple(found), chart)


def _judges(judgements: pl.DataFrame) -> Iterator[Judge]:
    keys = ["benchmark", "judge", "prompt_version"]
    found = judgements.group_by(keys).agg(
        first=pl.col("judged_at").min(),
        last=pl.col("judged_at").max(),
        judgements=pl.len(),
        unread=pl.col("value").is_null().sum(),
    )
    for row in found.sort(keys).iter_rows(named=True):
        yield Judge(**row)


def _cases(outputs: pl.DataFrame, context: ReportContext, models: Sequence[str]) -> Iterator[Case]:
    """The items with an output, in the order of the benchmarks' requests."""
    texts: dict[tuple[str, str], dict[str, str]] = {}
    said = outputs.select("benchmark", "item_id", "model", "output").iter_rows()
    for benchmark, item, model, output in said:
        texts.setdefault((benchmark, item), {})[model] = output
    for task in context.tasks:
        name = task.metrics[0]
        values = _values(
            context.items.filter(pl.col("benchmark") == task.name, pl.col("metric") == name)
        )
        for request in task.requests():
            item = request.item_id
            if found := texts.get((task.name, item)):
                prompt = request.messages[-1]["content"]
                if len(prompt) > _LONGEST_PROMPT:
                    prompt = task.questions[cluster(item)].question
                worth = values.get(item, {})
                yield Case(
                    task.name,
                    task.title,
                    item,
                    prompt,
                    " / ".join(filter(None, request.gold)),
                    metric(name).scale,
                    {model: found[model] for model in models if model in found},
                    {model: worth[model] for model in models if model in worth},
                )


def _values(items: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Item to each model's value; a question in several games has their mean."""
    values: dict[str, dict[str, float]] = {}
    question = pl.col("item_id").str.split("#").list.first()
    for rows in (items.with_columns(item_id=question), items):
        means = rows.group_by("item_id", "model").agg(pl.col("value").mean())
        for item, model, value in means.iter_rows():
            values.setdefault(item, {})[model] = value
    return values


def _examples(cases: Sequence[Case], context: ReportContext) -> tuple[Case, ...]:
    """Items that tell most: answered differently, held-out phrasings first, then as they come."""

    def order(numbered: tuple[int, Case]) -> tuple[bool, bool, int]:
        number, case = numbered
        same = len(set(case.values.values())) < 2
        return (same, case.benchmark != context.held_out, number)

    return tuple(case for _, case in sorted(enumerate(cases), key=order)[: context.examples])


def _regressions(cases: Iterable[Case], context: ReportContext) -> tuple[Case, ...]:
    """Items that another model answers better than the one judged; the worst loss first."""
    losses = []
    for number, case in enumerate(cases):
        if context.model in case.values:
            mine = case.values[context.model]
            most = 10.0 if case.scale == "rating" else 1.0
            loss = (max(case.values.values()) - mine) / most
            better = sum(value > mine for value in case.values.values())
            losses.append((-loss, -better, number, case))
    losses.sort(key=lambda row: row[:3])
    return tuple(case for loss, _, _, case in losses if loss < 0)[: context.examples]


def _in_order(rows: pl.DataFrame, models: Sequence[str]) -> list[dict[str, Any]]:
    return sorted(
        (row for row in rows.iter_rows(named=True) if row["model"] in models),
        key=lambda row: (row["benchmark"], models.index(row["model"])),
    )
