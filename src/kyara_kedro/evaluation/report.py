"""The evaluation report: one web page that needs nothing but itself.

Everything that a model wrote is text to the page, never markup: the template escapes all values,
and a content security policy forbids scripts and anything from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from kyara_kedro.evaluation.benchmarks.base import Request
from kyara_kedro.evaluation.benchmarks.output import METRICS as OUTPUT_METRICS
from kyara_kedro.evaluation.benchmarks.output import output_lengths
from kyara_kedro.evaluation.gate import Decision
from kyara_kedro.records import BENCHMARK_ITEM
from kyara_kedro.reporting.charts import Figure, bar_chart, line_chart
from kyara_kedro.reporting.pages import environment, legible

LEVEL = 0.05
"""A difference is called significant below this adjusted p-value."""

_METRICS = {
    "accuracy": "答對率 accuracy",
    "exact_match": "完全相符 exact match",
    "contains": "含有答案 contains the answer",
    "traditional_purity": "正體字純度 Traditional purity",
    "distinct_4": "不重複度 distinct-4",
    "stopped": "自行結束 ended its turn",
}
_LOSSES = {"loss": "訓練損失 Training loss", "rewards/margins": "偏好差距 Preference margin"}
_STAGES = {stage: i for i, stage in enumerate(("sft_base", "sft_refine", "dpo"))}
_LONGEST_TEXT = 600


@dataclass(frozen=True)
class ReportContext:
    """What the report says besides the numbers.

    Attributes:
        model: The model that the decision is about.
        models: All models in the order of the columns; those without scores are left out.
        items: Rows of ``records.BENCHMARK_ITEM``, to tell right outputs from wrong ones.
        requests: What was asked, with the accepted answers.
        expected: Items of each (benchmark, metric).
        baseline: The model that the others are measured against in the table.
        held_out: Benchmark whose course over the models is drawn.
        rules_corpus: Whether the corpus was written by rules instead of language models.
        demonstration: Whether the model is the tiny one of the embedded default.
        settings: What else determined the results, name to value.
        examples: Number of examples, and of regressions at most.
    """

    model: str
    models: tuple[str, ...]
    items: pl.DataFrame = field(default_factory=BENCHMARK_ITEM.frame)
    requests: tuple[Request, ...] = ()
    expected: Mapping[tuple[str, str], int] = field(default_factory=dict)
    baseline: str = "base"
    held_out: str = "held_out"
    rules_corpus: bool = False
    demonstration: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    examples: int = 6


def evaluation_report(
    scores: pl.DataFrame,
    comparisons: pl.DataFrame,
    curves: pl.DataFrame,
    outputs: pl.DataFrame,
    decision: Decision,
    context: ReportContext,
) -> str:
    """Write the report.

    Args:
        scores: Rows of ``records.BENCHMARK_SCORE``.
        comparisons: Rows of ``records.COMPARISON``, best of all pairs of models: a score is bold
            only when it is significantly above each other one.
        curves: Rows of ``records.TRAINING_CURVE``.
        outputs: Rows of ``records.MODEL_OUTPUT``.
        decision: What the gate decided.
        context: Everything else.

    Returns:
        An HTML document without any reference to another file.
    """
    models = [name for name in context.models if name in set(scores["model"])]
    cases = _cases(outputs, context, models)
    templates = environment(Path(__file__).parent)
    templates.filters |= {"text": _text, "percent": _percent, "setting": _setting}
    return templates.get_template("report.html.jinja").render(
        decision=decision,
        context=context,
        models=models,
        table=_table(scores, comparisons, models, context),
        progress=_drawn(_progress(scores, models, context.held_out)),
        curves=[_drawn(figure) for figure in _curve_charts(curves)],
        examples=_examples(cases, context),
        regressions=_regressions(cases, context),
        lengths=_in_order(output_lengths(outputs), models),
        scorers=_scorers(scores),
        level=LEVEL,
    )


@dataclass(frozen=True)
class _Case:
    """One item with what each model made of it."""

    benchmark: str
    item_id: str
    prompt: str
    gold: str
    outputs: dict[str, str]
    values: dict[str, float]


def _table(
    scores: pl.DataFrame, comparisons: pl.DataFrame, models: Sequence[str], context: ReportContext
) -> list[dict[str, Any]]:
    """Rows of the big table: one a benchmark and metric, with a cell a model."""
    found = {(r["benchmark"], r["metric"], r["model"]): r for r in scores.iter_rows(named=True)}
    better = {
        (r["benchmark"], r["metric"], r["model"], r["baseline"]): r["difference"]
        for r in comparisons.filter(pl.col("p_value") < LEVEL).iter_rows(named=True)
    }
    for (benchmark, metric, model, baseline), difference in list(better.items()):
        better.setdefault((benchmark, metric, baseline, model), -difference)
    known = list(_METRICS)
    keys = sorted(
        {(benchmark, metric) for benchmark, metric, _ in found},
        key=lambda key: (
            key[1] in OUTPUT_METRICS,
            key[0],
            known.index(key[1]) if key[1] in known else len(known),
            key[1],
        ),
    )
    rows = []
    for benchmark, metric in keys:
        cells = []
        for model in models:
            score = found.get((benchmark, metric, model))
            others = [m for m in models if m != model and (benchmark, metric, m) in found]
            above = [better.get((benchmark, metric, model, other), 0.0) > 0 for other in others]
            change = better.get((benchmark, metric, model, context.baseline), 0.0)
            expected = context.expected.get((benchmark, metric), 0)
            cells.append(
                {
                    "score": score,
                    "best": bool(score and above and all(above)),
                    "change": (change > 0) - (change < 0),
                    "missing": expected if score and score["items"] < expected else None,
                }
            )
        rows.append(
            {
                "benchmark": benchmark,
                "metric": _METRICS.get(metric, metric),
                "rating": any(c["score"] and c["score"]["high"] > 1 for c in cells),
                "cells": cells,
            }
        )
    return rows


def _progress(scores: pl.DataFrame, models: Sequence[str], benchmark: str) -> Figure | None:
    """How well the held-out phrasings are answered, model by model."""
    mine = scores.filter(pl.col("benchmark") == benchmark)
    found = {(r["metric"], r["model"]): r for r in mine.iter_rows(named=True)}
    metrics = [m for m in ("exact_match", "contains") if any((m, name) in found for name in models)]
    if not metrics:
        return None
    values: dict[str, list[float | None]] = {}
    intervals: dict[str, list[tuple[float, float] | None]] = {}
    for metric in metrics:
        rows = [found.get((metric, name)) for name in models]
        values[_METRICS[metric]] = [row["score"] if row else None for row in rows]
        intervals[_METRICS[metric]] = [(row["low"], row["high"]) if row else None for row in rows]
    title = "換句話問：各階段答對的比例 Held-out phrasings answered, stage by stage"
    return bar_chart(title, models, values, intervals, unit="percent")


def _curve_charts(curves: pl.DataFrame) -> list[Figure]:
    """The loss of every stage, and the margin of preference training."""
    charts = []
    for metric, title in _LOSSES.items():
        rows = curves.filter(pl.col("metric") == metric).sort("step")
        if rows.is_empty():
            continue
        lines = {
            str(stage): points.select("step", "value").rows()
            for (stage,), points in rows.group_by("stage", maintain_order=True)
        }
        ordered = dict(sorted(lines.items(), key=lambda line: _STAGES.get(line[0], len(_STAGES))))
        charts.append(line_chart(title, ordered, x_label="最佳化步數 optimiser steps"))
    return charts


def _cases(outputs: pl.DataFrame, context: ReportContext, models: Sequence[str]) -> list[_Case]:
    """The items with an answer key, in the order of the requests."""
    metrics = {request.benchmark: "" for request in context.requests}
    main = context.items.filter(
        pl.col("benchmark").is_in(list(metrics)),
        pl.col("metric").is_in(["accuracy", "exact_match"]),
    )
    values: dict[tuple[str, str], dict[str, float]] = {}
    for benchmark, item, model, value in main.select(
        "benchmark", "item_id", "model", "value"
    ).iter_rows():
        values.setdefault((benchmark, item), {})[model] = value
    texts: dict[tuple[str, str], dict[str, str]] = {}
    for benchmark, item, model, output in outputs.select(
        "benchmark", "item_id", "model", "output"
    ).iter_rows():
        texts.setdefault((benchmark, item), {})[model] = output
    return [
        _Case(
            request.benchmark,
            request.item_id,
            request.messages[-1]["content"],
            " / ".join(request.gold),
            {model: texts[key][model] for model in models if model in texts[key]},
            values.get(key, {}),
        )
        for request in context.requests
        if (key := (request.benchmark, request.item_id)) in texts
    ]


def _examples(cases: Iterable[_Case], context: ReportContext) -> list[_Case]:
    """Items that tell most: answered differently, held-out phrasings first, then as they come."""

    def order(numbered: tuple[int, _Case]) -> tuple[bool, bool, int]:
        number, case = numbered
        same = len(set(case.values.values())) < 2
        return (same, case.benchmark != context.held_out, number)

    return [case for _, case in sorted(enumerate(cases), key=order)][: context.examples]


def _regressions(cases: Iterable[_Case], context: ReportContext) -> list[_Case]:
    """Items that another model answers better than the one judged; the worst loss first."""
    losses = []
    for number, case in enumerate(cases):
        if context.model in case.values:
            loss = max(case.values.values()) - case.values[context.model]
            better = sum(v > case.values[context.model] for v in case.values.values())
            losses.append((-loss, -better, number, case))
    losses.sort(key=lambda row: row[:3])
    return [case for loss, _, _, case in losses if loss < 0][: context.examples]


def _in_order(rows: pl.DataFrame, models: Sequence[str]) -> list[dict[str, Any]]:
    return sorted(
        (row for row in rows.iter_rows(named=True) if row["model"] in models),
        key=lambda row: (row["benchmark"], models.index(row["model"])),
    )


def _scorers(scores: pl.DataFrame) -> list[dict[str, Any]]:
    """Per benchmark and metric: the scorer and how many items the models were scored on."""
    return (
        scores.group_by("benchmark", "metric")
        .agg(
            scorer=pl.col("scorer_version").unique().sort().str.join(", "),
            fewest=pl.col("items").min(),
            most=pl.col("items").max(),
            no_answer=pl.col("no_answer").sum(),
        )
        .sort("benchmark", "metric")
        .to_dicts()
    )


def _drawn(figure: Figure | None) -> Markup | None:
    """A figure as markup; its labels were escaped when it was drawn."""
    return None if figure is None else Markup(figure.svg())  # noqa: S704


def _text(value: str) -> str:
    """What a model wrote, without signs that would disturb the page, and not endless."""
    return legible(value[: _LONGEST_TEXT + 1].strip(), _LONGEST_TEXT)


def _setting(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_setting(inner)}" for name, inner in value.items())
    return str(value)


def _percent(value: float) -> str:
    return f"{value * 100:.1f}"
