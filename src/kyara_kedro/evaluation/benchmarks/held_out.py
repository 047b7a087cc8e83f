"""Has a model learned facts, or the sentences of its training set?

Each known question is asked once more inside a message that no training prompt resembles, in
which a person passes it on and wants the bare answer. A model that only memorised the question as
it stood fails here.
"""

from __future__ import annotations

import polars as pl

from kyara_kedro.content import Message
from kyara_kedro.evaluation.benchmarks.base import (
    Question,
    Task,
    one_turn,
    question_row,
    scorer_version,
    wording,
)
from kyara_kedro.evaluation.benchmarks.open_answer import match
from kyara_kedro.records import EVALUATION_QUESTION

PHRASINGS = {
    "zh-TW": (
        "朋友傳訊息問我：{question}麻煩你只回我答案。",
        "我家小孩突然冒出一句：「{question}」我一時答不上來，直接告訴我答案就好。",
        "機智問答節目出了這題：{question}倒數三秒，答案是什麼？",
        "換個方式考考你，{question}簡單講就好。",
        "幫我填空白欄位，題目寫著「{question}」，我該填什麼？",
        "同事和我打賭，他問：{question}你一句話說出正解吧。",
    ),
    "en": (
        "A friend just texted me: {question} Send me back the answer, nothing else.",
        "My kid asked at dinner: “{question}” I had no idea. What do I say?",
        "Pub quiz, last round: {question} Quick, only the answer.",
        "Filling in a form that says “{question}”. What goes into the box?",
    ),
}
"""Wordings kept out of all training prompts; ``{question}`` is the known question."""

LONGEST_QUESTION, LONGEST_ANSWER = 80, 40


class HeldOut(Task):
    """Known questions in unknown phrasings; the metrics are ``exact_match`` and ``contains``."""

    kind = "held_out"
    title = "Held-out phrasings"
    version = scorer_version("held-out-1", PHRASINGS)
    metrics = ("exact_match", "contains")

    def messages(self, question: Question) -> tuple[Message, ...]:
        """One user turn, in a phrasing that the item's id chooses."""
        phrasing = wording(PHRASINGS, question.language, question.item_id)
        asked = question.question.strip()
        if asked[-1:].isalnum():
            asked += "?" if asked.isascii() else "？"
        return one_turn(phrasing.format(question=asked))

    def score_output(self, question: Question, output: str) -> dict[str, float] | None:
        """Compare with every accepted answer; None for an output without words."""
        return match(output, self.gold(question))


def recall_questions(
    conversations: pl.DataFrame, limit: int, benchmark: str = "held_out"
) -> pl.DataFrame:
    """Take known questions with brief answers from a training corpus.

    Args:
        conversations: Rows of ``records.CONVERSATION``. Those of one round, without a system turn,
            on one line, of at most 80 characters, with an answer of at most 40 are used.
        limit: Number of questions; the choice depends on the ids alone.
        benchmark: Name of the benchmark that they make.

    Returns:
        Rows of ``records.EVALUATION_QUESTION``, fewer than ``limit`` when there are no more.
    """
    turns = pl.col("messages").list
    asked = turns.get(0).struct.field("content").str.strip_chars()
    said = turns.get(1).struct.field("content").str.strip_chars()
    brief = (
        conversations.filter(pl.col("rounds") == 1, turns.len() == 2)
        .select("id", "source", "language", "licence", question=asked, answer=said)
        .filter(
            pl.col("question").str.len_chars() <= LONGEST_QUESTION,
            pl.col("question").str.contains("\n", literal=True).not_(),
            pl.col("answer").str.len_chars() <= LONGEST_ANSWER,
        )
        .unique("question", keep="none")
        .sort("id")
        .head(limit)
    )
    return EVALUATION_QUESTION.frame(
        question_row(
            benchmark,
            HeldOut.kind,
            Question(
                item_id=row["id"],
                question=row["question"],
                answer=row["answer"],
                stratum=row["source"],
                language=row["language"],
            ),
            source=row["id"],
            licence=row["licence"],
        )
        for row in brief.iter_rows(named=True)
    )
