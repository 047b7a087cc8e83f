"""Questions that passages answer: written, checked and kept within the quotas of their kinds."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from kyara_kedro.content import content_id
from kyara_kedro.pipelines.asking import Fault, about, fault
from kyara_kedro.pipelines.synthesize.desk import Desk, chain
from kyara_kedro.pipelines.synthesize.harvest import Basket, Row
from kyara_kedro.pipelines.synthesize.support import gives_away
from kyara_kedro.teachers.base import Completion
from kyara_kedro.teachers.tasks import KINDS, Relevance, WrittenQuestion, WrittenQuestions
from kyara_kedro.text.fold import match_key
from kyara_kedro.text.quotes import locate

_OMITTED = re.compile(r"…+|\.{3,}|⋯+")
_FARTHEST = 300
"""Characters that the parts of a quote may lie apart."""
_SETTLED = 20
"""Questions from which on quotas are shares of what is there."""


class Judgements:
    """What the checker said about a passage and a question, each asked once."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._said: dict[tuple[str, str], Completion] = {}

    def ask(self, pairs: Sequence[tuple[Row, Row]], told: str) -> None:
        """Have pairs of a question and a passage judged that were not judged before."""
        new = {
            (question["id"], passage["passage_id"]): (question, passage)
            for question, passage in pairs
            if (question["id"], passage["passage_id"]) not in self._said
        }
        requests = [
            self._desk.ask(
                ":".join(key),
                "judge_passage",
                question["language"],
                question=question["text"],
                title=passage["title"],
                text=passage["text"],
            )
            for key, (question, passage) in new.items()
        ]
        for row_id, completion in self._desk.check(requests, told).items():
            question_id, _, passage_id = row_id.partition(":")
            self._said[question_id, passage_id] = completion

    def completion(self, question: Row, passage: Row) -> Completion:
        """The reply about a pair."""
        return self._said[question["id"], passage["passage_id"]]

    def forget(self) -> None:
        """Let go of the replies: no later question is about these passages."""
        self._said.clear()

    def denied(self, question: Row, passage: Row) -> bool:
        """Whether the checker finds that a passage does not bear on a question."""
        parsed = self.completion(question, passage).parsed
        return isinstance(parsed, Relevance) and not parsed.relevant

    def evidence(self, question: Row, passage: Row) -> str | None:
        """The words of the passage that bear on the question; None when it is irrelevant.

        A quote that is not in the passage makes the judgement void.
        """
        parsed = self.completion(question, passage).parsed
        if not isinstance(parsed, Relevance) or not parsed.relevant:
            return None
        return _literal(parsed.evidence, passage["text"])


@dataclass
class Asker:
    """Writes the questions that a reader of each passage would ask.

    A question is kept when it can be understood without the passage, its answer and its evidence
    are in the passage word for word, its kind is within the quota, and the checker finds that the
    passage answers it.

    Attributes:
        desk: Teachers and parameters.
        judgements: Of passages; the checks of answerability are added.
        asked: Takes every passage that had a question written.
        questions: Takes the questions.
    """

    desk: Desk
    judgements: Judgements
    asked: Basket
    questions: Basket

    def __post_init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._quotas: Mapping[Any, float] | None = self.desk.params.questions.kinds

    def write(self, passages: Sequence[Row]) -> list[Row]:
        """Write questions, and give those that are kept, rows of ``records.QUESTION``."""
        candidates = self._candidates(passages)
        pairs = [(row, passage) for _, row, passage in candidates]
        self.judgements.ask(pairs, "questions: answerable")
        kept = []
        for attempt, row, passage in candidates:
            why = unanswerable(self.judgements, row, passage) or self._over_quota(row["kind"])
            if why:
                self.questions.drop(attempt, about("passage", passage["passage_id"], why))
                continue
            row["calls"] = chain(row["calls"], self.judgements.completion(row, passage))
            if self.questions.put(attempt, row):
                self._kinds[row["kind"]] += 1
                kept.append(row)
        return kept

    def _candidates(self, passages: Sequence[Row]) -> list[tuple[str, Row, Row]]:
        """What the writer writes and nothing speaks against yet: attempts, questions, passages."""
        by_id = {passage["id"]: passage for passage in passages}
        most = self.desk.params.questions.per_passage
        kinds = [kind for kind in KINDS if self._quotas is None or self._quotas.get(kind)]
        requests = [
            self.desk.ask(
                row_id,
                "write_questions",
                passage["language"],
                title=passage["title"],
                text=passage["text"],
                count=most,
                kinds=kinds,
            )
            for row_id, passage in by_id.items()
        ]
        found = []
        for row_id, completion in self.desk.write(requests, "questions").items():
            passage = by_id[row_id]
            if broken := fault(completion):
                self.asked.drop(row_id, broken)
                continue
            assert isinstance(completion.parsed, WrittenQuestions)  # noqa: S101 - narrows the type
            if not completion.parsed.questions:
                self.asked.drop(row_id, ("no_question", "the passage supports no question"))
                continue
            self.asked.put(row_id, {"id": row_id})
            for number, question in enumerate(completion.parsed.questions):
                attempt = content_id("candidate", row_id, number)
                text, why = self.desk.asked(question.text, passage["language"], completion)
                row = _root(question, text, passage, completion)
                if number >= most:
                    why = "too_many_questions", f"{most} were asked for"
                if why := why or _fault(row, question):
                    self.questions.drop(attempt, about("passage", passage["passage_id"], why))
                else:
                    found.append((attempt, row, passage))
        return found

    def _over_quota(self, kind: str) -> Fault | None:
        if self._quotas is None:
            return None
        total = len(self.questions.rows)
        if self._kinds[kind] < ceil(self._quotas.get(kind, 0.0) * max(_SETTLED, total + 1)):
            return None
        return "kind_quota", f"{self._kinds[kind]} of {total} questions are of kind {kind}"


def unanswerable(judgements: Judgements, question: Row, passage: Row) -> Fault | None:
    """Why a passage does not count as an answer to its own question, or None."""
    completion = judgements.completion(question, passage)
    if found := fault(completion):
        return found
    name = passage["passage_id"]
    if judgements.denied(question, passage):
        return "not_answerable", f"passage {name} does not answer: {question['text']}"
    if judgements.evidence(question, passage) is None:
        return "evidence_not_literal", f"the checker quotes what passage {name} does not say"
    return None


def _root(
    question: WrittenQuestion, text: str, passage: Row, completion: Completion
) -> dict[str, Any]:
    answer = locate(question.answer, passage["text"], min_tokens=1)
    return {
        "id": content_id("question", text, passage["id"]),
        "text": text,
        "passage_ids": [passage["passage_id"]],
        "kind": question.kind,
        "operation": "none",
        "parent": None,
        "round": 0,
        "language": passage["language"],
        "answer": answer.of(passage["text"]) if answer else None,
        "evidence": _literal(question.evidence, passage["text"]),
        "calls": chain(completion),
    }


def _fault(row: Row, question: WrittenQuestion) -> Fault | None:
    if row["evidence"] is None:
        return "evidence_not_literal", f"not in the passage: {question.evidence[:60]}"
    if row["answer"] is None:
        return "answer_not_literal", f"not in the passage: {question.answer[:60]}"
    if match_key(row["answer"]) not in match_key(row["evidence"]):
        detail = f"{row['answer'][:40]!r} is not in {row['evidence'][:60]!r}"
        return "evidence_without_answer", detail
    return gives_away(row["text"], row["answer"])


def _literal(quote: str, text: str) -> str | None:
    """The words of a text that a quote gives, also one that leaves some out in the middle."""
    spans = [locate(part, text) for part in _OMITTED.split(quote) if part.strip()]
    found = [span for span in spans if span is not None]
    if not found or len(found) < len(spans):
        return None
    first, last = found[0], found[-1]
    if last.end < first.end or last.end - first.start > _FARTHEST:
        return None
    return text[first.start : last.end]
