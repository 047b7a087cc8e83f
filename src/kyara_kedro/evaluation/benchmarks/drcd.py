"""DRCD: 3,493 questions whose answer stands in a given paragraph (Delta; as TC-Eval asks them)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kyara_kedro.content import Message
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import (
    Decoding,
    Question,
    Row,
    Rows,
    Task,
    field_of,
    one_turn,
    part_of,
    scorer_version,
)
from kyara_kedro.evaluation.benchmarks.tc_eval import DECODING, RULE, keyed_rows

PROMPT = (
    "請根據以下內容回答問題，且答案需盡可能簡短。注意：答案必須為內容的子字串。\n\n"
    "{context}\n\n問題：{question}\n\n 答案： "
)


class Drcd(Task):
    """Reading; the metric ``prefix_exact_match`` wants an output that begins with an answer."""

    kind = "drcd"
    title = "DRCD"
    chapter = "general"
    version = scorer_version(RULE, PROMPT)
    metrics = ("prefix_exact_match",)

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read ``DRCD_test.json``, or what TC-Eval makes of it; the part ``questions``.

        As in TC-Eval, items are numbered from 0 in the order of the file.
        """
        rows = part_of(parts, cls.kind)
        try:
            return [
                _question(cls.kind, number, item_id, row)
                for number, (item_id, row) in enumerate(_rows(rows), start=1)
            ]
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{cls.kind}: questions are not laid out as in DRCD_test.json ({error!r})"
            ) from None

    def messages(self, question: Question) -> tuple[Message, ...]:
        """One user turn with the paragraph and the question."""
        context = question.details.get("context", "")
        return one_turn(PROMPT.format(context=context, question=question.question))

    def decoding(self, question: Question) -> Decoding:
        """The most probable token, 128 at most."""
        return DECODING

    def score_output(self, question: Question, output: str) -> dict[str, float] | None:
        """1 when the output begins with an accepted answer, None when it is empty."""
        said = output.strip()
        if not said:
            return None
        begins = any(said.startswith(answer.strip()) for answer in self.gold(question))
        return {"prefix_exact_match": float(begins)}


def _rows(rows: Rows) -> Iterator[tuple[str, Row]]:
    """The items of either layout, with their numbers as ids."""
    if "data" not in rows[0]:
        yield from keyed_rows(rows)
        return
    asked = (
        {"paragraph": paragraph["context"], "question": qa["question"], "answers": qa["answers"]}
        for article in rows[0]["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    )
    yield from ((str(number), row) for number, row in enumerate(asked))


def _question(kind: str, number: int, item_id: str, row: Row) -> Question:
    accepted = field_of(row, kind, number, "references", "answers")
    texts = [str(each["text"] if isinstance(each, Mapping) else each) for each in accepted]
    if not texts:
        raise UserError(f"{kind}, item '{item_id}': there is no answer")
    first, *others = dict.fromkeys(texts)
    return Question(
        item_id,
        str(field_of(row, kind, number, "question")),
        first,
        aliases=tuple(others),
        details={"context": str(field_of(row, kind, number, "paragraph", "context"))},
    )
