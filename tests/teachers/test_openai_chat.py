import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from kyara_kedro.records import REPLY
from kyara_kedro.teachers import (
    ChatRequest,
    Completion,
    Ledger,
    OpenAIOptions,
    OpenAITeacher,
    TeacherError,
)
from kyara_kedro.teachers.openai_chat import Budget, BudgetExhausted, retry_after

Requests = Callable[..., Iterator[ChatRequest]]
Answer = tuple[int, dict[str, str], str]
GOOD = '{"queries": ["茶"]}'


def chat(content: str | None, finish: str = "stop", **message: Any) -> Answer:
    body = {
        "choices": [{"message": {"content": content, **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    }
    return 200, {}, json.dumps(body, ensure_ascii=False)


def failed(status: int, **headers: str) -> Answer:
    return status, headers, json.dumps({"error": {"message": "no", "code": "some_code"}})


class Server:
    """A chat completions server on the loopback that answers by a function of (call, body)."""

    def __init__(self, answer: Callable[[int, dict[str, Any]], Answer]) -> None:
        self.seen: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    server.seen.append(body)
                    server.keys.add(self.headers["authorization"])
                    number = len(server.seen)
                status, headers, text = answer(number, body)
                data = text.encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@contextmanager
def serving(answer: Callable[[int, dict[str, Any]], Answer]) -> Iterator[Server]:
    server = Server(answer)
    thread = threading.Thread(target=server.http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


def teacher(server: Server, ledger: Ledger, **options: Any) -> OpenAITeacher:
    settings = OpenAIOptions(
        model="m", base_url=server.url, **{"backoff": 0.01, "concurrency": 4, **options}
    )
    return OpenAITeacher(settings, ledger, SecretStr("sk-secret"))


def by_row(done: Iterator[Completion]) -> dict[str, Completion]:
    return {completion.row_id: completion for completion in done}


def test_replies_are_parsed_priced_and_in_the_ledger(
    ledger: Ledger, make_requests: Requests
) -> None:
    with serving(lambda n, body: chat(GOOD)) as server:
        options = {"price_prompt": 1.0, "price_completion": 2.0}
        done = by_row(teacher(server, ledger, **options).map(make_requests(20)))
    assert len(done) == len(server.seen) == 20
    assert {c.status for c in done.values()} == {"ok"}
    one = done["row-3"]
    assert one.parsed.queries == ["茶"]  # type: ignore[union-attr]
    assert (one.teacher, one.teacher_kind, one.cached) == ("m", "llm", False)
    assert one.cost == pytest.approx(20e-6)
    assert server.seen[0]["model"] == "m"
    assert server.seen[0]["response_format"]["json_schema"]["name"] == "expand_query"
    assert server.seen[0]["max_completion_tokens"] == 64
    assert server.keys == {"Bearer sk-secret"}
    frame = REPLY.validate(ledger.frame())
    assert set(frame["request_id"]) == {c.key for c in done.values()}


def test_a_second_run_sends_nothing(ledger: Ledger, make_requests: Requests) -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        return chat(GOOD if len(body["messages"]) > 2 else "甲")  # every first reply is re-asked

    with serving(answer) as server:
        first = by_row(teacher(server, ledger).map(make_requests(10)))
        paid = len(server.seen)
        second = by_row(teacher(server, ledger).map(make_requests(10)))
    assert (paid, len(server.seen)) == (20, 20)
    assert all(c.cached and c.cost == 0 and c.status == "ok" for c in second.values())
    assert {r: c.text for r, c in first.items()} == {r: c.text for r, c in second.items()}


def test_a_run_that_stops_early_pays_only_for_the_rest(
    ledger: Ledger, make_requests: Requests
) -> None:
    with serving(lambda n, body: chat(GOOD)) as server:
        run = teacher(server, ledger).map(make_requests(30))
        next(run)
        run.close()
        stored = ledger.frame().height
        assert stored == len(server.seen) < 30
        done = by_row(teacher(server, ledger).map(make_requests(40)))
    assert len(done) == len(server.seen) == 40


def test_equal_prompts_are_paid_once(ledger: Ledger, make_requests: Requests) -> None:
    requests = [
        replace(request, row_id=f"copy-{copy}-{request.row_id}")
        for copy in range(10)
        for request in make_requests(3)
    ]
    with serving(lambda n, body: chat(GOOD)) as server:
        done = by_row(teacher(server, ledger).map(requests))
        samples = teacher(server, ledger).map(
            replace(requests[0], sample=sample) for sample in range(3)
        )
        assert {c.status for c in samples} == {"ok"}
    assert len(done) == 30
    assert len(server.seen) == 3 + 2


@pytest.mark.parametrize(
    "trouble",
    [
        failed(429, Retry_After="0"),
        failed(429, Retry_After_Ms="5"),
        failed(408),
        failed(409),
        failed(500),
        failed(503),
        (200, {}, '{"choices": [{"mess'),
        (200, {}, "[]"),
    ],
)
def test_passing_trouble_is_retried(
    ledger: Ledger, make_requests: Requests, trouble: Answer
) -> None:
    with serving(lambda n, body: trouble if n <= 2 else chat(GOOD)) as server:
        done = by_row(teacher(server, ledger).map(make_requests(5)))
    assert {c.status for c in done.values()} == {"ok"}
    assert len(server.seen) == 7
    assert ledger.frame().height == 5


def test_lasting_trouble_fails_the_row_and_not_the_run(
    ledger: Ledger, make_requests: Requests
) -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        question = body["messages"][-1]["content"]
        return (
            failed(400)
            if "茶1是" in question
            else failed(500)
            if "茶2是" in question
            else chat(GOOD)
        )

    with serving(answer) as server:
        done = by_row(teacher(server, ledger, max_attempts=3).map(make_requests(4)))
    assert [done[f"row-{i}"].status for i in range(4)] == ["ok", "failed", "failed", "ok"]
    assert "HTTP 400" in done["row-1"].error
    assert "3 attempts" in done["row-2"].error
    assert len(server.seen) == 1 + 1 + 3 + 1


def test_an_unreachable_server_fails_the_rows(ledger: Ledger, make_requests: Requests) -> None:
    with serving(lambda n, body: chat(GOOD)) as server:
        pass
    done = by_row(teacher(server, ledger, max_attempts=2).map(make_requests(2)))
    assert {c.status for c in done.values()} == {"failed"}
    assert "APIConnectionError" in done["row-0"].error


@pytest.mark.parametrize("status", [401, 403, 404])
def test_rejected_credentials_stop_the_run_and_keep_what_was_paid(
    ledger: Ledger, make_requests: Requests, status: int
) -> None:
    with (
        serving(lambda n, body: chat(GOOD) if n <= 6 else failed(status)) as server,
        pytest.raises(TeacherError, match=f"HTTP {status}.*check the credentials"),
    ):
        list(teacher(server, ledger).map(make_requests(300)))
    assert len(server.seen) <= 6 + 4
    assert ledger.frame().height == 6


def test_a_reply_out_of_form_is_asked_again_once_with_the_reason(
    ledger: Ledger, make_requests: Requests
) -> None:
    with serving(lambda n, body: chat('{"queries": "茶"}' if n == 1 else GOOD)) as server:
        (done,) = teacher(server, ledger).map(make_requests(1))
    assert (done.status, done.prompt_tokens) == ("ok", 20)
    again = server.seen[1]["messages"]
    assert [m["role"] for m in again] == ["system", "user", "assistant", "user"]
    assert again[2]["content"] == '{"queries": "茶"}'
    assert "queries" in again[3]["content"]
    with serving(lambda n, body: chat("不會")) as server:
        (done,) = teacher(server, ledger).map(make_requests(1, prefix="水"))
    assert (done.status, done.parsed, len(server.seen)) == ("invalid", None, 2)
    assert "no JSON object" in done.error


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (chat('{"queries": ["茶', "length"), "truncated"),
        (chat("", "length"), "truncated"),
        (chat("<think>想很久", "length"), "truncated"),
        (chat(None, "content_filter"), "filtered"),
        (chat(None, refusal="我不能回答"), "refused"),
        (chat(f"<think>先想</think>\n{GOOD}"), "ok"),
    ],
)
def test_outcomes_are_told_apart(
    ledger: Ledger, make_requests: Requests, answer: Answer, status: str
) -> None:
    with serving(lambda n, body: answer) as server:
        (done,) = teacher(server, ledger).map(make_requests(1))
    assert (done.status, len(server.seen)) == (status, 1)
    assert "<think>" not in done.text
    assert (done.parsed is not None) == (status == "ok")


def test_caps_are_never_passed_and_the_rest_is_deferred(
    ledger: Ledger, make_requests: Requests
) -> None:
    with serving(lambda n, body: chat(GOOD)) as server:
        done = by_row(teacher(server, ledger, max_requests=7).map(make_requests(20)))
        assert len(server.seen) == 7
        assert sorted(c.status for c in done.values()) == ["deferred"] * 13 + ["ok"] * 7
        worst = sum(len(m["content"].encode()) + 16 for m in server.seen[0]["messages"]) + 64
        cautious = teacher(server, ledger, max_tokens_total=3 * worst + 10)
        more = by_row(cautious.map(make_requests(60, prefix="水")))
        assert cautious.budget.tokens == 15 * sum(c.status == "ok" for c in more.values())
        assert cautious.budget.tokens <= 3 * worst + 10
        assert {c.status for c in more.values()} == {"ok", "deferred"}
        finished = by_row(teacher(server, ledger).map(make_requests(20)))
    assert {c.status for c in finished.values()} == {"ok"}


def test_a_budget_waits_for_what_is_in_flight() -> None:
    budget = Budget(max_tokens=100)
    assert budget.reserve(60)
    assert not budget.reserve(60)
    budget.settle(60, 10)
    assert budget.reserve(90)
    budget.settle(90, 90)
    with pytest.raises(BudgetExhausted, match="100 of 100 tokens"):
        budget.reserve(1)


def test_secrets_are_neither_in_addresses_nor_in_logs(
    ledger: Ledger, make_requests: Requests, caplog: pytest.LogCaptureFixture
) -> None:
    for url in ("http://user:pw@host/v1", "http://host/v1?key=1", "host/v1", "ftp://host"):
        with pytest.raises(ValidationError, match="base_url"):
            OpenAIOptions(model="m", base_url=url)
    with (
        caplog.at_level(logging.INFO),
        serving(lambda n, body: failed(401)) as server,
        pytest.raises(TeacherError) as raised,
    ):
        list(teacher(server, ledger).map(make_requests(2)))
    assert "sk-secret" not in caplog.text + str(raised.value)
    assert server.url not in caplog.text


def test_waits_named_by_the_server() -> None:
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < (retry_after({"retry-after": later}) or 0) <= 30
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


def test_one_teacher_serves_several_threads(ledger: Ledger, make_requests: Requests) -> None:
    with serving(lambda n, body: chat(GOOD)) as server:
        shared = teacher(server, ledger)
        results: list[int] = []
        threads = [
            threading.Thread(
                target=lambda prefix=prefix: results.append(
                    len(list(shared.map(make_requests(25, prefix=prefix))))
                )
            )
            for prefix in "甲乙丙"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert results == [25, 25, 25]
    assert len(server.seen) == shared.budget.requests == 75


@pytest.mark.faults
def test_a_killed_run_pays_again_only_for_what_was_in_flight(
    tmp_path: Path, make_requests: Requests
) -> None:
    script = """
import sys
from pathlib import Path
from kyara_kedro.teachers import Ledger, OpenAIOptions, OpenAITeacher
from tests.teachers.conftest import requests_for_queries
options = OpenAIOptions(model="m", base_url=sys.argv[1], concurrency=4)
done = OpenAITeacher(options, Ledger(Path(sys.argv[2]))).map(requests_for_queries(60))
for completion in done:
    print(completion.row_id, flush=True)
"""

    def slow(number: int, body: dict[str, Any]) -> Answer:
        time.sleep(0.02)
        return chat(GOOD)

    path = tmp_path / "killed.db"
    with serving(slow) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", script, server.url, str(path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        for _ in range(10):
            process.stdout.readline()
        process.kill()
        process.communicate()
        with Ledger(path) as ledger:
            done = by_row(teacher(server, ledger).map(make_requests(60)))
            paid = len(server.seen)
            again = by_row(teacher(server, ledger).map(make_requests(60)))
    assert {c.status for c in done.values()} == {"ok"}
    assert 60 <= paid <= 60 + 4
    assert len(server.seen) == paid
    assert len(again) == 60
