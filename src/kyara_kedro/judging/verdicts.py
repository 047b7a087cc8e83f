"""Verdicts of a pairwise judge: read from text, and joined over both orders of a pair."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Verdict = Literal["A", "B", "C"]

_VERDICT = re.compile(r"\[\[\s*([ABC])\s*\]\]", re.IGNORECASE)
_READ, _END = 20_000, 300


def parse_verdict(text: str) -> Verdict | None:
    """Read ``[[A]]``, ``[[B]]`` or ``[[C]]`` (tie, both bad or undecided) from a judgement.

    A judge may quote the format while it reasons: where verdicts differ, those in the last 300
    characters decide. Where these differ too, or none is there, nothing was decided. Only the
    last 20,000 characters are read.

    Returns:
        The verdict, or None.
    """
    read = unicodedata.normalize("NFKC", text[-_READ:])
    for part in (read, read.rstrip()[-_END:]):
        found = {letter.upper() for letter in _VERDICT.findall(part)}
        if len(found) == 1:
            return _verdict(found.pop())
    return None


def win_probability(forward: str, swapped: str | None = None) -> float:
    """Probability that the first answer of a pair is the better one.

    Args:
        forward: Verdict with the first answer shown as A.
        swapped: Verdict with the first answer shown as B; None when it was not asked for.

    Returns:
        1 or 0 when the orders agree on a winner; 0.5 when they disagree or either is a tie.
    """
    first = _wins(forward)
    if swapped is None:
        return first
    second = 1.0 - _wins(swapped)
    return first if first == second else 0.5


def _wins(verdict: str) -> float:
    return {"A": 1.0, "B": 0.0, "C": 0.5}[verdict]


def _verdict(letter: str) -> Verdict:
    return "A" if letter == "A" else "B" if letter == "B" else "C"
