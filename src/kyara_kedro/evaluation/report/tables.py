"""The tables of the report, from the rows of scores and comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import polars as pl

from kyara_kedro.evaluation.benchmarks import BENCHMARKS, Task
from kyara_kedro.evaluation.benchmarks.output import METRICS as OUTPUT_METRICS
from kyara_kedro.evaluation.comparison import mirrored
from kyara_kedro.evaluation.metrics import metric
from kyara_kedro.evaluation.report.content import (
    CHAPTERS,
    OUTCOMES,
    Against,
    Breakdown,
    Cell,
    Chapter,
    Column,
    Difference,
    Line,
    Measured,
    Part,
    ReportContext,
)
from kyara_kedro.evaluation.scores import WHOLE
from kyara_kedro.reporting.charts import Figure, bar_chart, forest, radar
from kyara_kedro.reporting.drawing import COLOURS

Key = tuple[str, str]
"""A benchmark and a metric."""
_SPOKES = range(3, 17)
"""Numbers of categories that a radar can show."""


class Compared:
    """What is known of each pair of models, in both directions.

    Args:
        comparisons: Rows of ``records.COMPARISON``.
        level: A difference is called significant below this adjusted p-value.
    """

    def __init__(self, comparisons: pl.DataFrame, level: float) -> None:
        self._level = level
        rows = list(comparisons.iter_rows(named=True))
        self._rows = {(*_key(row), row["model"], row["baseline"]): row for row in rows}
        for row in rows:
            self._rows.setdefault((*_key(row), row["baseline"], row["model"]), mirrored(row))

    def row(self, key: Key, model: str, other: str) -> dict[str, Any] | None:
        """How far the model is above another, as a row of ``records.COMPARISON``."""
        return self._rows.get((*key, model, other))

    def better(self, key: Key, model: str, other: str) -> int:
        """1 or -1 where the model is significantly better or worse than another, else 0."""
        row, good = self.row(key, model, other), metric(key[1]).better
        if row is None or good is None or row["p_value"] >= self._level:
            return 0
        sign = int(row["difference"] > 0) - int(row["difference"] < 0)
        return sign if good else -sign


class ScoreTable:
    """The scores by benchmark, metric, part and model.

    Args:
        scores: Rows of ``records.BENCHMARK_SCORE``.
        compared: What the comparisons say.
        models: The columns.
        context: Which model, baseline and champion, and the benchmarks.

    Attributes:
        keys: What has scores: benchmarks in their order, each with its main metric first.
        tasks: The benchmark of each key that is not about the form of outputs.
    """

    def __init__(
        self,
        scores: pl.DataFrame,
        compared: Compared,
        models: tuple[str, ...],
        context: ReportContext,
    ) -> None:
        self.models = models
        self._compared = compared
        self._context = context
        self._rows = {
            (*_key(row), row["part"], row["model"]): row for row in scores.iter_rows(named=True)
        }
        self._parts: dict[Key, list[str]] = {}
        for benchmark, name, part, _ in self._rows:
            parts = self._parts.setdefault((benchmark, name), [])
            if part not in parts:
                parts.append(part)
        ranks = {kind: i for i, kind in enumerate(BENCHMARKS)}
        ordered = sorted(context.tasks, key=lambda task: (ranks[task.kind], task.name))
        named: dict[str, set[str]] = {}
        for task in ordered:
            named.setdefault(task.title, set()).add(task.name)
        self._shared = {title for title, names in named.items() if len(names) > 1}
        self.tasks = {(task.name, name): task for task in ordered for name in task.metrics}
        known = list(self.tasks)
        self.keys = [key for key in known if key in self._parts]
        self.keys += sorted(
            (key for key in self._parts if key not in self.tasks),
            key=lambda key: (key[1] in OUTPUT_METRICS, key[0], _rank(key[1]), key[1]),
        )

    def row(self, key: Key, part: str, model: str) -> dict[str, Any] | None:
        """A model's score, as a row of ``records.BENCHMARK_SCORE``."""
        return self._rows.get((*key, part, model))

    def title(self, key: Key) -> str:
        """What people call the benchmark, or its own name where others are called the same."""
        task = self.tasks.get(key)
        return key[0] if task is None or task.title in self._shared else task.title

    def chapter(self, key: Key) -> str:
        """The table that a metric stands in."""
        task = self.tasks.get(key)
        return task.chapter if task else "form" if key[1] in OUTPUT_METRICS else "own"

    def chapters(self) -> Iterator[Chapter]:
        """The tables of scores: each metric of the whole, the main one of its groups too."""
        for name in CHAPTERS:
            lines: list[Line] = []
            footnotes: list[str] = []
            for key in self.keys:
                if self.chapter(key) == name:
                    lines.append(self._line(key, WHOLE, footnotes))
                    groups = self._groups(key) if self._is_main(key) else ()
                    lines += [self._line(key, group, footnotes) for group in groups]
            if lines:
                yield Chapter(name, tuple(lines), tuple(footnotes))

    def against(self) -> Iterator[Against]:
        """The judged model's differences to the baseline and to the champion."""
        context = self._context
        for baseline in dict.fromkeys((context.baseline, context.champion)):
            if baseline != context.model and baseline in self.models:
                found = [d for key in self.keys if (d := self._difference(key, baseline))]
                if found:
                    yield Against(baseline, tuple(found), tuple(_forests(found, baseline)))

    def breakdowns(self) -> Iterator[Breakdown]:
        """Of the main metric of each benchmark; those with the same parts stand side by side."""
        alike: dict[tuple[str, tuple[str, ...]], list[Key]] = {}
        for key in filter(self._is_main, self.keys):
            if len(self._strata(key)) > 1:
                alike.setdefault((key[1], tuple(sorted(self._parts[key]))), []).append(key)
        for (name, _), keys in alike.items():
            columns = [(model, key) for model in self.models for key in keys]
            columns = [(model, key) for model, key in columns if self.row(key, WHOLE, model)]
            yield Breakdown(
                " · ".join(map(self.title, keys)),
                self.chapter(keys[0]),
                name,
                metric(name),
                tuple(
                    Column(model, self.title(key) if len(keys) > 1 else "")
                    for model, key in columns
                ),
                tuple(
                    Part(
                        part.rpartition("/")[2] if level == "stratum" else part,
                        level,
                        tuple(self._cell(key, part, model) for model, key in columns),
                    )
                    for part, level in self._outline(keys[0])
                ),
                tuple(chart for key in keys for chart in self._part_charts(key)),
            )

    def measured(self) -> Iterator[Measured]:
        """How each benchmark was scored and answered."""
        for benchmark in dict.fromkeys(benchmark for benchmark, _ in self.keys):
            rows = [row for (name, *_), row in self._rows.items() if name == benchmark]
            tasks = [task for task in self._context.tasks if task.name == benchmark]
            yield Measured(
                benchmark,
                " / ".join(task.title for task in tasks) or benchmark,
                tuple(sorted({row["scorer_version"] for row in rows})),
                _decodings(tasks),
                max(row["expected"] for row in rows),
            )

    def _line(self, key: Key, part: str, footnotes: list[str]) -> Line:
        cells = [self._cell(key, part, model) for model in self.models]
        if part == WHOLE:
            note = _footnote(self.title(key), zip(self.models, cells, strict=True))
            if note and note not in footnotes:
                footnotes.append(note)
            number = footnotes.index(note) + 1 if note else None
            cells = [
                cell and self._judged(cell, key, model, number)
                for model, cell in zip(self.models, cells, strict=True)
            ]
        expected = max((cell.expected for cell in cells if cell), default=0)
        title = self.title(key)
        return Line(key[0], title, part, key[1], metric(key[1]), expected, tuple(cells))

    def _judged(self, cell: Cell, key: Key, model: str, note: int | None) -> Cell:
        """A cell with what the comparisons say about it."""
        others = [m for m in self.models if m != model and self.row(key, WHOLE, m)]
        above = [self._compared.better(key, model, other) > 0 for other in others]
        return replace(
            cell,
            best=bool(above) and all(above),
            change=self._compared.better(key, model, self._context.baseline),
            note=note if _remarks(cell) else None,
        )

    def _cell(self, key: Key, part: str, model: str) -> Cell | None:
        row = self.row(key, part, model)
        if row is None:
            return None
        official = (row["official_low"], row["official_high"])
        return Cell(
            score=row["score"],
            low=row["low"],
            high=row["high"],
            official=None if None in official else official,
            items=row["items"],
            expected=row["expected"],
            no_answer=row["no_answer"],
            unread=row["unread"],
        )

    def _difference(self, key: Key, baseline: str) -> Difference | None:
        row = self._compared.row(key, self._context.model, baseline)
        if row is None or metric(key[1]).better is None or self.chapter(key) == "form":
            return None
        outcomes = {0: "undecided", 1: "better", -1: "worse"}
        return Difference(
            key[0],
            self.title(key),
            key[1],
            metric(key[1]),
            **{name: row[name] for name in ("difference", "low", "high", "p_value", "items")},
            outcome=outcomes[self._compared.better(key, self._context.model, baseline)],
        )

    def _is_main(self, key: Key) -> bool:
        return key in self.tasks and key[1] == self.tasks[key].metrics[0]

    def _groups(self, key: Key) -> list[str]:
        parts = self._parts[key]
        return [part for part in parts if any(other.startswith(f"{part}/") for other in parts)]

    def _strata(self, key: Key) -> list[str]:
        groups = self._groups(key)
        return [part for part in self._parts[key] if part != WHOLE and part not in groups]

    def _outline(self, key: Key) -> list[tuple[str, Literal["whole", "group", "stratum"]]]:
        """The whole, then each group before its strata, then the strata of no group."""
        lines: list[tuple[str, Literal["whole", "group", "stratum"]]] = [(WHOLE, "whole")]
        left = self._strata(key)
        for group in self._groups(key):
            mine = [stratum for stratum in left if stratum.startswith(f"{group}/")]
            left = [stratum for stratum in left if stratum not in mine]
            lines += [(group, "group"), *((stratum, "stratum") for stratum in mine)]
        return [*lines, *((stratum, "stratum") for stratum in left)]

    def _part_charts(self, key: Key) -> Iterator[Figure]:
        title, names = self.title(key), metric(key[1])
        groups = self._groups(key)
        strata = [part for part, level in self._outline(key) if level == "stratum"]
        if names.scale == "rating" and len(strata) in _SPOKES:
            labels = [stratum.rpartition("/")[2] for stratum in strata]
            models = self._charted(key, len(COLOURS))
            values = {model: _scores(self._across(key, strata, model)) for model in models}
            yield radar(f"{title}：各類別 by category", labels, values)
            return
        if groups:
            yield self._bars(
                f"{title}：各領域 by group", key, groups, self._charted(key, len(COLOURS))
            )
        yield self._bars(f"{title}：各類別 by category", key, strata, self._charted(key, 3))

    def _charted(self, key: Key, most: int) -> list[str]:
        """As many models as a chart can tell apart, the one judged and its rivals before others."""
        rivals = (self._context.model, self._context.baseline, self._context.champion)
        some = (model for model in (*rivals, *self.models) if self.row(key, WHOLE, model))
        ordered = dict.fromkeys(model for model in some if model in self.models)
        return sorted(list(ordered)[:most], key=self.models.index)

    def _bars(self, title: str, key: Key, parts: Sequence[str], models: Iterable[str]) -> Figure:
        rows = {model: self._across(key, parts, model) for model in models}
        return bar_chart(
            title,
            [part.rpartition("/")[2] for part in parts],
            {model: _scores(some) for model, some in rows.items()},
            {
                model: [(row["low"], row["high"]) if row else None for row in some]
                for model, some in rows.items()
            },
            unit="percent" if metric(key[1]).scale == "share" else "number",
        )

    def _across(self, key: Key, parts: Sequence[str], model: str) -> list[dict[str, Any] | None]:
        return [self.row(key, part, model) for part in parts]


def _key(row: Mapping[str, Any]) -> Key:
    return row["benchmark"], row["metric"]


def _rank(name: str) -> int:
    """The place of a metric that no benchmark declares."""
    return OUTPUT_METRICS.index(name) if name in OUTPUT_METRICS else 0


def _scores(rows: Iterable[dict[str, Any] | None]) -> list[float | None]:
    return [row["score"] if row else None for row in rows]


def _footnote(title: str, cells: Iterable[tuple[str, Cell | None]]) -> str:
    """What the reader of a line has to know about its cells; blank where that is nothing."""
    said = [f"{model} {remarks}" for model, cell in cells if cell and (remarks := _remarks(cell))]
    return f"{title}：{'；'.join(said)}" if said else ""


def _remarks(cell: Cell) -> str:
    remarks = []
    if cell.items < cell.expected:
        remarks.append(f"{cell.items:,} / {cell.expected:,} 題計分 items scored")
    if cell.no_answer:
        remarks.append(f"{cell.no_answer:,} 題無答案 without an answer")
    if cell.unread:
        remarks.append(f"{cell.unread:,} 則評審讀不出 verdicts unread")
    return "、".join(remarks)


def _forests(found: Sequence[Difference], baseline: str) -> Iterator[Figure]:
    """Shares in percentage points, and ratings."""
    for scale, factor, unit in (
        ("share", 100.0, "百分點 percentage points"),
        ("rating", 1.0, "分 points of 10"),
    ):
        rows = [difference for difference in found if difference.names.scale == scale]
        if not rows:
            continue
        values: dict[str, list[float | None]] = {}
        intervals: dict[str, list[tuple[float, float] | None]] = {}
        for outcome, name in OUTCOMES.items():
            mine = [difference.outcome == outcome for difference in rows]
            values[name] = [
                round(d.difference * factor, 2) if here else None
                for d, here in zip(rows, mine, strict=True)
            ]
            intervals[name] = [
                (d.low * factor, d.high * factor) if here else None
                for d, here in zip(rows, mine, strict=True)
            ]
        yield forest(
            f"與 {baseline} 的差距 Differences to {baseline}",
            [f"{d.title} {d.names.chinese}" for d in rows],
            values,
            intervals,
            x_label=unit,
        )


def _decodings(tasks: Iterable[Task]) -> tuple[str, ...]:
    found = {
        (decoding.temperature, decoding.max_tokens)
        for task in tasks
        for question in task.questions.values()
        if (decoding := task.decoding(question))
    }
    return tuple(
        f"temperature {temperature:g}, {tokens:,} tokens" for temperature, tokens in sorted(found)
    )
