import re
from collections.abc import Callable

import pytest

from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.teachers.base import Completion

Ask = Callable[..., Completion]

DOCUMENTS = [
    {
        "passage_id": "id_1a2b3c4d",
        "title": "板塊構造",
        "text": "德國氣象學家韋格納在1912年提出大陸漂移的想法，主張各大陸曾經連成一塊。",
    },
    {
        "passage_id": "id_5e6f7a8b",
        "title": "茶",
        "text": "凍頂烏龍茶產於南投縣鹿谷鄉的凍頂山一帶。",
    },
]
PROMPT = (
    PromptLibrary()
    .render_rag(DOCUMENTS, "韋格納在哪一年提出大陸漂移的想法？", "zh-TW", 1)
    .messages[0]["content"]
)
RIGHT = "德國氣象學家韋格納在1912年提出大陸漂移的想法【id_1a2b3c4d】。"


@pytest.mark.parametrize(
    "worse",
    [
        RIGHT.replace("【id_1a2b3c4d】", ""),
        RIGHT.replace("id_1a2b3c4d", "id_00000000"),
        RIGHT.replace("1912", "1921"),
        RIGHT * 4,
        "凍頂烏龍茶產於南投縣鹿谷鄉【id_5e6f7a8b】。",
        "參考文件缺乏與問題相關資訊",
        "德国气象学家韦格纳在1912年提出大陆漂移的想法，这个说法认为大陆会移动【id_1a2b3c4d】。",
        RIGHT[:14] + "，而且",
    ],
)
def test_visible_faults_lose_in_both_orders(rules: Ask, worse: str) -> None:
    first = rules("judge_pair", prompt=PROMPT, answer_a=RIGHT, answer_b=worse).text
    second = rules("judge_pair", prompt=PROMPT, answer_a=worse, answer_b=RIGHT).text
    assert (first[-5:], second[-5:]) == ("[[A]]", "[[B]]")


def test_equal_answers_tie(rules: Ask) -> None:
    verdict = rules("judge_pair", prompt=PROMPT, answer_a=RIGHT, answer_b=RIGHT).text
    assert verdict.endswith("[[C]]")


def test_length_alone_does_not_win(rules: Ask) -> None:
    longer = RIGHT + "主張各大陸曾經連成一塊【id_1a2b3c4d】。"
    verdict = rules("judge_pair", prompt=PROMPT, answer_a=longer, answer_b=RIGHT).text
    assert verdict.endswith("[[C]]")


def test_arithmetic_is_solved_before_the_answers_are_read(rules: Ask) -> None:
    problem = "阿明要採購40份便當，每份100元，店家對超過20份的部分打9折。一共要付多少元？"
    verdict = rules(
        "judge_pair", prompt=problem, answer_a="算得4000元。\n答案：4000", answer_b="答案：3800"
    ).text
    assert "自行解題的結果：3800" in verdict
    assert verdict.endswith("[[B]]")


def test_a_verdict_says_that_it_comes_from_rules(rules: Ask) -> None:
    chinese = rules("judge_pair", prompt=PROMPT, answer_a=RIGHT, answer_b=RIGHT).text
    english = rules("judge_pair", "en", prompt="q", answer_a="a", answer_b="b").text
    assert "規則" in chinese.splitlines()[0]
    assert chinese.count("rule_score") == 2
    assert "judge_score" not in chinese
    assert "Rule-based" in english.splitlines()[0]
    assert re.search(r"\[\[[ABC]\]\]\Z", english)
