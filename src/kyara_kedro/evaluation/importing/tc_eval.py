"""TC-Eval's results: one JSON file a model, or a table of its responses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import field_of
from kyara_kedro.evaluation.importing.base import Imported, model_name, output_row, rows_of
from kyara_kedro.records import MODEL_OUTPUT

_TASKS = {
    "tmmlu": re.compile(r"TMMLU[/_](?!plus[/_])(?P<subject>.+)"),
    "tmmluplus": re.compile(r"TMMLU_plus[/_](?P<subject>.+)"),
    "ttqa": re.compile(r"TTQA|ttqa_mc"),
    "penguins_tc": re.compile(r"PenguinsInTable_TC|BB_Penguins_in_a_Table_TC"),
    "drcd": re.compile(r"DRCD|drcd"),
}
"""Kind to the names that the official files have for its tasks."""
_TASKS["tmmluplus-67"] = _TASKS["tmmluplus"]


def read_tc_eval(path: Path, benchmark: str) -> Imported:
    """Read ``results/<model>_result.json``, or rows with ``task``, ``id`` and ``response``.

    The model is the ``name`` in the file, else the name of the file. Of a file with many tasks
    only those of the benchmark are taken; of several responses to one item the last counts.

    Args:
        path: The file.
        benchmark: ``tmmlu``, ``tmmluplus``, ``tmmluplus-67``, ``ttqa``, ``penguins_tc`` or
            ``drcd``.

    Raises:
        UserError: the file or a field is missing, or the file has nothing about the benchmark.
    """
    if benchmark not in _TASKS:
        raise UserError(f"format 'tc-eval' has no benchmark '{benchmark}'; use {', '.join(_TASKS)}")
    rows = rows_of(path)
    model = model_name(path)
    if rows and isinstance(rows[0].get("results"), Mapping):
        model = str(rows[0].get("name") or model)
        rows = list(_responses(path, rows[0]["results"]))
    outputs = {}
    for number, row in enumerate(rows, start=1):
        task = _TASKS[benchmark].fullmatch(str(field_of(row, str(path), number, "task")))
        if task:
            subject = task.groupdict().get("subject")
            number_within = str(field_of(row, str(path), number, "id"))
            item_id = f"{subject}/{number_within}" if subject else number_within
            response = str(field_of(row, str(path), number, "response"))
            query = str(row.get("query") or "")
            outputs[item_id] = output_row(benchmark, item_id, model, response, query)
    if not outputs:
        raise UserError(f"{path}: has no task of the benchmark '{benchmark}'")
    return Imported(outputs=MODEL_OUTPUT.frame(outputs.values()))


def _responses(path: Path, results: Mapping[str, object]) -> Iterator[dict[str, Any]]:
    """The rows of all tasks, each with the name of its task."""
    for task, rows in results.items():
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UserError(f"{path}, results, {task!r}: is no list of mappings")
        yield from ({**row, "task": task} for row in rows)
