import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from click.testing import CliRunner

from kyara_kedro.checkpoints import fingerprint
from kyara_kedro.cli import cli
from kyara_kedro.decoding import Decoder
from kyara_kedro.teachers.admission import Limits
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.local import LocalOptions, LocalTeacher, load
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher
from kyara_kedro.teachers.serving import Address, ApiError, Batcher, ChatBody, is_loopback, served

from .tiny import FACTS, chat_model, plain
from support import KEDRO, ROOT

__all__ = ["chat_model"]

QUESTION = next(iter(FACTS))


@pytest.fixture(scope="module")
def address(chat_model: Path) -> Iterator[Address]:
    with served(chat_model, device="cpu") as where:
        yield where


@pytest.fixture
def client(address: Address) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=address.base_url, api_key="none", max_retries=0) as opened:
        yield opened


def ask(client: openai.OpenAI, question: str = QUESTION, **more: Any) -> Any:
    messages = [{"role": "user", "content": question}]
    settings = {"model": "tiny", "max_tokens": 48, **more}
    return client.chat.completions.create(messages=messages, **settings)  # type: ignore[call-overload]


def post(address: Address, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    host, port = address.base_url.split("/")[2].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    sent = {"content-type": "application/json"} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    connection.request("POST", "/v1/chat/completions", body, sent)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, json.loads(text) if text.startswith("{") else {"text": text}


def test_the_openai_client_is_answered(
    client: openai.OpenAI, address: Address, chat_model: Path
) -> None:
    done = ask(client)
    assert done.choices[0].message.content == FACTS[QUESTION]
    assert done.choices[0].finish_reason == "stop"
    assert done.model == address.model == f"tiny@{fingerprint(chat_model)[:8]}"
    assert done.system_fingerprint == fingerprint(chat_model)
    model = load(chat_model, "cpu")
    prompt = model.prompt([{"role": "user", "content": QUESTION}], 0)
    answer = model.tokenizer(FACTS[QUESTION], add_special_tokens=False)["input_ids"]
    assert done.usage.prompt_tokens == len(prompt.tokens)
    assert done.usage.completion_tokens == len(answer) + 1
    assert done.usage.total_tokens == len(prompt.tokens) + len(answer) + 1
    cut = ask(client, model=address.model, max_tokens=openai.omit, max_completion_tokens=2)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 2)
    assert [one.id for one in client.models.list()] == [address.model]


def test_health(address: Address) -> None:
    host = address.base_url.split("/")[2]
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request("GET", "/health")
    assert json.loads(connection.getresponse().read()) == {"status": "ok"}
    connection.close()


def test_teachers_say_the_same_over_http_and_in_process(
    address: Address, chat_model: Path, tmp_path: Path
) -> None:
    requests = [plain(q) for q in FACTS] + [
        plain(f"{n}座山有多高？", row_id=str(n)) for n in range(42)
    ]
    options = EndpointOptions(
        model=address.model,
        base_url=address.base_url,
        dialect="transformers",
        limits=Limits(in_flight=16),
    )
    with Ledger(tmp_path / "a.db") as first, Ledger(tmp_path / "b.db") as second:
        remote = {one.row_id: one for one in OpenAITeacher(options, first).map(requests)}
        local_options = LocalOptions(path=chat_model, device="cpu", batch_size=8)
        local = {one.row_id: one for one in LocalTeacher(local_options, second).map(requests)}
        stored = first.get_many(one.key for one in remote.values())
    assert {one.served_by for one in stored.values()} == {address.model}
    for row, one in remote.items():
        other = local[row]
        assert (one.text, one.status) == (other.text, other.status)
        assert one.prompt_tokens == other.prompt_tokens
        assert one.completion_tokens == other.completion_tokens
    assert {row: remote[row].text for row in FACTS} == FACTS


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of prompts that were written together."""
    noted: list[int] = []
    write = Decoder.write

    def noting(self: Decoder, prompts: Any, *more: Any) -> Any:
        noted.append(len(prompts))
        return write(self, prompts, *more)

    monkeypatch.setattr(Decoder, "write", noting)
    return noted


def test_what_waits_is_answered_together(client: openai.OpenAI, sizes: list[int]) -> None:
    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(lambda n: ask(client, list(FACTS)[n % 6]), range(48)))
    assert [one.choices[0].message.content for one in done] == list(FACTS.values()) * 8
    assert sum(sizes) == 48
    assert max(sizes) > 4


def test_clients_that_have_left_are_not_answered(
    client: openai.OpenAI,
    chat_model: Path,
    sizes: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, go_on = load(chat_model, "cpu").network, threading.Event()
    generate = network.generate

    def held(**settings: Any) -> Any:
        go_on.wait(20)
        return generate(**settings)

    monkeypatch.setattr(network, "generate", held)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(ask, client)
        while not sizes:
            time.sleep(0.01)
        with pytest.raises(openai.APITimeoutError):
            ask(client, timeout=0.1)
        time.sleep(0.1)
        go_on.set()
        for done in (first.result(), ask(client)):
            assert done.choices[0].message.content == FACTS[QUESTION]
    assert sizes == [1, 1]


def test_a_seed_makes_a_sample_repeatable(client: openai.OpenAI) -> None:
    def sample(**more: Any) -> str:
        text = ask(client, "茶？", temperature=50, **more).choices[0].message.content
        assert isinstance(text, str)
        return text

    assert sample(seed=1) == sample(seed=1)
    assert len({sample(seed=seed) for seed in range(3)}) == 3
    assert len({sample() for _ in range(3)}) == 3


def said(**more: Any) -> bytes:
    fields = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 4, **more}
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("body", "status", "code", "why"),
    [
        (b"{", 400, "invalid_json", "not JSON"),
        (b"\xff\xfe", 400, "invalid_json", "not JSON"),
        (b"[" * 100_000, 400, "invalid_json", "not JSON"),
        (b"[]", 400, "invalid_json", "not a JSON object"),
        (b"{}", 400, "invalid_value", "messages: Field required"),
        (said(messages=[]), 400, "invalid_value", "messages: List should have at least 1"),
        (said(messages=[{"role": "tool", "content": "x"}]), 400, "invalid_value", "role"),
        (said(messages=[{"role": "user", "content": ["x"]}]), 400, "invalid_value", "content"),
        (said(messages=[{"role": "user", "content": "\ud800"}]), 400, "invalid_value", "surrogate"),
        (said(messages=[{"role": "assistant", "content": "x"}]), 400, "chat_template", "alternate"),
        (said(messages=[{"role": "user", "content": "玉" * 9000}]), 400,
         "context_length_exceeded", "8192 tokens"),
        (said(max_tokens=9000), 400, "context_length_exceeded", "9000"),
        (said(max_tokens=0), 400, "invalid_value", "max_tokens"),
        (said(temperature=-1), 400, "invalid_value", "temperature"),
        (said(temperature=float("nan")), 400, "invalid_value", "temperature"),
        (said(top_p=0), 400, "invalid_value", "top_p"),
        (said(n=2), 400, "unsupported_parameter", "n: this server cannot"),
        (said(stream=True), 400, "unsupported_parameter", "stream: this server cannot"),
        (said(logprobs=True), 400, "unsupported_parameter", "logprobs: this server cannot"),
        (said(tools=[{"type": "function"}]), 400, "unsupported_parameter", "tools"),
        (said(stop=["。"] * 5), 400, "invalid_value", "stop"),
        (said(response_format={"type": "json_object"}), 400, "unsupported_parameter", "response_f"),
        (said(best_of=3), 400, "unsupported_parameter", "best_of"),
        (said(model="other"), 404, "model_not_found", "'tiny@"),
        (said(messages=[{"role": "user", "content": "x" * 5_000_000}]), 413, "body_too_long", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused(
    address: Address, body: bytes, status: int, code: str, why: str
) -> None:
    found, answer = post(address, body)
    assert (found, answer["error"]["code"]) == (status, code)
    assert answer["error"]["type"] == "invalid_request_error"
    assert why in answer["error"]["message"]


def test_fields_that_ask_for_nothing_are_taken(address: Address) -> None:
    body = said(
        n=1, stream=False, logprobs=False, tools=[], stop=None, user="u", presence_penalty=0.0,
        response_format={"type": "text"},
    )  # fmt: skip
    assert post(address, body)[0] == 200


def test_web_pages_of_others_are_refused(address: Address) -> None:
    status, answer = post(address, said(), content_type="text/plain")
    assert (status, answer["error"]["code"]) == (415, "content_type")
    assert post(address, said(), host="evil.example")[0] == 400
    assert post(address, said(), content_type="application/json; charset=utf-8")[0] == 200


def test_an_unknown_path_has_openais_shape(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model="tiny", input="x")
    assert caught.value.type == "invalid_request_error"


def test_an_error_while_writing_is_told_and_the_server_goes_on(
    client: openai.OpenAI, chat_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("device lost")

    with monkeypatch.context() as patched:
        patched.setattr(load(chat_model, "cpu").network, "generate", broken)
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client)
    assert caught.value.type == "server_error"
    assert ask(client).choices[0].message.content == FACTS[QUESTION]


def test_the_end_comes_in_the_middle_of_a_reply(chat_model: Path) -> None:
    endless = replace(load(chat_model, "cpu"), ends=frozenset({0}))
    with Batcher(endless, 1) as batcher:
        answers = [batcher.ask(ChatBody.of(said(max_tokens=8000))) for _ in range(3)]
        time.sleep(0.2)
        assert not any(answer.done() for answer in answers)
        begun = time.perf_counter()
    assert time.perf_counter() - begun < 20
    for answer in (*answers, batcher.ask(ChatBody.of(said()))):
        with pytest.raises(ApiError, match="ending"):
            answer.result(0)


def test_addresses() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost")] == [True] * 3
    assert not any(is_loopback(host) for host in ("0.0.0.0", "192.168.1.2", "host"))  # noqa: S104


def test_a_taken_port_is_told_in_one_line(address: Address, chat_model: Path) -> None:
    port = address.base_url.split(":")[2].removesuffix("/v1")
    done = CliRunner().invoke(cli, ["serve-model", str(chat_model), "--port", port])
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: 127.0.0.1:{port}: Address already in use; choose")
    assert done.output.count("\n") == 1


def test_other_hosts_are_warned_about(tmp_path: Path) -> None:
    arguments = ["serve-model", str(tmp_path / "none"), "--host", "0.0.0.0", "--port", "0"]  # noqa: S104
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 1
    assert "Warning: anyone who reaches 0.0.0.0" in done.output
    assert "no such model directory" in done.output


def test_the_command_serves_until_it_is_interrupted(chat_model: Path) -> None:
    command = [str(KEDRO), "serve-model", str(chat_model), "--port", "0", "--device", "cpu"]
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(90, server.kill)
    watchdog.start()
    try:
        assert server.stdout is not None
        line = next(line for line in server.stdout if line.startswith("Serving"))
        found = re.search(r"base_url: (\S+), model: (\S+), dialect: transformers}", line)
        assert found is not None, line
        with openai.OpenAI(base_url=found[1], api_key="none") as client:
            done = ask(client, model=found[2])
            assert done.choices[0].message.content == FACTS[QUESTION]
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate()
    finally:
        watchdog.cancel()
        server.kill()
    assert server.returncode == 0, errors
    assert "Traceback" not in errors


def test_other_commands_do_not_load_it() -> None:
    heavy = "{'torch', 'transformers', 'uvicorn', 'starlette', 'safetensors'}"
    code = f"import sys, kyara_kedro.cli; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
