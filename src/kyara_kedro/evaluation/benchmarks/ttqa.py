"""TTQA: 103 questions about Taiwan with four choices each (MediaTek Research, TC-Eval)."""

from __future__ import annotations

from collections.abc import Mapping

from kyara_kedro.evaluation.benchmarks.base import Question, Rows, part_of
from kyara_kedro.evaluation.benchmarks.tc_eval import (
    TcEvalChoice,
    choice_questions,
    version_of,
)


class Ttqa(TcEvalChoice):
    """Questions about Taiwan; strata are their categories, all questions count the same."""

    kind = "ttqa"
    title = "TTQA"
    prompt = "問題: {question} \n\n請從以下選項中選擇並回答: {choices}\n 答案： "
    version = version_of(prompt)

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read ``TTQA_mc.json`` (also ``TTQA_mc_2.0.0.json``), the part ``questions``."""
        return choice_questions(cls.kind, part_of(parts, cls.kind))
