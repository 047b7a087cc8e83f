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
_QUESTION = re.compile(r"# (?:使用者問題|User's Question)\s+(.+)\Z", re.DOTALL)
_ENDS = re.compile(r"[。！？.!?」』）)}\]|`\d】%％]\s*\Z|^[^。，.,]{1,24}\Z")
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?(?:/\d+)?")
_DECLINES = re.compile(
    "|".join(map(re.escape, REFUSAL.values()))
    + r"|無法回答|沒有[^。]{0,12}資料|抱歉|cannot answer|I have no"
)
_MARGIN = 0.5
_LONG = 600


@dataclass(frozen=True)
class Points:
    """What the rules find in one reply.

    Attributes:
        score: Sum of the points; a fault subtracts.
        notes: What was found, in words.
    """

    score: float
    notes: tuple[str, ...]


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
    found: list[tuple[float, str]] = []
    plain = CITATION.sub("", reply)
    declines, other_declines = bool(_DECLINES.search(reply)), bool(_DECLINES.search(other))
    if own.answer is not None:
        right = _last_number(plain) == _last_number(own.answer)
        found.append((4.0, "計算結果正確") if right else (-4.0, "計算結果錯誤"))
    else:
        share = coverage(question_terms(own.question), plain)
        found.append((2.0 * share, f"涵蓋題目要點 {share:.2f}"))
    if declines and not other_declines:
        found.append((-2.0, "沒有回答"))
    if own.ids and not declines:
        wrong = [name for name in cited(reply) if name not in own.ids]
        if wrong or not cited(reply):
            found.append((-1.5, "引用不存在的文件" if wrong else "沒有引用文件"))
        else:
            found.append((0.5, "引用正確"))
    if own.documents and not declines:
        strange = set(_NUMBER.findall(plain)) - set(_NUMBER.findall(own.documents + own.question))
        if strange:
            found.append((-1.5, f"數字不見於文件：{'、'.join(sorted(strange)[:3])}"))
        words = terms(plain)
        held = set(terms(own.documents))
        backed = sum(word in held for word in words) / max(1, len(words))
        found.append((1.5 * backed, f"有文件支持 {backed:.2f}"))
    if not _ENDS.search(reply.strip()):
        found.append((-1.5, "句子不完整"))
    if (repeated := _repetition(plain)) > 0.3:
        found.append((-3.0 * repeated, "重複"))
    if script_share(plain).simplified > max(1, 0.02 * len(plain)) and (
        script_share(own.question).traditional
    ):
        found.append((-2.0, "夾雜簡體字"))
    if len(plain) > _LONG and len(plain) > 3 * max(1, len(other)):
        found.append((-0.5, "冗長"))
    return Points(sum(value for value, _ in found), tuple(note for _, note in found))


def judge_pair(prompt: str, answer_a: str, answer_b: str, language: str) -> str:
    """A verdict by rules, ending in [[A]], [[B]] or [[C]]; equal under a swap of the replies."""
    own = solution(prompt)
    a, b = points(own, answer_a, answer_b), points(own, answer_b, answer_a)
    verdict = "C" if abs(a.score - b.score) < _MARGIN else "A" if a.score > b.score else "B"
    if language == "en":
        head = "Rule-based verdict; no language model took part."
        solved = f"Own result: {own.answer}" if own.answer else "Own result: none, faults compared."
    else:
        head = "規則式評審，並非大型語言模型。"
        solved = (
            f"自行解題的結果：{own.answer}"
            if own.answer
            else "自行解題的結果：無，僅比較可檢查的缺失。"
        )
    lines = (f"{name}（{p.score:.2f}）：{'；'.join(p.notes)}" for name, p in (("A", a), ("B", b)))
    return "\n".join((head, solved, *lines, f"[[{verdict}]]"))


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
