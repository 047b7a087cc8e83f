"""Sentences and passages as literal slices of a text, for Chinese and English."""

import re
from bisect import bisect_right
from itertools import pairwise
from typing import NamedTuple

_CLOSERS = r"[」』”’）》〉】〕\]\)\"']*"
_CJK = r"\u3000-\u303f\u3400-\u9fff\uff00-\uffef\U00020000-\U0002fa1f"
_END = re.compile(
    rf"(?P<wide>[。！？；…]+{_CLOSERS})"
    rf"|(?P<narrow>(?<![.!?])[.!?]++{_CLOSERS}(?=\s|[{_CJK}]|$))"
    r"|\n\s*"
)
_UNFINISHED = re.compile(
    r"(?:\b(?i:mr|mrs|ms|dr|prof|rev|gen|sen|gov|st|jr|sr|vs|etc|cf|al|ca|approx|fig|figs|eq|vol"
    r"|no|pp|ed|eds|inc|ltd|co|corp|dept|univ|e\.g|i\.e|a\.m|p\.m|u\.s|u\.k|u\.n|ph\.d)"
    r"|(?:^|[\s.(])[A-Z]|(?:^|\n)\s*\d{1,3})$"
)
_CONTINUES = re.compile(r"\s+[a-z]")
_COMMA = re.compile(r"[，、：；]\s*|[,:;]?\s+")
_LOOK_BACK = 12


class Span(NamedTuple):
    """A slice of a text: characters `start` up to, not including, `end`."""

    start: int
    end: int

    def of(self, text: str) -> str:
        """The characters of the text that the span covers."""
        return text[self.start : self.end]


def sentences(text: str) -> list[Span]:
    """Split a text into sentences, without the blanks around them.

    Chinese sentences end after 。！？；… and the closing quotes that follow, English ones after
    . ! ? before a blank, though not after abbreviations, initials and list numbers or before a
    lower-case word; a line feed ends any. Together the spans hold every non-blank character, in
    order.
    """
    found, start = [], 0
    for match in _END.finditer(text):
        if match["narrow"] and _goes_on(text, match):
            continue
        found.append(_trimmed(text, start, match.end()))
        start = match.end()
    found.append(_trimmed(text, start, len(text)))
    return [span for span in found if span.start < span.end]


def chunk(text: str, max_chars: int, overlap_sentences: int = 0) -> list[Span]:
    """Cut a text into passages of whole sentences.

    Whole lines are packed while they fit; a line is broken between sentences only when the passage
    would otherwise stay less than half full, and a sentence longer than a passage is cut after a
    comma or blank or, failing both, anywhere. Together the passages hold every non-blank
    character, in order.

    Args:
        text: The text to cut.
        max_chars: Longest passage, in characters.
        overlap_sentences: Sentences that a passage repeats from the end of the one before, as far
            as they fit beside a new one.

    Raises:
        ValueError: if `max_chars` is below 1 or `overlap_sentences` below 0.
    """
    if max_chars < 1 or overlap_sentences < 0:
        raise ValueError(
            f"chunk: max_chars is {max_chars} and overlap_sentences {overlap_sentences}; "
            "give at least 1 and 0"
        )
    pieces = [piece for span in sentences(text) for piece in _fitting(text, span, max_chars)]
    ends = [piece.end for piece in pieces]
    line_ends = [
        i + 1
        for i, (piece, following) in enumerate(pairwise(pieces))
        if "\n" in text[piece.end : following.start]
    ]
    passages: list[Span] = []
    first = new = 0
    while new < len(pieces):
        start = pieces[first].start
        stop = bisect_right(ends, start + max_chars)
        line = bisect_right(line_ends, stop) - 1
        if stop < len(pieces) and line >= 0 and line_ends[line] > new:
            half_full = 2 * (ends[line_ends[line] - 1] - start) >= max_chars
            stop = line_ends[line] if half_full else stop
        passages.append(Span(start, ends[stop - 1]))
        first, new = max(first + 1, stop - overlap_sentences), stop
        while first < new < len(pieces) and ends[new] - pieces[first].start > max_chars:
            first += 1
    return passages


def _goes_on(text: str, match: re.Match[str]) -> bool:
    """Whether the sentence continues after an ASCII full stop."""
    if not match["narrow"].startswith(".") or match["narrow"].startswith(".."):
        return False
    before = text[max(0, match.start() - _LOOK_BACK) : match.start()]
    return bool(_UNFINISHED.search(before) or _CONTINUES.match(text, match.end()))


def _trimmed(text: str, start: int, end: int) -> Span:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return Span(start, end)


def _fitting(text: str, span: Span, max_chars: int) -> list[Span]:
    """Pieces of a sentence, none longer than `max_chars`."""
    found = []
    while span.end - span.start > max_chars:
        last = span.start + max_chars
        cuts = [match.end() for match in _COMMA.finditer(text, span.start + 1, last)]
        cut = cuts[-1] if cuts else last
        found.append(_trimmed(text, span.start, cut))
        span = _trimmed(text, cut, span.end)
    return [*found, span]
