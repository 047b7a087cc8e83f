"""IFEval: prompts whose instructions code can verify (Zhou et al., arXiv 2311.07911).

A prompt counts when all of its instructions are followed, an instruction by itself; the Open LLM
Leaderboard shows the mean of both accuracies, strict. Items are named after their prompts, as the
official scorer knows responses by their prompts alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

from kyara_kedro.content import Message, content_id
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import (
    Chapter,
    Decoding,
    Question,
    Rows,
    Task,
    field_of,
    one_turn,
    scorer_version,
)
from kyara_kedro.evaluation.benchmarks.instructions import (
    INSTRUCTIONS,
    fault_of,
    follows_loosely,
    follows_strictly,
)

LONGEST_OUTPUT = 100_000
"""Characters of an output that are read."""


class IFEval(Task):
    """Verifiable instructions; the main metric is the leaderboard's ``ifeval_strict``.

    ``prompt_strict`` and ``prompt_loose`` have an item a prompt, ``instruction_strict`` and
    ``instruction_loose`` one an instruction (``<prompt>#<number>``). ``ifeval_strict`` has the
    items of both, weighted so that their mean is that of the two accuracies.

    Raises:
        UserError: an instruction is unknown or lacks an argument.
    """

    kind = "ifeval"
    title = "IFEval"
    chapter: ClassVar[Chapter] = "general"
    version = scorer_version("ifeval-1", list(INSTRUCTIONS))
    metrics = (
        *("ifeval_strict", "prompt_strict", "instruction_strict"),
        *("prompt_loose", "instruction_loose"),
    )

    def __init__(self, name: str, questions: Iterable[Question]) -> None:
        super().__init__(name, questions)
        for question in self.questions.values():
            for kind, arguments in _instructions(question):
                if fault := fault_of(kind, arguments):
                    raise UserError(f"benchmark '{name}', item '{question.item_id}': {fault}")
        self._number = sum(len(_instructions(question)) for question in self.questions.values())

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read ``input_data.jsonl``: prompt, instruction_id_list, kwargs."""
        rows = enumerate(parts.get("questions", ()), start=1)
        return [instructed(row, "questions", number) for number, row in rows]

    def messages(self, question: Question) -> tuple[Message, ...]:
        """The prompt, as one user turn."""
        return one_turn(question.question)

    def decoding(self, question: Question) -> Decoding:
        """Greedy, as on the leaderboard."""
        return Decoding(0.0, 1280)

    def gold(self, question: Question) -> tuple[str, ...]:
        """The names of the instructions."""
        return tuple(kind for kind, _ in _instructions(question))

    def expected(self) -> dict[str, int]:
        """Prompts, instructions, or both."""
        prompts = len(self.questions)
        number = {"prompt": prompts, "instruction": self._number}
        both = prompts + self._number
        return {metric: number.get(metric.partition("_")[0], both) for metric in self.metrics}

    def _rows(self, item_id: str, model: str, output: str) -> Iterator[dict[str, Any]]:
        question = self.questions[item_id]
        instructions = _instructions(question)
        text = output[:LONGEST_OUTPUT]
        blank = not text.strip()
        weight = len(self.questions) / self._number
        for manner, follows in (("strict", follows_strictly), ("loose", follows_loosely)):
            followed = [follows(kind, text, arguments) for kind, arguments in instructions]
            items = [("prompt", item_id, float(all(followed)), 1.0)]
            items += [
                ("instruction", f"{item_id}#{place}", float(value), weight)
                for place, value in enumerate(followed)
            ]
            for part, name, value, share in items:
                row = partial(
                    self.item, question, model, value=value, item_id=name, no_answer=blank
                )
                yield row(f"{part}_{manner}")
                if manner == "strict":
                    yield row("ifeval_strict", weight=share)


def prompt_id(prompt: str) -> str:
    """The item of a prompt."""
    return content_id("ifeval", prompt)[:16]


def instructed(row: Mapping[str, Any], part: str, number: int) -> Question:
    """A question out of an official row.

    Args:
        row: With prompt, instruction_id_list and kwargs; arguments that are null are none.
        part: The file it is from, for messages.
        number: Of the row, from 1 on.

    Raises:
        UserError: a field is missing, or there are not as many arguments as instructions.
    """
    prompt, kinds, arguments = (
        field_of(row, part, number, name) for name in ("prompt", "instruction_id_list", "kwargs")
    )
    if len(kinds) != len(arguments):
        raise UserError(
            f"{part}, row {number}: there are {len(kinds)} instructions in instruction_id_list "
            f"but {len(arguments)} in kwargs"
        )
    given = [{key: one for key, one in each.items() if one is not None} for each in arguments]
    return Question(
        item_id=prompt_id(prompt),
        question=prompt,
        language="en",
        details={"instructions": kinds, "arguments": given},
    )


def _instructions(question: Question) -> list[tuple[str, dict[str, Any]]]:
    details = question.details
    return list(zip(details["instructions"], details["arguments"], strict=True))
