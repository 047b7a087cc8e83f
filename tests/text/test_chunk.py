from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.text.chunk import Span, chunk, sentences
from kyara_kedro.text.length import estimate_tokens


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
    with pytest.raises(ValueError, match="max_tokens 0"):
        chunk("甲", 9, max_tokens=0)


def passages(text: str, max_chars: int, **budget: Any) -> list[tuple[str, tuple[str, ...]]]:
    return [(found.of(text), found.headings) for found in chunk(text, max_chars, **budget)]


def test_headings_start_passages_and_carry_their_path() -> None:
    text = "前言。\n\n# 大標\n\n## 小標 ##\n\n甲文。\n\n### 細標\n乙文。\n\n# 另一標\n丙文。"
    assert passages(text, 100) == [
        ("前言。", ()),
        ("# 大標\n\n## 小標 ##\n\n甲文。", ("大標", "小標")),
        ("### 細標\n乙文。", ("大標", "小標", "細標")),
        ("# 另一標\n丙文。", ("另一標",)),
    ]


def test_a_heading_stays_with_the_text_that_follows() -> None:
    text = "甲文甲文。\n## 標題標題\n乙文乙文，丙丙丙丙丙丙。丁文。"
    assert [said for said, _ in passages(text, 16)] == [
        "甲文甲文。",
        "## 標題標題\n乙文乙文，",
        "丙丙丙丙丙丙。丁文。",
    ]


def test_underlined_and_numbered_headings() -> None:
    text = (
        "總論\n====\n開頭。\n\n第一章 緒論\n甲文。\n第二節　方法\n乙文。\n一、目的\n丙文。\n"
        "（一）範圍\n丁文。\n二、步驟\n戊文。\n第二章 結論\n己文。"
    )
    assert [headings for _, headings in passages(text, 100)] == [
        ("總論",),
        ("總論", "第一章 緒論"),
        ("總論", "第一章 緒論", "第二節　方法"),
        ("總論", "第一章 緒論", "第二節　方法", "一、目的"),
        ("總論", "第一章 緒論", "第二節　方法", "一、目的", "（一）範圍"),
        ("總論", "第一章 緒論", "第二節　方法", "二、步驟"),
        ("總論", "第二章 結論"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "#標籤\n甲文。",
        "一、甲項\n二、乙項\n三、丙項\n甲文。",
        "第一章說明了這件事的來龍去脈。\n甲文。",
        "一、這一點要先說，\n甲文。",
        "---\ntitle: 甲\n---\n甲文。",
        "```\n# 註解\n```\n甲文。",
        "第一部電影拍攝於一九八零年代的臺北街頭附近\n甲文。",
    ],
)
def test_what_only_looks_like_a_heading(text: str) -> None:
    assert passages(text, 100) == [(text, ())]


@pytest.mark.parametrize(
    "block",
    [
        "- 甲項。子句。\n- 乙項。\n  續行。\n- 丙項",
        "1. 甲項\n\n2. 乙項\n\n3. 丙項",
        "| 甲 | 乙 |\n|---|---|\n| 丙。丁 | 戊 |",
        "```py\na = 1\n\n\nb = 2\n```",
    ],
)
def test_blocks_stay_whole_while_they_fit(block: str) -> None:
    text = f"甲文甲文甲文。乙文。\n\n{block}\n\n丙文丙文丙文丙文丙文丙文。"
    assert block in [said for said, _ in passages(text, len(block))]


def test_rows_are_not_cut_inside() -> None:
    rows = [f"- 第{number}項。有兩句。" for number in "甲乙丙丁戊"]
    text = "\n".join(rows)
    assert [said for said, _ in passages(text, 24)] == [
        "\n".join(rows[:2]),
        "\n".join(rows[2:4]),
        rows[4],
    ]


def test_token_budgets() -> None:
    text = "甲乙丙丁。戊己庚辛。abcdefgh ijklmnop. Qrst uvwx. 壬癸子丑。"
    assert all(estimate_tokens(found.of(text)) <= 6 for found in chunk(text, 100, 1, max_tokens=6))
    assert len(chunk(text, 100, max_tokens=1000)) == 1
    with pytest.raises(ValueError, match="'甲' alone takes 2 tokens"):
        chunk("甲乙", 10, max_tokens=1, count=lambda texts: [2 * len(text) for text in texts])


LETTERS = st.sampled_from("甲乙丙ab3。，,.!？」\n …;；")
LINES = st.sampled_from(
    ["# 甲\n", "\n## 乙 丙\n", "一、丁\n", "第二章 戊\n", "- 己\n", "- 庚。辛\n", "| 壬 | 癸 |\n",
     "```\n", "====\n", "---\n", "  子\n", "\n\n", "1. 丑\n"]
)  # fmt: skip
TEXTS = st.lists(LETTERS | LINES, max_size=120).map("".join)


def pretended(texts: Sequence[str]) -> list[int]:
    """Tokens of a tokenizer whose tokens of a text are not the sum of those of its parts."""
    words = [text.replace("\n", " \n ").split(" ") for text in texts]
    return [2 + sum(1 + len(word) // 3 for word in some) for some in words]


BUDGETS = st.sampled_from([{}, {"max_tokens": 9}, {"max_tokens": 9, "count": pretended}])


@given(TEXTS, st.integers(1, 40), st.integers(0, 3), BUDGETS)
def test_passages_cover_the_text(
    text: str, max_chars: int, overlap: int, budget: dict[str, Any]
) -> None:
    found = chunk(text, max_chars, overlap, **budget)
    assert found == sorted(set(found))
    assert all(0 < end - start <= max_chars for start, end, _ in found)
    assert all(passage.of(text) == passage.of(text).strip() for passage in found)
    assert covers(text, [Span(start, end) for start, end, _ in found])
    assert all(a.end < b.end for a, b in pairwise(found))
    if budget:
        count = budget.get("count", lambda texts: list(map(estimate_tokens, texts)))
        assert max(count([passage.of(text) for passage in found]), default=0) <= 9


@given(TEXTS, st.integers(12, 40), st.sampled_from([{}, {"max_tokens": 9}]))
def test_no_passage_ends_with_a_heading_that_text_follows(
    text: str, max_chars: int, budget: dict[str, Any]
) -> None:
    text = text.replace("`", "")
    found = chunk(text, max_chars, **budget)
    headings = ("# ", "## ", "一、", "第二章", "====", "---")
    for passage, following in pairwise(found):
        if passage.headings == following.headings:
            last = passage.of(text).rpartition("\n")[2]
            # headings alone may fill a passage
            assert not last.startswith("# ") or following.of(text).startswith(headings)


@given(st.text())
def test_sentences_cover_the_text_once(text: str) -> None:
    spans = sentences(text)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    assert all(span.of(text).strip() == span.of(text) != "" for span in spans)
    assert covers(text, spans)


def covers(text: str, spans: list[Span]) -> bool:
    held = {i for span in spans for i in range(*span)}
    return all(i in held or text[i].isspace() for i in range(len(text)))
