import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.text.braces import first_object, last_object

from support import bounded_time


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ('{"a": 1}', {"a": 1}, {"a": 1}),
        ('First {"a": 1}, then {"a": 2}.', {"a": 1}, {"a": 2}),
        ('```json\n{"a": {"b": [1, {}]}}\n```', {"a": {"b": [1, {}]}}, {"a": {"b": [1, {}]}}),
        ('} {"a": 1}', {"a": 1}, {"a": 1}),
        ('{"a": "over\ntwo lines"}', {"a": "overtwo lines"}, {"a": "overtwo lines"}),
        ('{x} {"a": 1}', None, {"a": 1}),
        ('{"a": 1} {x}', {"a": 1}, None),
        ('{"a": "a brace } counts"}', None, None),
        ('{ never closed {"a": 1}', None, None),
        ("no braces", None, None),
        ("", None, None),
        ('{"a": ' + "9" * 5000 + "}", None, None),
    ],
)
def test_the_first_and_the_last_balanced_object(
    text: str, first: dict[str, object] | None, last: dict[str, object] | None
) -> None:
    assert (first_object(text), last_object(text)) == (first, last)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='{}[]":, \na1\\', max_size=80))
def test_any_text_gives_an_object_or_none(text: str) -> None:
    for found in (first_object(text), last_object(text)):
        assert found is None or isinstance(found, dict)


@pytest.mark.parametrize(
    "text",
    [
        "{" * 10**6,
        "{}" * 500_000,
        '{"a":' * 150_000 + "1" + "}" * 150_000,
        '{"a":' + "[" * 10**6 + "}",
    ],
)
def test_a_megabyte_of_braces_takes_bounded_time(text: str) -> None:
    with bounded_time():
        first_object(text)
        last_object(text)
