"""GSM8K, zero-shot: 1,319 problems of school mathematics whose answer is a number.

Problems: Cobbe et al., arXiv:2110.14168; protocol and scorer: ZeroEval's ``gsm``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from kyara_kedro.evaluation.benchmarks.base import Question, Rows, scorer_version
from kyara_kedro.evaluation.benchmarks.zeroeval import OPEN_PROMPT, OpenQuestions, as_text
from kyara_kedro.text.arithmetic import arithmetic_value

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class Gsm(OpenQuestions):
    """Problems with a number as answer, which is all that is compared."""

    kind = "gsm"
    title = "GSM8K"
    version = scorer_version("zeroeval-gsm-1", OPEN_PROMPT)
    id_prefix = "gsm8k-main-test-"

    def __init__(self, name: str, questions: Iterable[Question]) -> None:
        super().__init__(name, questions)
        self._right = {item_id: first_number(q.answer) for item_id, q in self.questions.items()}

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read ZeroEval's rows, or GSM8K's own, whose answer follows ``####``."""
        return [
            replace(question, answer=question.answer.rpartition("####")[2].replace("#", "").strip())
            for question in super().read(parts)
        ]

    def marks(self, question: Question, reply: Mapping[str, Any]) -> dict[str, float]:
        """1 when the first number of the answer is the right one."""
        said = first_number(as_text(reply["answer"]))
        return {"accuracy": float(said is not None and said == self._right[question.item_id])}


def first_number(answer: str) -> float | None:
    """The first number of an answer, without dollars and commas; a fraction by its value."""
    text = answer.replace("$", "").strip().replace(",", "")
    value = arithmetic_value(text) if "/" in text else None
    found = _NUMBER.search(text if value is None else str(value))
    return float(found[0]) if found else None
