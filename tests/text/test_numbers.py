from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.text.numbers import (
    equivalent,
    majority,
    measures,
    numbers_in,
    quantities,
    without_tallies,
)

from support import bounded_time

HALF = Fraction(1, 2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("二十三", 23), ("一百零五", 105), ("廿五", 25), ("兩萬五千", 25_000),
        ("兩萬五", 25_000),
        ("一百五", 150), ("二〇二四", 2024), ("一萬億", 10**12),
        ("三點一四", Fraction("3.14")),
        ("三分之二", Fraction(2, 3)),
        ("一又二分之一", Fraction(3, 2)), ("百分之五", Fraction(1, 20)),
        ("3.5萬", 35_000), ("1億2千萬", 120_000_000), ("2萬5000", 25_000), ("3 萬", 30_000),
        ("1,234.5", Fraction("1234.5")), ("１２３", 123), ("-3", -3), ("−3", -3), ("負三", -3),
        ("50％", HALF), ("25 percent", Fraction(1, 4)), ("½", HALF), ("1½", Fraction(3, 2)),
        ("1 1/2", Fraction(3, 2)), (r"\frac{1}{2}", HALF), (r"\dfrac12", HALF),
        (r"1\frac{1}{2}", Fraction(3, 2)), (r"-\frac{3}{4}", Fraction(-3, 4)),
        (r"75\%", Fraction(3, 4)),
        (r"$\boxed{42}$", 42), (r"1.2 \times 10^{3}", 1200), ("1.2e3", 1200), ("10⁵", 10**5),
        ("42 元", 42), ("NT$ 1,200 元", 1200), ("約 3.14", Fraction("3.14")), ("x = 5", 5),
        ("總共是 42 個蘋果", 42), ("12 cm²", 12), ("60 km/h", 60), (r"36^\circ", 36), ("$18", 18),
        ("twenty-one", 21), ("3.5 million", 3_500_000), (r"5\text{ cm}", 5), ("十", 10), ("一", 1),
    ],
)  # fmt: skip
def test_an_answer_is_read_by_value(text: str, value: Fraction) -> None:
    assert equivalent(text, str(value))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("42 元", "42"), ("3 公里", "3 km"), ("3 公里", "3"), ("0.5", "1/2"), ("6:8", "3比4"),
        (r"\frac{\sqrt{3}}{2}", "√3/2"), (r"2 \cdot \sqrt{3}", "2√3"),
        (r"\frac{x+1}{2}", "(x+1)/2"),
        ("x^{2}", "x²"), ("{1,2}", r"\{2, 1\}"), ("x=1 或 x=2", "2 或 1"), ("(1, 2)", "1,2"),
        ("x=1, y=2", "y=2,x=1"), ("台北", "台 北"), ("Ａ", "a"), ("发现", "發現"),
    ],
)  # fmt: skip
def test_equivalent_answers(a: str, b: str) -> None:
    assert equivalent(a, b)
    assert equivalent(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [("42", "43"), ("1,2", "2,1"), ("3 公里", "3 公尺"), ("50%", "50"), ("[1,2)", "(1,2]"),
     ("3:4", "4:3"),
     ("2π", "2"), ("x=1,y=2", "x=2,y=1"), ("√3", "√2"), ("", "0"), ("(1,2)", "{1,2}")],
)  # fmt: skip
def test_different_answers(a: str, b: str) -> None:
    assert not equivalent(a, b)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1786年2月2日", [1786, 2, 2]),
        ("一九四五年十二月，共有三個兒子", [1945, 12, 3]),
        ("一些人在百貨公司，萬一，十分擁擠", []),
        ("H2O 與 COVID-19", [19]),
        ("1990-1995年", [1990, 1995]),
        ("約三分之二的人，5%", [Fraction(2, 3), Fraction(1, 20)]),
        ("twenty-one men, one of them 3.5 million", [21, 3_500_000]),
        ("18th, 1990s", [18, 1990]),
    ],
)
def test_numbers_of_running_text(text: str, values: list[Fraction]) -> None:
    assert numbers_in(text) == values


def test_times_keep_their_unit() -> None:
    assert quantities("2月2號，12人，１８歲") == [(2, "月"), (2, "日"), (12, ""), (18, "岁")]
    assert quantities("5至8月，3到4人") == [(5, "月"), (8, "月"), (3, ""), (4, "")]


def test_measures_have_one_name() -> None:
    assert measures("約9.25公里") == measures("9.25 km") == [(Fraction("9.25"), "公里")]
    assert measures("10 公尺、3個、2年") == [(10, "公尺"), (3, ""), (2, "年")]


@pytest.mark.parametrize(
    "text", ["有兩個原因：", "兩大原因", "可從三方面說明", "3 個主要因素", "three main reasons"]
)
def test_counts_that_introduce_a_list_state_nothing(text: str) -> None:
    assert numbers_in(without_tallies(text)) == []


@pytest.mark.parametrize("text", ["十二個原因", "三個兒子", "兩年", "two rivers"])
def test_other_counts_do(text: str) -> None:
    assert without_tallies(text) == text


@given(st.integers(0, 10**15))
def test_every_writing_of_an_integer_has_its_value(number: int) -> None:
    for text in (str(number), f"{number:,}", f"{number:,} 元"):
        assert equivalent(text, str(number))
    assert equivalent(in_chinese(number), str(number))


def in_chinese(number: int) -> str:
    """The numeral in full, with 零 wherever a place is empty."""
    groups = []
    for unit in ("", "萬", "億", "兆"):
        number, group = divmod(number, 10_000)
        digits = "".join(
            ("零一二三四五六七八九"[int(d)] + ("千百十"[i] if i < 3 else "")) if d != "0" else "零"
            for i, d in enumerate(f"{group:04d}")
        )
        groups.append(digits.rstrip("零") + unit if group else "零")
    return "零".join(reversed(groups)).replace("零零", "零").strip("零") or "零"


@given(st.text(max_size=80))
def test_any_text_is_read(text: str) -> None:
    numbers_in(text)
    assert equivalent(text, text)


@pytest.mark.parametrize(
    "part", ["1", "一", "1,", "1/", "十萬", "一分之", r"\frac{", "one ", "(", "1 "]
)
def test_long_texts_take_linear_time(part: str) -> None:
    with bounded_time():
        numbers_in(part * (200_000 // len(part)))
        equivalent(part * (200_000 // len(part)), "1")


def test_the_largest_class_wins() -> None:
    vote = majority(["7", "42 元", "四十二", "", "42.0"])
    assert (vote.index, vote.size, vote.total, vote.unique) == (1, 3, 5, True)
    assert vote.difficulty == pytest.approx(0.4)


def test_ties_and_silence_have_no_unique_winner() -> None:
    assert not majority(["1", "2"]).unique
    assert majority(["", " "]).index == -1
    assert majority([]).difficulty == 1
    assert majority(["3 公里", "3", "3 公尺"]).size == 2
