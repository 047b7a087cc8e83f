"""Penguins in a table, in Traditional Chinese: 149 questions with five choices (TC-Eval)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kyara_kedro.evaluation.benchmarks.base import Question, Rows, part_of
from kyara_kedro.evaluation.benchmarks.tc_eval import (
    TcEvalChoice,
    choice_questions,
    version_of,
)


class PenguinsTc(TcEvalChoice):
    """Questions about a table that is given in words."""

    kind = "penguins_tc"
    title = "Penguins in a Table (TC)"
    prompt = "{question} \n請從以下選項中選擇並回答: {choices}\n 答案： "
    version = version_of(prompt)

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read ``PenguinsInTable_TC/data.json``, the part ``questions``."""
        return [
            replace(question, question=question.question.removesuffix("回答："))
            for question in choice_questions(cls.kind, part_of(parts, cls.kind))
        ]
