"""Questions with reference documents, as answers are trained to cite or to refuse them.

The frame is that of the training format: tags, ids, 【id】 and the prescribed refusal. None of its
sentences is.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.content import Message
from kyara_kedro.evaluation.benchmarks.base import Question, one_turn, wording
from kyara_kedro.prompts.library import REFUSAL, delimiter, shield
from kyara_kedro.text.answers import gives_away
from kyara_kedro.text.chunk import sentences

LANGUAGE = "zh-Hant-TW"
REFUSED = REFUSAL["zh-TW"]
PROMPTS = {
    "zh-TW": (
        "# 參考文件\n\n手邊只有這幾份文件：\n\n<reference>\n{documents}\n</reference>\n\n"
        "# 任務說明\n\n回答時別用文件以外的知識。說完一件事，就在那句話後面用【id_1a2b3c4d】"
        "的寫法交代它出自哪份文件。倘若答案不在這些文件裡，整則回覆就寫這一句：{refusal}\n\n"
        "# 使用者問題\n\n{question}",
        "# 參考文件\n\n館員替讀者找來下面的段落。\n\n"
        "<reference>\n{documents}\n</reference>\n\n"
        "# 任務說明\n\n你是櫃檯的館員，請根據段落答覆讀者，並且句句有出處，"
        "像這樣：【id_1a2b3c4d】。段落幫不上忙時不要硬答，改說：「{refusal}」\n\n"
        "# 使用者問題\n\n讀者問：{question}",
        "# 參考文件\n\n<reference>\n{documents}\n</reference>\n\n"
        "# 任務說明\n\n上列內容是這次對話僅有的憑據。能答就答，用到哪一份就把它的編號放進【】"
        "接在句末，例如【id_1a2b3c4d】；不能答，就原封不動地說「{refusal}」。\n\n"
        "# 使用者問題\n\n{question}",
    ),
}
"""Wordings that no training prompt has."""

_DOCUMENT = "<document>\n文件編號：{passage_id}\n標題：{title}\n內文：{text}\n</document>"
_TAGS: re.Pattern[str] = delimiter(("document", "reference"))
_SHOWN = 2
_SPARE = 4
"""Questions that are looked at for each that is wanted: some have no passage beside their own."""

Document = Mapping[str, str]


class Drawn(NamedTuple):
    """A question of the knowledge base with passages.

    Attributes:
        row: Of ``records.QUESTION``.
        own: Passages that it was made from.
        others: Passages that were found for it, were judged not to bear on it, and do not hold
            its answer.
        licence: Of all of them.
    """

    row: dict[str, Any]
    own: Sequence[Document]
    others: Sequence[Document]
    licence: str

    def question(self, stratum: str, *, answerable: bool, chars: int | None) -> Question:
        """The question with documents in its ``details``, in an order that tells nothing.

        Args:
            stratum: Part of the benchmark.
            answerable: Whether the documents hold the answer.
            chars: Longest document, cut at sentences; None shows whole passages.
        """
        own = self.own if answerable else []
        evidence = self.row["evidence"] or ""
        documents = [
            {
                "passage_id": passage["passage_id"],
                "title": passage["title"],
                "text": excerpt(passage["text"], evidence, chars),
            }
            for passage in (*own, *self.others[: _SHOWN - len(own)])
        ]
        return Question(
            item_id=self.row["id"],
            question=self.row["text"],
            answer=self.row["answer"],
            stratum=stratum,
            language=self.row["language"],
            details={"documents": sorted(documents, key=itemgetter("passage_id"))},
        )


def drawn(
    questions: pl.DataFrame,
    references: pl.DataFrame,
    passages: pl.DataFrame,
    limit: int,
    *,
    last: bool = False,
) -> Iterator[Drawn]:
    """Draw root questions in Taiwan's Chinese with a known answer, at most one a passage.

    Args:
        questions: Rows of ``records.QUESTION``.
        references: Rows of ``records.REFERENCE``.
        passages: Rows of ``records.PASSAGE``.
        limit: How many are wanted; some more are given.
        last: Whether to begin with the last ids, to meet other questions.
    """
    rows = (
        questions.filter(
            pl.col("operation") == "none",
            pl.col("language") == LANGUAGE,
            pl.col("answer").is_not_null(),
        )
        .with_columns(own=pl.col("passage_ids").list.first())
        .sort("id", descending=last)
        .unique("own", keep="first", maintain_order=True)
        .head(limit * _SPARE)
    )
    unfit = references.filter(
        pl.col("question_id").is_in(rows["id"].to_list()), pl.col("relevant").not_()
    ).sort("rank")
    found: dict[str, list[str]] = {}
    for question, name in unfit.select("question_id", "passage_id").iter_rows():
        found.setdefault(question, []).append(name)
    names = {*rows["passage_ids"].explode(), *unfit["passage_id"]}
    wanted = passages.filter(pl.col("passage_id").is_in(list(names)))
    shelf = {row["passage_id"]: row for row in wanted.iter_rows(named=True)}
    for row in rows.drop("own").iter_rows(named=True):
        own = [shelf[name] for name in row["passage_ids"] if name in shelf]
        others = [
            shelf[name]
            for name in found.get(row["id"], [])
            if name in shelf and not gives_away(titled(shelf[name]), row["answer"])
        ]
        if own and len(own) < _SHOWN <= len(others):
            licences = {passage["licence"] for passage in (*own, *others)}
            yield Drawn(row, own, others, " AND ".join(sorted(licences)))


def asked(question: Question) -> tuple[Message, ...]:
    """The user turn that shows a question's documents and asks it."""
    documents = "\n".join(
        _DOCUMENT.format_map(shield(document, _TAGS)) for document in question.details["documents"]
    )
    prompt = wording(PROMPTS, question.language, question.item_id)
    return one_turn(
        prompt.format(
            documents=documents, refusal=REFUSED, question=shield(question.question, _TAGS)
        )
    )


def excerpt(text: str, evidence: str, chars: int | None) -> str:
    """Whole sentences of a text around a quotation, or from its beginning where it has none.

    Args:
        text: The text.
        evidence: What the excerpt has to hold, however long it is.
        chars: Longest excerpt beyond that; None for the whole text.
    """
    spans = sentences(text)
    if chars is None or len(text) <= chars or not spans:
        return text
    place = max(0, text.find(evidence))
    starts = [span.start for span in spans]
    first = max(0, bisect_right(starts, place) - 1)
    last = max(first, bisect_left(starts, place + len(evidence)) - 1)
    while last + 1 < len(spans) and spans[last + 1].end - spans[first].start <= chars:
        last += 1
    while first and spans[last].end - spans[first - 1].start <= chars:
        first -= 1
    return text[spans[first].start : spans[last].end].strip()


def texts_of(documents: Sequence[Document]) -> dict[str, str]:
    """The documents with their titles, by id."""
    return {document["passage_id"]: titled(document) for document in documents}


def titled(document: Document) -> str:
    """A document with its title."""
    return f"{document['title']}\n{document['text']}"
