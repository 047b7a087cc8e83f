import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.text.ratings import bracketed_rating, overall_rating

from support import bounded_time


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Fine.\nRating: [[8]]", 8),
        ("Rating: [[8.5]]", 8.5),
        ("Rating: [[8.]]", 8),
        ("Source [1]. Rating: [[7]]", 7),
        ("First [[3]], then [[9]]", 3),
        ("Rating: [6]", 6),
        ("Rating: [[10/10]] or [4]", 4),
        ("Rating: [[rating]]", None),
        ("Rating: [[-1]]", None),
        ("Rating: 8", None),
        ("", None),
        (f"[[{'9' * 5000}]]", None),
    ],
)
def test_fastchats_rating_is_the_first_in_double_brackets_or_else_in_single_ones(
    text: str, rating: float | None
) -> None:
    assert bracketed_rating(text) == rating


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("好。\n{'事实正确性': 6, '综合得分': 7}", 7),
        ("{'事實正確性': 6, '綜合得分': 7}", 7),
        ("如 {'综合得分': 9} 所示。\n{'综合得分': 4}", 4),
        ("{'综合得分': 9} {'事实正确性': 2}", 9),
        ("{'综合得分': 9}\n{'事实正确性': 2}", 9),
        ("{'综合得分': 3, '综合得分': 5}", 5),
        ("{'综合得分': 7.5}", 7),
        ("'综合得分': 7.5", 7.5),
        ("'综合得分': 7.256", 7.25),
        ("{'事实正确性': 6,\n'综合得分': 7.5}", 7.5),
        ("{'事实正确性': '六', '综合得分': 8.5}", 8.5),
        ("{'综合得分': ７}", 7),
        ('{"综合得分": 7}', None),
        ("{'综合得分':7}", None),
        ("综合得分：7", None),
        ("", None),
    ],
)
def test_alignbenchs_score_is_that_of_the_last_object_or_else_the_first_anywhere(
    text: str, rating: float | None
) -> None:
    assert overall_rating(text) == rating


PARTS = st.lists(
    st.sampled_from(["[", "]", "[[", "{", "}", "'", "': ", "'综合得分': ", "7", "8.5", "\n", "x"])
    | st.text(max_size=3)
).map("".join)


@settings(max_examples=300, deadline=None)
@given(PARTS)
def test_any_text_gives_a_number_or_nothing(text: str) -> None:
    for found in (bracketed_rating(text), overall_rating(text)):
        assert found is None or found >= 0


@given(PARTS.filter(lambda text: "]]" not in text), st.integers(0, 10))
def test_a_rating_after_any_text_without_one_is_found(text: str, rating: int) -> None:
    assert bracketed_rating(f"{text}\n[[{rating}]]") == rating
    assert overall_rating(f"{text}\n{{'综合得分': {rating}}}") == rating


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 10**6, "[[" + "1" * 10**6, "[[1" * 3 * 10**5, "{" * 10**6, "'" * 10**6),
        *("{" + "'" * 10**6 + "}", "{'" + "': 1" * 2 * 10**5 + "}", "'综合得分': " * 10**5),
    ],
)
def test_a_megabyte_of_nonsense_takes_bounded_time(text: str) -> None:
    with bounded_time():
        bracketed_rating(text)
        overall_rating(text)
