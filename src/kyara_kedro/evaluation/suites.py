"""Published benchmarks as files in a folder: ``<kind>.<ending>`` and ``<kind>.<part>.<ending>``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks import BENCHMARKS, Question, question_row
from kyara_kedro.evaluation.importing import rows_of
from kyara_kedro.records import EVALUATION_QUESTION

QUESTIONS = "questions"
_ENDINGS = ("json", "jsonl", "ndjson", "csv", "tsv")


def named(path: Path) -> tuple[str, str]:
    """The kind of benchmark and the part of it that a file's name says.

    ``gsm.jsonl`` holds the ``questions`` of ``gsm``, ``mt_bench.references.jsonl.gz`` the
    ``references`` of ``mt_bench``.
    """
    kind, *rest = path.name.split(".")
    part = rest[0] if rest and rest[0].lower() not in _ENDINGS else QUESTIONS
    return kind, part


def parts_of(kind: str) -> tuple[str, ...]:
    """The parts that a benchmark is published in, the questions first."""
    return (QUESTIONS, *BENCHMARKS[kind].further_parts)


def read_suite(kind: str, files: Mapping[str, Path]) -> list[Question]:
    """Read a benchmark's questions.

    Args:
        kind: Which benchmark.
        files: Its files by part.

    Raises:
        UserError: there is no such benchmark or part of it, no file of questions, or a file is not
            in order.
    """
    if kind not in BENCHMARKS:
        raise UserError(
            f"{next(iter(files.values()), kind)}: no benchmark is called '{kind}'; there are "
            f"{', '.join(sorted(BENCHMARKS))}"
        )
    known = parts_of(kind)
    for part, path in files.items():
        if part not in known:
            raise UserError(f"{path}: '{kind}' has no part '{part}', but {', '.join(known)}")
    if QUESTIONS not in files:
        raise UserError(
            f"{next(iter(files.values()), kind)}: the questions of '{kind}' are missing; put them "
            f"beside it as {kind}.jsonl"
        )
    parts = {part: rows_of(path) for part, path in files.items()}
    try:
        return BENCHMARKS[kind].read(parts)
    except UserError as error:
        where = ", ".join(str(path) for path in files.values())
        raise UserError(f"{where}: {error}") from error


def suite_questions(files: Iterable[tuple[Path, str]]) -> pl.DataFrame:
    """Read all benchmarks of a folder.

    Args:
        files: Files and the licences of their texts.

    Returns:
        A table of :data:`kyara_kedro.records.EVALUATION_QUESTION`.

    Raises:
        UserError: two files hold one part, or as for :func:`read_suite`.
    """
    parts: dict[str, dict[str, Path]] = {}
    licences: dict[str, str] = {}
    for path, licence in files:
        kind, part = named(path)
        if (other := parts.setdefault(kind, {}).setdefault(part, path)) != path:
            raise UserError(f"{path}: the {part} of '{kind}' are in {other.name} too; keep one")
        licences[kind] = licence
    return EVALUATION_QUESTION.frame(_rows(parts, licences))


def _rows(
    parts: Mapping[str, Mapping[str, Path]], licences: Mapping[str, str]
) -> Iterable[dict[str, Any]]:
    for kind, files in sorted(parts.items()):
        for question in read_suite(kind, files):
            source = f"{files[QUESTIONS].name}#{question.item_id}"
            yield question_row(kind, kind, question, source=source, licence=licences[kind])
