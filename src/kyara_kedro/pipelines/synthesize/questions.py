"""Questions that passages answer: written, checked and kept within the quotas of their kinds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from kyara_kedro.content import content_id
from kyara_kedro.pipelines.asking import Fault, fault
from kyara_kedro.pipelines.synthesize.desk import Desk, Row, chain
from kyara_kedro.pipelines.synthesize.harvest import Basket
from kyara_kedro.pipelines.synthesize.support import gives_away
from kyara_kedro.teachers.base import Completion
from kyara_kedro.teachers.tasks import KINDS, Relevance, WrittenQuestion, WrittenQuestions
from kyara_kedro.text.quotes import locate

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
        found = locate(parsed.evidence, passage["text"])
        return found.of(passage["text"]) if found else None


def write_questions(
    desk: Desk,
    passages: Sequence[Row],
    judgements: Judgements,
    asked: Basket,
    questions: Basket,
    told: str,
) -> list[Row]:
    """Write the questions that a reader of each passage would ask.

    A question is kept when it can be understood without the passage, its answer and its evidence
    are in the passage word for word, its kind is within the quota, and the checker finds that the
    passage answers it.

    Args:
        desk: Teachers and parameters.
        passages: What the questions are about.
        judgements: Of passages; the checks of answerability are added.
        asked: Takes every passage that had a question written.
        questions: Takes the questions.
        told: What the log calls the requests.

    Returns:
        The questions that were kept, rows of ``records.QUESTION``.
    """
    by_id = {passage["id"]: passage for passage in passages}
    wanted = desk.params.questions
    quotas: Mapping[Any, float] = wanted.kinds or {}
    requests = [
        desk.ask(
            row_id,
            "write_questions",
            passage["language"],
            title=passage["title"],
            text=passage["text"],
            passage_id=passage["passage_id"],
            count=wanted.per_passage,
            kinds=[kind for kind in KINDS if wanted.kinds is None or quotas.get(kind)],
        )
        for row_id, passage in by_id.items()
    ]
    candidates: list[tuple[str, Row, Row]] = []
    for row_id, completion in desk.write(requests, told).items():
        passage = by_id[row_id]
        if found := fault(completion):
            asked.drop(row_id, found)
            continue
        assert isinstance(completion.parsed, WrittenQuestions)  # noqa: S101 - narrows the type
        written = completion.parsed.questions[: wanted.per_passage]
        if not written:
            asked.drop(row_id, ("no_question", "the passage supports no question"))
            continue
        asked.put(row_id, {"id": row_id})
        for number, question in enumerate(written):
            attempt = content_id("candidate", row_id, number)
            text, why = desk.asked(question.text, passage["language"], completion)
            row = _root(question, text, passage, completion)
            if why := why or _fault(row, question):
                questions.drop(attempt, why)
            else:
                candidates.append((attempt, row, passage))
    judgements.ask([(row, passage) for _, row, passage in candidates], f"{told}: answerable")
    kept = []
    for attempt, row, passage in candidates:
        why = unanswerable(judgements, row, passage) or _over_quota(row["kind"], questions, quotas)
        if why:
            questions.drop(attempt, why)
            continue
        row["calls"] = chain(row["calls"], judgements.completion(row, passage))
        if questions.put(attempt, row):
            kept.append(row)
    return kept


def unanswerable(judgements: Judgements, question: Row, passage: Row) -> Fault | None:
    """Why a passage does not count as an answer to its own question, or None."""
    if found := fault(judgements.completion(question, passage)):
        return found
    if judgements.evidence(question, passage) is None:
        return (
            "not_answerable",
            f"passage {passage['passage_id']} does not answer: {question['text']}",
        )
    return None


def _root(
    question: WrittenQuestion, text: str, passage: Row, completion: Completion
) -> dict[str, Any]:
    answer, evidence = (
        locate(quote, passage["text"], min_tokens=1)
        for quote in (question.answer, question.evidence)
    )
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
        "evidence": evidence.of(passage["text"]) if evidence else None,
        "calls": chain(completion),
    }


def _fault(row: Row, question: WrittenQuestion) -> Fault | None:
    if row["evidence"] is None:
        return "evidence_not_literal", f"not in the passage: {question.evidence[:60]}"
    if row["answer"] is None:
        return "answer_not_literal", f"not in the passage: {question.answer[:60]}"
    if given := gives_away(row["text"], row["answer"]):
        return given
    if row["kind"] not in KINDS:
        return "unknown_kind", f"{question.kind!r:.40} is not among {', '.join(KINDS)}"
    return None


def _over_quota(kind: str, questions: Basket, quotas: Mapping[Any, float]) -> Fault | None:
    if not quotas:
        return None
    counts = Counter(row["kind"] for row in questions.rows.values())
    most = ceil(quotas.get(kind, 0.0) * max(_SETTLED, len(questions.rows) + 1))
    if counts[kind] < most:
        return None
    return "kind_quota", f"{counts[kind]} of {len(questions.rows)} questions are of kind {kind}"
