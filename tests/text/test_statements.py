"""What an answer states, whatever form it has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.text.statements import statements, unformed


@pytest.mark.parametrize(
    ("answer", "stated"),
    [
        ("玉山高3952公尺。它在臺灣。", ["玉山高3952公尺。", "它在臺灣。"]),
        ('{"答案": "三個", "依據": ["甲。", "乙。"]}', ["三個", "甲。", "乙。"]),
        ('```json\n{"answer": 3}\n```', ["3"]),
        ("| 答案 | 依據 |\n| --- | --- |\n| 2019年 | 自1月起。 |", ["2019年", "自1月起。"]),
        (
            "| # | Point |\n|:--|--:|\n| 1 | It is high. |\n| 2 | It is old. |",
            ["It is high.", "It is old."],
        ),
        ("- **第一點**\n- 第二點", ["第一點", "第二點"]),
        ("1. 第一點\n2. 第二點", ["第一點", "第二點"]),
        ("1999. It was lost.", ["1999.", "It was lost."]),
        ("步驟一：先看。\n步驟二：再答。", ["先看。", "再答。"]),
        ("Step 1: Look.\nStep 2. Answer.", ["Look.", "Answer."]),
        ("# 玉山\n\n玉山很高。", ["玉山很高。"]),
        ("**背景資訊**\n玉山很高。", ["玉山很高。"]),
        ("# 玉山高 3952 公尺\n\n很高。", ["玉山高 3952 公尺", "很高。"]),
        ("**玉山**", ["玉山"]),
        ("3.5 公里", ["3.5 公里"]),
        ("{不是 JSON", ["{不是 JSON"]),
        ("", []),
    ],
)
def test_form_is_left_out(answer: str, stated: list[str]) -> None:
    assert statements(answer) == stated


@given(st.text())
def test_it_takes_any_text(answer: str) -> None:
    assert all(one.strip() for one in statements(answer))


def test_cells_of_a_row_stay_together_where_they_shall() -> None:
    table = "| 職別 | 月薪 |\n|---|---|\n| 教授 | 400元 |"
    assert unformed(table, "，").strip() == "教授，400元"
