"""What two texts must agree on before they may count as duplicates: numbers and negation.

"A train goes 30 km" and "a train goes 40 km" share nearly every n-gram and are different problems;
so are a statement and its negation. Public deduplicators merge both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.text.fold import fold, fold_many

_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {
    **{digit: value for value, digit in enumerate("〇壹贰叁肆伍陆柒捌玖")},
    "两": 2,
}
_UNITS = {"十": 1, "拾": 1, "百": 2, "佰": 2, "千": 3, "仟": 3, "万": 4, "亿": 8}
_UNITS = {fold(unit): power for unit, power in _UNITS.items()}
_DIGITS = {fold(digit): value for digit, value in _DIGITS.items()}

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth"
_ENGLISH = {word: value for value, word in enumerate(_SMALL.split())}
_ENGLISH |= {word: 10 * value for value, word in enumerate(_TENS.split(), start=2)}
_ENGLISH |= {word: value for value, word in enumerate(_ORDINALS.split(), start=1)}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9}
_ROMAN = {"ii": 2, "iii": 3, "iv": 4, "vi": 6, "vii": 7, "viii": 8, "ix": 9, "xi": 11, "xii": 12}

_NEGATING = ("not", "no", "never", "cannot", "nor", "none", "nobody", "nothing", "without")

_LONGEST = 40  # characters of a numeral; longer runs are decoration and compared as text

_DIGIT, _UNIT = "".join(_DIGITS), "".join(_UNITS)
_NUMERAL = re.compile(
    rf"(?P<arabic>\d{{1,3}}(?:[ ,]\d{{3}})+(?!\d)|\d+)(?P<fraction>\.\d+)?(?P<scale>[{_UNIT}]*)"
    rf"|(?P<chinese>[{_DIGIT}{_UNIT}]+)(?:点(?P<decimals>[{_DIGIT}]+)(?![{_UNIT}分]))?"
)
_RELATIONS, _ARITHMETIC = "=<>×÷±≠≤≥^+!", "*/\\-−"
_IN_RUN = f"0-9{_DIGIT}{_UNIT}"
_MARK = re.compile(
    rf"[{_IN_RUN}%不没无未勿非别'’#{_RELATIONS}{_ARITHMETIC}]"
    rf"(?:(?<=[{_IN_RUN}])(?:[{_IN_RUN}.,点分]| (?=\d{{3}}(?!\d)))*)?"
)
"""Where a number, a sign or a negation may be; one class of characters is quickest to look for."""
_RUN_BEGINS, _NEGATES = frozenset(f"0123456789{_DIGIT}{_UNIT}"), frozenset("不没无未勿")
_IS_NEGATION = re.compile(
    r"非(?![常洲])|别(?<![特分区类级性个差识辨派]别)(?![人墅])|(?<=n)['’]t(?![a-z])"
)
_IS_OPERATOR = re.compile(rf"\+\+|[!=<>]=|(?!!)[{_RELATIONS}]|[{_ARITHMETIC}]|(?<=[a-z])#|%")
_SIGN = re.compile(r"(?:^|[^\w)\]])[-−]$")

_NUMBER_WORD = "|".join(sorted([*_ENGLISH, *_SCALES], key=len, reverse=True))
_WORD = re.compile(
    rf"(?P<english>(?:{_NUMBER_WORD})(?:(?:\s+and\s+|[\s-]+)(?:{_NUMBER_WORD}))*)(?![a-z])"
    rf"|(?P<roman>{'|'.join(sorted(_ROMAN, key=len, reverse=True))})(?![a-z])"
    rf"|(?P<negation>{'|'.join(sorted(_NEGATING, key=len, reverse=True))})(?![a-z])"
)
_ALPHABET = 26
_BEGINNINGS = np.zeros(_ALPHABET**2, np.bool_)
for _word in (*_ENGLISH, *_SCALES, *_ROMAN, *_NEGATING):
    _BEGINNINGS[(ord(_word[0]) - ord("a")) * _ALPHABET + ord(_word[1]) - ord("a")] = True


class Claims(NamedTuple):
    """What a text says that n-grams are blind to.

    Attributes:
        numbers: Values in order, canonical ("3e1" for 30, 三十, ３０ and thirty).
        operators: Arithmetic and comparison signs in order, and the signs of C++ and C#.
        negations: How many negating words there are.
    """

    numbers: tuple[str, ...]
    operators: tuple[str, ...]
    negations: int


def claims(text: str) -> Claims:
    """Read the numbers, operators and negations of a text."""
    return claims_of([text])[0]


def claims_of(texts: Sequence[str]) -> list[Claims]:
    """Read the numbers, operators and negations of each text.

    All texts are read as one, for the patterns cost less than to begin with each text anew.
    """
    folded = fold_many(texts)
    points, ends = folded.points.copy(), np.cumsum(folded.lengths + 1) - 1
    points[ends] = 0
    whole = points.tobytes().decode("utf-32-le", "surrogatepass")
    numbers: list[list[tuple[int, str]]] = [[] for _ in texts]
    operators: list[list[str]] = [[] for _ in texts]
    negations = [0] * len(texts)
    bounds = ends.tolist()
    text = 0
    for match in _MARK.finditer(whole):
        start, end = match.span()
        while start > bounds[text]:
            text += 1
        first = whole[start]
        if first in _RUN_BEGINS:
            if whole.startswith("百分之", end - 2) and whole[end + 1] in _RUN_BEGINS:
                operators[text].append("%")
                end -= 2
            numbers[text].extend(_numerals(whole[start:end], start, whole))
        elif first in _NEGATES or _IS_NEGATION.match(whole, start):
            negations[text] += 1
        elif sign := _operator(whole, start):
            operators[text].append(sign)
    text = last = 0
    for start in _word_starts(points):
        word = _WORD.match(whole, start) if start >= last else None
        if word is None:
            continue
        last = word.end()
        while start > bounds[text]:
            text += 1
        if word["negation"]:
            negations[text] += 1
        else:
            value = _ROMAN[word["roman"]] if word["roman"] else _english(word["english"])
            numbers[text].append((start, _canonical(str(value), 0)))
    return [
        Claims(tuple(value for _, value in sorted(found)), tuple(signs), denials)
        for found, signs, denials in zip(numbers, operators, negations, strict=True)
    ]


def _word_starts(points: NDArray[np.uint32]) -> list[int]:
    """Where words of Latin letters begin that may be numbers or negations, by two letters."""
    letters = points - np.uint32(ord("a"))
    is_letter = letters < _ALPHABET
    begins = np.flatnonzero(is_letter[:-1] & is_letter[1:] & ~np.append(False, is_letter[:-2]))
    pairs = letters.take(begins) * np.uint32(_ALPHABET) + letters.take(begins + 1)
    found: list[int] = begins[_BEGINNINGS[pairs]].tolist()
    return found


def _operator(text: str, start: int) -> str | None:
    """The sign at a place that stands behind an operand, and if * / or - before a number too."""
    match = _IS_OPERATOR.match(text, start)
    if match is None or match[0] in "#%":
        return match and match[0]
    after = match.end()
    while start and text[start - 1].isspace():
        start -= 1
    operand = text[start - 1 : start]
    if match[0] not in "*/-−":
        return match[0] if operand.isalnum() or operand in {"_", ")", "]"} else None
    while text[after].isspace():
        after += 1
    return match[0] if operand.isdigit() and text[after].isdigit() else None


def _numerals(run: str, start: int, text: str) -> list[tuple[int, str]]:
    """Where the numerals of a run stand in a text, and their values."""
    found = []
    for place, value, arabic in _values(run):
        at = start + place
        negative = arabic and _SIGN.search(text[max(at - 2, 0) : at])
        found.append((at, f"-{value}" if negative else value))
    return found


@lru_cache(maxsize=1 << 16)
def _values(run: str) -> tuple[tuple[int, str, bool], ...]:
    """Place and value of each numeral in a run, and whether its digits are Arabic."""
    return tuple(
        (match.start(), _numeral(match), match["arabic"] is not None)
        for match in _NUMERAL.finditer(run)
    )


def _numeral(match: re.Match[str]) -> str:
    if match["arabic"]:
        fraction = (match["fraction"] or ".")[1:]
        power = sum(_UNITS[unit] for unit in match["scale"])
        return _canonical(re.sub("[ ,]", "", match["arabic"]) + fraction, power - len(fraction))
    if len(match["chinese"]) > _LONGEST:
        return match["chinese"]
    decimals = "".join(str(_DIGITS[digit]) for digit in match["decimals"] or "")
    return _canonical(_chinese(match["chinese"]) + decimals, -len(decimals))


def _canonical(digits: str, power: int) -> str:
    """Write digits x 10^power so that equal values are equal strings, whatever their length."""
    significant = digits.lstrip("0")
    if not significant:
        return "0"
    stripped = significant.rstrip("0")
    return f"{stripped}e{power + len(significant) - len(stripped)}"


def _chinese(numeral: str) -> str:
    """Decimal digits of a Chinese numeral: positional (二〇二四) or with units (两千零二十四)."""
    if not any(character in _UNITS for character in numeral):
        return "".join(str(_DIGITS[digit]) for digit in numeral)
    total = section = digit = 0
    for character in numeral:
        if character in _DIGITS:
            digit = _DIGITS[character]
        elif _UNITS[character] < _UNITS["万"]:
            section += (digit or 1) * 10 ** _UNITS[character]
            digit = 0
        else:
            if character == "亿":
                total, section = 0, total + section
            total += (section + digit or 1) * 10 ** _UNITS[character]
            section = digit = 0
    return str(total + section + digit)


def _english(words: str) -> int:
    total = section = 0
    for word in re.findall("[a-z]+", words):
        if word in _ENGLISH:
            section += _ENGLISH[word]
        elif word == "hundred":
            section = (section or 1) * _SCALES[word]
        elif word in _SCALES:
            total += (section or 1) * _SCALES[word]
            section = 0
    return total + section
