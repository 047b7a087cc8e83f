"""Responses to IFEval's prompts, as the official scorer reads them and as it writes its results."""

from __future__ import annotations

from pathlib import Path

from kyara_kedro.evaluation.benchmarks.base import field_of
from kyara_kedro.evaluation.benchmarks.ifeval import instructed, prompt_id
from kyara_kedro.evaluation.importing.base import Imported, model_name, output_row, rows_of
from kyara_kedro.records import MODEL_OUTPUT


def read_ifeval(path: Path, benchmark: str) -> Imported:
    """Read rows of prompt and response; questions where they bring instructions and arguments.

    Args:
        path: ``input_response_data_*.jsonl``, or results of the official scorer. Their flags are
            not read.
        benchmark: Kind of the benchmark.

    Raises:
        UserError: naming the file, the row and what is wrong with it.
    """
    rows = list(enumerate(rows_of(path), start=1))
    outputs = [
        output_row(
            benchmark,
            prompt_id(prompt := field_of(row, str(path), number, "prompt")),
            str(row.get("model") or model_name(path)),
            field_of(row, str(path), number, "response"),
            prompt,
        )
        for number, row in rows
    ]
    questions = [instructed(row, str(path), number) for number, row in rows if row.get("kwargs")]
    return Imported(questions=questions, outputs=MODEL_OUTPUT.frame(outputs))
