import re

import opencc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.text.quotes import locate

TEXT = (
    "在歐洲，梵語的學術研究，由德國學者陸特和漢斯雷頓開創。1786年2月2日，亞洲協會在加爾各答舉行會議；"
    "威廉·瓊斯發表了言論：「梵語儘管非常古老，構造卻精妙絕倫。」全長12㎞的步道花了½天，"
    "an oﬃce of the Final Report，藉此看著乾隆的畫。"
)


def found(quote: str, **options: int) -> str | None:
    span = locate(quote, TEXT, **options)
    return span.of(TEXT) if span else None


@pytest.mark.parametrize(
    ("quote", "expected"),
    [
        ("由德國學者陸特和漢斯雷頓開創。", "由德國學者陸特和漢斯雷頓開創。"),
        ("「由德国学者陆特和汉斯雷顿开创」", "由德國學者陸特和漢斯雷頓開創"),
        ("……由德國學者陸特 和漢斯雷頓開創……", "由德國學者陸特和漢斯雷頓開創"),
        ("１７８６年２月２日,亞洲協會", "1786年2月2日，亞洲協會"),
        ("“梵語儘管非常古老、構造卻精妙絕倫”", "梵語儘管非常古老，構造卻精妙絕倫"),
        ("威廉‧瓊斯發表了言論:『梵語儘管非常古老", "威廉·瓊斯發表了言論：「梵語儘管非常古老"),
        ("全長12km的步道", "全長12㎞的步道"),
        ("步道花了1/2天", None),
        ("步道花了1⁄2天", "步道花了½天"),
        ("AN  OFFICE OF THE final report", "an oﬃce of the Final Report"),
        ("借此看着乾隆的画", "藉此看著乾隆的畫"),
        ("由德國學者陸特……亞洲協會在加爾各答", None),
        ("由德國學者陸特開創", None),
        ("由法國學者陸特和漢斯雷頓開創", None),
        ("２月２日亞洲協會", None),
        ("86年２月２日，亞洲協會", None),
        ("ice of the FINAL report", None),
        ("的", None),
        ("「……」", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_quote_is_found_as_the_text_writes_it(quote: str, expected: str | None) -> None:
    assert found(quote) == expected


def test_a_match_does_not_begin_inside_a_character() -> None:
    assert locate("2天以後就走了", "花了½天以後就走了") is None
    assert locate("m的路很長", "12㎞的路很長") is None


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("25公里", "距離約9.25公里"),
        ("5日", "他在15日抵達"),
        ("00人", "約3,600人"),
        ("五日", "他在十五日抵達"),
        ("1900", "人口由1900萬人下降"),
    ],
)
def test_a_literal_hit_inside_a_number_is_none(quote: str, text: str) -> None:
    assert locate(quote, text, min_tokens=1) is None
    found = locate(quote, f"{text}，{quote}。", min_tokens=1)
    assert found
    assert found.start == len(text) + 1


def test_a_short_quote_proves_nothing_unless_it_may() -> None:
    assert found("歐洲") is None
    assert found("欧洲", min_tokens=2) == "歐洲"


def test_many_near_matches_take_linear_time() -> None:
    assert locate("甲" * 2_000 + "乙", "甲" * 200_000) is None


CUTS = [0, *(m.end() for m in re.finditer(r"\d[\d㎞½]*|[a-zﬃA-Z]+|[^\w]|\w", TEXT))]
slices = st.tuples(st.integers(0, 90), st.integers(8, 40)).map(
    lambda pair: TEXT[CUTS[pair[0]] : CUTS[min(sum(pair), len(CUTS) - 1)]].strip()
)
"""Slices of the text that do not cut words or numbers."""


@given(slices)
def test_slices_are_found(part: str) -> None:
    span = locate(part, TEXT)
    assert span
    assert span.of(TEXT) == part


@given(slices)
def test_simplified_slices_are_found(part: str) -> None:
    span = locate(opencc.OpenCC("t2s").convert(part), TEXT)
    assert span
    assert span.of(TEXT).strip("，。：；「」") == part.strip("，。：；「」")


@given(st.text(max_size=60), st.text(max_size=40))
def test_any_text_is_survived(text: str, quote: str) -> None:
    span = locate(quote, text, min_tokens=1)
    assert span is None or 0 <= span.start < span.end <= len(text)
