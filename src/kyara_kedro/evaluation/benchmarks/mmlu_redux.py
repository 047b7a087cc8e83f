"""MMLU-Redux, zero-shot: questions of 30 subjects of MMLU that people have checked.

Questions: Gema et al., arXiv:2406.04127; protocol, selection and scorer: ZeroEval's
``mmlu-redux``.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from kyara_kedro.content import Message
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import (
    Question,
    Row,
    Rows,
    field_of,
    one_turn,
    part_of,
    scorer_version,
)
from kyara_kedro.evaluation.benchmarks.zeroeval import ZeroEval, plain_id, reply_in

LETTERS = "ABCDEF"
SUBJECTS = frozenset(
    {
        "anatomy",
        "astronomy",
        "business_ethics",
        "clinical_knowledge",
        "college_chemistry",
        "college_computer_science",
        "college_mathematics",
        "college_medicine",
        "college_physics",
        "conceptual_physics",
        "econometrics",
        "electrical_engineering",
        "formal_logic",
        "global_facts",
        "high_school_chemistry",
        "high_school_geography",
        "high_school_macroeconomics",
        "high_school_mathematics",
        "high_school_physics",
        "high_school_statistics",
        "high_school_us_history",
        "human_aging",
        "logical_fallacies",
        "machine_learning",
        "miscellaneous",
        "philosophy",
        "professional_accounting",
        "professional_law",
        "public_relations",
        "virology",
    }
)
"""The subjects of ZeroEval; MMLU-Redux has grown by others since."""
PROMPT = """
## Question: \n
{question}

## Choices:

{choices}

## Instruction \n
Please answer this question by first reasoning and then selecting the correct choice. \n\
Present your reasoning and solution in the following json format. \n\
Please show your choice in the `answer` field with only the choice letter, e.g.,`"answer": "C"`.

```json
{
    "reasoning": "___",
    "answer": "___"
}
```
"""
_ID = re.compile(r"mmlu-redux-(\w+)-#?\d+")


class MmluRedux(ZeroEval):
    """Multiple choice by letter; strata are the subjects."""

    kind = "mmlu-redux"
    title = "MMLU-Redux"
    version = scorer_version("zeroeval-mmlu-redux-1", PROMPT)

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read ZeroEval's rows, or those of MMLU-Redux, of which it selects.

        Selected are the questions without an error, and those of a wrong label for which people
        gave the letter of the right choice.

        Args:
            parts: ``questions`` with ``question``, ``choices`` (a list, or one as Python writes it)
                and either ``id`` and the text of the ``correct_answer``, or ``subject``, the number
                of the ``answer``, ``error_type`` and ``correct_answer``.

        Raises:
            UserError: the part or a field is missing, or the answer is none of the choices.
        """
        return list(_questions(part_of(parts, cls.kind)))

    @classmethod
    def stratum_of(cls, item_id: str) -> str:
        """The subject."""
        found = _ID.fullmatch(item_id)
        return found[1] if found else "all"

    def messages(self, question: Question) -> tuple[Message, ...]:
        """One user turn, worded as ZeroEval does."""
        choices = "".join(
            f"- ({letter}) {choice}\n"
            for letter, choice in zip(LETTERS, question.choices, strict=False)
        )
        prompt = PROMPT.replace("{question}", question.question)
        return one_turn(prompt.replace("{choices}", choices))

    def reply(self, output: str, model: str) -> Mapping[str, Any] | None:
        """See ``reply_in``; an empty answer is none."""
        return reply_in(output, model, blank=False)

    def marks(self, question: Question, reply: Mapping[str, Any]) -> dict[str, float]:
        """1 for the letter alone, or for an answer that contains it before a bracket."""
        said, right = reply["answer"], question.answer
        named = isinstance(said, str | list | dict) and f"{right})" in said
        return {"accuracy": float(said == right or named)}


def _questions(rows: Rows) -> Iterator[Question]:
    seen: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        choices = _choices(row, number)
        if "error_type" in row:
            subject = str(field_of(row, "questions", number, "subject", "config"))
            item_id = plain_id(row.get("id", f"mmlu-redux-{subject}-{seen[subject]}"))
            seen[subject] += 1
            right = _checked(row, number, choices) if subject in SUBJECTS else None
        else:
            item_id = plain_id(field_of(row, "questions", number, "id"))
            subject = MmluRedux.stratum_of(item_id)
            right = field_of(row, "questions", number, "correct_answer")
        if right is None:
            continue
        if right not in choices[: len(LETTERS)]:
            raise UserError(f"questions, row {number}: answer {right!r} is none of the choices")
        yield Question(
            item_id=item_id,
            question=str(field_of(row, "questions", number, "question")),
            choices=choices,
            answer=LETTERS[choices.index(right)],
            stratum=subject,
            language="en",
        )


def _checked(row: Row, number: int, choices: tuple[str, ...]) -> str | None:
    """The right choice as people checked it; None for a question to leave out."""
    error = str(row["error_type"]).strip().casefold().replace("_", " ")
    if error == "ok":
        label = str(field_of(row, "questions", number, "answer"))
    elif error == "wrong groundtruth" and row.get("correct_answer") in tuple(LETTERS):
        label = str(LETTERS.index(row["correct_answer"]))
    else:
        return None
    labelled = dict(zip(map(str, range(len(LETTERS))), choices, strict=False))
    if label not in labelled:
        raise UserError(f"questions, row {number}: there is no choice number {label}")
    return labelled[label]


def _choices(row: Row, number: int) -> tuple[str, ...]:
    found = field_of(row, "questions", number, "choices")
    if isinstance(found, str):
        try:
            found = ast.literal_eval(found)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            found = None
    if not isinstance(found, list | tuple):
        raise UserError(f"questions, row {number}: 'choices' is no list")
    return tuple(map(str, found))
