"""What the benchmarks of ZeroEval share: zero-shot questions that are answered in JSON.

One user turn asks for an object with ``reasoning`` and ``answer``, at temperature 0 and with at
most 4,096 tokens. The wording and the rules by which an answer is found are those of ZeroEval
(https://github.com/WildEval/ZeroEval, ``src/templates`` and ``src/evaluation``), so the scores of
its public outputs come out as published. An item without an answer counts as wrong; the length of
the reasoning is averaged over the answered ones.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from kyara_kedro.content import Message
from kyara_kedro.evaluation.benchmarks.base import (
    Chapter,
    Decoding,
    Question,
    Rows,
    Task,
    field_of,
    one_turn,
    part_of,
)
from kyara_kedro.text.braces import first_object

OPEN_PROMPT = """
## Question: \n
{question}


## Instruction \n
Please answer this question by first reasoning and then providing your answer.
Present your reasoning and solution in the following json format. \n\
Please show your final answer in the `answer` field, e.g.,`"answer": "42"`.

```json
{
    "reasoning": "___",
    "answer": "___"
}
```
"""
_LOOSE = {
    key: tuple(
        re.compile(pattern)
        for pattern in (
            rf'"{key}"\s*:\s*"([^"]*)"',
            rf'"{key}"\s*:\s*([^,\s]*)',
            rf"{key}\s*:\s*([^,\s]*)",
        )
    )
    for key in ("reasoning", "answer")
}
_BOXED = re.compile(r"\\boxed{(\w+)}")


class ZeroEval(Task):
    """A benchmark of ZeroEval; the metrics are ``accuracy`` and ``reason_length``.

    ``score_output`` scores for a model without a name.
    """

    chapter: ClassVar[Chapter] = "general"
    metrics: tuple[str, ...] = ("accuracy", "reason_length")

    @abstractmethod
    def reply(self, output: str, model: str) -> Mapping[str, Any] | None:
        """What a model replied, by field; None when there is no answer in it."""

    @abstractmethod
    def marks(self, question: Question, reply: Mapping[str, Any]) -> dict[str, float]:
        """The metrics of an answered question, but for the length of the reasoning."""

    @classmethod
    def stratum_of(cls, item_id: str) -> str:
        """The part of the benchmark that an item is in, by its id."""
        return "all"

    def decoding(self, question: Question) -> Decoding:
        """The most probable tokens, at most 4,096 of them."""
        return Decoding(temperature=0.0, max_tokens=4096)

    def score_output(self, question: Question, output: str) -> dict[str, float] | None:
        """Score what a model without a name wrote."""
        return self.score_by(question, output, "")

    def score_by(self, question: Question, output: str, model: str) -> dict[str, float] | None:
        """The marks and the characters of the reasoning; None when there is no answer."""
        reply = self.reply(output, model)
        if reply is None:
            return None
        length = reasoning_length(reply.get("reasoning", ""))
        return {**self.marks(question, reply), "reason_length": length}

    def expected(self) -> dict[str, int]:
        """All questions, but for the lengths, which only answers have."""
        return {name: n for name, n in super().expected().items() if name != "reason_length"}


class OpenQuestions(ZeroEval):
    """Questions whose answer is a text, compared by a rule."""

    id_prefix: ClassVar[str] = ""
    """ZeroEval's ids are this and the number of the question, from 0 on."""

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read ZeroEval's outputs or questions, or the benchmark's own questions.

        Args:
            parts: ``questions`` with fields ``question`` or ``problem``, and ``answer``; without
                ``id`` their order gives it.

        Raises:
            UserError: the part or a field is missing.
        """
        return [
            Question(
                item_id=plain_id(row.get("id", f"{cls.id_prefix}{number - 1}")),
                question=field_of(row, "questions", number, "question", "problem"),
                answer=str(field_of(row, "questions", number, "answer")),
                language="en",
            )
            for number, row in enumerate(part_of(parts, cls.kind), start=1)
        ]

    def messages(self, question: Question) -> tuple[Message, ...]:
        """One user turn, worded as ZeroEval does."""
        return one_turn(OPEN_PROMPT.replace("{question}", question.question))

    def reply(self, output: str, model: str) -> Mapping[str, Any] | None:
        """See ``reply_in``."""
        return reply_in(output, model)


def reply_in(output: str, model: str, *, blank: bool = True) -> dict[str, Any] | None:
    r"""Find the answer, and the reasoning if there is one.

    The first balanced ``{...}`` counts when it is JSON and has an answer; else each field is
    searched for: in quotes, then without, then without quotes around its name. After that, only
    models named Llama-3.1 may end with ``\boxed{...}``.

    Args:
        output: What the model wrote.
        model: Its name.
        blank: Whether an empty answer, or null, is one.
    """
    found = first_object(output)
    if found is None or "answer" not in found:
        found = _loose_fields(output)
    if "answer" in found and (blank or found["answer"] not in (None, "")):
        return found
    if "Llama-3.1" in model and "boxed" in output[-30:] and (boxed := _BOXED.search(output)):
        return {**found, "answer": boxed[1]}
    return None


def reasoning_length(reasoning: Any) -> int:
    """Characters of the reasoning, or entries where it is a list or an object."""
    return len(reasoning) if isinstance(reasoning, str | list | dict) else len(as_text(reasoning))


def as_text(value: Any) -> str:
    """A value from JSON as Python writes it; empty when it is nested too deep for that."""
    try:
        return str(value)
    except RecursionError:
        return ""


def plain_id(published: Any) -> str:
    """A published id without ``#``, which would make it a variant of another item."""
    return str(published).replace("#", "")


def _loose_fields(output: str) -> dict[str, Any]:
    found = {}
    for key, patterns in _LOOSE.items():
        for pattern in patterns:
            if match := pattern.search(output):
                found[key] = match[1]
                break
    return found
