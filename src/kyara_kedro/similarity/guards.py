"""What two texts must agree on before they may count as duplicates: numbers and negation.

"A train goes 30 km" and "a train goes 40 km" share nearly every n-gram and are different problems;
so are a statement and its negation. Public deduplicators merge both.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kyara_kedro.text.fold import fold

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
_NUMBER_WORDS = frozenset([*_ENGLISH, *_SCALES, *_ROMAN])

_LONGEST = 40  # characters of a numeral; longer runs are decoration and compared as text

_DIGIT, _UNIT = "".join(_DIGITS), "".join(_UNITS)
_WORDS = "|".join(sorted([*_ENGLISH, *_SCALES], key=len, reverse=True))
_RUN = re.compile(rf"[\d{_DIGIT}{_UNIT}][\d{_DIGIT}{_UNIT}.,点分]*")
_NUMERAL = re.compile(
    rf"(?P<arabic>\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+)(?P<fraction>\.\d+)?(?P<scale>[{_UNIT}]*)"
    rf"|(?P<chinese>[{_DIGIT}{_UNIT}]+)(?:点(?P<decimals>[{_DIGIT}]+)(?![{_UNIT}分]))?"
)
_SPELT = re.compile(
    rf"(?<![a-z])(?:(?P<english>(?:{_WORDS})(?:(?:\s+and\s+|[\s-]+)(?:{_WORDS}))*)"
    rf"|(?P<roman>{'|'.join(sorted(_ROMAN, key=len, reverse=True))}))(?![a-z])"
)
_SIGN = re.compile(r"(?:^|[^\w)\]])[-−]$")
_PERCENT = re.compile(rf"百分之([\d.{_DIGIT}{_UNIT}]+)")
_OPERATORS = re.compile(r"[+=<>×÷±≠≤≥^!*/\-−%#]")
_OPERATOR = re.compile(
    r"(?<=[\w)\]])\s*(\+\+|[!=<>]=|[+=<>×÷±≠≤≥^])"
    r"|(?<=\d)\s*([*/\-−])\s*(?=\d)"
    r"|(%)"
    r"|(?<=[a-z])(#)"
)
_LATIN = re.compile(r"[a-z]+")
_NEGATION = re.compile(
    r"[不没无未勿]|[非](?![常洲])|[别](?<![特分区类级性个差识辨派]别)(?![人墅])|[n]['’]t(?![a-z])"
)
_NEGATING = frozenset(
    {"not", "no", "never", "cannot", "nor", "none", "nobody", "nothing", "without"}
)


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
    folded = _PERCENT.sub(r"\1%", fold(text))
    words = _LATIN.findall(folded)
    numbers = [
        (match.start(), _numeral(match, folded))
        for run in _RUN.finditer(folded)
        for match in _NUMERAL.finditer(folded, run.start(), run.end())
    ]
    if not _NUMBER_WORDS.isdisjoint(words):
        numbers.extend((match.start(), _spelt(match)) for match in _SPELT.finditer(folded))
    operators = _OPERATOR.finditer(folded) if _OPERATORS.search(folded) else ()
    return Claims(
        tuple(number for _, number in sorted(numbers)),
        tuple("".join(filter(None, match.groups())) for match in operators),
        len(_NEGATION.findall(folded)) + sum(word in _NEGATING for word in words),
    )


def _numeral(match: re.Match[str], text: str) -> str:
    if match["arabic"]:
        start = match.start()
        sign = "-" if _SIGN.search(text[max(start - 2, 0) : start]) else ""
        fraction = (match["fraction"] or ".")[1:]
        power = sum(_UNITS[unit] for unit in match["scale"])
        return sign + _canonical(match["arabic"].replace(",", "") + fraction, power - len(fraction))
    if len(match["chinese"]) > _LONGEST:
        return match["chinese"]
    decimals = "".join(str(_DIGITS[digit]) for digit in match["decimals"] or "")
    return _canonical(_chinese(match["chinese"]) + decimals, -len(decimals))


def _spelt(match: re.Match[str]) -> str:
    value = _ROMAN[match["roman"]] if match["roman"] else _english(match["english"])
    return _canonical(str(value), 0)


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
