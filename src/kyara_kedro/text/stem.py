"""Stems of English words, by the algorithm of M. F. Porter (Program 14(3), 1980)."""

from __future__ import annotations

import re
from functools import cache

_CONSONANT, _VOWEL = "c", "v"
_SHORT = re.compile(r"cvc$")
_STEP_2 = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"),
    ("abli", "able"), ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"),
    ("ization", "ize"), ("ation", "ate"), ("ator", "ate"), ("alism", "al"), ("iveness", "ive"),
    ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"), ("iviti", "ive"), ("biliti", "ble"),
)  # fmt: skip
_STEP_3 = (
    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"),
    ("ful", ""), ("ness", ""),
)  # fmt: skip
_AFTER_S_OR_T = ("sion", "tion")
"""Endings of which the first letter stays."""
_LAST = "al ance ence er ic able ible ant ement ment ent sion tion ou ism ate iti ous ive ize"
_STEP_4 = tuple((ending, "") for ending in _LAST.split())


@cache
def stem(word: str) -> str:
    """Take the endings off a word of lower-case letters; other words come back as they are."""
    if len(word) < 3 or not re.fullmatch("[a-z]+", word):
        return word
    word = _plural(word)
    word = _past(word)
    if word.endswith("y") and _VOWEL in _form(word[:-1]):
        word = word[:-1] + "i"
    word = _replaced(word, _STEP_2, 1)
    word = _replaced(word, _STEP_3, 1)
    word = _replaced(word, _STEP_4, 2)
    if word.endswith("e"):
        left = _measure(word[:-1])
        if left > 1 or (left == 1 and not _ends_short(word[:-1])):
            word = word[:-1]
    if word.endswith("ll") and _measure(word) > 1:
        word = word[:-1]
    return word


def _plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    if word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word


def _past(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) else word
    for ending in ("ed", "ing"):
        left = word.removesuffix(ending)
        if left != word:
            return _mended(left) if _VOWEL in _form(left) else word
    return word


def _mended(word: str) -> str:
    """A word whose -ed or -ing was taken off, with the letters that it had before."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if word[-1:] == word[-2:-1] and word[-1] not in "lsz" and _form(word).endswith("cc"):
        return word[:-1]
    if _measure(word) == 1 and _ends_short(word):
        return word + "e"
    return word


def _replaced(word: str, endings: tuple[tuple[str, str], ...], least: int) -> str:
    """Exchange the longest ending, where what stands before it measures at least so much."""
    fits = [(old, new) for old, new in endings if word.endswith(old)]
    if not fits:
        return word
    old, new = max(fits, key=lambda pair: len(pair[0]))
    left = word[: len(word) - len(old)] + (old[0] if old in _AFTER_S_OR_T else "")
    return left + new if _measure(left) >= least else word


def _form(word: str) -> str:
    """The word in consonants and vowels; y is a vowel after a consonant."""
    form = ""
    for letter in word:
        vowel = letter in "aeiou" or (letter == "y" and form[-1:] == _CONSONANT)
        form += _VOWEL if vowel else _CONSONANT
    return form


def _measure(word: str) -> int:
    """How often a consonant follows a vowel."""
    return len(re.findall("vc", _form(word)))


def _ends_short(word: str) -> bool:
    return bool(_SHORT.search(_form(word))) and word[-1] not in "wxy"
