from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.text.chunk import Span, chunk, sentences


def split(text: str) -> list[str]:
    return [span.of(text) for span in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("他說：「你好。」走了……對嗎？！", ["他說：「你好。」", "走了……", "對嗎？！"]),
        ("是的；真的。", ["是的；", "真的。"]),
        ("第一行\n第二行\n\n第三行", ["第一行", "第二行", "第三行"]),
        ("Dr. Wang paid 3.50 each. Then?", ["Dr. Wang paid 3.50 each.", "Then?"]),
        ("J. K. Rowling wrote it. Why?", ["J. K. Rowling wrote it.", "Why?"]),
        ("It costs approx. ten, e.g. Here.", ["It costs approx. ten, e.g. Here."]),
        ("See https://a.b/c?d=e. The end.", ["See https://a.b/c?d=e.", "The end."]),
        ("1. Apple\n2.蘋果", ["1. Apple", "2.蘋果"]),
        ('He said "stop." We did.', ['He said "stop."', "We did."]),
        ("   \n ", []),
    ],
)  # fmt: skip
def test_sentences(text: str, expected: list[str]) -> None:
    assert split(text) == expected


def test_lines_are_packed_whole_where_they_fit() -> None:
    text = "第一段有一句。\n\n第二段也有一句。\n\n第三段還有一句。"
    assert [span.of(text) for span in chunk(text, 20)] == [
        "第一段有一句。\n\n第二段也有一句。",
        "第三段還有一句。",
    ]


def test_a_line_end_is_preferred_to_a_sentence_end() -> None:
    text = "標題在這裡，長長的一行。\n甲句。乙句。丙句。丁句。"
    assert [span.of(text) for span in chunk(text, 20)] == [
        "標題在這裡，長長的一行。",
        "甲句。乙句。丙句。丁句。",
    ]


def test_passages_overlap_by_sentences() -> None:
    text = "甲甲。乙乙。丙丙。丁丁。"
    assert [span.of(text) for span in chunk(text, 6, 1)] == [
        "甲甲。乙乙。",
        "乙乙。丙丙。",
        "丙丙。丁丁。",
    ]


def test_a_long_sentence_is_cut_after_commas() -> None:
    text = "甲乙丙丁，戊己庚辛，壬癸"
    assert [span.of(text) for span in chunk(text, 6)] == ["甲乙丙丁，", "戊己庚辛，", "壬癸"]


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="max_chars is 0"):
        chunk("甲", 0)


TEXTS = st.text(st.sampled_from("甲乙丙ab3。，,.!？」\n …;；"), max_size=200)


@given(TEXTS, st.integers(1, 40), st.integers(0, 3))
def test_passages_cover_the_text(text: str, max_chars: int, overlap: int) -> None:
    passages = chunk(text, max_chars, overlap)
    assert passages == sorted(set(passages))
    assert all(0 < span.end - span.start <= max_chars for span in passages)
    assert all(span.of(text) == span.of(text).strip() for span in passages)
    assert covers(text, passages)
    assert all(a.end < b.end for a, b in pairwise(passages))


@given(st.text())
def test_sentences_cover_the_text_once(text: str) -> None:
    spans = sentences(text)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    assert covers(text, spans)


def covers(text: str, spans: list[Span]) -> bool:
    held = {i for span in spans for i in range(*span)}
    return all(i in held or text[i].isspace() for i in range(len(text)))
