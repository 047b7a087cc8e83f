"""TMMLU: 3,343 questions of Taiwanese examinations in 53 subjects (MediaTek Research, TC-Eval)."""

from __future__ import annotations

from collections.abc import Mapping

from kyara_kedro.evaluation.benchmarks.base import Averaging, Question, Rows, part_of
from kyara_kedro.evaluation.benchmarks.tc_eval import (
    TcEvalChoice,
    subject_questions,
    version_of,
)


class Tmmlu(TcEvalChoice):
    """Examinations; the score is the mean over subjects, which have no official groups."""

    kind = "tmmlu"
    title = "TMMLU"
    prompt = "{question}"
    version = version_of(prompt)
    averaging = Averaging("strata")

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read the rows of all ``subjects/<subject>/data.csv``, the part ``questions``.

        The choices stand in the text of the question. The files themselves do not say which
        subject they are about, so each row needs a field ``subject`` with the name of its folder.
        """
        return subject_questions(cls.kind, part_of(parts, cls.kind))
