"""CRUX, zero-shot: what do 800 short Python functions return? No code is executed.

Functions: CRUXEval, Gu et al., arXiv:2401.03065; protocol and scorer: ZeroEval's ``crux``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kyara_kedro.evaluation.benchmarks.base import (
    Question,
    Row,
    Rows,
    field_of,
    part_of,
    scorer_version,
)
from kyara_kedro.evaluation.benchmarks.zeroeval import (
    OPEN_PROMPT,
    OpenQuestions,
    as_text,
)

QUESTION = """You are given a Python function and an assertion containing an input to the \
function. Complete the assertion with a literal (no unsimplified expressions, no function calls) \
containing the output when executing the provided code on the given input, even if the function \
is incorrect or incomplete. \n
[PYTHON]
{code}
assert f({input}) == ??
[/PYTHON]"""


class Crux(OpenQuestions):
    """Outputs of functions, compared as text."""

    kind = "crux"
    title = "CRUX"
    version = scorer_version("zeroeval-crux-1", OPEN_PROMPT, QUESTION)
    id_prefix = "crux-test-"

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read ZeroEval's rows, or CRUXEval's own with ``code``, ``input`` and ``output``."""
        rows = [
            _asked(row, number) if "code" in row else row
            for number, row in enumerate(part_of(parts, cls.kind), start=1)
        ]
        return super().read({"questions": rows})

    def marks(self, question: Question, reply: Mapping[str, Any]) -> dict[str, float]:
        """1 for the same text, but for quotes around it and newlines, which may be escaped."""
        said = as_text(reply["answer"]).strip("'\"").replace("\n", "\\n")
        return {"accuracy": float(said == question.answer.strip("'\""))}


def _asked(row: Row, number: int) -> Row:
    """A row of CRUXEval as ZeroEval asks it, with an id by its number."""
    code, given, output = (
        str(field_of(row, "questions", number, name)) for name in ("code", "input", "output")
    )
    question = QUESTION.replace("{input}", given).replace("{code}", code)
    return {"question": question, "answer": output}
