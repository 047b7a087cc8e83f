"""Comparing two replies by faults that rules can see. This is not a judge of quality."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

from kyara_kedro.prompts import REFUSAL
from kyara_kedro.teachers.rules import arithmetic
from kyara_kedro.teachers.rules.evidence import coverage, question_terms, terms
from kyara_kedro.teachers.rules.evolution import unwrap
from kyara_kedro.text.citations import CITATION, cited
from kyara_kedro.text.script import script_share

_GIVEN_ID = re.compile(r"\bid_[0-9a-f]{8,32}\b")
_DOCUMENT = re.compile(r"<document>(.*?)</document>", re.DOTALL)
_QUESTION = re.compile(r"# (?:使用者問題|用[户戶][问問][题題]|User's Question)\s+(.+)\Z", re.DOTALL)
_ENDS = re.compile(r"[。！？.!?」』）)}\]|`\d】%％]\s*\Z|^[^。，.,]{1,24}\Z")
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?(?:/\d+)?")
_DECLINES = re.compile(
    "|".join(map(re.escape, REFUSAL.values()))
    + r"|缺乏與問題相關|無法回答|沒有[^。]{0,12}資料|抱歉|cannot answer|I have no"
)
_NOTES = {
    "zh-TW": {
        "head": "規則式評審，並非大型語言模型。",
        "solved": "自行解題的結果：{answer}",
        "open": "自行解題的結果：無，僅比較可檢查的缺失。",
        "right": "計算結果正確",
        "wrong": "計算結果錯誤",
        "covers": "涵蓋題目要點",
        "declines": "沒有回答",
        "uncited": "沒有引用文件",
        "miscites": "引用不存在的文件",
        "cites": "引用正確",
        "backed": "有文件支持",
        "invents": "數字不見於文件",
        "cut": "句子不完整",
        "repeats": "重複",
        "simplified": "夾雜簡體字",
        "long": "冗長",
    },
    "en": {
        "head": "Rule-based verdict; no language model took part.",
        "solved": "Own result: {answer}",
        "open": "Own result: none; visible faults are compared.",
        "right": "right result",
        "wrong": "wrong result",
        "covers": "covers the question",
        "declines": "does not answer",
        "uncited": "cites nothing",
        "miscites": "cites an unknown document",
        "cites": "cites correctly",
        "backed": "backed by the documents",
        "invents": "numbers not in the documents",
        "cut": "breaks off",
        "repeats": "repeats itself",
        "simplified": "Simplified characters",
        "long": "long-winded",
    },
}
_MARGIN = 0.5
_LONG = 600


@dataclass(frozen=True)
class Points:
    """What the rules find in one reply.

    Attributes:
        rule_score: Sum of the points; a fault subtracts. No model's judgement, hence the name.
        findings: What was found, a key of the notes, with its points.
    """

    rule_score: float
    findings: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Solution:
    """The rules' own attempt at the request, before they look at the replies.

    Attributes:
        question: The plain question inside the request.
        documents: Text of the documents given in it.
        ids: Ids of these documents.
        answer: The exact result, when the request is arithmetic that the solver knows.
    """

    question: str
    documents: str
    ids: frozenset[str]
    answer: str | None


def solution(prompt: str) -> Solution:
    """Read a request: its documents, its question, and the result when it can be calculated."""
    documents = "\n".join(_DOCUMENT.findall(prompt))
    match = _QUESTION.search(prompt)
    question = "\n".join(unwrap(match[1] if match else prompt).questions)
    solved = arithmetic.solve(question)
    return Solution(
        question=question,
        documents=documents,
        ids=frozenset(_GIVEN_ID.findall(documents)),
        answer=solved.answer if solved else None,
    )


def points(own: Solution, reply: str, other: str) -> Points:
    """Points of one reply; ``other`` tells what could have been said."""
    found: list[tuple[str, float]] = []
    plain = CITATION.sub("", reply)
    declines = bool(_DECLINES.search(reply))
    if own.answer is not None:
        right = _last_number(plain) == _last_number(own.answer)
        found.append(("right", 4.0) if right else ("wrong", -4.0))
    else:
        found.append(("covers", 2.0 * coverage(question_terms(own.question), plain)))
    if declines and not _DECLINES.search(other):
        found.append(("declines", -2.0))
    if own.ids and not declines:
        found.append(_citations(own, reply))
    if own.documents and not declines:
        found += _backing(own, plain)
    if not _ENDS.search(reply.strip()):
        found.append(("cut", -1.5))
    if (repeated := _repetition(plain)) > 0.3:
        found.append(("repeats", -3.0 * repeated))
    if script_share(plain).simplified > max(1, 0.02 * len(plain)) and (
        script_share(own.question).traditional
    ):
        found.append(("simplified", -2.0))
    if len(plain) > _LONG and len(plain) > 3 * max(1, len(other)):
        found.append(("long", -0.5))
    return Points(sum(value for _, value in found), tuple(found))


def _citations(own: Solution, reply: str) -> tuple[str, float]:
    names = cited(reply)
    if not names:
        return "uncited", -1.5
    return ("cites", 0.5) if own.ids.issuperset(names) else ("miscites", -1.5)


def _backing(own: Solution, plain: str) -> list[tuple[str, float]]:
    """How much of a reply is in the documents, and whether it has numbers that are not."""
    words, held = terms(plain), set(terms(own.documents))
    found = [("backed", 1.5 * sum(word in held for word in words) / max(1, len(words)))]
    known = set(_NUMBER.findall(own.documents + own.question))
    if not known.issuperset(_NUMBER.findall(plain)):
        found.append(("invents", -1.5))
    return found


def judge_pair(prompt: str, answer_a: str, answer_b: str, language: str) -> str:
    """A verdict by rules, ending in [[A]], [[B]] or [[C]]; equal under a swap of the replies."""
    own = solution(prompt)
    a, b = points(own, answer_a, answer_b), points(own, answer_b, answer_a)
    verdict = (
        "C"
        if abs(a.rule_score - b.rule_score) < _MARGIN
        else "A"
        if a.rule_score > b.rule_score
        else "B"
    )
    notes = _NOTES["en" if language == "en" else "zh-TW"]
    solved = notes["solved"].format(answer=own.answer) if own.answer else notes["open"]
    lines = [notes["head"], solved]
    for name, judged in (("A", a), ("B", b)):
        said = ", ".join(f"{notes[key]} {value:+.2f}" for key, value in judged.findings)
        lines.append(f"{name}: rule_score {judged.rule_score:.2f} ({said})")
    return "\n".join((*lines, f"[[{verdict}]]"))


def _last_number(text: str) -> Fraction | None:
    numbers = _NUMBER.findall(text)
    try:
        return Fraction(numbers[-1].replace(",", "")) if numbers else None
    except ZeroDivisionError:
        return None


def _repetition(text: str) -> float:
    """Share of the 8-character pieces that occurred before."""
    pieces = Counter(text[i : i + 8] for i in range(max(0, len(text) - 7)))
    total = sum(pieces.values())
    return 1 - len(pieces) / total if total else 0.0
