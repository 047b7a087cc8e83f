"""Chinese-Reason-Bench: puzzles in Traditional Chinese, the reasoning marked by a judge.

The protocol is that of the author's published notebook (data set zake7749/chinese-reason-bench).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kyara_kedro.evaluation.benchmarks.base import (
    Decoding,
    Question,
    Rows,
    cluster,
    field_of,
    part_of,
    scorer_version,
)
from kyara_kedro.evaluation.benchmarks.rated import Rated

MAX_TOKENS = 4096


class ChineseReasonBench(Rated):
    """Questions with a worked answer; a judge marks from 0 to 10 how well a model reasons."""

    kind = "chinese_reason_bench"
    title = "Chinese-Reason-Bench"
    chapter = "general"
    version = scorer_version("chinese-reason-bench-1", MAX_TOKENS)
    judged_by = "judge_reasoning"

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read ``questions``: question, answer, and an id where there is one, else the number."""
        return [
            Question(
                item_id=str(i if row.get("id") is None else row["id"]),
                question=str(field_of(row, "questions", i, "question")),
                answer=str(field_of(row, "questions", i, "answer")),
            )
            for i, row in enumerate(part_of(parts, cls.kind), start=1)
        ]

    def decoding(self, question: Question) -> Decoding:
        """Greedily."""
        return Decoding(0.0, MAX_TOKENS)

    def shown(self, item_id: str, outputs: Mapping[str, str]) -> Mapping[str, Any] | None:
        """Question, right answer and the model's."""
        question = self.questions[cluster(item_id)]
        return {
            "prompt": question.question,
            "reference": question.answer,
            "answer": outputs[item_id],
        }
