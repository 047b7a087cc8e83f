"""Short open answers: does the output equal the right answer, or at least contain it?

Both sides are folded (width, case, script), stripped of punctuation and cut into words, single
Chinese characters and numbers; numbers are compared by value, so 3,952 equals ３９５２ and 2.5 萬
equals 25000. Containing goes by whole words: "AI" is not contained in "said", nor 3 in 30.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

from kyara_kedro.content import Message
from kyara_kedro.evaluation.benchmarks.base import (
    Question,
    Task,
    one_turn,
    scorer_version,
    wording,
)
from kyara_kedro.text.fold import fold

PROMPTS = {
    "zh-TW": ("請用一個詞或一句話回答下面的問題。\n\n{question}",),
    "en": ("Answer the following question with a word or a short phrase.\n\n{question}",),
}
LONGEST_OUTPUT = 20_000
"""Characters of an output that are compared; what comes after them is not read."""

_DIGITS = {digit: i for i, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_SMALL = {"十": 10, "百": 100, "千": 1_000}
_LARGE = {"万": 10**4, "亿": 10**8}
_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_PART = re.compile(
    r"(?P<number>(?:(?<![^\W_])[-\u2212])?\d{1,30}(?:,\d{3}){0,9}(?:\.\d{1,30})?)"
    r"(?: ?(?P<scale>[万亿]))?"
    rf"|(?P<hanzi>[零〇一二三四五六七八九十百千万亿两]{{1,30}})"
    rf"|(?P<sign>[%‰°])|(?P<cjk>[{_CJK}])|(?P<word>(?:(?![{_CJK}])[^\W\d_])+)"
)


class OpenAnswer(Task):
    """Open questions; the metrics are ``exact_match`` and ``contains``."""

    kind = "open"
    title = "Open questions"
    version = scorer_version("open-answer-1", PROMPTS)
    metrics = ("exact_match", "contains")

    def messages(self, question: Question) -> tuple[Message, ...]:
        """One user turn that asks for a short answer."""
        prompt = wording(PROMPTS, question.language, question.item_id)
        return one_turn(prompt.format(question=question.question))

    def score_output(self, question: Question, output: str) -> dict[str, float] | None:
        """Compare with every accepted answer; None for an output without words."""
        return match(output, self.gold(question))


def match(output: str, gold: Iterable[str]) -> dict[str, float] | None:
    """Score an output against the accepted answers.

    Returns:
        ``exact_match`` and ``contains``, 0 or 1 each, or None when the output holds no word.
    """
    said = canonical(output[:LONGEST_OUTPUT])
    if not said.strip():
        return None
    accepted = [words for answer in gold if (words := canonical(answer)).strip()]
    return {
        "exact_match": float(said in accepted),
        "contains": float(any(words in said for words in accepted)),
    }


def canonical(text: str) -> str:
    """Words, Chinese characters and numbers of a text, each between blanks.

    Chinese numerals become digits wherever they stand, on both sides of a comparison.
    """
    parts = []
    for found in _PART.finditer(fold(text)):
        if found["number"]:
            value = Decimal(found["number"].replace(",", "").replace("\u2212", "-"))
            parts.append(_plain(value * _LARGE.get(found["scale"], 1)))
        elif found["hanzi"]:
            parts.append(_plain(Decimal(_numeral(found["hanzi"]))))
        else:
            parts.append(found[0])
    return f" {' '.join(parts)} "


def _plain(value: Decimal) -> str:
    """A number without exponent, trailing zeros or negative zero."""
    digits = f"{value:f}"
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    sign = "-" if digits.startswith("-") else ""
    digits = digits.removeprefix("-").lstrip("0") or "0"
    digits = f"0{digits}" if digits.startswith(".") else digits
    return digits if digits == "0" else sign + digits


def _numeral(text: str) -> int:
    """Value of a Chinese numeral in Simplified form: 三千九百五十二, or digit by digit 一九四五."""
    if not any(character in _SMALL or character in _LARGE for character in text):
        return int("".join(str(_DIGITS[character]) for character in text))
    total = section = digit = 0
    for character in text:
        if character in _DIGITS:
            digit = _DIGITS[character]
        elif character in _SMALL:
            section += (digit or 1) * _SMALL[character]
            digit = 0
        else:
            scale = _LARGE[character]
            below = total % scale
            total += (below + section + digit or 1) * scale - below
            section = digit = 0
    return total + section + digit
