"""Grades by rules: faults lower them, and they say that no model took part."""

import json
from typing import Any

import pytest

from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.prompts.rubric import CRITERIA, HIGHEST, LOWEST
from kyara_kedro.teachers.base import Completion
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.tasks import Grades, ReplyError, read_reply

from .conftest import Ask

PROBLEM = "阿明要採購40份便當，每份100元，店家對超過20份的部分打9折。一共要付多少元？"
DOCUMENT = {
    "passage_id": "id_1a2b3c4d",
    "title": "板塊構造",
    "text": "德國氣象學家韋格納在1912年提出大陸漂移的想法，主張各大陸曾經連成一塊。",
}
QUESTION = (
    PromptLibrary()
    .render_rag([DOCUMENT], "韋格納在哪一年提出大陸漂移的想法？", "zh-TW", 1)
    .messages[0]["content"]
)
RIGHT = "德國氣象學家韋格納在1912年提出大陸漂移的想法【id_1a2b3c4d】。"


def graded(rules: Ask, *contents: str, language: str = "zh-TW") -> Grades:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": said} for i, said in enumerate(contents)]
    reply: Completion = rules("rate_conversation", language, messages=messages)
    assert isinstance(reply.parsed, Grades)
    return reply.parsed


@pytest.mark.parametrize(
    ("worse", "criterion"),
    [
        (RIGHT.replace("【id_1a2b3c4d】", ""), "instruction"),
        (RIGHT.replace("id_1a2b3c4d", "id_00000000"), "correctness"),
        (RIGHT.replace("1912", "1921"), "correctness"),
        (RIGHT * 4, "language"),
        ("參考文件缺乏與問題相關資訊", "helpfulness"),
        ("德国气象学家韦格纳在1912年提出大陆漂移的想法，这个说法认为大陆会移动", "language"),
    ],
)
def test_a_fault_lowers_its_grade(rules: Ask, worse: str, criterion: str) -> None:
    good, bad = graded(rules, QUESTION, RIGHT), graded(rules, QUESTION, worse)
    assert getattr(bad, criterion) < getattr(good, criterion)
    assert sum(getattr(bad, name) for name in CRITERIA) < sum(
        getattr(good, name) for name in CRITERIA
    )


def test_arithmetic_is_solved(rules: Ask) -> None:
    assert graded(rules, PROBLEM, "先算再加。\n答案：3800").correctness == HIGHEST
    assert graded(rules, PROBLEM, "先算再加。\n答案：4000").correctness == LOWEST


def test_over_several_rounds_the_mean_counts(rules: Ask) -> None:
    both = graded(rules, PROBLEM, "答案：3800", PROBLEM, "答案：4000")
    assert both.correctness == 3


@pytest.mark.parametrize(
    ("language", "said"), [("zh-TW", "規則式評分"), ("zh-CN", "规则式评分"), ("en", "by rules")]
)
def test_grades_say_that_they_come_from_rules(rules: Ask, language: str, said: str) -> None:
    assert said in graded(rules, "?", "!", language=language).reason
    assert ExtractiveTeacher().kind == "rules"


FIELDS = dict.fromkeys(CRITERIA, 4)


def reply(**changed: Any) -> str:
    return json.dumps({"reason": "", **FIELDS, **changed})


@pytest.mark.parametrize("grade", [1, 5, "3", "5"])
def test_a_whole_number_on_the_scale_is_a_grade(grade: Any) -> None:
    found = read_reply("rate_conversation", reply(language=grade))
    assert isinstance(found, Grades)
    assert found.language == int(grade)


@pytest.mark.parametrize(
    "grade", [0, 6, -1, 4.5, 4.0, True, None, "A", "4/5", "４", "", [4], "-3", 10**30]
)
def test_anything_else_is_none(grade: Any) -> None:
    with pytest.raises(ReplyError, match=r"whole number from 1 to 5|field 'language'"):
        read_reply("rate_conversation", reply(language=grade))


def test_a_grade_that_is_missing_is_no_grade() -> None:
    found = reply().replace('"language": 4', '"speech": 4')
    with pytest.raises(ReplyError, match="'language'"):
        read_reply("rate_conversation", found)
