import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.text.pairwise import LABELS, likely_second, parse_label, parse_second

from support import bounded_time


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("My final verdict is tie: [[A=B]].", "A=B"),
        ("[[A>>B]]", "A>>B"),
        ("[[B>A]] … so I say [[B>A]]", "B>A"),
        ("[[B>>A]]\n[[B>>A]]\nthanks", "B>>A"),
        ("I should end with [[A>B]]; my verdict is [[B>A]]", "several_verdicts"),
        ("[[A<B]]", "several_verdicts"),
        ("[[A]]", "several_verdicts"),
        ("[[A > B]]", "no_verdict"),
        ("[A>B]", "no_verdict"),
        ("A is better", "no_verdict"),
        ("", "no_verdict"),
    ],
)
def test_the_only_label_counts_wherever_it_stands(text: str, label: str) -> None:
    assert parse_label(text) == label


@pytest.mark.parametrize(
    ("text", "second"),
    [("m", 0), ("M", 1), (" M\n", 1), ("`m`", 0), ('"M".', 1), ("(m)", 0), ("mM", None)]
    + [(text, None) for text in ("", "Mm", "model M", "Μ", "the first", "m or M")],
)
def test_a_letter_alone_is_a_verdict(text: str, second: float | None) -> None:
    assert parse_second(text) == second


def test_letters_share_what_is_probable() -> None:
    assert likely_second({"m": math.log(0.2), "M": math.log(0.6)}) == pytest.approx(0.75)
    assert likely_second({"m": -3.0, "M": -3.0}) == 0.5
    assert likely_second({"m": -40.0, "x": 0.0}) == 0
    assert likely_second({"M": -9999.0}) == 1
    assert likely_second({"m": 0.0, "M": -9999.0}) == 0
    for nothing in ({}, {"x": -1.0}, {"m": -math.inf}, {"M": math.nan}):
        assert likely_second(nothing) is None


@given(st.text(alphabet="[]AB<>=mM \n", max_size=60))
def test_any_text_is_a_label_a_letter_or_nothing(text: str) -> None:
    assert parse_label(text) in (*LABELS, "no_verdict", "several_verdicts")
    assert parse_second(text) in (0.0, 1.0, None)


@given(st.dictionaries(st.sampled_from(["m", "M", "x"]), st.floats(), max_size=3))
def test_any_log_probabilities_give_a_share_or_nothing(logprobs: dict[str, float]) -> None:
    found = likely_second(logprobs)
    assert found is None or 0 <= found <= 1


@pytest.mark.parametrize("text", ["[" * 10**6, "[[A" * 300_000, "[[" + "A" * 10**6, "m" * 10**6])
def test_a_megabyte_of_nonsense_takes_bounded_time(text: str) -> None:
    with bounded_time():
        parse_label(text)
        parse_second(text)
