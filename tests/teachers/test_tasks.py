import json

import pytest
from pydantic import BaseModel

from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.teachers.base import TeacherError, ask, request_key
from kyara_kedro.teachers.tasks import (
    TASKS,
    Check,
    Comparison,
    Queries,
    Reply,
    ReplyError,
    Solution,
    Support,
    SystemPrompt,
    Verdict,
    WrittenQuestions,
    read_reply,
    tag_form,
)
from kyara_kedro.text.thoughts import without_thoughts


def test_a_json_reply_is_found_in_a_fence_and_between_sentences() -> None:
    text = '好的：\n```json\n{"queries": ["茶", "茶 起源"]}\n```\n以上。'
    assert read_reply("expand_query", text) == Queries(queries=["茶", "茶 起源"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("沒有", "no complete JSON object"),
        ('{"queries": ["茶"', "no complete JSON object"),
        ('{"queries": []}', "must not be empty"),
        ('{"queries": [" "]}', "must not be empty"),
        ('{"queries": ["茶"], "note": 1}', "'note'"),
        ('{"query": "茶"}', "'queries'"),
    ],
)
def test_a_reply_out_of_form_says_why(text: str, why: str) -> None:
    with pytest.raises(ReplyError, match=why):
        read_reply("expand_query", text)


@pytest.mark.parametrize(
    ("last", "answer"),
    [("答案：42", "42"), ("**答案：** 7/2", "7/2"), ("Answer: 3.5", "3.5"), ("答案: $12$", "12")],
)
def test_a_solution_ends_with_its_answer(last: str, answer: str) -> None:
    found = read_reply("solve_problem", f"先算一步。\n{last}")
    assert isinstance(found, Solution)
    assert found.answer == answer
    with pytest.raises(ReplyError, match="last line"):
        read_reply("solve_problem", f"{last}\n謝謝")


@pytest.mark.parametrize("last", ["答案：。", "Answer: **", "答案：$$"])
def test_a_solution_without_an_answer_is_out_of_form(last: str) -> None:
    with pytest.raises(ReplyError, match="last line"):
        read_reply("solve_problem", f"因為…\n{last}")


def test_plain_text_tasks_have_no_parsed_reply() -> None:
    assert read_reply("answer_question", "1912年") is None


def test_thoughts_are_removed_even_when_cut_off() -> None:
    assert without_thoughts("<think>甲\n乙</think>\n丙") == "丙"
    assert without_thoughts("<think>甲") == ""


@pytest.mark.parametrize(
    ("task", "text", "reply"),
    [
        ("compare_questions", '{"equal": true, "reason": ""}', Comparison(reason="", equal=True)),
        (
            "check_support",
            '{"reason": "r", "claims": [{"number": 1, "supported": true}]}',
            Support(reason="r", claims=[Verdict(number=1, supported=True)]),
        ),
        ("check_support", '{"reason": "", "claims": []}', Support(reason="", claims=[])),
        (
            "check_support",
            "<reason>r</reason><claims><number>2</number><supported>false</supported></claims>",
            Support(reason="r", claims=[Verdict(number=2, supported=False)]),
        ),
        ("check_solution", '{"reason": "r", "correct": false}', Check(reason="r", correct=False)),
        ("write_system_prompt", '{"system": "你是助教。"}', SystemPrompt(system="你是助教。")),
    ],
)
def test_verdicts_and_system_prompts_are_read(task: str, text: str, reply: Reply) -> None:
    assert read_reply(task, text) == reply


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("check_support", '{"reason": "r", "claims": [{"number": 1, "supported": "maybe"}]}'),
        ("check_support", '{"reason": "r", "claims": [true]}'),
        ("check_solution", '{"reason": "r"}'),
        ("compare_questions", '{"reason": "r", "equal": null}'),
        ("write_system_prompt", '{"system": " "}'),
    ],
)
def test_a_verdict_that_is_none_is_out_of_form(task: str, text: str) -> None:
    with pytest.raises(ReplyError):
        read_reply(task, text)


@pytest.mark.parametrize(
    ("said", "verdicts"),
    [
        ([(1, True), (2, False)], [True, False]),
        ([(2, True), (1, True)], [True, True]),
        ([(1, True), (3, True)], [True, False]),
        ([(1, True), (1, False)], [False, False]),
        ([(10**12, True)], [False]),
    ],
)
def test_verdicts_go_by_the_numbers_of_their_claims(
    said: list[tuple[int, bool]], verdicts: list[bool]
) -> None:
    claims = [Verdict(number=number, supported=supported) for number, supported in said]
    assert Support(reason="", claims=claims).verdicts == verdicts


def test_a_question_of_an_unknown_kind_is_out_of_form() -> None:
    one = {"text": "玉山在哪裡？", "kind": "地點", "answer": "臺灣", "evidence": "玉山在臺灣。"}
    with pytest.raises(ReplyError, match=r"questions\.0\.kind.*'place'"):
        read_reply("write_questions", json.dumps({"questions": [one]}))
    tags = "".join(f"<{name}>{said}</{name}>" for name, said in one.items())
    with pytest.raises(ReplyError, match="'place'"):
        read_reply("write_questions", f"<questions>{tags}</questions>")
    good = read_reply("write_questions", f"<questions>{tags.replace('地點', 'place')}</questions>")
    assert isinstance(good, WrittenQuestions)
    assert good.questions[0].kind == "place"
    schema = json.dumps(TASKS["write_questions"].schema)
    assert '"enum": ["time", "number",' in schema
    assert "<kind>time|number|" in tag_form(WrittenQuestions)


def test_reasons_come_before_verdicts() -> None:
    """A model that writes its reason first can draw on it."""
    for task in ("compare_questions", "check_support", "check_solution", "rate_conversation"):
        schema = TASKS[task].schema
        assert schema is not None
        assert next(iter(schema["properties"])) == "reason"


def test_schemas_are_closed_and_without_unsupported_keywords() -> None:
    for task in TASKS.values():
        if task.schema is not None:
            text = json.dumps(task.schema)
            assert task.schema["additionalProperties"] is False
            assert "minLength" not in text
            assert "default" not in text
    assert issubclass(TASKS["write_questions"].reply or int, BaseModel)


def test_requests_check_their_inputs() -> None:
    library = PromptLibrary()
    with pytest.raises(TeacherError, match="'question'"):
        ask(library, "row", "expand_query", "en", query="tea")
    with pytest.raises(TeacherError, match="'dance'"):
        ask(library, "row", "dance", "en")


def test_a_key_depends_on_everything_that_determines_the_reply() -> None:
    message = [{"role": "user", "content": "茶"}]
    keys = {
        request_key("a", message, {"temperature": 0.5}),
        request_key("b", message, {"temperature": 0.5}),
        request_key("a", message, {"temperature": 0.6}),
        request_key("a", message, {"temperature": 0.5}, {"type": "object"}),
        request_key("a", message, {"temperature": 0.5}, sample=1),
        request_key("a", [{"role": "user", "content": "茶 "}], {"temperature": 0.5}),
    }
    assert len(keys) == 6
    assert request_key("a", message, {"x": 1, "y": 2}) == request_key(
        "a", message, {"y": 2, "x": 1}
    )
