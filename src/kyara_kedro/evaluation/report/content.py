"""What an evaluation report says, whatever form it is read in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import polars as pl

from kyara_kedro.evaluation.benchmarks import Task
from kyara_kedro.evaluation.gate import Decision
from kyara_kedro.evaluation.metrics import Metric, Scale
from kyara_kedro.records import BENCHMARK_ITEM, JUDGEMENT
from kyara_kedro.reporting.charts import Figure

CHAPTERS = {
    "general": ("一般能力", "General"),
    "alignment": ("對話與對齊", "Alignment"),
    "own": ("自有評測", "Our own suite"),
    "form": ("輸出的樣貌", "Form of the outputs"),
}
"""The tables of the report in their order; ``form`` is what any output shows."""
OUTCOMES = {
    "undecided": "無法判定 undecided",
    "worse": "顯著較差 significantly worse",
    "better": "顯著較好 significantly better",
}


@dataclass(frozen=True)
class ReportContext:
    """What the report says besides the numbers.

    Attributes:
        model: The model that the decision is about.
        models: All models in the order of the columns; those without scores are left out.
        tasks: The benchmarks.
        items: Rows of ``records.BENCHMARK_ITEM``, to tell right outputs from wrong ones.
        judgements: Rows of ``records.JUDGEMENT`` behind them.
        baseline: The model that the others are measured against in the tables.
        champion: The name under which the present champion takes part.
        held_out: Benchmark whose course over the models is drawn.
        rules_corpus: Whether the corpus was written by rules instead of language models.
        demonstration: Whether the model is the tiny one of the embedded default.
        settings: What else determined the results, name to value.
        level: A difference is called significant below this adjusted p-value.
        examples: Number of examples, and of regressions at most.
    """

    model: str
    models: tuple[str, ...]
    tasks: tuple[Task, ...] = ()
    items: pl.DataFrame = field(default_factory=BENCHMARK_ITEM.frame)
    judgements: pl.DataFrame = field(default_factory=JUDGEMENT.frame)
    baseline: str = "base"
    champion: str = "champion"
    held_out: str = "held_out"
    rules_corpus: bool = False
    demonstration: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    level: float = 0.05
    examples: int = 6


@dataclass(frozen=True)
class Cell:
    """One model's score.

    Attributes:
        score: In the metric's unit, as are all ends of intervals.
        low: Lower end of our interval.
        high: Upper end.
        official: The interval as the benchmark's own scorer prints it, where it has one.
        items: Items scored.
        expected: Items that there are.
        no_answer: Outputs without an answer.
        unread: Judgements without a verdict.
        best: Whether it is significantly better than every other model's.
        change: 1 or -1 where it is significantly better or worse than the baseline's.
        note: Number of its footnote.
    """

    score: float
    low: float
    high: float
    official: tuple[float, float] | None
    items: int
    expected: int
    no_answer: int
    unread: int
    best: bool = False
    change: int = 0
    note: int | None = None


@dataclass(frozen=True)
class Line:
    """A line of a table: a metric of a benchmark or of a group of it, with a cell a model."""

    benchmark: str
    title: str
    part: str
    metric: str
    names: Metric
    expected: int
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Chapter:
    """A table of the report; ``footnotes`` are numbered from 1."""

    name: str
    lines: tuple[Line, ...]
    footnotes: tuple[str, ...]


class Column(NamedTuple):
    """A column of a breakdown; a benchmark that exists in several forms has one for each."""

    model: str
    fold: str


class Part(NamedTuple):
    """A line of a breakdown."""

    name: str
    level: Literal["whole", "group", "stratum"]
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Breakdown:
    """A metric by groups and strata, of all benchmarks that have the same ones."""

    title: str
    chapter: str
    metric: str
    names: Metric
    columns: tuple[Column, ...]
    parts: tuple[Part, ...]
    charts: tuple[Figure, ...]


class LengthPoint(NamedTuple):
    """How long a model's outputs are, in characters on average, and how often they win."""

    model: str
    characters: float
    win_rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Lengths:
    """Win rates against lengths."""

    benchmark: str
    title: str
    points: tuple[LengthPoint, ...]
    chart: Figure


@dataclass(frozen=True)
class Difference:
    """How far the judged model is above another in a metric, and what that says."""

    benchmark: str
    title: str
    metric: str
    names: Metric
    difference: float
    low: float
    high: float
    p_value: float
    items: int
    outcome: str


@dataclass(frozen=True)
class Against:
    """All differences to one model."""

    baseline: str
    differences: tuple[Difference, ...]
    charts: tuple[Figure, ...]


@dataclass(frozen=True)
class Curve:
    """How a figure of a training stage began and ended."""

    stage: str
    metric: str
    steps: int
    first: float
    last: float


@dataclass(frozen=True)
class Case:
    """One item with what each model made of it."""

    benchmark: str
    title: str
    item_id: str
    prompt: str
    gold: str
    scale: Scale
    outputs: dict[str, str]
    values: dict[str, float]


@dataclass(frozen=True)
class Measured:
    """How a benchmark was scored; ``decoding`` is empty where the run's own settings hold."""

    benchmark: str
    title: str
    scorers: tuple[str, ...]
    decoding: tuple[str, ...]
    items: int


@dataclass(frozen=True)
class Judge:
    """Who judged a benchmark, with which prompts and when."""

    benchmark: str
    judge: str
    prompt_version: str
    first: str
    last: str
    judgements: int
    unread: int


@dataclass(frozen=True)
class Report:
    """All that a report says; ``models`` are the columns of the chapters."""

    model: str
    models: tuple[str, ...]
    baseline: str
    level: float
    decision: Decision
    rules_corpus: bool
    demonstration: bool
    progress: Figure | None
    chapters: tuple[Chapter, ...]
    against: tuple[Against, ...]
    breakdowns: tuple[Breakdown, ...]
    lengths: tuple[Lengths, ...]
    curves: tuple[Curve, ...]
    curve_charts: tuple[Figure, ...]
    examples: tuple[Case, ...]
    regressions: tuple[Case, ...] | None
    measured: tuple[Measured, ...]
    judges: tuple[Judge, ...]
    output_lengths: tuple[dict[str, Any], ...]
    settings: Mapping[str, Any]
