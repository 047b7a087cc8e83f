"""Looks through what synthesis has accepted, without the pipeline's own checks.

Each finding is a line that says which row is wrong; nothing found is an empty list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl

from kyara_kedro.prompts import REFUSAL, template_language
from kyara_kedro.teachers.rules import arithmetic
from kyara_kedro.text.constraints import stated

Row = dict[str, Any]

SIMPLIFIED = frozenset(
    "们这说时对国会学过发还进种动从开长问头现实点机关经见两东车马鸟鱼龙门间闻语读谁请让认识讲话记许论设证评词译试"
    "诗详误课调谈谢贝财贵买卖质费赛赢资赏阳阴阶际陆陈险随隐难雾静页顶项顺须预领频题颜额风飞饭饮饱馆驾验骑鸡麦齿个"
    "为无样办边达运远选连进应当报场块坚坏处备复头奖妇孙宁宝导层岁岛币师带帮广庆库录忆态总惊惯战户执扩扫护担择换损"
    "摄数断显晓术杂权条来极构枪标栏树样桥检楼汉汤沟泽洁浅测济浓涛润涨渐湾湿满灭灯灵炉热爱状独狮猎环电疗盐监盖盘矿码"
    "确离积称穷竞笔简粮紧红约级纪纯纲纸纹线练组细织终绍给络绝统继绩续维绿网罗职联肠脑脸艺节苏药荣获营虑虽补装观规"
    "视览觉计订训议讯该贡贤购趋跃轨转轮软轻载较辅输边适递逻邮邻释钟钢钱铁铜银锁错键镇镜闪闭闲阅队韩顾顿饰驱驶鲁鲜鸣"
)
"""Common characters that only Simplified Chinese has; 台 and other shared ones are not here."""
_SIMPLIFIED_WORDS = re.compile(r"[什那怎多这]么|\d+万")
"""Words whose characters Taiwan has too, for other things."""
_CITED = re.compile(r"【(id_[0-9a-f]{8,32})】")
_SHOWN = re.compile(r"^(?:文件編號：|文档编号：|Document id: )(id_[0-9a-f]{8,32})$", re.MULTILINE)
_LOOSE = re.compile(r"id_[0-9a-fA-F]*|【(?:文件)?\s*\d*】|\[\d+\]|文件\s*\d+", re.IGNORECASE)
_STATEMENT = re.compile(r"[^。！？!?\n]*[。！？!?\n]?(?:\s*【id_[0-9a-f]+】)*[。！？!?]?")
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_PROMPT_WORDS = re.compile(
    r"改寫後|改写后|#[^#\n]{1,12}#|給定的提示|原題目|<\|?\w+\|?>|</?(?:document|reference|question)>"
    r"|文件編號：|rewritten prompt",
    re.IGNORECASE,
)
_MARK = re.compile(r"^(?:\d+\. |\| \d+ \||Step \d+)", re.MULTILINE)
_LEAD = re.compile(r"^(?:根據參考文件，|參考文件指出，|According to the documents, )")
_LEANS = re.compile(r"本文|上文|上述內容|這份文件|根據文件|文中作者|the (?:above|given) text")


@dataclass(frozen=True)
class Tables:
    """What a run has written below a project's folder of data, by the names of the catalog."""

    folder: Path

    def __getitem__(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(next(self.folder.glob(f"*/{name}.parquet")))

    def json(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            next(self.folder.glob(f"*/{name}.json")).read_text("utf-8")
        )
        return found

    def rows(self, name: str) -> list[Row]:
        return self[name].to_dicts()

    @property
    def passages(self) -> dict[str, Row]:
        return {row["passage_id"]: row for row in self.rows("passages")}


def turns(row: Row, role: str) -> list[str]:
    return [turn["content"] for turn in row["messages"] if turn["role"] == role]


def dangling(rows: Iterable[Row]) -> Iterator[str]:
    """Citations of what the prompt does not show, and what only looks like a citation."""
    for row in rows:
        (prompt,), (answer,) = turns(row, "user"), turns(row, "assistant")
        shown = set(_SHOWN.findall(prompt))
        if shown != set(row["passage_ids"]):
            yield f"{row['id']}: shows {sorted(shown)}, but says {row['passage_ids']}"
        for cited in _CITED.findall(answer):
            if cited not in shown:
                yield f"{row['id']}: {cited} is not shown"
        for loose in _LOOSE.findall(_CITED.sub("", answer)):
            yield f"{row['id']}: {loose!r} is no citation"


def statements(answer: str) -> list[tuple[str, list[str]]]:
    """Sentences and what each cites."""
    found = [one for one in _STATEMENT.findall(answer) if one.strip()]
    return [(_LEAD.sub("", _CITED.sub("", one).strip()), _CITED.findall(one)) for one in found]


def _pairs(text: str) -> set[str]:
    letters = re.sub(r"[\W_]", "", text.casefold())
    return {letters[place : place + 2] for place in range(len(letters) - 1)}


def numbers(text: str) -> set[str]:
    """Numbers, without the signs between thousands."""
    return {found.replace(",", "") for found in _NUMBER.findall(text)}


def _told(passages: Mapping[str, Row], names: Iterable[str]) -> str:
    return "\n".join(f"{passages[name]['title']}\n{passages[name]['text']}" for name in names)


def unsupported(
    rows: Iterable[Row], passages: Mapping[str, Row], least: float = 0.6
) -> Iterator[str]:
    """Cited sentences whose words, or numbers, the cited documents do not hold."""
    for row in rows:
        (answer,) = turns(row, "assistant")
        (prompt,) = turns(row, "user")
        asked = prompt.rpartition("</reference>")[2]
        for sentence, cited in statements(answer):
            if not cited:
                continue
            texts = _told(passages, cited)
            wanted = _pairs(sentence)
            held = len(wanted & _pairs(texts)) / max(1, len(wanted))
            if held < least:
                yield f"{row['id']}: {held:.0%} of {sentence!r} is in {cited}"
            if strange := numbers(sentence) - numbers(texts) - numbers(asked):
                yield f"{row['id']}: {sorted(strange)} of {sentence!r} are not in {cited}"


def ungrounded(rows: Iterable[Row], passages: Mapping[str, Row]) -> Iterator[str]:
    """Sentences without a citation, of answers with some, whose words no shown document holds."""
    for row in rows:
        texts = _told(passages, row["passage_ids"])
        (answer,) = turns(row, "assistant")
        for sentence, cited in statements(answer):
            wanted = _pairs(sentence)
            if (
                _CITED.search(answer)
                and not cited
                and len(wanted & _pairs(texts)) < len(wanted) / 2
            ):
                yield f"{row['id']}: {sentence!r}"


def uncited(rows: Iterable[Row]) -> Iterator[str]:
    """Answers without a citation that are no refusals."""
    for row in rows:
        (answer,) = turns(row, "assistant")
        if not _CITED.search(answer) and answer not in REFUSAL.values():
            yield f"{row['id']}: {answer[:60]}"


def superfluous(rows: Iterable[Row], passages: Mapping[str, Row]) -> tuple[int, int]:
    """Citations of documents that hold less than a third of their sentence; and all citations."""
    idle = total = 0
    for row in rows:
        for sentence, cited in statements(turns(row, "assistant")[0]):
            wanted = _pairs(sentence)
            for one in cited:
                held = len(wanted & _pairs(passages[one]["title"] + passages[one]["text"]))
                total += 1
                idle += held < len(wanted) / 3
    return idle, total


def unliteral(tables: Tables) -> Iterator[str]:
    """Evidence and answers that are not in their passage letter for letter."""
    passages = tables.passages
    for row in tables.rows("references"):
        text = passages[row["passage_id"]]["text"]
        if row["relevant"] and not (row["evidence"] and row["evidence"] in text):
            yield f"reference {row['id']}: {row['evidence']!r}"
    for row in tables.rows("questions"):
        text = passages[row["passage_ids"][0]]["text"]
        if row["operation"] == "none":
            for name in ("evidence", "answer"):
                if not row[name] or row[name] not in text:
                    yield f"question {row['id']}: {name} {row[name]!r}"


def refusals(tables: Tables) -> tuple[list[str], int]:
    """Rows with references whose refusal is not exact, or not due; and how many have to refuse.

    An answer is due where the prompt shows a passage that the question was made from.
    """
    questions = {row["id"]: row for row in tables.rows("questions")}
    passages = tables.passages
    wrong, due = [], 0
    for row in tables.rows("rag_conversations"):
        question = next(questions[one] for one in row["parents"] if one in questions)
        (answer,) = turns(row, "assistant")
        exact = answer == REFUSAL[template_language(row["language"])]
        if set(question["passage_ids"]) & set(row["passage_ids"]):
            if exact:
                wrong.append(f"{row['id']}: refuses what its documents answer")
            continue
        due += 1
        if not exact:
            wrong.append(f"{row['id']}: should refuse and says {answer[:60]!r}")
        if any(question["answer"] in passages[one]["text"] for one in row["passage_ids"]):
            wrong.append(f"{row['id']}: a document that it shows holds {question['answer']!r}")
    return wrong, due


def in_simplified(rows: Iterable[Row]) -> Iterator[str]:
    """Rows of Taiwan's Chinese with characters that only Simplified Chinese has."""
    for row in rows:
        if row["language"] in ("en", "zh-Hans-CN"):
            continue
        for turn in row["messages"]:
            found = SIMPLIFIED.intersection(turn["content"])
            found |= set(_SIMPLIFIED_WORDS.findall(turn["content"]))
            if found:
                said = turn["content"][:60]
                yield f"{row['id']} {row['source']} {turn['role']}: {sorted(found)} in {said!r}"


def holding(rows: Iterable[Row], words: Iterable[str], *roles: str) -> Iterator[str]:
    """Rows in which somebody says certain words."""
    wanted = list(words)
    for row in rows:
        for turn in row["messages"]:
            for word in wanted:
                if turn["role"] in roles and word in turn["content"]:
                    yield f"{row['id']} {row['source']} {turn['role']}: {turn['content'][-80:]!r}"


def with_prompt_words(tables: Tables) -> Iterator[str]:
    """Questions and turns that repeat words of our prompts, or lean on a document nobody sees."""
    for row in tables.rows("questions"):
        for found in (_PROMPT_WORDS.search(row["text"]), _LEANS.search(row["text"])):
            if found:
                yield f"question {row['id']}: {found[0]!r} in {row['text']!r}"
    for row in tables.rows("synthetic_conversations"):
        said = [] if row["source"] == "rag" else turns(row, "user")
        for text in (*said, *turns(row, "assistant")):
            if found := _PROMPT_WORDS.search(text):
                yield f"{row['id']} {row['source']}: {found[0]!r} in {text[:60]!r}"


def constraints_broken(rows: Iterable[Row]) -> Iterator[str]:
    """Answers that do not keep what their system prompt states, and those that state nothing."""
    for row in rows:
        (system,), (answer,) = turns(row, "system"), turns(row, "assistant")
        told = stated(system, template_language(row["language"]))
        if not told:
            yield f"{row['id']}: no known constraint in {system!r}"
        for one in told:
            if not one.holds(answer):
                yield f"{row['id']}: {one.id} is not held by {answer!r}"


def wrong_results(rows: Iterable[Row]) -> Iterator[str]:
    """Solutions whose last line is not the result of the problem."""
    for row in rows:
        (problem,), (answer,) = turns(row, "user"), turns(row, "assistant")
        solved = arithmetic.solve(problem)
        last = re.search(r"(?:答案：|Answer: )\s*(\S+)\s*$", answer)
        if solved is None or last is None or Fraction(last[1]) != Fraction(solved.answer):
            yield f"{row['id']}: {problem!r}: {answer[-40:]!r}"


def strange_numbers(rows: Iterable[Row], passages: Mapping[str, Row]) -> Iterator[str]:
    """Answers without references that say a number which none of their passages has."""
    for row in rows:
        texts = _told(passages, row["passage_ids"])
        said = "\n".join([*turns(row, "system"), *turns(row, "user")])
        for answer in turns(row, "assistant"):
            plain = _MARK.sub("", answer)
            if strange := numbers(plain) - numbers(texts) - numbers(said):
                yield f"{row['id']} {row['source']}: {sorted(strange)} in {answer[:80]!r}"


def unbalanced(summary: Mapping[str, Any], drops: pl.DataFrame) -> Iterator[str]:
    """Flows whose losses are not all explained by one drop each."""
    flows = {name: flow for name, flow in summary.items() if "dropped" in flow}
    for name, flow in flows.items():
        if flow["in"] != flow["out"] + sum(flow["dropped"].values()):
            yield f"{name}: {flow}"
    explained = sum(sum(flow["dropped"].values()) for flow in flows.values())
    if explained != drops.height:
        yield f"{drops.height} drops for {explained} losses"
    for name in ("reason", "detail"):
        empty = drops.filter(pl.col(name).is_null() | (pl.col(name) == ""))
        if name == "reason" and empty.height:
            yield f"{empty.height} drops without {name}"
