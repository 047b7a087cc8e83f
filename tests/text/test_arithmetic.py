import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.text.arithmetic import LONGEST, arithmetic_value

from support import bounded_time


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1/2", 0.5),
        (" -(3 + 1) / 8 ", -0.5),
        ("7//2", 3),
        ("7/2 % 2", 1.5),
        ("2**10/4", 256),
        ("+1e3/1_0", 100),
        ("1/2 or 3", 0.5),
        ("0/2 or 3", 3),
        ("1/2 and 3", 3),
        ("9**2000/9**1999", 9),
    ],
)
def test_arithmetic_has_the_value_that_python_gives_it(expression: str, value: float) -> None:
    assert arithmetic_value(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1/0",
        "3/4 cup",
        "1 1/2",
        "e/2",
        "(1)(2)/3",
        "N/A",
        "__import__('os')/2",
        "1j/2",
        "(-8)**0.5/2",
        "10**400/1",
        "9**9**9/1",
        "9**-99999/1",
        "007/2",
        "١/2",
        "1\n/2",
        "(" * 300 + "1" + ")" * 300,
        "-" * (LONGEST - 2) + "1",
        "1/" * LONGEST + "1",
    ],
)
def test_what_is_no_arithmetic_or_too_large_has_no_value(expression: str) -> None:
    assert arithmetic_value(expression) is None


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0123456789.eE_+-*/%() orand", max_size=40) | st.text(max_size=20))
def test_any_text_has_a_value_or_none_at_once(expression: str) -> None:
    with bounded_time():
        value = arithmetic_value(expression)
        assert value is None or isinstance(value, float)
