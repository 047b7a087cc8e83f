"""Chinese instructions that code can verify, in the manner of IFEval.

The demands and their checks are those of the told conversations (`text.constraints`); here they
stand in the user's turn, in words that no training prompt has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

from kyara_kedro.content import Message, content_id
from kyara_kedro.evaluation.benchmarks.base import (
    Question,
    Task,
    one_turn,
    question_row,
    scorer_version,
    wording,
)
from kyara_kedro.evaluation.benchmarks.open_answer import LONGEST_OUTPUT
from kyara_kedro.records import EVALUATION_QUESTION
from kyara_kedro.text.constraints import Constraint, draw

PROMPTS = {
    "zh-TW": (
        "展覽的解說牌要談「{title}」，麻煩你擬一份稿子。\n\n版面規定：\n{demands}",
        "我只知道「{title}」這個詞，其他一概不懂，講給我聽吧。\n\n不過要照這個樣子寫：\n{demands}",
        "電子報下一期的主題是「{title}」，請你執筆。\n\n編輯要求：\n{demands}",
    ),
}
WORDINGS = {
    "bullets": "整則只有項目清單：行首一律是「- 」，不能少於兩行，清單之外不寫字。",
    "numbered": "整則只有編號清單：從「1. 」數起，至少數到「2. 」，清單之外不寫字。",
    "one_sentence": "整則只有一句話，中間不換行，最後是句號。",
    "one_per_line": "一行只放一句話，少說要有兩行，行與行緊接著，不留空行。",
    "two_paragraphs": "不多不少分成兩段，兩段之間隔一個空行。",
    "table": "整則就是一張 Markdown 表格，兩個欄名先後是{quoted}，表格上下不寫字。",
    "json": "整則就是一個 JSON 物件，鍵先後是{quoted}，值都寫成字串，物件前後不寫字。",
    "greeting": "開口先說{quoted}，接著才進入正題。",
    "heading": "第一行先下標題，以「# 」起頭；換行之後才寫內文。",
    "title": "第一行先下標題，放進【】裡；換行之後才寫內文。",
    "closing": "收尾固定是{quoted}，說完就停筆。",
    "at_most": "全文連標點算在內，最多 {value} 個字。",
    "no_letters": "全文不得夾帶英文字母，外文一律譯成中文。",
    "bold": "全文恰好有一處用兩個星號（**）標成粗體。",
}
"""One for each kind of constraint, which the training's system prompts do not have."""

_LANGUAGE, _WORDED = "zh-Hant-TW", "zh-TW"


class InstructionsTw(Task):
    """Topics with one or two demands on the form of what is written about them.

    ``prompt_strict`` has an item a prompt, all of whose demands are kept, and
    ``instruction_strict`` one a demand (``<prompt>#<number>``).
    """

    kind = "instructions_tw"
    title = "Chinese instructions"
    version = scorer_version("instructions-tw-1", PROMPTS, WORDINGS)
    metrics = ("prompt_strict", "instruction_strict")

    def __init__(self, name: str, questions: Iterable[Question]) -> None:
        super().__init__(name, questions)
        self._demands = {name: demands(question) for name, question in self.questions.items()}

    def messages(self, question: Question) -> tuple[Message, ...]:
        """The topic and the demands, as one user turn."""
        prompt = wording(PROMPTS, question.language, question.item_id)
        stated = "\n".join(f"・{stated_as(demand)}" for demand in demands(question))
        return one_turn(prompt.format(title=question.question, demands=stated))

    def gold(self, question: Question) -> tuple[str, ...]:
        """The names of the demands."""
        return tuple(demand.id for demand in demands(question))

    def expected(self) -> dict[str, int]:
        """Prompts and demands."""
        numbers = len(self.questions), sum(map(len, self._demands.values()))
        return dict(zip(self.metrics, numbers, strict=True))

    def _rows(self, item_id: str, model: str, output: str) -> Iterator[dict[str, Any]]:
        question, said = self.questions[item_id], output[:LONGEST_OUTPUT]
        blank = not said.strip()
        kept = [not blank and demand.holds(said) for demand in self._demands[item_id]]
        whole, each = self.metrics
        yield self.item(question, model, whole, float(all(kept)), no_answer=blank)
        for place, value in enumerate(kept):
            name = f"{item_id}#{place}"
            yield self.item(question, model, each, float(value), item_id=name, no_answer=blank)


def demands(question: Question) -> tuple[Constraint, ...]:
    """The constraints on what is written about a question's topic."""
    given = question.details["constraints"]
    return tuple(Constraint(kind, _WORDED, value) for kind, value in given)


def stated_as(demand: Constraint) -> str:
    """A constraint in the words of this benchmark."""
    quoted = "與".join(f"「{part}」" for part in demand.value.split("|"))
    return WORDINGS[demand.kind].format(value=demand.value, quoted=quoted)


def instruction_questions(passages: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Ask for texts about what passages in Taiwan's Chinese are about, under drawn constraints.

    Args:
        passages: Rows of ``records.PASSAGE``.
        limit: Number of prompts; topics and demands depend on the ids alone.

    Returns:
        Rows of ``records.EVALUATION_QUESTION``, fewer than ``limit`` when there are no more titles.
    """
    rows = []
    for title, source, licence in titles(passages, limit):
        name = content_id("instructions_tw", title)
        drawn = draw(name, _WORDED)
        question = Question(
            item_id=name,
            question=title,
            stratum=drawn[0].kind,
            details={"constraints": [[one.kind, one.value] for one in drawn]},
        )
        rows.append(
            question_row(
                InstructionsTw.kind, InstructionsTw.kind, question, source=source, licence=licence
            )
        )
    return EVALUATION_QUESTION.frame(rows)


def titles(passages: pl.DataFrame, limit: int, *, last: bool = False) -> list[tuple[str, str, str]]:
    """Titles of documents in Taiwan's Chinese, each with the id and the licence of a passage.

    Args:
        passages: Rows of ``records.PASSAGE``.
        limit: Most titles.
        last: Whether to begin with the last ids, to meet other titles.
    """
    chosen = (
        passages.filter(
            pl.col("language") == _LANGUAGE, pl.col("title").str.contains("[「」\n]").not_()
        )
        .sort("id", descending=last)
        .unique("title", keep="first", maintain_order=True)
        .head(limit)
    )
    return chosen.select("title", "id", "licence").rows()
