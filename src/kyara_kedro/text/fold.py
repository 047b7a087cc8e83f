"""Match keys: text folded so that width, case, script and glyph variants compare equal.

Folding is for comparison only (search, duplicates, contamination); it is never written back into a
record. Chinese is folded character by character from Traditional to Simplified, the direction in
which no choice has to be made.
"""

import re
import unicodedata
from functools import cache

import opencc

_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_RUN = re.compile(rf"[{_CJK}]+|[^\W_{_CJK}]+")


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
