"""Numbers by value: in running text, as final answers of mathematics, and in a vote.

Arabic, full-width and Chinese numerals, fractions, percentages and powers of ten are read by a
grammar of their own; nothing is evaluated. What has no value here (√3, 2π, x + 1) is compared as
normalised text, as Hendrycks et al. (MATH, arXiv:2103.03874) compare LaTeX.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from kyara_kedro.text.fold import fold

LONGEST = 200
"""Digits of a number; a longer run has no value here. Powers of ten stop at the same figure."""

_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {
    **{digit: value for value, digit in enumerate("〇壹贰叁肆伍陆柒捌玖")},
    "两": 2,
}
_SMALL = {"十": 10, "百": 100, "千": 1_000, "拾": 10, "佰": 100, "仟": 1_000}
_LARGE = {"万": 10**4, "亿": 10**8, "兆": 10**12}
_TENS = {"廿": 20, "卅": 30, "卌": 40}
_DIGIT, _BIG = "".join(_DIGITS), "".join(_LARGE)
_UNIT = "".join(_SMALL) + _BIG
_HAN = _DIGIT + _UNIT + "".join(_TENS)
_NO_NUMBER = re.compile(r"万一|一(?![月日号年岁%世])|[百千万亿兆](?!分之)|十(?=分(?!钟))|one")
"""What is no number in running text when it stands alone: 一些, 百貨, 萬一, 十分."""

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TIES = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = {word: value for value, word in enumerate(_ONES.split())}
_WORDS |= {word: 10 * value for value, word in enumerate(_TIES.split(), start=2)}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9}
_SPELT = "|".join(sorted([*_WORDS, *_SCALES], key=len, reverse=True))

_ARABIC = r"(?:\d{1,3}(?:,\d{3})++(?!\d)|\d++)(?:\.\d++)?"
_COUNT = (
    rf"(?:{_ARABIC}(?: ?(?=[{_BIG}]))?|[{_HAN}])(?:[{_HAN}]|(?<=[{_UNIT}]){_ARABIC})*+"
    rf"(?:点[{_DIGIT}]++(?![十百千分])[{_BIG}]?)?"
)
_NUMBER = re.compile(
    rf"(?<![a-z])(?:(?:(?P<whole>{_COUNT})又)?(?P<low>{_COUNT})分之(?P<high>{_COUNT})"
    r"|(?:(?P<units>\d++)(?:\s+|又))?(?<![\d/])(?P<top>\d++) ?/ ?(?P<bottom>\d++)(?! ?[\d/])"
    rf"|(?P<mantissa>{_ARABIC})(?: ?[×*·] ?10\^\(?(?P<power>[-+]?\d++)\)?"
    r"|e(?P<e>[-+]?\d++)(?!\w))"
    r"|10\^\(?(?P<ten>[-+]?\d++)\)?"
    rf"|(?P<count>{_COUNT})(?: ?(?P<scale>hundred|thousand|million|billion)\b)?)"
    rf"|\b(?P<spelt>(?:{_SPELT})(?:(?:\s+and\s+|[\s-]+)(?:{_SPELT}))*+)\b"
)
_PERCENT = re.compile(r" ?(?:(?P<cent>%|percent\b|per cent\b)|(?P<mille>‰))")
_TIME = re.compile(r" ?(年|月|日|号|岁|世(?=纪)|分(?=钟)|秒)")
_RANGE = re.compile(r" ?[-~到至] ?")
_TALLY = re.compile(
    r"(?:(?<![\d一二三四五六七八九十百千萬万])[二三四五六七八九十兩两\d]\s?"
    r"(?:[個个項项種种點点]|大|方)?\s?(?:主要|重要|關鍵|关键|核心|基本|不同)?的?"
    r"(?:原因|因素|方面|理由|特點|特点|特徵|特征|特色|階段|阶段|步驟|步骤|面向|重點|重点|要點|要点|部分|層面|层面|面(?=[來来說说,，:：])"
    r"|類型|类型|功能|優點|优点|缺點|缺点|影響|影响|條件|条件|時期|时期))"
    r"|\b(?:two|three|four|five|six|seven|[2-9])\s(?:(?:main|major|key|important|different|primary)\s)?"
    r"(?:reasons|factors|aspects|causes|steps|stages|points|parts|features|ways|types|phases|effects)\b",
    re.IGNORECASE,
)
_SIGN = re.compile(r"(?:^|[^\w)\]}])-\s?$|负$")
_RAISED = re.compile("[⁺⁻]?[⁰¹²³⁴-⁹]+")
_RAISED_SIGNS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_VULGAR = re.compile("(?<=[0-9０-９])(?=[¼-¾⅐-⅞])")
_SAME = str.maketrans({"−": "-", "–": "-", "⁄": "/", "∕": "/", "÷": "/", "∶": ":", "✕": "×"})


@dataclass(frozen=True)
class Majority:
    """The outcome of a vote by equivalence.

    Attributes:
        index: The first answer of the largest class, of the earliest where several are largest; -1
            when nothing is answered.
        size: Answers in that class.
        total: All answers, blank ones too.
        unique: Whether no other class is as large.
    """

    index: int
    size: int
    total: int
    unique: bool

    @property
    def difficulty(self) -> float:
        """Share of the answers outside the largest class, in [0, 1]."""
        return 1 - self.size / self.total if self.total else 1.0


class _Found(NamedTuple):
    """A number in a prepared text: its value, and the characters that it takes."""

    value: Fraction
    start: int
    end: int


class _Answer(NamedTuple):
    """A final answer: a Fraction, a structure of values or text; and a number's unit."""

    value: Hashable
    unit: str = ""

    def equals(self, other: _Answer) -> bool:
        mine, theirs = _MEASURES.get(self.unit), _MEASURES.get(other.unit)
        return self.value == other.value and (mine is None or theirs is None or mine == theirs)


def numbers_in(text: str) -> list[Fraction]:
    """The numbers that a text states, in order, by value.

    Words that are no numbers (一些, 百貨, 萬一, "one") and digits inside words are passed over.
    """
    return [value for value, _ in quantities(text)]


def quantities(text: str) -> list[tuple[Fraction, str]]:
    """The same numbers with the unit of time that each counts, empty where it counts none.

    The unit is one folded character: 年 for 1945 年, 日 for 3 日 and 3 號. Both ends of 5至8月
    count months.
    """
    prepared = _prepared(text)
    numbers = list(_numbers(prepared))
    found: list[tuple[Fraction, str]] = []
    follows = len(prepared)
    for number in reversed(numbers):
        unit = _TIME.match(prepared, number.end)
        named = unit[1].replace("号", "日") if unit else ""
        if not named and found and _RANGE.fullmatch(prepared, number.end, follows):
            named = found[-1][1]
        found.append((number.value, named))
        follows = number.start
    return found[::-1]


def without_tallies(text: str) -> str:
    """A text without the counts that introduce its own list: 兩個原因, 三方面, three reasons."""
    return _TALLY.sub(" ", text)


def without_numbers(text: str) -> str:
    """A folded text without the numbers that it states."""
    prepared = _prepared(text)
    parts, last = [], 0
    for number in _numbers(prepared):
        parts.append(prepared[last : number.start])
        last = number.end
    return " ".join([*parts, prepared[last:]])


def measures(text: str) -> list[tuple[Fraction, str]]:
    """The numbers of a text with the measure that each counts, empty where it is none.

    9.25 km and 9.25公里 are the same; years, months and days are told apart as in `quantities`.
    """
    prepared = _prepared(text)
    found = []
    for number, (value, unit) in zip(_numbers(prepared), quantities(text), strict=True):
        measure = _MEASURE.match(prepared, number.end)
        found.append((value, unit or (_MEASURES[measure[1]] if measure else "")))
    return found


def equivalent(a: str, b: str) -> bool:
    """Whether two final answers say the same.

    Numbers are compared by value, and their units only where both are known measures (公里 and km
    agree, 公里 and 公尺 do not, 元 is not looked at). Ratios go by value. {1, 2} and "1 or 2" are
    sets, other lists keep their order, assignments (x = 1, y = 2) theirs by name. Anything else is
    text without white space, LaTeX markup, case, width and script.
    """
    return _read(a).equals(_read(b))


def majority(answers: Sequence[str]) -> Majority:
    """Let answers vote by equivalence.

    Each joins the first class all of whose members it equals, as a number without a unit equals
    both 3 公里 and 3 公尺. Blank answers join none. Takes time quadratic in the number of answers,
    which are the few solutions of one problem.
    """
    read = [_read(answer) for answer in answers]
    classes: list[list[int]] = []
    for index, answer in enumerate(read):
        if answer.value == "":
            continue
        for members in classes:
            if all(answer.equals(read[member]) for member in members):
                members.append(index)
                break
        else:
            classes.append([index])
    if not classes:
        return Majority(-1, 0, len(answers), False)
    largest = max(classes, key=len)
    unique = sum(len(members) == len(largest) for members in classes) == 1
    return Majority(largest[0], len(largest), len(answers), unique)


def _prepared(text: str) -> str:
    """Fold a text without losing ½ and 10⁵ to digits."""
    text = _RAISED.sub(lambda match: f"^({match[0].translate(_RAISED_SIGNS)})", text)
    return fold(_VULGAR.sub(" ", text)).translate(_SAME)


def _numbers(text: str, lone: bool = False) -> Iterator[_Found]:
    """Numbers of a prepared text; `lone` accepts 一 and "one" wherever they stand."""
    for match in _NUMBER.finditer(text):
        start, end = match.span()
        word = not lone and (found := _NO_NUMBER.match(text, start)) and found.end() == end
        value = None if word else _value(match)
        if value is None:
            continue
        if percent := _PERCENT.match(text, end):
            value /= 100 if percent["cent"] else 1_000
            end = percent.end()
        if sign := _SIGN.search(text[max(0, start - 3) : start]):
            value, start = -value, start - len(sign[0].lstrip("([{,:= "))
        yield _Found(value, start, end)


def _value(match: re.Match[str]) -> Fraction | None:
    if match["spelt"]:
        return Fraction(_spelt(match["spelt"]))
    if match["low"]:
        return _fraction(match["whole"], match["high"], match["low"])
    if match["top"]:
        return _fraction(match["units"], match["top"], match["bottom"])
    if match["count"]:
        value = _count(match["count"])
        return value * _SCALES.get(match["scale"], 1) if value is not None else None
    power = match["power"] or match["e"] or match["ten"]
    mantissa = _count(match["mantissa"] or "1")
    if mantissa is None or len(power) > 4 or abs(int(power)) > LONGEST:
        return None
    return mantissa * Fraction(10) ** int(power)


def _fraction(whole: str | None, top: str, bottom: str) -> Fraction | None:
    parts = [_count(whole or "0"), _count(top), _count(bottom)]
    units, upper, lower = parts
    return units + upper / lower if units is not None and upper is not None and lower else None


_TOKEN = re.compile(rf"{_ARABIC}|[{_HAN}]")


def _count(text: str) -> Fraction | None:
    """Value of a count: 3,952, 二〇二四, 兩千零二十四, 三點一四, 2萬5000, 3.5億, 廿五, 兩萬五."""
    if len(text) > LONGEST:
        return None
    integer, _, decimals = text.partition("点")
    if decimals:
        scale = _LARGE.get(decimals[-1], 1)
        digits = [_DIGITS[digit] for digit in decimals if digit in _DIGITS]
        whole = _count(integer)
        part = sum(Fraction(digit, 10**place) for place, digit in enumerate(digits, 1))
        return None if whole is None else (whole + part) * scale
    if all(character in _DIGITS for character in text):
        return Fraction("".join(str(_DIGITS[character]) for character in text))
    tokens = _TOKEN.findall(text)
    return _with_units(tokens)


def _with_units(tokens: Sequence[str]) -> Fraction | None:
    """Value of digits and units in turn; None where two numbers stand side by side."""
    total, section, digit = Fraction(0), Fraction(0), None
    unit, largest, after_zero = 1, 1, False
    for token in tokens:
        if token in _SMALL or token in _TENS:
            unit = _SMALL.get(token, 10)
            section += _TENS.get(token) or (1 if digit is None else digit) * unit
            digit, after_zero = None, False
        elif token in _LARGE:
            below = section + (digit or 0) or Fraction(not total)
            unit = _LARGE[token]
            total = (total + below) * unit if unit > largest else total + below * unit
            section, digit, largest, after_zero = Fraction(0), None, unit, False
        elif digit is not None:
            return None
        elif _DIGITS.get(token) == 0:
            after_zero = True
        else:
            digit = Fraction(_DIGITS.get(token) or token.replace(",", ""))
    rest = digit or Fraction(0)
    colloquial = rest < 10 and unit > 10 and not after_zero
    return total + section + (rest * unit / 10 if colloquial else rest)


def _spelt(words: str) -> int:
    total = section = 0
    for word in re.findall("[a-z]+", words):
        if word == "hundred":
            section = (section or 1) * 100
        elif word in _SCALES:
            total, section = total + (section or 1) * _SCALES[word], 0
        else:
            section += _WORDS.get(word, 0)
    return total + section


# Final answers

_MEASURES = {
    fold(name): names.split()[0]
    for names in (
        "公里 km 千米 kilometers kilometer",
        "公尺 m 米 meters meter",
        "公分 cm 厘米 centimeters centimeter",
        "公厘 mm 毫米",
        "公斤 kg 千克 kilograms kilogram",
        "公克 g 克 grams gram",
        "公噸 噸 t tons",
        "公升 l 升 liters liter",
        "毫升 ml cc",
        "小時 h hr hrs hours hour 個小時",
        "分鐘 min mins minutes minute",
        "秒 s sec secs seconds second 秒鐘",
        "天 日 days day",
        "週 周 星期 weeks week",
        "個月 months month",
        "年 years year",
        "平方公尺 m^2 m2 平方米",
        "平方公分 cm^2 cm2 平方厘米",
        "立方公尺 m^3 m3 立方米",
        "立方公分 cm^3 cm3 立方厘米",
    )
    for name in names.split()
}
_LONGEST_FIRST = sorted(map(re.escape, _MEASURES), key=len, reverse=True)
_MEASURE = re.compile(rf" ?(?:个(?=星期|小时))?({'|'.join(_LONGEST_FIRST)})(?![a-z])")
_TAIL = re.compile(r"[^\d√π∞=+*<>^,:/(){}\\!]{0,24}(?:/ ?[^\W\d]{1,12})?(?:\^[23]|(?<=[a-z])[23])?")
_VARIABLES = re.compile(r"[a-z]{1,2}")
_LEAD = re.compile(
    r"(?:[a-z]\w? ?= ?|所以|因此|故|最后|最终|答案?(?:是|为)?|总共|一共|共计?|[合总]计|大?约|等于"
    r"|[是为=≈:]|the |answer(?: is)?|is |about |approximately |total(?: of)? "
    r"|(?:nt|us)(?= ?\d)|[€£¥]|新?台币|人民币|美元) ?"
)
_NAMED = re.compile(r"([a-z]\w?) ?= ?(?=[^=])")
_RATIO = re.compile(rf"{_COUNT}(?: ?[:比] ?{_COUNT})++")
_OR = re.compile(r" ?或者? ?| or ")
_COMMA = re.compile(r"(?:(?<!\d),|,(?!\d{3}(?!\d))|[、;]|,(?= )) ?")
_GAP = re.compile(r"\s+")
_COMMANDS = (
    *(("\\%", "%"), ("\\$", ""), ("{,}", ","), ("\\times", "×"), ("\\cdot", "·"), ("\\pi", "π")),
    *(("^\\circ", "°"), ("^{\\circ}", "°"), ("\\{", "⦃"), ("\\}", "⦄")),
)
_SPACING = re.compile(r"\\(?:left|right|displaystyle|quad|qquad|circ|[,;:! ()\[\]])|[$~]|\*\*|`")
_WORDING = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|operatorname) ?\{([^{}]*)\}")
_ROOT = re.compile(r"\\sqrt ?(?:\{([^{}]*)\}|(\w))|√ ?(\d+|[a-z])")
_QUOTIENT = re.compile(r"\\[dtc]?frac ?(?:\{([^{}]*)\}|(\d)) ?(?:\{([^{}]*)\}|(\d))")
_SIMPLE_EXPONENT = re.compile(r"\^\((\w+)\)")
_EXPONENT = re.compile(r"\^ ?\{([^{}]*)\}")
_PRODUCT = re.compile(r"-?[\w.√π()]*")
_ATOM = re.compile(r"[\w.]*|√\(\w*\)")
_NESTED = 8


def _read(text: str) -> _Answer:
    plain = _plain(text[: 10 * LONGEST])
    return _number(plain) or _Answer(_structure(plain))


def _plain(text: str) -> str:
    """An answer on one line without markup: \\dfrac{1}{2} as 1/2, √3 as √(3)."""
    text = _boxed(text)
    for command, sign in _COMMANDS:
        text = text.replace(command, sign)
    text = _SPACING.sub(" ", _prepared(text))
    for _ in range(_NESTED):
        simpler = _WORDING.sub(r" \1", text)
        simpler = _ROOT.sub(lambda match: f"√({''.join(filter(None, match.groups()))})", simpler)
        simpler = _SIMPLE_EXPONENT.sub(r"^\1", _EXPONENT.sub(r"^(\1)", simpler))
        simpler = _QUOTIENT.sub(_quotient, simpler)
        if simpler == text:
            break
        text = simpler
    text = text.translate({ord("⦃"): "{", ord("⦄"): "}"})
    return _GAP.sub(" ", text).strip().strip(".。 ,").strip()


def _boxed(text: str) -> str:
    """What the last \\boxed{} holds; the text itself when there is none."""
    _, found, rest = text.rpartition("\\boxed")
    rest = rest.lstrip()
    if not found or not rest.startswith("{"):
        return text
    depth = 0
    for position, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[1:position]
    return rest[1:]


def _quotient(match: re.Match[str]) -> str:
    top, bottom = match[1] or match[2] or "", match[3] or match[4] or ""
    top = top if _PRODUCT.fullmatch(top) else f"({top})"
    return f" {top}/{bottom if _ATOM.fullmatch(bottom) else f'({bottom})'}"


def _number(plain: str) -> _Answer | None:
    """An answer that is one number, with what may stand before it and a unit after it."""
    start = 0
    while lead := _LEAD.match(plain, start):
        start = lead.end()
    body = plain[start:]
    found = next(_numbers(body, lone=True), None)
    if found is None or body[: found.start].strip(" +("):
        return None
    unit = body[found.end :].strip(" )")
    if not _TAIL.fullmatch(unit) or (_VARIABLES.fullmatch(unit) and unit not in _MEASURES):
        return None
    return _Answer(found.value, unit)


def _structure(plain: str) -> Hashable:
    """The value of any other answer: a ratio, a set, assignments, a list, or text."""
    if _RATIO.fullmatch(plain):
        return ("ratio", *_reduced([_count(part.strip()) for part in re.split("[:比]", plain)]))
    brackets = plain[:1] + plain[-1:] if plain[:1] in set("([{") else ""
    inner = plain[1:-1] if brackets else plain
    choices = _OR.split(inner)
    parts = _COMMA.split(inner)
    if len(choices) > 1 or brackets == "{}":
        chosen = choices if len(choices) > 1 else parts
        return ("set", frozenset(_item(part) for part in chosen))
    if len(parts) == 1:
        return _GAP.sub("", _NAMED.sub("", plain, count=1)).replace("*", "").replace("·", "")
    named = [_NAMED.match(part) for part in parts]
    items = [_item(part) for part in parts]
    if all(named):
        names = [match[1] for match in named if match]
        return ("assigned", frozenset(zip(names, items, strict=True)))
    return ("list", brackets if brackets != "()" else "", *items)


def _item(text: str) -> Hashable:
    answer = _number(text.strip())
    return answer.value if answer else _GAP.sub("", text)


def _reduced(parts: Sequence[Fraction | None]) -> tuple[Hashable, ...]:
    """Terms of a ratio over the first that is not zero, so that 6:8 equals 3:4."""
    scale = next((part for part in parts if part), None)
    return tuple(part / scale if part is not None and scale else part for part in parts)
