"""Tables of accuracies by subject: one row a subject, one column a model."""

from __future__ import annotations

from pathlib import Path

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import Question, field_of, item_row
from kyara_kedro.evaluation.importing.base import Imported, rows_of
from kyara_kedro.records import BENCHMARK_ITEM

VERSION = "subject-accuracies-1"


def read_subject_accuracies(path: Path, benchmark: str) -> Imported:
    """Read a table with ``task_name``, ``metric`` and a column of accuracies for each model.

    A subject is one item of its own stratum, since how many questions it had is not known; so
    means over subjects and groups are exact, and an interval says nothing. The subject is what
    follows the last ``/`` of the task, without ``tmmluplus-``.

    Raises:
        UserError: the file or a field is missing, or a value is no share from 0 to 1.
    """
    questions, items = [], []
    for number, row in enumerate(rows_of(path), start=1):
        task = str(field_of(row, str(path), number, "task_name"))
        subject = task.rpartition("/")[2].removeprefix("tmmluplus-")
        questions.append(Question(subject, subject, stratum=subject))
        for model, text in row.items():
            if model in ("task_name", "metric", ""):
                continue
            items.append(
                item_row(
                    benchmark,
                    subject,
                    model,
                    "accuracy",
                    value=_share(text, f"{path}, row {number}, {model}"),
                    no_answer=False,
                    stratum=subject,
                    scorer_version=VERSION,
                )
            )
    return Imported(questions=questions, items=BENCHMARK_ITEM.frame(items))


def _share(text: object, where: str) -> float:
    try:
        value = float(str(text))
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise UserError(f"{where}: {text!r} is no share from 0 to 1")
    return value
