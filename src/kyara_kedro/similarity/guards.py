"""What two texts must agree on before they may count as duplicates: numbers and negation.

"A train goes 30 km" and "a train goes 40 km" share nearly every n-gram and are different problems;
so are a statement and its negation. Public deduplicators merge both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from typing import NamedTuple, TypeVar

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
_RELATIONS, _ARITHMETIC = "=<>×÷±≠≤≥^+!", "*/-−"
_IN_RUN = f"0-9{_DIGIT}{_UNIT}"
_RUN = re.compile(rf"[{_IN_RUN}](?:(?<=[{_IN_RUN}])(?:[{_IN_RUN}.,点分]| (?=\d{{3}}(?!\d)))*)")
_OPERATOR = re.compile(rf"\+\+|[!=<>]=|(?!!)[{_RELATIONS}]|[{re.escape(_ARITHMETIC)}]")
_SIGN = re.compile(r"(?:^|[^\w)\]])[-−]\Z")

_NUMBER_WORD = "|".join(sorted([*_ENGLISH, *_SCALES], key=len, reverse=True))
_WORD = re.compile(
    rf"(?P<english>(?:{_NUMBER_WORD})(?:(?:\s+and\s+|[\s-]+)(?:{_NUMBER_WORD}))*)(?![a-z])"
    rf"|(?P<roman>{'|'.join(sorted(_ROMAN, key=len, reverse=True))})(?![a-z])"
    rf"|(?P<negation>{'|'.join(sorted(_NEGATING, key=len, reverse=True))})(?![a-z])"
)
_LETTERS = 26
_BEGINNINGS = np.zeros((_LETTERS, _LETTERS, _LETTERS + 1), np.bool_)
for _word in (*_ENGLISH, *_SCALES, *_ROMAN, *_NEGATING):
    _BEGINNINGS[tuple(ord(letter) - ord("a") for letter in f"{_word}{{"[:3])] = True
"""Whether a word that begins with three letters, the last perhaps none, may be one of these."""

_IN_NUMBER, _POINTS, _JOINS_NUMBER, _NEGATES, _SIGNIFIES = np.arange(1, 6, dtype=np.uint8)
_KINDS = np.zeros(0x110000, np.uint8)
for _characters, _kind in (
    (f"0123456789{_DIGIT}{_UNIT}", _IN_NUMBER),
    (".,", _POINTS),
    ("点分", _JOINS_NUMBER),
    ("不没无未勿非别'’", _NEGATES),
    (f"{_RELATIONS}{_ARITHMETIC}%#", _SIGNIFIES),
):
    _KINDS[[ord(character) for character in _characters]] = _kind


_NO_NEGATION = {"非": ("", "常洲"), "别": ("特分区类级性个差识辨派", "人墅")}
"""Characters before and after which these two deny nothing."""


T = TypeVar("T")


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
    around = np.concatenate([np.zeros(2, np.uint32), points, np.zeros(2, np.uint32)])
    kinds = _KINDS.take(around)
    numerals, percents = _numbers(whole, around, kinds)
    words, denials = _words(whole, points)
    numbers = _by_text(numerals | words, ends)
    operators = _by_text(dict.fromkeys(percents, "%") | _operators(whole, around, kinds), ends)
    denied = np.searchsorted(ends, np.append(_negations(around, kinds), denials))
    negations = np.bincount(denied, minlength=len(texts)).tolist()
    return [
        Claims(tuple(chain.from_iterable(values)), tuple(signs), count)
        for values, signs, count in zip(numbers, operators, negations, strict=True)
    ]


def _by_text(found: Mapping[int, T], ends: NDArray[np.int64]) -> Iterator[list[T]]:
    """What was found at some places, text by text and in order."""
    places = np.fromiter(found, np.int64, len(found))
    order = np.argsort(places)
    values = list(found.values())
    ordered = [values[place] for place in order.tolist()]
    bounds = np.searchsorted(places[order], ends).tolist()
    for start, end in pairwise([0, *bounds]):
        yield ordered[start:end]


def _numbers(
    whole: str, around: NDArray[np.uint32], kinds: NDArray[np.uint8]
) -> tuple[dict[int, tuple[str, ...]], list[int]]:
    """Values of the numerals that begin at some places, and where 百分之 (per cent) stands.

    Most numerals are runs of digits between letters or spaces; only what may be joined by points,
    commas and spaces, or bear a sign, is looked at by patterns.
    """
    inside, point = kinds == _IN_NUMBER, kinds == _POINTS
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    begins, ends = edges[::2], edges[1::2]
    joins, space = kinds == _JOINS_NUMBER, around == ord(" ")
    part = inside | point | joins
    joins |= inside
    digit = inside & (around <= ord("9"))
    # a point or comma joins only what has more of a number on its other side
    before = joins[begins - 1] | (point[begins - 1] & part[begins - 2])
    gap = space[begins - 1] & (joins[begins - 2] | (point[begins - 2] & part[begins - 3]))
    behind = joins[ends] | (point[ends] & part[ends + 1]) | (space[ends] & digit[ends + 1])
    intricate = before | gap | behind | _among(around[begins - 1], "-−")
    plain = ~intricate
    runs = map(slice, (begins[plain] - 2).tolist(), (ends[plain] - 2).tolist())
    values = map(_plain, map(whole.__getitem__, runs))
    found = dict(zip((begins[plain] - 2).tolist(), values, strict=True))
    percents, last = [], 0
    for start in (begins[intricate] - 2).tolist():
        if start < last or (run := _RUN.match(whole, start)) is None:
            continue
        end = last = run.end()
        if whole.startswith("百分之", end - 2) and _KINDS[ord(whole[end + 1])] == _IN_NUMBER:
            percents.append(start)
            end -= 2
        found[start] = tuple(_signed(whole[start:end], start, whole))
    return found, percents


def _words(
    whole: str, points: NDArray[np.uint32]
) -> tuple[dict[int, tuple[str, ...]], NDArray[np.int64]]:
    """Values of the number words by their places, and the places of negating words."""
    found: dict[int, tuple[str, ...]] = {}
    denials, last = [], 0
    for start in _word_starts(points):
        word = _WORD.match(whole, start) if start >= last else None
        if word is None:
            continue
        last = word.end()
        if word["negation"]:
            denials.append(start)
        else:
            value = _ROMAN[word["roman"]] if word["roman"] else _english(word["english"])
            found[start] = (_canonical(str(value), 0),)
    return found, np.array(denials, np.int64)


def _negations(around: NDArray[np.uint32], kinds: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where a Chinese word, or n't, denies something."""
    places = np.flatnonzero(kinds == _NEGATES)
    point, before, after = around[places], around[places - 1], around[places + 1]
    denies = np.ones(len(places), np.bool_)
    for character, (preceding, following) in _NO_NEGATION.items():
        harmless = _among(before, preceding) | _among(after, following)
        denies &= (point != ord(character)) | ~harmless
    apostrophe = _among(point, "'’")
    ends_word = around[places + 2] - np.uint32(ord("a")) >= _LETTERS
    contracted = (before == ord("n")) & (after == ord("t")) & ends_word
    found: NDArray[np.int64] = places[denies & (~apostrophe | contracted)] - 2
    return found


def _operators(whole: str, around: NDArray[np.uint32], kinds: NDArray[np.uint8]) -> dict[int, str]:
    """Signs by their places; hyphens and slashes beside letters are none."""
    places = np.flatnonzero(kinds == _SIGNIFIES)
    point, before, after = around[places], around[places - 1], around[places + 1]
    arithmetic = _among(point, _ARITHMETIC)
    hyphen = arithmetic & (_is_letter(before) | _is_letter(after))
    exclamation = (point == ord("!")) & (after != ord("="))
    possible = places[~hyphen & ~exclamation] - 2
    return {start: sign for start in possible.tolist() if (sign := _operator(whole, start))}


def _word_starts(points: NDArray[np.uint32]) -> list[int]:
    """Where words of Latin letters begin that may be numbers or negations, by three letters."""
    letters = np.minimum(points - np.uint32(ord("a")), np.uint32(_LETTERS))
    is_letter = letters < _LETTERS
    begins = np.flatnonzero(is_letter[:-1] & is_letter[1:] & ~np.append(False, is_letter[:-2]))
    first, second = letters.take(begins), letters.take(begins + 1)
    third = letters.take(begins + 2, mode="clip")
    found: list[int] = begins[_BEGINNINGS[first, second, third]].tolist()
    return found


def _among(points: NDArray[np.uint32], characters: str) -> NDArray[np.bool_]:
    """Which code points are one of some characters."""
    found = np.zeros(len(points), np.bool_)
    for character in characters:
        found |= points == ord(character)
    return found


def _is_letter(points: NDArray[np.uint32]) -> NDArray[np.bool_]:
    latin = points - np.uint32(ord("a")) < _LETTERS
    return latin | (points - np.uint32(0x4E00) < 0x5200)


def _operator(text: str, start: int) -> str | None:
    """The sign at a place: # behind a letter, * / or - between digits, others behind an operand."""
    if text[start] == "%":
        return "%"
    if text[start] == "#":
        return "#" if "a" <= text[start - 1 : start] <= "z" else None
    match = _OPERATOR.match(text, start)
    if match is None:
        return None
    after = match.end()
    while start and text[start - 1].isspace():
        start -= 1
    operand = text[start - 1 : start]
    if match[0] not in _ARITHMETIC:
        return match[0] if operand.isalnum() or operand in {"_", ")", "]"} else None
    while text[after].isspace():
        after += 1
    return match[0] if operand.isdigit() and text[after].isdigit() else None


def _signed(run: str, start: int, text: str) -> Iterator[str]:
    """Values of the numerals of a run that begins at a place of a text."""
    for place, value, arabic in _values(run):
        at = start + place
        negative = arabic and _SIGN.search(text[max(at - 2, 0) : at])
        yield f"-{value}" if negative else value


@lru_cache(maxsize=1 << 16)
def _plain(run: str) -> tuple[str, ...]:
    """Values of the numerals of a run without signs."""
    return tuple(value for _, value, _ in _values(run))


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
