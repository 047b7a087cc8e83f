"""Answers come back by row, in the order of the questions, with their faults in words."""

from collections.abc import Iterable, Iterator

import pytest

from kyara_kedro.pipelines.asking import Duel, answers, fault, synthetic, user, verdicts
from kyara_kedro.pipelines.asking import assistant as said
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import CONVERSATION, VERDICT
from kyara_kedro.teachers.base import ChatRequest, Completion, ask
from kyara_kedro.teachers.extractive import ExtractiveTeacher

PROMPTS = PromptLibrary()
BOTH = {"title": "玉山", "text": "玉山海拔三九五二公尺，是臺灣最高峰。"}


class Backwards(ExtractiveTeacher):
    """Answers the last request first, as a server with many connections may."""

    def map(self, requests: Iterable[ChatRequest]) -> Iterator[Completion]:
        yield from reversed(list(super().map(requests)))


def requests() -> list[ChatRequest]:
    return [ask(PROMPTS, f"r{n}", "prompt_for_document", "zh-Hant-TW", **BOTH) for n in range(5)]


def test_answers_keep_the_order_of_the_requests() -> None:
    found = answers(Backwards(), requests(), "told")
    assert list(found) == ["r0", "r1", "r2", "r3", "r4"]
    assert found == answers(ExtractiveTeacher(), requests(), "told")
    assert answers(ExtractiveTeacher(), [], "told") == {}


def test_a_refusal_is_a_reason() -> None:
    request = ask(PROMPTS, "r", "solve_problem", "zh-Hant-TW", problem="誰發明了數學？")
    (good,) = answers(ExtractiveTeacher(), requests()[:1], "told").values()
    assert fault(good) is None
    (bad,) = answers(ExtractiveTeacher(), [request], "told").values()
    reason, detail = fault(bad) or ("", "")
    assert reason == "teacher_rejected"
    assert "solver" in detail


def test_a_synthetic_row_fits_its_record() -> None:
    (completion,) = answers(ExtractiveTeacher(), requests()[:1], "told").values()
    turns = [user("玉山多高？"), said("三九五二公尺。")]
    row = synthetic(iter(turns), "knowledge", "zh-Hant-TW", completion, ("p",), "CC0-1.0")
    assert row["rounds"] == 1
    assert row["teacher"] == "extractive-rules-v1"
    CONVERSATION.validate(CONVERSATION.frame([row]))
    other = synthetic(turns, "rag", "zh-Hant-TW", None, ["p"], "CC0-1.0")
    assert other["teacher"] is None
    assert other["id"] != row["id"]


@pytest.mark.parametrize("sides", [("好的回答。", "壞"), ("壞", "好的回答。")])
def test_a_judge_sees_the_sides_in_the_order_given(sides: tuple[str, str]) -> None:
    duel = Duel("p", "請說明玉山有多高。", ("one", sides[0]), ("two", sides[1]))
    table, dropped = verdicts(ExtractiveTeacher(), PROMPTS, [duel], "told")
    assert dropped == []
    VERDICT.validate(table)
    assert table.select("prompt_id", "first_id", "second_id").rows() == [("p", "one", "two")]
    assert table["verdict"][0] in "ABC"
    assert verdicts(ExtractiveTeacher(), PROMPTS, [], "told")[0].is_empty()
