"""Which language and which Chinese script a text is written in, by counting characters.

A character is evidence for Simplified when OpenCC converts it and it is not among the 5,401 common
characters of Taiwan (Big5, level 1), and for Traditional when OpenCC simplifies it and GB 2312, the
mainland's own set, lacks it. Characters at home in both scripts (里 后 干 了 台 ...) prove nothing.
"""

import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import opencc
from numpy.typing import NDArray

OTHER, SYMBOL, DIGIT, LATIN, ACCENTED, KANA, LETTER, SHARED, TRADITIONAL, SIMPLIFIED = range(10)
"""Classes of characters: ASCII without letters and digits, other signs (full-width punctuation),
digits, letters by script, and, last three, Chinese ideographs by what they prove."""

_IDEOGRAPHS = (
    range(0x3005, 0x3008),
    range(0x3400, 0x4DC0),
    range(0x4E00, 0xA000),
    range(0xF900, 0xFB00),
    range(0x20000, 0x2FA20),
)
_KANA = (range(0x3041, 0x3097), range(0x30A1, 0x30FB), range(0x31F0, 0x3200), range(0xFF66, 0xFF9E))
_BIG5_RARE = b"\xc9\x40"
# Beyond Big5 level 1 yet common in Taiwan; and the reverse, in Big5 for other words.
_USED_IN_TAIWAN = frozenset("庄厘踪熏栖瓮麽咤涂")
_UNUSED_IN_TAIWAN = frozenset("听儿坏")
# In GB 2312 only as rare surnames.
_UNUSED_ON_THE_MAINLAND = frozenset("後於")

_LETTERS_PER_IDEOGRAPH = 5
_IDEOGRAPHS_PER_KANA = 6
_LETTERS_PER_ACCENT = 20
_SAMPLE = 4000
"""Characters whose words tell English from other languages in Latin letters."""
_LONG_RUN = 40
"""Characters of a run of Latin letters that is more than a name in Chinese text."""
_SENTENCE_ENDS = np.array([ord(letter) for letter in "。！？；…\n"], dtype=np.uint32)
_STOPS = np.array([ord(letter) for letter in ".!?"], dtype=np.uint32)

_ENGLISH = (
    *("the", "of", "and", "to", "in", "is", "that", "for", "it", "with", "was", "on", "are", "be"),
    *("this", "by", "you", "what", "how"),
)
_OTHER_LATIN = (
    *("de", "la", "el", "los", "las", "que", "un", "una", "en", "y", "con", "por", "le", "les"),
    *("des", "du", "est", "et", "dans", "je", "ne", "pas", "der", "die", "das", "und", "ist"),
    *("nicht", "den", "mit", "von", "ein", "il", "che", "di", "per", "del", "em", "um", "uma"),
    *("não", "het", "een", "van", "yang", "untuk", "của"),
)
_WORDS = dict.fromkeys(_ENGLISH, 1) | dict.fromkeys(_OTHER_LATIN, -1)
"""Frequent words that tell English from other languages in Latin letters."""


class ScriptCount(NamedTuple):
    """Numbers of Chinese characters by what they prove about the script."""

    traditional: int
    simplified: int
    shared: int


def classes(text: str) -> NDArray[np.uint8]:
    """Class of every character of a text, shape [len(text)]."""
    return class_table()[code_points(text)]


def code_points(text: str) -> NDArray[np.uint32]:
    """Code point of every character of a text, shape [len(text)]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def class_counts(text: str) -> list[int]:
    """Number of characters of each class, indexed by the class."""
    counts: list[int] = np.bincount(classes(text), minlength=SIMPLIFIED + 1).tolist()
    return counts


def script_share(text: str) -> ScriptCount:
    """Count a text's Traditional-only, Simplified-only and shared Chinese characters."""
    counts = class_counts(text)
    return ScriptCount(counts[TRADITIONAL], counts[SIMPLIFIED], counts[SHARED])


def language_of(text: str) -> str:
    """Name the language of a text, one of `kyara_kedro.records.LANGUAGES`.

    A Chinese character weighs as much as five letters, for code and names in Chinese text are Latin
    too. Chinese whose script cannot be told is "zh"; Latin letters that are not English, and other
    scripts, are "other".
    """
    return _language(text, class_counts(text))


class LanguageSpan(NamedTuple):
    """Characters `start` up to, not including, `end` of a text, and their language."""

    start: int
    end: int
    language: str


def language_spans(text: str) -> list[LanguageSpan]:
    """Name the language of each part of a text; together the spans cover it.

    The parts are sentences and, within a sentence, runs of Latin letters too long for a name. A
    Chinese part that proves no script takes that of the nearest one before it that does, or else
    after it; a part without letters goes with the part before it.
    """
    if not text:
        return []
    points, kinds = code_points(text), classes(text)
    ends = _ends(points, kinds)
    part = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    width = SIMPLIFIED + 1
    counts = np.bincount(part * width + kinds, minlength=len(ends) * width).reshape(-1, width)
    bounds = [0, *ends.tolist()]
    names = [
        _language(text[start:end], row) if any(row[LATIN:]) else ""
        for (start, end), row in zip(pairwise(bounds), counts.tolist(), strict=True)
    ]
    spans: list[LanguageSpan] = []
    for (start, end), name in zip(pairwise(bounds), _settled(names), strict=True):
        first = spans.pop().start if spans and spans[-1].language == name else start
        spans.append(LanguageSpan(first, end, name))
    return spans


def _settled(names: list[str]) -> Iterator[str]:
    """Languages of parts, with the script told where it is unknown, and none empty."""
    scripts = ("zh-Hant-TW", "zh-Hans-CN")
    chinese = next((name for name in names if name in scripts), "zh")
    last = next((name for name in names if name), "other")
    for name in names:
        chinese = name if name in scripts else chinese
        last = chinese if (name or last) == "zh" else name or last
        yield last


def language_shares(text: str) -> dict[str, float]:
    """Share of each language in a text, the largest first; a text without letters has none.

    As in `language_of`, a Chinese character weighs as much as five letters.
    """
    weights: dict[str, int] = {}
    letters = _weights()[classes(text)]
    for start, end, language in language_spans(text):
        weights[language] = weights.get(language, 0) + int(letters[start:end].sum(dtype=np.int64))
    total = sum(weights.values())
    ranked = sorted(weights.items(), key=lambda item: -item[1])
    return {language: weight / total for language, weight in ranked if weight}


def _ends(points: NDArray[np.uint32], kinds: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Where a text's sentences and long runs of Latin letters end, and at last the text."""
    ends = np.isin(points, _SENTENCE_ENDS)
    stops = np.isin(points[:-1], _STOPS) & (points[1:] <= 0x20)
    ends[:-1] |= stops
    narrow = np.concatenate(([False], (kinds < KANA) & (kinds != SYMBOL), [False]))
    runs = (narrow[1:] != narrow[:-1]).nonzero()[0].reshape(-1, 2)
    long = runs[runs[:, 1] - runs[:, 0] >= _LONG_RUN].ravel()
    ends[long[long > 0] - 1] = True
    ends[-1] = True
    return ends.nonzero()[0] + 1


def _language(text: str, counts: list[int]) -> str:
    """Language of a text that has these numbers of characters of each class."""
    han = sum(counts[SHARED:])
    latin = counts[LATIN] + counts[ACCENTED]
    rivals = max(latin, counts[LETTER])
    east_asian = _LETTERS_PER_IDEOGRAPH * (han + counts[KANA]) >= rivals
    if counts[KANA] and east_asian and _IDEOGRAPHS_PER_KANA * counts[KANA] >= han:
        return "ja"
    if han and east_asian:
        if counts[TRADITIONAL] == counts[SIMPLIFIED]:
            return "zh"
        return "zh-Hant-TW" if counts[TRADITIONAL] > counts[SIMPLIFIED] else "zh-Hans-CN"
    return "en" if latin > counts[LETTER] and _is_english(text, counts) else "other"


def _is_english(text: str, counts: list[int]) -> bool:
    english = sum(_WORDS.get(word, 0) for word in text[:_SAMPLE].casefold().split())
    if not english:
        return _LETTERS_PER_ACCENT * counts[ACCENTED] <= counts[LATIN]
    return english > 0


@cache
def class_table() -> NDArray[np.uint8]:
    """Class of every character by its code point, shape [0x110000]."""
    table = np.full(0x110000, SYMBOL, dtype=np.uint8)
    table[:0x80] = OTHER
    points = range(0x30000)
    table[[point for point in points if chr(point).isalpha()]] = LETTER
    table[[point for point in points if chr(point).isdecimal()]] = DIGIT
    ascii_letters = [point for point in range(0x80) if chr(point).isalpha()]
    table[0xC0:0x250][table[0xC0:0x250] == LETTER] = ACCENTED
    table[0x1E00:0x1F00] = ACCENTED
    table[ascii_letters] = LATIN
    for block in _KANA:
        table[block] = KANA
    for block in _IDEOGRAPHS:
        table[block] = SHARED
    table[[ord(letter) for letter in traditional_only()]] = TRADITIONAL
    table[[ord(letter) for letter in simplified_only()]] = SIMPLIFIED
    return table


@cache
def _weights() -> NDArray[np.uint8]:
    """Weight of a character of each class as evidence of a language."""
    weights = np.zeros(SIMPLIFIED + 1, dtype=np.uint8)
    weights[[LATIN, ACCENTED, LETTER]] = 1
    weights[[KANA, SHARED, TRADITIONAL, SIMPLIFIED]] = _LETTERS_PER_IDEOGRAPH
    return weights


@cache
def simplified_only() -> frozenset[str]:
    """Characters that only Simplified Chinese uses."""
    found = {letter for letter in _converted("s2t") if not _common_in_taiwan(letter)}
    return frozenset(found - _USED_IN_TAIWAN | _UNUSED_IN_TAIWAN)


@cache
def traditional_only() -> frozenset[str]:
    """Characters that only Traditional Chinese uses."""
    found = {letter for letter in _converted("t2s") if not _in_gb2312(letter)}
    return frozenset((found | _UNUSED_ON_THE_MAINLAND) - simplified_only())


def _converted(config: str) -> set[str]:
    """Ideographs in canonical form that an OpenCC configuration turns into another character."""
    letters = [chr(point) for block in _IDEOGRAPHS for point in block]
    letters = [letter for letter in letters if unicodedata.is_normalized("NFC", letter)]
    converted = opencc.OpenCC(config).convert("\n".join(letters)).split("\n")
    return {old for old, new in zip(letters, converted, strict=True) if old != new}


def _common_in_taiwan(letter: str) -> bool:
    try:
        return letter.encode("big5") < _BIG5_RARE
    except UnicodeEncodeError:
        return False


def _in_gb2312(letter: str) -> bool:
    try:
        return bool(letter.encode("gb2312"))
    except UnicodeEncodeError:
        return False
