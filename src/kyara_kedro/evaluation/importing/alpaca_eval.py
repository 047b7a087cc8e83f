"""Annotations of AlpacaEval: ``annotations.json``, or what remains of one in a reduced table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.alpaca_eval import (
    AlpacaEval,
    item_id,
    model_is_first,
    question_of,
)
from kyara_kedro.evaluation.benchmarks.base import Question, field_of
from kyara_kedro.evaluation.importing.base import (
    Imported,
    judgement_row,
    model_name,
    output_row,
    reading,
    rows_of,
)
from kyara_kedro.records import JUDGEMENT, MODEL_OUTPUT
from kyara_kedro.text.pairwise import letter_of, likely_second

JUDGE = "weighted_alpaca_eval_gpt4_turbo"
"""Whose annotations they are, where the file does not say."""


def read_alpaca_eval(path: Path, benchmark: str) -> Imported:
    """Read annotations of any number of models.

    A row has ``instruction`` or ``instruction_index``; ``preference`` (1 for the baseline, 2 for
    the model, 0 or 1.5 for a tie) or, without it, ``top_logprobs`` of the judge's letter; perhaps
    ``output_1`` and ``output_2``, or their lengths ``len_1`` and ``len_2``; ``generator_1``,
    ``generator_2`` (or ``model``), ``annotator`` and ``raw_completion``.
    Without the instruction nobody knows which output was shown first; ``swapped`` is false then.

    Raises:
        UserError: naming the file, the row and what is wrong with it.
    """
    questions: dict[str, Question] = {}
    outputs, judgements = [], []
    for number, row in enumerate(rows_of(path), start=1):
        with reading(path, number):
            model = str(row.get("generator_2") or row.get("model") or model_name(path))
            text, output = _text(row, "instruction"), _text(row, "output_2")
            if text is None:
                item, swapped = str(field_of(row, str(path), number, "instruction_index")), False
            else:
                item, swapped = item_id(text), not model_is_first(text)
                questions.setdefault(item, _question(row, text))
            if output is not None:
                outputs.append(output_row(benchmark, item, model, output, text or ""))
            value = _preferred(row, swapped, str(path), number)
            judgements.append(
                judgement_row(
                    benchmark,
                    item,
                    model,
                    str(row.get("annotator") or JUDGE),
                    opponent=str(row.get("generator_1") or AlpacaEval.baseline),
                    swapped=swapped,
                    value=value,
                    verdict=None if value is None else letter_of(value if swapped else 1 - value),
                    chars=_length(row, "2"),
                    opponent_chars=_length(row, "1"),
                    text=_said(row.get("raw_completion")),
                )
            )
    return Imported(
        list(questions.values()), MODEL_OUTPUT.frame(outputs), JUDGEMENT.frame(judgements)
    )


def _question(row: Mapping[str, Any], text: str) -> Question:
    known = {"baseline": _text(row, "output_1"), "baseline_model": row.get("generator_1")}
    details = {name: value for name, value in known.items() if value is not None}
    return question_of(text, str(row.get("dataset") or "all"), **details)


def _preferred(row: Mapping[str, Any], swapped: bool, path: str, number: int) -> float | None:
    """Preference for the model from 0 to 1; None where the judge said nothing usable."""
    if "preference" not in row:
        likely = field_of(row, path, number, "top_logprobs")
        second = likely_second({str(token): float(p) for token, p in likely})
        return second if swapped or second is None else 1 - second
    saved = row["preference"]
    if saved is None or str(saved).lower() in ("", "nan"):
        return None
    try:
        value = float(saved) or 1.5
    except (TypeError, ValueError):
        value = math.inf
    if not 1 <= value <= 2:
        raise UserError(f"{path}, row {number}: preference {saved!r} is neither 0 nor 1 to 2")
    return value - 1


def _length(row: Mapping[str, Any], side: str) -> int | None:
    output, length = _text(row, f"output_{side}"), row.get(f"len_{side}")
    if output is not None:
        return len(output)
    return None if length in (None, "") else int(length)


def _text(row: Mapping[str, Any], name: str) -> str | None:
    """A field that holds text or nothing.

    Raises:
        TypeError: it holds something else.
    """
    found = row.get(name)
    if not (found is None or isinstance(found, str)):
        raise TypeError(f"{name} is no text")
    return found


def _said(completion: Any) -> str:
    """What the judge wrote, of a completion in any of alpaca_eval's forms."""
    said = completion.get("text") if isinstance(completion, Mapping) else completion
    return said if isinstance(said, str) else ""
