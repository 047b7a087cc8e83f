"""Match keys: text folded so that width, case, script and glyph variants compare equal.

Folding is for comparison only (search, duplicates, contamination); it is never written back into a
record. Chinese is folded character by character from Traditional to Simplified, the direction in
which no choice has to be made.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import opencc
from numpy.typing import NDArray

_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_RUN = re.compile(rf"[{_CJK}]+|[^\W_{_CJK}]+")
_POINTS = 0x110000
_ALONE = 0x30000
"""Code points from here on are rare enough to be folded with the text around them."""


class FoldedTexts(NamedTuple):
    """Many folded texts as one array.

    Attributes:
        points: Code points of all texts, each text followed by a line feed.
        lengths: Number of code points of each text, its line feed not counted.
    """

    points: NDArray[np.uint32]
    lengths: NDArray[np.int64]


@cache
def _simplified() -> dict[int, str]:
    """Every character of the CJK blocks that OpenCC's t2s maps to another single character."""
    converter = opencc.OpenCC("t2s")
    points = [*range(0x3400, 0x4DC0), *range(0x4E00, 0xA000), *range(0xF900, 0xFB00)]
    letters = [chr(point) for point in points]
    converted = converter.convert("\n".join(letters)).split("\n")
    return {
        ord(old): new
        for old, new in zip(letters, converted, strict=True)
        if old != new and len(new) == 1
    }


def fold(text: str) -> str:
    """Fold width, case, script and glyph variants: NFKC, case fold, Traditional to Simplified."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_simplified())


def fold_many(texts: Sequence[str]) -> FoldedTexts:
    """Fold many texts at once: a table folds what needs no context, `fold` the other texts."""
    table, alone = _table()
    points, lengths = _joined(texts)
    owner = np.repeat(np.arange(len(texts)), lengths + 1)
    intricate = np.unique(owner[~alone[points]]).tolist()
    if intricate:
        texts = list(texts)
        for number in intricate:
            texts[number] = fold(texts[number])
        points, lengths = _joined(texts)
        folded = table[points]
        kept = np.zeros(len(texts), np.bool_)
        kept[intricate] = True
        return FoldedTexts(np.where(np.repeat(kept, lengths + 1), points, folded), lengths)
    return FoldedTexts(table[points], lengths)


def _joined(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    joined = "".join(f"{text}\n" for text in texts).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(joined, "<u4"), np.fromiter(map(len, texts), np.int64, len(texts))


@cache
def _table() -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Fold of every code point, and which of them fold to one, whatever stands beside them."""
    points = [p for p in range(_ALONE) if p != 0x0A and not 0xD800 <= p < 0xE000]
    folded = fold("\n".join(map(chr, points))).split("\n")
    table = np.arange(_POINTS, dtype=np.uint32)
    alone = np.zeros(_POINTS, np.bool_)
    alone[0x0A] = True
    for point, text in zip(points, folded, strict=True):
        if len(text) == 1 and not _composes(chr(point)) and not _composes(text):
            table[point] = ord(text)
            alone[point] = True
    return table, alone


def _composes(character: str) -> bool:
    """Whether normalisation may join a character to the one before it (marks, Hangul jamo)."""
    return unicodedata.category(character)[0] == "M" or "\u1100" <= character <= "\u11ff"


def tokens(text: str) -> list[str]:
    """Split folded text into single CJK characters and runs of other letters and digits."""
    found: list[str] = []
    for run in _RUN.findall(fold(text)):
        if is_cjk(run[0]):
            found.extend(run)
        else:
            found.append(run)
    return found


def is_cjk(character: str) -> bool:
    """Whether a character is a Chinese ideograph."""
    point = ord(character)
    return (
        0x4E00 <= point <= 0x9FFF
        or 0x3400 <= point <= 0x4DBF
        or 0xF900 <= point <= 0xFAFF
        or 0x20000 <= point <= 0x2FA1F
    )


def match_key(text: str) -> str:
    """Folded letters and digits alone: equal for texts that differ in script, width or signs."""
    return "".join(_RUN.findall(fold(text)))
