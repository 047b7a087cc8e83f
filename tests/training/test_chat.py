import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

from kyara_kedro.content import Message
from kyara_kedro.training.chat import (
    CONTROL_TOKENS,
    IGNORED,
    PreferencePair,
    check_messages,
    check_pair,
    encode,
    encode_batch,
    encode_pair,
    prompt_text,
)
from kyara_kedro.training.loading import load_tokenizer
from kyara_kedro.training.model_ref import ModelRef


def talk(*contents: str, system: str | None = None) -> list[Message]:
    turns = [
        Message(role=("user", "assistant")[i % 2], content=content)
        for i, content in enumerate(contents)
    ]
    return turns if system is None else [Message(role="system", content=system), *turns]


@pytest.fixture(scope="module")
def tokenizer(embedded: ModelRef) -> object:
    return load_tokenizer(embedded)


def test_system_prompt_goes_in_front_of_the_first_user_turn(tokenizer) -> None:
    messages = talk("玉山？", "3,952公尺", " 再說一次 ", "好😀", system="請簡答。")
    encoded = encode(tokenizer, messages)
    assert tokenizer.decode(encoded.input_ids) == (
        "<bos><start_of_turn>user\n請簡答。\n\n玉山？<end_of_turn>\n"
        "<start_of_turn>model\n3,952公尺<end_of_turn>\n"
        "<start_of_turn>user\n再說一次<end_of_turn>\n"
        "<start_of_turn>model\n好😀<end_of_turn>\n"
    )
    learned = encoded.labels[encoded.labels != IGNORED]
    assert tokenizer.decode(learned) == "3,952公尺<end_of_turn>好😀<end_of_turn>"


text = st.text(
    st.one_of(st.sampled_from("玉山的海拔，。「」？\n 3952abc🏔"), st.characters(codec="utf-8")),
    min_size=1,
    max_size=12,
).filter(lambda value: value.strip() and check_messages(talk(value, "x")) is None)


@given(question=text, answer=text)
@settings(max_examples=150, deadline=None)
def test_prompt_is_a_token_prefix_and_exactly_the_answer_is_learned(
    tokenizer, question: str, answer: str
) -> None:
    encoded = encode(tokenizer, talk(question, answer))
    prompt = tokenizer(prompt_text(tokenizer, talk(question)), add_special_tokens=False)
    length = len(prompt["input_ids"])
    assert encoded.input_ids[:length].tolist() == prompt["input_ids"]
    assert (encoded.labels[:length] == IGNORED).all()
    learned = encoded.labels[encoded.labels != IGNORED]
    assert np.array_equal(learned, encoded.input_ids[length:-1])
    expected = answer.strip().replace("▁", " ")
    assert tokenizer.decode(learned) == expected + "<end_of_turn>"


@given(
    batch=st.lists(
        st.tuples(st.none() | text, st.lists(st.tuples(text, text), min_size=1, max_size=3)),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=150, deadline=None)
def test_tokens_and_marks_are_those_of_the_template(tokenizer, batch) -> None:
    conversations = [
        talk(*(turn for turns in rounds for turn in turns), system=system)
        for system, rounds in batch
    ]
    for messages, encoded in zip(
        conversations, encode_batch(tokenizer, conversations), strict=True
    ):
        rendered = tokenizer.apply_chat_template(
            messages, return_dict=True, return_assistant_tokens_mask=True
        )
        assert encoded.input_ids.tolist() == rendered["input_ids"]
        marks = np.array(rendered["assistant_masks"], bool)
        assert np.array_equal(encoded.labels != IGNORED, marks)
        assert np.array_equal(encoded.labels[marks], encoded.input_ids[marks])
        assert (encoded.input_ids == tokenizer.bos_token_id).sum() == 1
        assert tokenizer.eos_token_id not in encoded.input_ids
        assert encoded.labels[-2] == tokenizer.convert_tokens_to_ids("<end_of_turn>")


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": ["玉山"]}],
        [{"role": "user", "content": None}],
        [{"role": "assistant", "content": "好"}],
        [{"role": "user", "content": "一"}, {"role": "user", "content": "二"}],
        [{"role": "user", "content": "一"}, {"role": "system", "content": "二"}],
    ],
)
def test_template_refuses_what_it_cannot_render(tokenizer, messages) -> None:
    with pytest.raises(TemplateError, match="Message"):
        prompt_text(tokenizer, messages)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (talk("問", "答"), None),
        (talk("問", "答", "再問", "再答", system="系統"), None),
        ([], "empty_conversation"),
        (talk(system="系統"), "empty_conversation"),
        ([{"role": "user", "content": None}], "non_string_content"),
        ([{"role": "user", "content": [{"type": "text"}]}], "non_string_content"),
        ([{"role": "tool", "content": "x"}], "unknown_role"),
        ([{"role": "assistant", "content": "x"}], "roles_not_alternating"),
        ([*talk("問"), *talk("問", "答")], "roles_not_alternating"),
        ([*talk("問", "答"), {"role": "system", "content": "x"}], "roles_not_alternating"),
        (talk("問", "答", "問"), "unanswered_turn"),
        (talk("問", " \n\u3000"), "blank_turn"),
        (talk("問", "答", system=" "), "blank_turn"),
        *((talk(f"問{token}", "答"), "control_token") for token in CONTROL_TOKENS),
    ],
)
def test_reasons(messages, reason: str | None) -> None:
    assert check_messages(messages) == reason


def pair(chosen: str, rejected: str, prefix: str | None = None) -> PreferencePair:
    return PreferencePair(prompt=talk("玉山？"), chosen=chosen, rejected=rejected, prefix=prefix)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (pair("甲", "乙"), None),
        (pair("甲", "乙", "第一步："), None),
        (pair("甲", " 甲\n"), "identical_answers"),
        (pair("甲", " ", "第一步："), "blank_turn"),
        (pair("甲", "乙", "<end_of_turn>"), "control_token"),
        (
            PreferencePair(prompt=[], chosen="甲", rejected="乙", prefix=None),
            "roles_not_alternating",
        ),
    ],
)
def test_reasons_of_pairs(row: PreferencePair, reason: str | None) -> None:
    assert check_pair(row) == reason


def test_whole_turns_are_closed(tokenizer) -> None:
    ids = encode_pair(tokenizer, pair("3,952公尺", "186公里"))
    head = prompt_text(tokenizer, talk("玉山？"))
    assert tokenizer.decode(ids["prompt_ids"]) == head
    assert tokenizer.decode(ids["chosen_ids"]) == "3,952公尺<end_of_turn>"
    assert tokenizer.decode(ids["rejected_ids"]) == "186公里<end_of_turn>"


@pytest.mark.parametrize("prefix", ["第一步：\n", "玉", "海拔"])
def test_continuations_stay_open(tokenizer, prefix: str) -> None:
    ids = encode_pair(tokenizer, pair("山主峰", "山的海拔", prefix))
    head = prompt_text(tokenizer, talk("玉山？")) + prefix
    assert tokenizer.decode(np.r_[ids["prompt_ids"], ids["chosen_ids"]]) == head + "山主峰"
    assert tokenizer.decode(np.r_[ids["prompt_ids"], ids["rejected_ids"]]) == head + "山的海拔"
    assert len(ids["chosen_ids"])
    assert len(ids["rejected_ids"])
