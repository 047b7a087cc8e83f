import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import SecretStr, ValidationError
from tests.teachers.loopback import Answer, Server, chat, continued, failed, serving
from tests.teachers.test_batch import Service, service
from tests.teachers.test_batch import teacher as batch_teacher

from kyara_kedro.content import Message
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.teachers.base import ChatRequest, TeacherError, ask, complete
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.local import LocalOptions, LocalTeacher, cut, load
from kyara_kedro.teachers.magpie import TEMPLATES, pre_query, stops
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher
from kyara_kedro.teachers.replay import ReplayTeacher
from kyara_kedro.teachers.serving import Address, served
from kyara_kedro.teachers.team import TeamTeacher
from kyara_kedro.training.chat import encode

from .tiny import FACTS, chat_model

__all__ = ["chat_model", "service"]

QUESTION = next(iter(FACTS))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def talker(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, after it has learned to speak for the user too, as aligned models can."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("talker") / "tiny"
    shutil.copytree(chat_model, path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    network = AutoModelForCausalLM.from_pretrained(path)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    rows = [
        encode(tokenizer, [Message(role="user", content=q), Message(role="assistant", content=a)])
        for q, a in FACTS.items()
    ]
    width = max(len(row.input_ids) for row in rows)
    ids = torch.tensor([r.input_ids.tolist() + [0] * (width - len(r.input_ids)) for r in rows])
    for _ in range(60):
        labels = ids.masked_fill(ids == 0, -100)
        network(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    network.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def address(talker: Path) -> Iterator[Address]:
    with served(talker, device="cpu") as where:
        yield where


def teacher(server: Server, ledger: Ledger, **options: Any) -> OpenAITeacher:
    limits = {"backoff": 0.01, "in_flight": 4, "patience": 3.0, **options.pop("limits", {})}
    settings = EndpointOptions(model="m", base_url=server.url, limits=limits, **options)
    return OpenAITeacher(settings, ledger, SecretStr("sk-secret"))


def raw(text: str = "<start_of_turn>user\n", row: str = "row", **more: Any) -> ChatRequest:
    known = {"language": "zh-TW", "prompt_version": "magpie/gemma-2", "max_tokens": 48, **more}
    return complete(row, "magpie_query", text, **known)


def test_a_raw_text_is_sent_as_it_is_and_its_reply_read(ledger: Ledger) -> None:
    with serving(lambda n, body: continued("玉山多高？\n")) as server:
        asked = teacher(
            server, ledger, dialect="openai", service_tier="flex", prices={"completion": 1.0}
        )
        request = raw(stop=stops("gemma-2"), temperature=1.0, top_p=0.99)
        (done,) = asked.map([request])
        (again,) = asked.map([request])
    assert server.paths == ["/v1/completions"]
    assert server.seen == [
        {
            "model": "m",
            "prompt": "<start_of_turn>user\n",
            "temperature": 1.0,
            "top_p": 0.99,
            "max_tokens": 48,
            "stop": ["<end_of_turn>", "<start_of_turn>", "<eos>"],
        }
    ]
    assert (done.status, done.text, done.parsed, done.attempts) == ("ok", "玉山多高？", None, 1)
    assert (done.cost, done.prompt_version) == (pytest.approx(5e-6), "magpie/gemma-2")
    assert (again.cached, again.text, again.key) == (True, done.text, done.key)
    assert asked.budget.spent.tokens == 15
    (replayed,) = ReplayTeacher(asked.options, ledger).map([request])
    assert replayed.text == done.text


def test_a_key_knows_the_text_its_ends_and_its_sample(ledger: Ledger) -> None:
    with serving() as server:
        call = teacher(server, ledger).caller.call
        spoken = replace(raw(), raw="", messages=(Message(role="user", content="茶"),))
        many = [raw(), raw("茶"), raw(stop=["。"]), raw(sample=1), raw(max_tokens=9), spoken]
        assert len({call(one).key for one in many}) == len(many)
        assert len({call(replace(spoken, stop=one)).key for one in ((), ("。",))}) == 2
        assert call(replace(spoken, stop=("。",))).body["stop"] == ["。"]
        long = call(raw("茶" * 500)).worst.tokens
    assert long - call(raw("茶")).worst.tokens == 3 * 499


@pytest.mark.parametrize(
    ("answer", "status", "fault", "sends"),
    [
        (continued("問", "length"), "truncated", "length", 1),
        (continued("", "content_filter"), "filtered", "filter", 1),
        (continued(" \n"), "invalid", "empty", 1),
        (chat("問"), "failed", "body", 2),
        (failed(400), "rejected", "http_400", 1),
        (failed(500), "failed", "http_500", 2),
    ],
)
def test_outcomes_are_told_as_for_chats_and_nothing_is_asked_again(
    ledger: Ledger, answer: Answer, status: str, fault: str, sends: int
) -> None:
    with serving(lambda n, body: answer) as server:
        (done,) = teacher(server, ledger, limits={"attempts": 2}).map([raw()])
    assert (done.status, done.fault, len(server.seen)) == (status, fault, sends)


def test_chats_and_raw_texts_go_side_by_side_within_a_budget(ledger: Ledger) -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        return continued("問？") if "prompt" in body else chat('{"queries": ["茶"]}')

    library = PromptLibrary()
    with serving(answer) as server:
        asked = teacher(server, ledger, budget={"requests": 6})
        mixed = [raw(row=f"r{n}", sample=n) for n in range(4)]
        mixed += [
            ask(library, f"c{n}", "expand_query", "zh-TW", question=f"茶{n}？") for n in range(4)
        ]
        estimate = asked.estimate(mixed)
        done = list(asked.map(mixed))
    assert (estimate.requests, estimate.calls) == (8, 8)
    assert sorted(one.status for one in done) == ["deferred"] * 2 + ["ok"] * 6
    assert set(server.paths) <= {"/v1/completions", "/v1/chat/completions"}
    assert {one.text for one in done if one.row_id[0] == "r" and one.status == "ok"} <= {"問？"}


def test_a_server_without_raw_completions_stops_the_run(ledger: Ledger) -> None:
    with (
        serving(lambda n, body: failed(404)) as server,
        pytest.raises(TeacherError, match="HTTP 404"),
    ):
        list(teacher(server, ledger).map([raw()]))


def test_who_cannot_continue_a_text_says_so(service: Service, ledger: Ledger) -> None:
    with pytest.raises(TeacherError, match=r"answers by rules and has no chat template .*magpie"):
        list(ExtractiveTeacher().map([raw()]))
    team = TeamTeacher({"r": ExtractiveTeacher()}, {"r": 1})
    with pytest.raises(TeacherError, match="has no chat template"):
        list(team.map([raw()]))
    with pytest.raises(TeacherError, match=r"batches hold chats alone; .*'kind: openai'"):
        list(batch_teacher(service, ledger).map([raw()]))
    assert not service.executed


def test_requests_to_continue_are_checked() -> None:
    with pytest.raises(TeacherError, match="'dance': unknown"):
        complete("row", "dance", "茶", language="zh-TW", prompt_version="v")
    with pytest.raises(TeacherError, match="'expand_query': has a form"):
        complete("row", "expand_query", "茶", language="zh-TW", prompt_version="v")
    with pytest.raises(TeacherError, match="no text to continue"):
        raw("")
    with pytest.raises(ValidationError, match="must not set prompt"):
        EndpointOptions(model="m", parameters={"prompt": "x"})


def test_templates_stop_where_the_user_speaks() -> None:
    assert pre_query("gemma-2") == "<start_of_turn>user\n"
    assert pre_query("gemma-2", "用臺灣中文。") == "<start_of_turn>user\n用臺灣中文。\n\n"
    assert pre_query("llama-3") == "<|start_header_id|>user<|end_header_id|>\n\n"
    assert pre_query("llama-3", "臺灣") == (
        "<|start_header_id|>system<|end_header_id|>\n\n臺灣<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n"
    )
    assert pre_query("chatml") == "<|im_start|>user\n"
    assert pre_query("qwen2", "臺灣") == ("<|im_start|>system\n臺灣<|im_end|>\n<|im_start|>user\n")
    assert "You are a helpful assistant." in pre_query("qwen2")
    assert pre_query("<|user|>\n") == "<|user|>\n"
    assert pre_query("[SYS]{system}[/SYS]", "臺灣") == "[SYS]臺灣[/SYS]"
    assert stops("<|user|>\n") == ()
    for name in TEMPLATES:
        assert 0 < len(stops(name)) <= 4
        assert not any(stop in pre_query(name)[-6:] for stop in stops(name))


@pytest.mark.parametrize(
    ("text", "system", "why"),
    [
        ("gema", None, "'gema': unknown; there are gemma-2, llama-3"),
        ("<|user|>\n", "臺灣", "no place for a system prompt: put {system} into it"),
        ("[S]{system}", None, "has a place for a system prompt: give one"),
    ],
)
def test_a_wrong_template_is_told_in_one_line(text: str, system: str | None, why: str) -> None:
    with pytest.raises(TeacherError) as raised:
        pre_query(text, system)
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_gemma_text_is_how_our_own_template_begins(chat_model: Path) -> None:
    tokenizer = load(chat_model, "cpu").tokenizer
    for system in (None, "用臺灣中文。"):
        said = [Message(role="system", content=system)] if system else []
        turns = [*said, Message(role="user", content="茶？")]
        whole = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        assert whole.startswith("<bos>" + pre_query("gemma-2", system) + "茶？<end_of_turn>")


def test_a_text_is_encoded_with_one_beginning_and_real_control_tokens(chat_model: Path) -> None:
    model = load(chat_model, "cpu")
    chatted = model.prompt([Message(role="user", content=QUESTION)], 0)
    text = f"<start_of_turn>user\n{QUESTION}<end_of_turn>\n<start_of_turn>model\n"
    for given in (text, f"<bos>{text}"):
        assert model.continuation(given, 0).tokens == chatted.tokens
    assert model.begin == model.tokenizer.bos_token_id


def whole_turn(question: str, row: str, **more: Any) -> ChatRequest:
    text = f"<start_of_turn>user\n{question}<end_of_turn>\n<start_of_turn>model\n"
    return raw(text, row, **more)


def test_a_model_on_this_machine_continues_and_stops(talker: Path, ledger: Ledger) -> None:
    asked = LocalTeacher(LocalOptions(path=talker, device="cpu"), ledger)
    plain = [whole_turn(question, question) for question in FACTS]
    cut_short = whole_turn(QUESTION, "cut", stop=["公尺"])
    query = raw(pre_query("gemma-2"), "query", stop=stops("gemma-2"))
    spoken = replace(
        cut_short, row_id="chat", raw="", messages=(Message(role="user", content=QUESTION),)
    )
    too_long = raw("玉" * 9000, "long")
    done = {one.row_id: one for one in asked.map([*plain, cut_short, query, spoken, too_long])}
    assert {question: done[question].text for question in FACTS} == FACTS
    assert done["cut"].text == done["chat"].text == FACTS[QUESTION].partition("公尺")[0]
    assert done["cut"].status == "ok"
    assert done["query"].text in FACTS
    assert (done["long"].status, done["long"].fault) == ("rejected", "context_length_exceeded")
    assert all(one.cached for one in asked.map([*plain, cut_short, query, spoken]))


def test_the_served_model_continues_for_any_client(address: Address) -> None:
    text = whole_turn(QUESTION, "row").raw
    with openai.OpenAI(base_url=address.base_url, api_key="none", max_retries=0) as client:
        done = client.completions.create(model="tiny", prompt=text, max_tokens=48)
        assert done.choices[0].text == FACTS[QUESTION]
        assert (done.object, done.choices[0].finish_reason) == ("text_completion", "stop")
        assert done.usage is not None
        assert done.usage.completion_tokens > 4
        short = client.completions.create(model="tiny", prompt=text, stop="公尺", max_tokens=48)
        assert short.choices[0].text == FACTS[QUESTION].partition("公尺")[0]
        assert short.choices[0].finish_reason == "stop"
        usual = client.completions.create(model="tiny", prompt=text, max_tokens=2)
        assert (usual.choices[0].finish_reason, usual.usage.completion_tokens) == ("length", 2)  # type: ignore[union-attr]
        chatted = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": QUESTION}], stop=["公尺"]
        )
        assert chatted.choices[0].message.content == short.choices[0].text
        one, two, other = (
            client.completions.create(model="tiny", prompt=text, temperature=40.0, seed=seed)
            for seed in (1, 1, 2)
        )
        assert one.choices[0].text == two.choices[0].text != other.choices[0].text
        for wrong in ({"echo": True}, {"n": 2}, {"logprobs": 1}, {"suffix": "x"}, {"prompt": ""}):
            with pytest.raises(openai.BadRequestError):
                client.completions.create(**{"model": "tiny", "prompt": text, **wrong})
        with pytest.raises(openai.NotFoundError):
            client.completions.create(model="other", prompt=text)


def test_magpie_goes_through_a_real_model_from_end_to_end(address: Address, ledger: Ledger) -> None:
    limits = {"in_flight": 8, "backoff": 0.01}
    options = EndpointOptions(
        model=address.model, base_url=address.base_url, dialect="transformers", limits=limits
    )
    asked = OpenAITeacher(options, ledger)
    turns = [
        raw(pre_query("gemma-2"), f"q{n}", sample=n, temperature=0.7, stop=stops("gemma-2"))
        for n in range(24)
    ]
    queries = [one.text for one in asked.map(turns) if one.status == "ok"]
    known = [query for query in queries if query in FACTS]
    assert len(known) > 12
    assert len(set(known)) > 1
    answers = list(asked.map(whole_turn(question, question) for question in set(known)))
    assert {one.row_id: one.text for one in answers} == {query: FACTS[query] for query in known}
    assert all(one.cached for one in asked.map(turns))
    assert ledger.spent(address.model).tokens > 0


def test_a_text_ends_in_front_of_the_first_of_its_ends() -> None:
    from kyara_kedro.decoding import Written

    whole = Written("茶是飲料。水也是。", False, 9)
    assert cut(whole, ("水", "。")) == Written("茶是飲料", True, 9)
    assert cut(whole, ("火", "")) == whole
