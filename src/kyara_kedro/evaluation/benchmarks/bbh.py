"""BIG-Bench Hard, zero-shot, for models behind a chat endpoint.

Suzgun et al. (arXiv:2210.09261) show three worked examples and read what follows "the answer is".
Chat models follow an instruction instead, so this protocol has no examples: one user turn asks for
reasoning and for a last line ``So the answer is X.``; the last such statement is read; greedy, at
most 1,024 tokens. The score is the mean over the 27 tasks. It is not comparable with few-shot or
log-likelihood figures.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Mapping

from kyara_kedro.content import Message
from kyara_kedro.evaluation.benchmarks.base import (
    Averaging,
    Decoding,
    Question,
    Rows,
    Task,
    field_of,
    one_turn,
    part_of,
    scorer_version,
)

PROMPT = """{input}

Reason step by step. Then finish with one line that reads exactly

So the answer is X.

where X is your answer and nothing else. If the options have letters, X is the letter of the right \
one in parentheses, such as (A)."""
_STATED = re.compile(r"answer is:?\s*", re.IGNORECASE)
_WRAPPING = " \t\r.*_`'\"$"
_OPTION = re.compile(r"\(?([A-Z])(?:\)|(?=[.:,]|\Z))")


class Bbh(Task):
    """The 27 tasks of BIG-Bench Hard, which are the strata; the metric is ``accuracy``."""

    kind = "bbh"
    title = "BBH"
    chapter = "general"
    version = scorer_version("bbh-zero-shot-1", PROMPT)
    metrics = ("accuracy",)
    averaging = Averaging(by="strata")

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read the tasks' examples.

        Args:
            parts: ``questions`` with ``task``, ``input`` and ``target``; the order within a task
                gives the ids.

        Raises:
            UserError: the part or a field is missing.
        """
        seen: Counter[str] = Counter()
        questions = []
        for number, row in enumerate(part_of(parts, cls.kind), start=1):
            task, text, target = (
                str(field_of(row, "questions", number, name))
                for name in ("task", "input", "target")
            )
            item_id = f"{task}-{seen[task]}"
            seen[task] += 1
            questions.append(Question(item_id, text, target, stratum=task, language="en"))
        return questions

    def messages(self, question: Question) -> tuple[Message, ...]:
        """One user turn with the question and the form of the answer."""
        return one_turn(PROMPT.replace("{input}", question.question))

    def decoding(self, question: Question) -> Decoding:
        """The most probable tokens, at most 1,024 of them."""
        return Decoding(temperature=0.0, max_tokens=1024)

    def score_output(self, question: Question, output: str) -> dict[str, float] | None:
        """1 for the right answer, or its letter, but for case and spacing; None for none."""
        said = stated_answer(output)
        if said is None:
            return None
        if _OPTION.fullmatch(question.answer) and (option := _OPTION.match(said)):
            said = f"({option[1]})"
        return {"accuracy": float(_plain(said) == _plain(question.answer))}


def stated_answer(output: str) -> str | None:
    """What follows the last "answer is", to the end of its line, without marks around it."""
    last = deque(_STATED.finditer(output), maxlen=1)
    if not last:
        return None
    return output[last[0].end() :].partition("\n")[0].strip(_WRAPPING) or None


def _plain(answer: str) -> str:
    return " ".join(answer.strip(_WRAPPING).casefold().split())
