"""Scoring published results: from files to scores, as ``kedro score`` does it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks import BENCHMARKS, Question, cluster
from kyara_kedro.evaluation.comparison import compare
from kyara_kedro.evaluation.importing import FORMATS, joined, known_name
from kyara_kedro.evaluation.metrics import Scale, metric, shown
from kyara_kedro.evaluation.scores import DEFAULTS, WHOLE, StatisticsOptions, benchmark_scores
from kyara_kedro.evaluation.suites import QUESTIONS, named, parts_of, read_suite
from kyara_kedro.reporting.terminal import aligned


class Scored(NamedTuple):
    """What came of scoring files.

    Attributes:
        scores: Rows of ``records.BENCHMARK_SCORE``.
        comparisons: Rows of ``records.COMPARISON`` between every two models.
        items: Rows of ``records.BENCHMARK_ITEM``.
    """

    scores: pl.DataFrame
    comparisons: pl.DataFrame
    items: pl.DataFrame

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """All rows as JSON can hold them."""
        return {name: table.to_dicts() for name, table in self._asdict().items()}


def score_files(
    form: str,
    benchmark: str,
    files: Sequence[Path],
    parts: Mapping[str, Path],
    folders: Iterable[Path] = (),
    options: StatisticsOptions = DEFAULTS,
) -> Scored:
    """Score files of results.

    Questions come from the files themselves, or from the benchmark's own files: those that are
    named, or else those that lie beside the results, above them or in further folders as
    ``<benchmark>.jsonl`` or ``<benchmark>.questions.jsonl``. Judgements alone are scored as far as
    they go: without questions nobody knows how many are missing.

    Args:
        form: The files' format.
        benchmark: Kind of the benchmark.
        files: One a model, or with several models each.
        parts: The benchmark's own files, by part.
        folders: Where else to look for them.
        options: Confidence and resamples.

    Raises:
        UserError: the format or benchmark is unknown, or a file is not in order.
    """
    form, benchmark = (
        known_name("format", form, FORMATS),
        known_name("benchmark", benchmark, BENCHMARKS),
    )
    found = joined(FORMATS[form](path, benchmark) for path in files)
    questions = _questions(benchmark, found.questions, files, parts, folders)
    if not questions and found.outputs.height:
        raise UserError(
            f"{files[0]}: does not hold the questions of '{benchmark}'; name their file with "
            f"--part questions=FILE, or put it beside as {benchmark}.questions.jsonl"
        )
    task = BENCHMARKS[benchmark](benchmark, questions)
    asked = task if questions else BENCHMARKS[benchmark](benchmark, _judged(found.judgements))
    items = pl.concat([asked.score(found.outputs, found.judgements), found.items])
    if items.is_empty():
        raise UserError(
            f"{files[0]}: nothing in it can be scored: no item of it is among the "
            f"{len(questions)} questions of '{benchmark}'"
        )
    return Scored(
        benchmark_scores(items, [task], found.judgements, options),
        compare(items, None, options, [task]),
        items,
    )


def score_table(scores: pl.DataFrame, *, parts: bool = False) -> str:
    """Write scores as a table for a terminal.

    Args:
        scores: Rows of ``records.BENCHMARK_SCORE`` of one benchmark.
        parts: Whether groups and strata have rows, too.
    """
    rows = scores if parts else scores.filter(pl.col("part") == WHOLE)
    lines = [("model", "metric", "part", "score", "interval", "official", "n of N", "notes")]
    for row in rows.sort("model", "metric", maintain_order=True).iter_rows(named=True):
        scale = metric(row["metric"]).scale
        notes = [f"{row['no_answer']} without an answer"] if row["no_answer"] else []
        notes += [f"{row['unread']} judgements unread"] if row["unread"] else []
        lines.append(
            (
                *(row["model"], row["metric"], row["part"], shown(row["score"], scale)),
                _interval(row["low"], row["high"], scale),
                _interval(row["official_low"], row["official_high"], scale),
                f"{row['items']} of {row['expected']}",
                ", ".join(notes),
            )
        )
    return aligned(lines)


def comparison_table(comparisons: pl.DataFrame) -> str:
    """Write the differences between every two models once, each with its verdict."""
    lines = [("model", "against", "metric", "difference", "interval", "p (Holm)", "pairs")]
    for row in comparisons.filter(pl.col("model") > pl.col("baseline")).iter_rows(named=True):
        scale = metric(row["metric"]).scale
        lines.append(
            (
                *(row["model"], row["baseline"], row["metric"]),
                shown(row["difference"], scale),
                _interval(row["low"], row["high"], scale),
                f"{row['p_value']:.2g}",
                str(row["items"]),
            )
        )
    return aligned(lines) if len(lines) > 1 else ""


def _interval(low: float | None, high: float | None, scale: Scale) -> str:
    return "" if low is None or high is None else f"{shown(low, scale)} to {shown(high, scale)}"


def _judged(judgements: pl.DataFrame) -> list[Question]:
    """The questions behind judgements, of which nothing but the ids is known."""
    return [Question(item, item) for item in dict.fromkeys(map(cluster, judgements["item_id"]))]


def _questions(
    benchmark: str,
    inside: list[Question],
    files: Sequence[Path],
    parts: Mapping[str, Path],
    folders: Iterable[Path],
) -> list[Question]:
    if parts:
        return read_suite(benchmark, parts)
    beside = [place for file in files for place in (file.parent, file.parent.parent)]
    for folder in dict.fromkeys([*beside, *folders]):
        found = dict(_suite_files(benchmark, folder, set(files)))
        if QUESTIONS in found:
            return read_suite(benchmark, found)
    return inside


def _suite_files(benchmark: str, folder: Path, results: set[Path]) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.glob(f"{benchmark}.*")):
        if path.is_file() and path not in results:
            kind, part = named(path)
            if kind == benchmark and part in parts_of(kind):
                yield part, path
