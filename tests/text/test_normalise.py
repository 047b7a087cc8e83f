import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.text.normalise import normalise, visible


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("零\u200b寬\ufeff字\u00ad元\x07", "零寬字元"),
        ("　　第一段\u3000內容", "第一段 內容"),
        ("兩  個\u00a0 空白  \n", "兩 個 空白"),
        ("甲\n\n\n\n乙\n丙", "甲\n\n乙\n丙"),
        ("全形，。！？「」（）１２ＡＢ", "全形，。！？「」（）１２ＡＢ"),
        ("cafe\u0301", "café"),
        ("家庭👨\u200d👩\u200d👧", "家庭👨\u200d👩\u200d👧"),
        ("字\u200d字", "字字"),
        ("孤\ud800立", "孤立"),
        ("標\U000e0041\U000e0042籤", "標籤"),
        ("", ""),
    ],
)
def test_normalises(raw: str, clean: str) -> None:
    assert normalise(raw) == clean


def test_code_blocks_keep_their_blanks() -> None:
    code = "```python\nif x:\n    y  = 1\n\n\n\n    return y\n```"
    assert normalise(f"程式  碼：\n\n\n\n{code}\n結束") == f"程式 碼：\n\n{code}\n結束"


def test_list_indents_are_kept() -> None:
    assert normalise("- 甲\n  - 乙\n\t- 丙") == "- 甲\n  - 乙\n\t- 丙"


TEXTS = st.text(
    st.one_of(
        st.sampled_from("字。，「\u3000 \t\n\r`~\u200b\u200d\ufe0f👩\u0301e\u00a0\x85\u1fef\ufeff"),
        st.characters(),
    )
)


@given(TEXTS)
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@given(TEXTS)
def test_result_is_canonical(text: str) -> None:
    clean = normalise(text)
    assert unicodedata.is_normalized("NFC", clean)
    assert clean.encode().decode() == clean
    assert "\r" not in clean
    assert visible(clean) == clean
