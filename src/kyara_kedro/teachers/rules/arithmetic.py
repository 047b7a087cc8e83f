"""Word problems from templates, and an exact solver that reads them back.

The solver knows nothing of how a problem was posed: it parses the text, calculates with fractions,
and declines whatever it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from kyara_kedro.content import content_id
from kyara_kedro.text.fold import fold

Numbers = dict[str, Fraction]


@dataclass(frozen=True)
class Family:
    """Problems of one kind.

    Attributes:
        text: The problem by language, with slots ``{who}``, ``{item}`` and numbers.
        draw: Numbers as (lowest, highest, step).
        work: Intermediate results in order; the last one, ``x``, is the answer. It raises
            ``ValueError`` on numbers that make no sense.
        steps: The solution by language, in terms of numbers and results.
    """

    text: Mapping[str, str]
    draw: Mapping[str, tuple[int, int, int]]
    work: Callable[[Numbers], Numbers]
    steps: Mapping[str, str]


def _positive(results: Numbers) -> Numbers:
    if any(value <= 0 for value in results.values()):
        raise ValueError("the numbers make no sense")
    return results


def _discount(n: Numbers) -> Numbers:
    u = n["c"] * n["b"]
    v = (n["a"] - n["c"]) * n["b"] * n["d"] / 10
    return _positive({"k": n["a"] - n["c"], "u": u, "v": v, "x": u + v})


def _average_speed(n: Numbers) -> Numbers:
    u, v = n["a"] * n["b"], n["c"] * n["d"]
    return _positive({"u": u, "v": v, "t": n["b"] + n["d"], "x": (u + v) / (n["b"] + n["d"])})


def _shared_work(n: Numbers) -> Numbers:
    done = n["c"] / n["a"] + n["c"] / n["b"]
    return _positive({"u": done, "v": 1 - done, "x": (1 - done) * n["b"]})


def _changes(n: Numbers) -> Numbers:
    u = n["a"] * (100 + n["b"]) / 100
    return _positive({"u": u, "x": u * (100 - n["c"]) / 100})


def _average(n: Numbers) -> Numbers:
    u, v = n["a"] * n["b"], n["c"] * n["d"]
    return _positive({"u": u, "v": v, "t": n["a"] + n["c"], "x": (u + v) / (n["a"] + n["c"])})


def _path(n: Numbers) -> Numbers:
    p, q = n["a"] + 2 * n["c"], n["b"] + 2 * n["c"]
    u, v = p * q, n["a"] * n["b"]
    return _positive({"p": p, "q": q, "u": u, "v": v, "x": u - v})


def _two_kinds(n: Numbers) -> Numbers:
    if n["b"] <= n["c"]:
        raise ValueError("the large one must cost more")
    u = n["a"] * n["c"]
    x = (n["d"] - u) / (n["b"] - n["c"])
    if x.denominator != 1 or x >= n["a"]:
        raise ValueError("there is no whole solution")
    return _positive({"u": u, "v": n["d"] - u, "w": n["b"] - n["c"], "x": x})


def _series(n: Numbers) -> Numbers:
    last = n["a"] + (n["c"] - 1) * n["b"]
    return _positive({"u": last, "x": (n["a"] + last) * n["c"] / 2})


FAMILIES: tuple[Family, ...] = (
    Family(
        {
            "zh-TW": "{who}要採購{a}份{item}，每份{b}元，店家對超過{c}份的部分打{d}折。一共要"
            "付多少元？",
            "en": "{who} buys {a} {item} at {b} dollars each; the shop charges {d} tenths of the "
            "price for every one beyond the first {c}. How many dollars does it cost in all?",
        },
        {"a": (30, 90, 1), "b": (20, 300, 10), "c": (10, 25, 5), "d": (6, 9, 1)},
        _discount,
        {
            "zh-TW": "前{c}份不打折：{c}×{b}＝{u}（元）。\n其餘{a}－{c}＝{k}份打{d}折：{k}×{b"
            "}×{d}/10＝{v}（元）。\n"
            "合計：{u}＋{v}＝{x}（元）。",
            "en": "The first {c} cost {c} × {b} = {u} dollars.\nThe other {a} - {c} = {k} cost "
            "{k} × {b} × {d}/10 = {v} dollars.\nTogether: {u} + {v} = {x} dollars.",
        },
    ),
    Family(
        {
            "zh-TW": "{who}先以每小時{a}公里的速度走了{b}小時，再以每小時{c}公里的速度走了{d}小時。"
            "全程的平均速度是每小時多少公里？",
            "en": "{who} travels {b} hours at {a} kilometres an hour, then {d} hours at {c} k"
            "ilometres an "
            "hour. What is the average speed of the whole trip in kilometres an hour?",
        },
        {"a": (4, 60, 2), "b": (1, 5, 1), "c": (3, 50, 1), "d": (1, 5, 1)},
        _average_speed,
        {
            "zh-TW": "前段路程：{a}×{b}＝{u}（公里）。\n後段路程：{c}×{d}＝{v}（公里）。\n"
            "總時間：{b}＋{d}＝{t}（小時）。\n平均速度：（{u}＋{v}）÷{t}＝{x}（公里／小時）。",
            "en": "First part: {a} × {b} = {u} km.\nSecond part: {c} × {d} = {v} km.\nTime: {"
            "b} + {d} = {t} "
            "hours.\nAverage speed: ({u} + {v}) / {t} = {x} km/h.",
        },
    ),
    Family(
        {
            "zh-TW": "{who}獨自完成一批{item}要{a}天，夥伴獨自完成要{b}天。兩人合作{c}天後，"
            "其餘由夥伴獨自完成，"
            "夥伴還要做多少天？",
            "en": "{who} needs {a} days to finish a batch of {item} alone, a partner needs {b"
            "} days. They work "
            "together for {c} days, then the partner goes on alone. How many more days does t"
            "he partner need?",
        },
        {"a": (6, 30, 1), "b": (6, 30, 1), "c": (1, 6, 1)},
        _shared_work,
        {
            "zh-TW": "把全部工作看成1。合作{c}天完成：{c}/{a}＋{c}/{b}＝{u}。\n剩下：1－{u}＝"
            "{v}。\n"
            "夥伴每天完成1/{b}，還要：{v}÷1/{b}＝{x}（天）。",
            "en": "Take the whole work as 1. In {c} days together: {c}/{a} + {c}/{b} = {u}.\n"
            "Left: 1 - {u} = "
            "{v}.\nThe partner does 1/{b} a day and needs {v} × {b} = {x} days.",
        },
    ),
    Family(
        {
            "zh-TW": "{who}去年處理了{a}件{item}，今年比去年增加{b}%，預計明年比今年減少{c}%"
            "。預計明年處理多少件？",
            "en": "{who} handled {a} {item} last year. This year it is {b}% more, and next ye"
            "ar it is "
            "expected to be {c}% less than this year. How many are expected next year?",
        },
        {"a": (200, 4000, 200), "b": (5, 50, 5), "c": (10, 40, 10)},
        _changes,
        {
            "zh-TW": "今年：{a}×（100＋{b}）/100＝{u}（件）。\n明年：{u}×（100－{c}）/100＝{x"
            "}（件）。",
            "en": "This year: {a} × (100 + {b})/100 = {u}.\nNext year: {u} × (100 - {c})/100 "
            "= {x}.",
        },
    ),
    Family(
        {
            "zh-TW": "{who}前{a}天平均每天完成{b}件{item}，後{c}天平均每天完成{d}件。這段期間"
            "平均每天完成多少件？",
            "en": "{who} finishes {b} {item} a day on average over the first {a} days and {d}"
            " a day "
            "over the next {c} days. What is the daily average of the whole period?",
        },
        {"a": (2, 12, 1), "b": (5, 60, 1), "c": (2, 12, 1), "d": (5, 60, 1)},
        _average,
        {
            "zh-TW": "前{a}天共：{a}×{b}＝{u}（件）。\n後{c}天共：{c}×{d}＝{v}（件）。\n"
            "總天數：{a}＋{c}＝{t}（天）。\n平均：（{u}＋{v}）÷{t}＝{x}（件）。",
            "en": "First {a} days: {a} × {b} = {u}.\nNext {c} days: {c} × {d} = {v}.\nDays: {"
            "a} + {c} = {t}.\n"
            "Average: ({u} + {v}) / {t} = {x}.",
        },
    ),
    Family(
        {
            "zh-TW": "{who}要在長{a}公尺、寬{b}公尺的長方形場地外圍鋪一圈寬{c}公尺的步道。步"
            "道的面積是多少平方公尺？",
            "en": "{who} lays a path {c} metres wide around the outside of a rectangular site"
            " {a} metres long and "
            "{b} metres wide. What is the area of the path in square metres?",
        },
        {"a": (12, 60, 1), "b": (8, 40, 1), "c": (1, 5, 1)},
        _path,
        {
            "zh-TW": "含步道的長：{a}＋2×{c}＝{p}（公尺）；寬：{b}＋2×{c}＝{q}（公尺）。\n"
            "總面積：{p}×{q}＝{u}（平方公尺）；場地：{a}×{b}＝{v}（平方公尺）。\n步道：{u}－{"
            "v}＝{x}（平方公尺）。",
            "en": "With the path: {a} + 2 × {c} = {p} m long and {b} + 2 × {c} = {q} m wide."
            "\nAreas: {p} × {q} = "
            "{u} and {a} × {b} = {v} square metres.\nPath: {u} - {v} = {x} square metres.",
        },
    ),
    Family(
        {
            "zh-TW": "{who}準備了大、小兩種{item}共{a}份，大份每份{b}元，小份每份{c}元，總價"
            "是{d}元。大份有多少份？",
            "en": "{who} prepares {a} {item}, large ones at {b} dollars and small ones at {c}"
            " dollars, "
            "worth {d} dollars in all. How many are large?",
        },
        {"a": (12, 60, 1), "b": (60, 150, 10), "c": (20, 50, 10), "d": (1000, 6000, 10)},
        _two_kinds,
        {
            "zh-TW": "假設全是小份：{a}×{c}＝{u}（元）。\n少算了：{d}－{u}＝{v}（元）。\n"
            "每換一份大份多{b}－{c}＝{w}（元），所以大份有：{v}÷{w}＝{x}（份）。",
            "en": "If all were small: {a} × {c} = {u} dollars.\nThat is {d} - {u} = {v} dolla"
            "rs short.\nEach large "
            "one adds {b} - {c} = {w} dollars, so there are {v} / {w} = {x}.",
        },
    ),
    Family(
        {
            "zh-TW": "{who}第一週完成{a}件{item}，之後每週都比前一週多完成{b}件。前{c}週一共"
            "完成多少件？",
            "en": "{who} finishes {a} {item} in the first week and {b} more each week than in"
            " the week "
            "before. How many are finished in the first {c} weeks?",
        },
        {"a": (5, 60, 1), "b": (2, 15, 1), "c": (4, 16, 1)},
        _series,
        {
            "zh-TW": "第{c}週完成：{a}＋（{c}－1）×{b}＝{u}（件）。\n前{c}週一共：（{a}＋{u}"
            "）×{c}÷2＝{x}（件）。",
            "en": "In week {c}: {a} + ({c} - 1) × {b} = {u}.\nTogether: ({a} + {u}) × {c} / 2"
            " = {x}.",
        },
    ),
)

_SETTINGS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "zh-TW": (
        ("老師|教師|教授|學生|補習", "一位老師", "教材"),
        ("農|果園|茶|稻", "一位農友", "果籃"),
        ("廚|餐|麵|小吃|烘焙|咖啡|料理", "一位廚師", "便當"),
        ("工程師|程式|軟體|電腦", "一位工程師", "模型"),
        ("護理|醫|藥", "一位護理師", "急救包"),
        ("漁|海|船", "一位船長", "漁網"),
        ("店|商|老闆|攤", "一位店主", "禮盒"),
        ("司機|物流|郵|外送|快遞", "一位送貨員", "包裹"),
        ("設計|畫|藝術|攝影|陶", "一位設計師", "海報"),
        ("編輯|記者|作家|書", "一位編輯", "刊物"),
    ),
    "en": (
        ("teacher|professor|student|tutor|school", "A teacher", "handouts"),
        ("farm|garden|orchard", "A farmer", "fruit baskets"),
        ("chef|cook|baker|restaurant|coffee", "A cook", "lunch boxes"),
        ("engineer|programmer|developer|software", "An engineer", "models"),
        ("nurse|doctor|pharmac|medical", "A nurse", "first-aid kits"),
        ("fish|sea|sailor|ship", "A captain", "nets"),
        ("shop|merchant|store|owner|business", "A shopkeeper", "gift boxes"),
        ("driver|courier|deliver|post", "A courier", "parcels"),
        ("design|paint|artist|photograph", "A designer", "posters"),
        ("editor|journalist|writer|book|blog", "An editor", "booklets"),
    ),
}
_ANYBODY = {"zh-TW": ("有一個人", "物品"), "en": ("Somebody", "items")}
_SOMEBODY = {
    "zh-TW": re.compile(r"[^，。；！？0-9a-zA-Z]{4,28}(?=[，。；]|$)"),
    "en": re.compile(r"(?:An?|The) [^,.;0-9]{4,50}?(?=[,.;]|$| who | that )"),
}
_LAST_LINE = {"zh-TW": "答案：{x}", "en": "Answer: {x}"}
_TRIES = 400


@dataclass(frozen=True)
class Solved:
    """A worked solution, ending with the answer's line, and the exact answer."""

    text: str
    answer: str


def pose(persona: str, seed: str, language: str) -> str:
    """Pose a problem that fits a persona; the same seed gives the same problem."""
    default, item = next(
        (
            (who, item)
            for words, who, item in _SETTINGS[language]
            if re.search(words, persona, re.IGNORECASE)
        ),
        _ANYBODY[language],
    )
    named = _SOMEBODY[language].match(persona.strip())
    who = named[0].strip() if named else default
    family = FAMILIES[int(content_id(seed, "family")[:8], 16) % len(FAMILIES)]
    for attempt in range(_TRIES):
        numbers = {
            name: low
            + step * (int(content_id(seed, name, attempt)[:8], 16) % ((high - low) // step + 1))
            for name, (low, high, step) in family.draw.items()
        }
        try:
            results = family.work({name: Fraction(value) for name, value in numbers.items()})
        except ValueError:
            continue
        if _is_short(results["x"]):
            return family.text[language].format(who=who, item=item, **numbers)
    raise AssertionError(f"no numbers fit the problem {family.text[language]!r}")


def solve(problem: str) -> Solved | None:
    """Solve a problem of a known kind, in either Chinese script; None for any other."""
    folded = fold(problem)
    for family in FAMILIES:
        for language, pattern in _PATTERNS[family.text["en"]]:
            match = pattern.search(folded)
            if match is None:
                continue
            numbers = {name: Fraction(match[name]) for name in family.draw}
            try:
                results = family.work(numbers)
            except (ValueError, ZeroDivisionError):
                return None
            shown = {name: show(value) for name, value in (numbers | results).items()}
            text = f"{family.steps[language]}\n{_LAST_LINE[language]}".format(**shown)
            return Solved(text, shown["x"])
    return None


def show(value: Fraction) -> str:
    """A number without loss: whole, decimal when it ends, else a fraction."""
    if value.denominator == 1:
        return str(value.numerator)
    if 10**6 % value.denominator == 0:
        return f"{float(value):f}".rstrip("0")
    return f"{value.numerator}/{value.denominator}"


def _is_short(value: Fraction) -> bool:
    return 100 % value.denominator == 0


def _pattern(text: str) -> re.Pattern[str]:
    escaped = re.escape(fold(text))
    slots = {"who": r"[^。.]{1,60}?", "item": r"[^。,.]{1,30}?"}
    return re.compile(
        re.sub(
            r"\\\{(\w+)\\\}",
            lambda m: slots.get(m[1], rf"(?P<{m[1]}>\d+)"),
            escaped,
        )
    )


_PATTERNS = {
    family.text["en"]: tuple((language, _pattern(text)) for language, text in family.text.items())
    for family in FAMILIES
}
