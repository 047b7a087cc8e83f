"""Where a text says what somebody quotes from it.

Teachers quote in their own script, width and punctuation. What is kept is never their wording but
the slice of the text that it stands for, so evidence is literal by construction.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from kyara_kedro.text.chunk import Span
from kyara_kedro.text.fold import fold, is_cjk, tokens
from kyara_kedro.text.normalise import visible

_QUOTES = "「」『』“”‘’„‚«»‹›〝〞\"'`＂＇"
_STOPS = ".,。，、；：！？…!?;:．｡"
_EDGES = _QUOTES + _STOPS
_SAME = str.maketrans(
    {
        **dict.fromkeys("、;､", ","),
        **dict.fromkeys("。．｡", "."),
        **dict.fromkeys(_QUOTES, '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("‧・•∙", "·"),
        # Traditional characters that a converter simplifies by the word, or not at all.
        **dict(zip("着画藉覆瞭甦沈彷哩钜馀炼", "著划借复了苏沉仿里巨余链", strict=True)),
    }
)
_NUMBER_GOES_ON = re.compile(r"(?<=\d)[.,．](?=\d)")
_NUMERAL = re.compile(r"[\d零〇一二三四五六七八九十百千兩萬億两万亿]")
_VOWELS_AND_FINALS = range(0x1160, 0x1200)


class _Folded(NamedTuple):
    """A text as it is compared.

    Attributes:
        letters: Folded characters, without blanks except between two words or two numbers.
        starts: Start in the text of the characters that each letter comes from, shape
            [len(letters)].
        ends: Their end in the text.
    """

    letters: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]


def locate(quote: str, text: str, min_tokens: int = 4) -> Span | None:
    """Find what is quoted: word for word, or else tolerant to how it is written.

    Tolerated are script (a Simplified quote of a Traditional text), width, case, white space, kinds
    of quotation marks, commas and dashes, and marks and ellipses around the quote. Every letter and
    digit must be there in order: inventions, and places joined by an ellipsis, are not found. A
    quote that begins or ends inside a word or a number of the text is found only if it is literal.
    Takes time linear in both lengths.

    Args:
        quote: What is said to stand in the text.
        text: The text.
        min_tokens: Shortest quote that proves anything, in Chinese characters and other words.

    Returns:
        The first place, or None. It holds no more than was quoted, though it may lack the marks
        around it, and it does not begin or end inside a number (5日 is not in 15日).
    """
    quote = quote.strip()
    core = visible(quote).strip().strip(_EDGES).strip()
    if len(tokens(core)) < min_tokens:
        return None
    literal = [
        Span(start, start + len(quote))
        for start in _places(quote, text)
        if not (_cuts_number(text, start) or _cuts_number(text, start + len(quote)))
    ]
    if literal:
        return next((span for span in literal if _whole(text, *span)), literal[0])
    wanted, folded = _folded(core).letters.strip('"'), _folded_cached(text)
    for start in _places(wanted, folded.letters):
        last = start + len(wanted) - 1
        span = Span(folded.starts[start], folded.ends[last])
        # A match may not begin or end inside the expansion of a character, such as ½ or ㎞.
        parted = (start > 0 and folded.starts[start - 1] == span.start) or (
            last + 1 < len(folded.starts) and folded.starts[last + 1] == folded.starts[last]
        )
        if not parted and _whole(text, *span) and not any(_cuts_number(text, at) for at in span):
            return span
    return None


def _places(part: str, whole: str) -> Iterator[int]:
    """Where a string begins in another, without overlaps, for else it could cost a square."""
    start = whole.find(part) if part else -1
    while start >= 0:
        yield start
        start = whole.find(part, start + len(part))


def _whole(text: str, start: int, end: int) -> bool:
    """Whether a slice begins and ends between words and numbers, not inside one."""
    return not (_joined(text, start) or _joined(text, end))


def _joined(text: str, position: int) -> bool:
    """Whether one word or one number goes on across a position."""
    if not 0 < position < len(text):
        return False
    if _cuts_number(text, position):
        return True
    before, after = text[position - 1], text[position]
    return _kind(before) != "" and _kind(before) == _kind(after)


def _cuts_number(text: str, position: int) -> bool:
    """Whether one number goes on across a position: 1|5, 9.|25, 3|,600, 十|五, 1900|萬."""
    if not 0 < position < len(text):
        return False
    if _NUMBER_GOES_ON.match(text, position) or _NUMBER_GOES_ON.match(text, position - 1):
        return True
    before, after = text[position - 1], text[position]
    if _NUMERAL.match(before) and _NUMERAL.match(after):
        return True
    return _kind(before) == _kind(after) == "number"


def _kind(character: str) -> str:
    """Of which runs a character is part: words, numbers or none."""
    if is_cjk(character):
        return ""
    if character.isnumeric():
        return "number"
    return "word" if character.isalpha() or unicodedata.combining(character) else ""


@lru_cache(maxsize=64)
def _folded_cached(text: str) -> _Folded:
    return _folded(text)


def _folded(text: str) -> _Folded:
    """Fold a text piece by piece, remembering where each folded character comes from."""
    letters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    blank = -1
    for start, end in _pieces(text):
        piece = text[start:end]
        if piece.isspace():
            blank = start if blank < 0 else blank
            continue
        folded = _fold_piece(piece)
        if blank >= 0 and letters and folded:
            if _kind(letters[-1]) and _kind(letters[-1]) == _kind(folded[0]):
                letters.append(" ")
                starts.append(blank)
                ends.append(start)
            blank = -1
        letters.extend(folded)
        starts.extend([start] * len(folded))
        ends.extend([end] * len(folded))
    return _Folded("".join(letters), tuple(starts), tuple(ends))


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text where Unicode normalisation cannot join the two sides."""
    start = 0
    for position, character in enumerate(text):
        if position > start and not _goes_on(character):
            yield start, position
            start = position
    if text:
        yield start, len(text)


@lru_cache(maxsize=1 << 16)
def _goes_on(character: str) -> bool:
    """Whether a character may combine with the one before: marks, and inner letters of Hangul."""
    if character < "\u0300":
        return False
    first = unicodedata.normalize("NFKD", character)[0]
    return unicodedata.category(first)[0] == "M" or ord(first) in _VOWELS_AND_FINALS


@lru_cache(maxsize=1 << 16)
def _fold_piece(piece: str) -> str:
    return "".join(fold(visible(piece)).split()).translate(_SAME)
