"""What a rule-made question is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cloze:
    """A question made from one sentence.

    Attributes:
        question: The question, ending with a question mark.
        kind: One of :data:`kyara_kedro.teachers.tasks.KINDS`.
        answer: The literal span that the question asks for.
        evidence: The literal sentence that holds it.
    """

    question: str
    kind: str
    answer: str
    evidence: str


@dataclass(frozen=True)
class Blank:
    """A span of a sentence that a question can ask for.

    Attributes:
        start: First character of what the wh-phrase replaces.
        end: One past its last character.
        wh: What stands there in the question; with ``whole``, the question itself.
        kind: Kind of the question.
        answer: The literal answer.
        whole: Whether ``wh`` is the question, rather than a phrase in the sentence.
    """

    start: int
    end: int
    wh: str
    kind: str
    answer: str
    whole: bool = False
