"""Results of ZeroEval: its models' outputs, and tables of which items were right.

Outputs are the files of https://github.com/WildEval/ZeroEval ``result_dirs``: a list of rows with
``id``, ``output`` (a list whose first entry counts), ``chat_history`` and the question itself; or
rows of ``id`` and ``output`` alone, with the questions elsewhere. The model is named by the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks import BENCHMARKS
from kyara_kedro.evaluation.benchmarks.base import field_of, item_row
from kyara_kedro.evaluation.benchmarks.zeroeval import ZeroEval, plain_id
from kyara_kedro.evaluation.importing.base import Imported, model_name, output_row, rows_of
from kyara_kedro.records import BENCHMARK_ITEM, MODEL_OUTPUT

FLAGS_VERSION = "zeroeval-flags-1"
_GOLD = ("answer", "correct_answer", "solution")
_FLAGS = {"1": 1.0, "0": 0.0, "": 0.0}


def read_outputs(path: Path, benchmark: str) -> Imported:
    """Read a model's outputs, and the questions where the rows have their answers too.

    Raises:
        UserError: the benchmark is none of ZeroEval's, or a row has no id or output.
    """
    task = _task(path, benchmark)
    rows = rows_of(path)
    model = model_name(path)
    outputs = MODEL_OUTPUT.frame(
        output_row(
            benchmark,
            plain_id(field_of(row, str(path), number, "id")),
            model,
            _output(row, path, number),
            _prompt(row),
        )
        for number, row in enumerate(rows, start=1)
    )
    answered = bool(rows) and any(name in rows[0] for name in _GOLD)
    return Imported(task.read({"questions": rows}) if answered else [], outputs)


def read_flags(path: Path, benchmark: str) -> Imported:
    """Read a table of ``id`` and one column a model: 1 right, 0 wrong, empty without an answer.

    Raises:
        UserError: the benchmark is none of ZeroEval's, or a cell holds something else.
    """
    task = _task(path, benchmark)
    items = []
    for number, row in enumerate(rows_of(path), start=1):
        item_id = plain_id(field_of(row, str(path), number, "id"))
        for model, flag in row.items():
            if model == "id":
                continue
            if not isinstance(flag, str) or flag not in _FLAGS:
                raise UserError(
                    f"{path}, row {number}: model '{model}' has {str(flag)[:40]!r}; write 1 for "
                    "right, 0 for wrong and nothing for no answer"
                )
            items.append(
                item_row(
                    benchmark,
                    item_id,
                    model,
                    "accuracy",
                    value=_FLAGS[flag],
                    no_answer=flag == "",
                    stratum=task.stratum_of(item_id),
                    scorer_version=FLAGS_VERSION,
                )
            )
    return Imported(items=BENCHMARK_ITEM.frame(items))


def _task(path: Path, benchmark: str) -> type[ZeroEval]:
    found = BENCHMARKS.get(benchmark)
    if found is None or not issubclass(found, ZeroEval):
        known = ", ".join(kind for kind, task in BENCHMARKS.items() if issubclass(task, ZeroEval))
        raise UserError(f"{path}: '{benchmark}' is no benchmark of ZeroEval; those are {known}")
    return found


def _output(row: dict[str, Any], path: Path, number: int) -> str:
    found = field_of(row, str(path), number, "output")
    text = found[0] if isinstance(found, list) and found else found
    if not isinstance(text, str):
        raise UserError(f"{path}, row {number}: 'output' holds no text")
    return text


def _prompt(row: dict[str, Any]) -> str:
    """What was asked, where the row says so."""
    asked = row.get("prompt") or row.get("chat_history") or ""
    return str(asked[0] if isinstance(asked, list) else asked)
