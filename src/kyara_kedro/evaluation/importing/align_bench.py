"""AlignBench's answers and judgements: JSON lines of its ``get_answers.py`` and ``judge.py``.

A row holds question_id and what of model_id, category, subcategory, question, reference, answer,
judgment and score is known. A score of -1 is a judgement without a rating. The rows do not name
their judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kyara_kedro.evaluation.benchmarks.align_bench import AlignBench, AlignBenchCht
from kyara_kedro.evaluation.benchmarks.base import Question, Row, field_of
from kyara_kedro.evaluation.importing.base import (
    Imported,
    judgement_row,
    model_name,
    output_row,
    rows_of,
)
from kyara_kedro.evaluation.importing.ratings import UNKNOWN_JUDGE, repeated, stored_ratings
from kyara_kedro.records import JUDGEMENT, MODEL_OUTPUT
from kyara_kedro.text.ratings import overall_rating


def read_align_bench(path: Path, benchmark: str) -> Imported:
    """Read a file of answers, judged or not; its questions are taken as they stand.

    Args:
        path: The file; its name is the model's where rows do not say.
        benchmark: Name of the benchmark.

    Raises:
        UserError: a row lacks a field, or its score is no number.
    """
    rows = list(enumerate(rows_of(path), start=1))
    keys = [_key(row, path, number) for number, row in rows]
    named = {
        number: (item, model)
        for (number, _), item, (_, model) in zip(rows, repeated(keys), keys, strict=True)
    }
    judged = [(i, row) for i, row in rows if not row.keys().isdisjoint(("score", "judgment"))]
    return Imported(
        questions=_questions(rows, path, benchmark),
        outputs=MODEL_OUTPUT.frame(
            output_row(benchmark, *named[i], _answer(row), str(row.get("question", "")))
            for i, row in rows
            if "answer" in row
        ),
        judgements=JUDGEMENT.frame(
            judgement_row(
                benchmark,
                *named[i],
                UNKNOWN_JUDGE,
                value=rating,
                verdict=None if rating is None else f"{rating:g}",
                chars=len(_answer(row)) if "answer" in row else None,
                text=str(row.get("judgment", "")),
            )
            for (i, row), rating in zip(
                judged, stored_ratings(judged, path, overall_rating), strict=True
            )
        ),
    )


def _answer(row: Row) -> str:
    """What the model said; nothing where asking it failed."""
    return str(row["answer"] or "")


def _key(row: Row, path: Path, number: int) -> tuple[str, str]:
    """Item and model of a row."""
    if row.keys().isdisjoint(("answer", "score", "judgment")):
        field_of(row, str(path), number, "answer", "score", "judgment")
    name = str(field_of(row, str(path), number, "question_id"))
    return name, str(row.get("model_id") or row.get("model") or model_name(path))


def _questions(rows: Sequence[tuple[int, Row]], path: Path, benchmark: str) -> list[Question]:
    """The questions of the rows that repeat them."""
    shape = AlignBenchCht if benchmark == AlignBenchCht.kind else AlignBench
    found = (
        shape.question(row, str(path), number)
        for number, row in rows
        if {"question", "reference", "subcategory"} <= row.keys()
    )
    return list({question.item_id: question for question in found}.values())
