"""Does a model refuse when no document answers the question, and only then?"""

from __future__ import annotations

from itertools import islice

import polars as pl

from kyara_kedro.content import Message
from kyara_kedro.evaluation.benchmarks.base import (
    Question,
    Task,
    question_row,
    scorer_version,
)
from kyara_kedro.evaluation.benchmarks.documents import (
    PROMPTS,
    REFUSED,
    asked,
    drawn,
)
from kyara_kedro.evaluation.benchmarks.open_answer import LONGEST_OUTPUT
from kyara_kedro.records import EVALUATION_QUESTION
from kyara_kedro.text.refusals import refusal_kind

DUE, NOT_DUE = "refusal due", "answer due"


class Refusal(Task):
    """Questions with documents that answer exactly half of them.

    A refusal is due where no document holds the answer: right is the prescribed sentence and
    nothing else. Elsewhere any refusal, in whatever words, is wrong. The metrics are
    ``refusal_accuracy``, over both sides, and each side's own.
    """

    kind = "refusal"
    title = "Refusals"
    version = scorer_version("refusal-1", PROMPTS, REFUSED)
    metrics = ("refusal_accuracy", "refused_when_due", "answered_when_due")

    def messages(self, question: Question) -> tuple[Message, ...]:
        """The documents and the question, as one user turn."""
        return asked(question)

    def gold(self, question: Question) -> tuple[str, ...]:
        """The refusal or the answer, as is due."""
        return (REFUSED,) if question.stratum == DUE else super().gold(question)

    def expected(self) -> dict[str, int]:
        """All questions, and those of either side."""
        due = sum(question.stratum == DUE for question in self.questions.values())
        numbers = len(self.questions), due, len(self.questions) - due
        return dict(zip(self.metrics, numbers, strict=True))

    def score_output(self, question: Question, output: str) -> dict[str, float]:
        """Whether what was due was done; an output without text is neither."""
        said = output[:LONGEST_OUTPUT]
        refused = refusal_kind(said, question.language, REFUSED)
        if question.stratum == DUE:
            side, right = "refused_when_due", refused == "exact"
        else:
            side, right = "answered_when_due", refused is None and bool(said.strip())
        return {"refusal_accuracy": float(right), side: float(right)}


def refusal_questions(
    questions: pl.DataFrame,
    references: pl.DataFrame,
    passages: pl.DataFrame,
    limit: int,
    chars: int | None = None,
) -> pl.DataFrame:
    """Ask questions of the knowledge base, every other one without the passage that answers it.

    Args:
        questions: Rows of ``records.QUESTION``, without those that training asks with documents.
        references: Rows of ``records.REFERENCE``.
        passages: Rows of ``records.PASSAGE``.
        limit: Number of questions; the choice depends on the ids alone.
        chars: Longest document, cut at sentences; None shows whole passages.

    Returns:
        Rows of ``records.EVALUATION_QUESTION``, fewer than ``limit`` when there are no more.
    """
    chosen = list(islice(drawn(questions, references, passages, limit, last=True), limit))
    rows = []
    for place, one in enumerate(chosen[: len(chosen) // 2 * 2]):
        answerable = place % 2 == 1
        question = one.question(NOT_DUE if answerable else DUE, answerable=answerable, chars=chars)
        rows.append(
            question_row(
                Refusal.kind, Refusal.kind, question, source=one.row["id"], licence=one.licence
            )
        )
    return EVALUATION_QUESTION.frame(rows)
