"""Every foreign format becomes our record, and everything else is malformed for a stated reason."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.params import IngestParams
from kyara_kedro.pipelines.ingest.formats import (
    Malformed,
    benchmark_question,
    conversation,
    nested_questions,
    prompt,
)
from kyara_kedro.pipelines.ingest.nodes import _conversation
from kyara_kedro.pipelines.ingest.readers import RawRow
from kyara_kedro.records import CONVERSATION

Row = dict[str, Any]

ASKED = {"role": "user", "content": "玉山多高？"}
ANSWERED = {"role": "assistant", "content": "三九五二公尺。"}
SYSTEM = {"role": "system", "content": "你是地理老師。"}
MAGPIE = {
    "uuid": "7f0e",
    "instruction": "翻譯",
    "response": "貓",
    "conversations": [{"from": "human", "value": "翻譯"}, {"from": "gpt", "value": "貓"}],
    "input_quality": "good",
    "task_category": "Translation",
}
HERMES = {
    "system_prompt": "簡短。",
    "category": "orca",
    "skip_prompt_formatting": False,
    "conversations": [
        {"from": "human", "value": "嗨", "weight": None},
        {"from": "gpt", "value": "你好", "weight": None},
    ],
}


@pytest.mark.parametrize(
    ("row", "roles"),
    [
        ({"messages": [ASKED, ANSWERED]}, "user assistant"),
        ({"messages": [SYSTEM, ASKED, ANSWERED]}, "system user assistant"),
        ({"messages": [ASKED, ANSWERED] * 2, "more": 1}, "user assistant user assistant"),
        (
            {"conversations": [{"from": "human", "value": "嗨"}, {"from": "gpt", "value": "你好"}]},
            "user assistant",
        ),
        (
            {
                "conversations": [
                    {"from": "system", "value": "簡短。"},
                    {"from": "user", "value": "嗨"},
                    {"from": "assistant", "value": "你好"},
                ]
            },
            "system user assistant",
        ),
        ({"instruction": "翻譯", "input": "cat", "output": "貓"}, "user assistant"),
        ({"instruction": "翻譯", "input": "", "output": "貓"}, "user assistant"),
        ({"instruction": "翻譯", "input": None, "output": "貓"}, "user assistant"),
        ({"instruction": "翻譯", "output": "貓"}, "user assistant"),
        ({"instruction": "翻譯", "output": "貓", "system": "簡短。"}, "system user assistant"),
        (
            {"instruction": "再來", "output": "好", "history": [["嗨", "你好"]]},
            "user assistant user assistant",
        ),
        (MAGPIE, "user assistant"),
        ({key: MAGPIE[key] for key in ("instruction", "response")}, "user assistant"),
        (
            {"instruction": "嗨", "response": "你好", "instruction_2": "再？", "response_2": "好"},
            "user assistant user assistant",
        ),
        ({"prompt": "嗨", "response": "你好"}, "user assistant"),
        ({"question": "嗨", "answer": "你好"}, "user assistant"),
        (
            {"system_prompt": "簡短。", "question": "嗨", "response": "你好"},
            "system user assistant",
        ),
        ({"query": "嗨", "response": "你好"}, "user assistant"),
        ({"id": "0", "data": ["嗨", "你好", "再？", "好"]}, "user assistant user assistant"),
        ({"data": '["嗨", "你好"]', "source": "ultra"}, "user assistant"),
        (HERMES, "system user assistant"),
        (HERMES | {"system_prompt": None}, "user assistant"),
        ({"conversation": [ASKED, ANSWERED]}, "user assistant"),
        ({"conversations": [ASKED, ANSWERED]}, "user assistant"),
        ({"conversations": json.dumps([ASKED, ANSWERED])}, "user assistant"),
        ({"messages": [SYSTEM | {"content": ""}, ASKED, ANSWERED]}, "user assistant"),
        ({"messages": [SYSTEM | {"content": None}, ASKED, ANSWERED]}, "user assistant"),
        ({"messages": [ANSWERED, ASKED, ANSWERED]}, "user assistant"),
        ({"messages": [SYSTEM, ANSWERED, ASKED, ANSWERED]}, "system user assistant"),
        ({"messages": [ASKED, ANSWERED, ASKED]}, "user assistant"),
        (
            {"messages": [ASKED | {"content": [{"type": "text", "text": "嗨"}]}, ANSWERED]},
            "user assistant",
        ),
        ({"messages": [ASKED, ANSWERED, ASKED, ANSWERED | {"weight": 0}]}, "user assistant"),
        ({"messages": [ASKED | {"weight": 0}, ANSWERED | {"weight": 1}]}, "user assistant"),
        (
            {
                "conversations": [
                    {"from": "Human", "value": "嗨"},
                    {"from": "bing", "value": "你好"},
                ]
            },
            "user assistant",
        ),
    ],
)
def test_conversations_are_told_by_their_keys(row: Row, roles: str) -> None:
    assert " ".join(turn["role"] for turn in conversation(row)) == roles


def test_a_seed_task_has_its_input_and_output_in_its_instance() -> None:
    task = {"id": "seed_task_8", "instruction": "寫一首詩", "is_classification": False}
    one = {"input": "夏天", "output": "綠樹陰濃夏日長。"}
    asked, answered = conversation(task | {"instances": [one]})
    assert (asked["content"], answered["content"]) == ("寫一首詩\n\n夏天", "綠樹陰濃夏日長。")
    with pytest.raises(Malformed, match="no known conversation form"):
        conversation(task | {"instances": [one, one]})


def test_the_key_of_a_prompt_may_be_capital() -> None:
    assert prompt({"idx": 1, "Skill": "Math", "Instruction": "多快？"}) == "多快？"


def test_an_alpaca_input_follows_its_instruction() -> None:
    row = {"instruction": " 翻譯 ", "input": "cat", "output": "貓\u200b"}
    assert conversation(row) == [
        {"role": "user", "content": "翻譯\n\ncat"},
        {"role": "assistant", "content": "貓"},
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "unknown_format"),
        ({"text": "玉山"}, "unknown_format"),
        ({"instruction": "翻譯"}, "unknown_format"),
        ({"messages": []}, "no_turns"),
        ({"messages": None}, "no_turns"),
        ({"conversations": "嗨"}, "no_turns"),
        ({"messages": ["嗨"]}, "malformed_turn"),
        ({"conversations": [None]}, "malformed_turn"),
        ({"messages": [{"role": "tool", "content": "嗨"}]}, "unknown_role"),
        ({"messages": [{"content": "嗨"}]}, "unknown_role"),
        ({"messages": [{"role": ["user"], "content": "嗨"}]}, "unknown_role"),
        ({"conversations": [{"from": "function_call", "value": "嗨"}]}, "unknown_role"),
        ({"messages": [ASKED, ANSWERED | {"tool_calls": [{}]}]}, "tool_call"),
        ({"messages": [ASKED | {"content": [{"type": "image"}]}, ANSWERED]}, "not_text"),
        ({"messages": [ASKED, ANSWERED | {"weight": 0}]}, "zero_weight"),
        ({"messages": [ASKED, ANSWERED | {"weight": 0}, ASKED, ANSWERED]}, "zero_weight"),
        ({"instruction": "嗨", "output": "好", "history": ["嗨"]}, "malformed_turn"),
        ({"data": ["嗨", 5]}, "not_text"),
        ({"data": ["嗨"]}, "no_answer"),
        ({"conversations": "[1"}, "no_turns"),
        ({"conversations": [{"value": "嗨"}]}, "unknown_role"),
        ({"messages": [{"role": "user", "content": 5}, ANSWERED]}, "not_text"),
        ({"messages": [{"role": "user"}, ANSWERED]}, "not_text"),
        ({"instruction": "翻譯", "input": 5, "output": "貓"}, "not_text"),
        ({"instruction": "翻譯", "output": None}, "not_text"),
        ({"messages": [ASKED, {"role": "assistant", "content": " \n"}]}, "blank_text"),
        ({"messages": [ASKED, {"role": "assistant", "content": "\u200b\ufeff"}]}, "blank_text"),
        ({"messages": [ASKED]}, "no_answer"),
        ({"messages": [SYSTEM]}, "no_answer"),
        ({"messages": [ANSWERED, ASKED]}, "no_answer"),
        ({"messages": [ASKED, ASKED, ANSWERED]}, "roles_not_alternating"),
        ({"messages": [ASKED, SYSTEM, ANSWERED]}, "roles_not_alternating"),
        ({"messages": [SYSTEM, SYSTEM, ASKED, ANSWERED]}, "roles_not_alternating"),
    ],
)
def test_a_conversation_that_does_not_fit_has_a_reason(row: Row, reason: str) -> None:
    with pytest.raises(Malformed) as fault:
        conversation(row)
    assert fault.value.reason == reason
    assert fault.value.detail


texts = st.text(st.characters(), max_size=8) | st.sampled_from(["嗨", " ", "\u200b", "\ud800"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
roles = st.sampled_from(["system", "user", "assistant", "tool"])
speakers = st.sampled_from(["system", "human", "gpt", "user", "bing"])
turns = st.lists(st.fixed_dictionaries({"role": roles, "content": texts}) | values, max_size=4)
talk = st.lists(texts, min_size=2, max_size=6).map(
    lambda said: [
        {"role": ("user", "assistant")[number % 2], "content": text}
        for number, text in enumerate(said)
    ]
)
anything = st.dictionaries(
    st.sampled_from(
        [
            *("conversations", "messages", "instruction", "input", "output", "prompt", "question"),
            *("answer", "response", "data", "history", "system_prompt", "weight"),
        ]
    )
    | texts,
    values | turns,
    max_size=6,
)
conversations = anything | st.one_of(
    st.fixed_dictionaries({"messages": talk | turns}, optional={"licence": values}),
    st.fixed_dictionaries(
        {"conversations": st.lists(st.fixed_dictionaries({"from": speakers, "value": texts}))}
    ),
    st.fixed_dictionaries({"instruction": texts, "input": values, "output": texts}),
)


@settings(max_examples=300, deadline=None)
@given(conversations)
def test_a_conversation_is_malformed_or_fits_its_record(row: Row) -> None:
    try:
        values = _conversation(RawRow("a.jsonl#1", row), IngestParams())
    except Malformed as fault:
        assert fault.reason.isidentifier()
    else:
        CONVERSATION.validate(CONVERSATION.frame([values]))


questions = st.dictionaries(
    st.sampled_from(
        [
            *("kind", "question", "choices", "answer", "aliases", "answers", "answerKey", "A", "B"),
            *("context", "data", "paragraphs", "qas", "prompt", "instruction", "messages"),
        ]
    ),
    values | turns | st.lists(texts, max_size=4) | texts,
    max_size=7,
)


@settings(max_examples=300, deadline=None)
@given(questions)
def test_questions_and_prompts_are_malformed_or_texts(row: Row) -> None:
    for part in [row, *nested_questions(row)]:
        try:
            assert benchmark_question(part).question
        except Malformed as fault:
            assert fault.reason.isidentifier()
    try:
        assert prompt(row).strip()
    except Malformed as fault:
        assert fault.reason.isidentifier()
