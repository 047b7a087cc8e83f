"""FastChat's ``llm_judge``: answers of models, and ratings of single answers.

An answer file's rows hold question_id, model_id and choices (lm-sys/FastChat,
``gen_model_answer.py``); a judgement file's question_id, model, judge, turn, score and judgment
(``gen_judgment.py``). A score of -1 is a judgement without a rating.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kyara_kedro.evaluation.benchmarks.base import Row, field_of
from kyara_kedro.evaluation.benchmarks.mt_bench import answers_of
from kyara_kedro.evaluation.importing.base import Imported, judgement_row, output_row, rows_of
from kyara_kedro.evaluation.importing.ratings import UNKNOWN_JUDGE, repeated, stored_ratings
from kyara_kedro.records import JUDGEMENT, MODEL_OUTPUT
from kyara_kedro.text.ratings import bracketed_rating


def read_fastchat(path: Path, benchmark: str) -> Imported:
    """Read a file of answers or of single ratings.

    Args:
        path: The file.
        benchmark: Name of the benchmark.

    Raises:
        UserError: a row is neither, lacks a field, or its score is no number.
    """
    rows = list(enumerate(rows_of(path), start=1))
    answers = [(i, row) for i, row in rows if "choices" in row]
    rated = [(i, row) for i, row in rows if "choices" not in row]
    return Imported(
        outputs=MODEL_OUTPUT.frame(
            output for i, row in answers for output in _outputs(row, path, i, benchmark)
        ),
        judgements=JUDGEMENT.frame(_judgements(rated, path, benchmark)),
    )


def _outputs(row: Row, path: Path, number: int, benchmark: str) -> Iterator[dict[str, Any]]:
    name = field_of(row, str(path), number, "question_id")
    model = str(field_of(row, str(path), number, "model_id", "model"))
    for turn, answer in enumerate(answers_of(row, str(path), number), start=1):
        yield output_row(benchmark, f"{name}#{turn}", model, answer)


def _judgements(
    rows: Sequence[tuple[int, Row]], path: Path, benchmark: str
) -> Iterator[dict[str, Any]]:
    ratings = stored_ratings(rows, path, bracketed_rating)
    keys = [_key(row, str(path), number) for number, row in rows]
    for (_, row), (_, model, judge, template), item, rating in zip(
        rows, keys, repeated(keys), ratings, strict=True
    ):
        yield judgement_row(
            benchmark,
            item,
            model,
            judge,
            value=rating,
            verdict=None if rating is None else f"{rating:g}",
            prompt_version=template,
            judged_at=_time(row.get("tstamp")),
            text=str(row.get("judgment", "")),
        )


def _key(row: Row, path: str, number: int) -> tuple[str, str, str, str]:
    """Item, model, judge, and the template that the judge saw."""
    question, turn, model = (
        field_of(row, path, number, name) for name in ("question_id", "turn", "model")
    )
    judge = row.get("judge", UNKNOWN_JUDGE)
    name, template = [*judge, "", ""][:2] if isinstance(judge, list) else (judge, "")
    return f"{question}#{turn}", str(model), str(name), str(template)


def _time(stamp: Any) -> str:
    """An ISO time in UTC; empty when unknown."""
    try:
        return datetime.fromtimestamp(stamp, UTC).isoformat(timespec="milliseconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return ""
