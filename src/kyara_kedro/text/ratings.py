"""The rating in a judgement, by the rules of the benchmarks' own scorers."""

from __future__ import annotations

import re
from collections.abc import Iterator

_DOUBLE = re.compile(r"\[\[(\d+(?:\.\d*)?)\]\]", re.ASCII)
_SINGLE = re.compile(r"\[(\d+(?:\.\d*)?)\]", re.ASCII)
_OVERALL = ("综合得分", "綜合得分")
_ENDS = re.compile(r"': (\d+)")
_SAID = re.compile(r"'[综綜]合得分': (\d+(?:\.\d{1,2})?)")
_LONGEST = 20


def bracketed_rating(text: str) -> float | None:
    """Read the first ``[[7]]`` of a judgement, or else the first ``[7]``.

    The rule of FastChat's ``llm_judge`` (lm-sys/FastChat, ``common.py``).

    Returns:
        The rating, or None where there is none.
    """
    found = _DOUBLE.search(text) or _SINGLE.search(text)
    return _number(found[1]) if found else None


def overall_rating(text: str) -> float | None:
    """Read the overall score of the last ``{'事实正确性': 6, ..., '综合得分': 7}`` of a judgement.

    Where that has none, the first overall score anywhere counts, then perhaps with decimals. The
    rule of AlignBench (THUDM/AlignBench, ``judge.py``); the key may be in Traditional script too.

    Returns:
        The score, or None where there is none.
    """
    scores = dict(_pairs(_last_object(text)))
    for name in _OVERALL:
        if name in scores:
            return _number(scores[name])
    found = _SAID.search(text)
    return _number(found[1]) if found else None


def _last_object(text: str) -> str:
    """What is between the brackets on the line of the last one that opens; perhaps nothing."""
    last = text.rfind("{")
    end = text.find("}", last)
    line = text.rfind("\n", 0, end) + 1
    if last < line or end < 0:
        return ""
    return text[text.index("{", line) + 1 : end]


def _pairs(inside: str) -> Iterator[tuple[str, str]]:
    """Names in single quotes with the whole numbers after them; a name ends before its number."""
    start = inside.find("'")
    while start >= 0 and (found := _ENDS.search(inside, start + 1)):
        yield inside[start + 1 : found.start()], found[1]
        start = inside.find("'", found.end())


def _number(digits: str) -> float | None:
    return float(digits) if len(digits) <= _LONGEST else None
