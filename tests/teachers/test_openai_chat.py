import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from tests.teachers.loopback import (
    GOOD,
    Answer,
    Server,
    chat,
    completion,
    failed,
    question,
    serving,
)

from kyara_kedro.records import REPLY
from kyara_kedro.teachers.base import ChatRequest, Completion, TeacherError
from kyara_kedro.teachers.endpoint import retry_after
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher

Requests = Callable[..., Iterator[ChatRequest]]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


def teacher(server: Server, ledger: Ledger, **options: Any) -> OpenAITeacher:
    limits = {"backoff": 0.01, "in_flight": 4, "patience": 3.0, **options.pop("limits", {})}
    settings = EndpointOptions(model="m", base_url=server.url, limits=limits, **options)
    return OpenAITeacher(settings, ledger, SecretStr("sk-secret"))


def by_row(done: Iterator[Completion]) -> dict[str, Completion]:
    return {completion.row_id: completion for completion in done}


def stored(ledger: Ledger) -> int:
    return sum(frame.height for frame in ledger.frames())


def test_replies_are_parsed_priced_and_in_the_ledger(
    ledger: Ledger, make_requests: Requests
) -> None:
    with serving() as server:
        asked = teacher(server, ledger, prices={"prompt": 1.0, "completion": 2.0}, role="writer")
        done = by_row(asked.map(make_requests(20)))
    assert len(done) == len(server.seen) == 20
    assert {c.status for c in done.values()} == {"ok"}
    one = done["row-3"]
    assert one.parsed.queries == ["茶"]  # type: ignore[union-attr]
    assert (one.teacher, one.teacher_kind, one.cached, one.attempts) == ("m", "llm", False, 1)
    assert one.cost == pytest.approx(20e-6)
    assert server.seen[0]["model"] == "m"
    assert server.seen[0]["response_format"]["json_schema"]["name"] == "expand_query"
    assert server.seen[0]["max_tokens"] == 64
    assert server.keys == {"Bearer sk-secret"}
    (frame,) = ledger.frames()
    assert set(REPLY.validate(frame)["request_id"]) == {c.key for c in done.values()}
    assert set(frame["served_by"]) == {"m-2026"}
    tally = asked.account.tallies["expand_query"]
    assert (tally.asked, tally.attempts, tally.tokens, tally.cached) == (20, 20, 300, 0)
    assert asked.account.cost == pytest.approx(20 * 20e-6)


def test_a_completion_is_handed_out_after_its_reply_is_on_disk(
    ledger: Ledger, make_requests: Requests
) -> None:
    with serving() as server, Ledger(ledger.path, read_only=True) as witness:
        for done in teacher(server, ledger).map(make_requests(40)):
            assert witness.get_many([done.key])


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


def test_an_edited_row_pays_for_itself_alone(ledger: Ledger, make_requests: Requests) -> None:
    with serving() as server:
        list(teacher(server, ledger).map(make_requests(50)))
        edited = [*make_requests(49), *make_requests(1, prefix="水")]
        list(teacher(server, ledger).map(edited))
    assert len(server.seen) == 51


def test_a_run_that_stops_early_pays_only_for_the_rest(
    ledger: Ledger, make_requests: Requests
) -> None:
    with serving() as server:
        run = teacher(server, ledger).map(make_requests(300))
        next(run)
        run.close()
        assert stored(ledger) == len(server.seen) < 300
        done = by_row(teacher(server, ledger).map(make_requests(310)))
    assert len(done) == len(server.seen) == 310


def test_requests_are_read_as_they_are_needed(ledger: Ledger, make_requests: Requests) -> None:
    read = 0

    def counted() -> Iterator[ChatRequest]:
        nonlocal read
        for request in make_requests(5000):
            read += 1
            yield request

    with serving() as server:
        run = teacher(server, ledger).map(counted())
        next(run)
        assert read <= 512
        run.close()


def test_equal_prompts_are_paid_once(ledger: Ledger, make_requests: Requests) -> None:
    requests = [
        replace(request, row_id=f"copy-{copy}-{request.row_id}")
        for copy in range(10)
        for request in make_requests(3)
    ]
    with serving() as server:
        done = by_row(teacher(server, ledger).map(requests))
        samples = teacher(server, ledger).map(
            replace(requests[0], sample=sample) for sample in range(3)
        )
        assert {c.status for c in samples} == {"ok"}
    assert len(done) == 30
    assert len(server.seen) == 3 + 2
    assert sum(c.cached for c in done.values()) == 27


def test_an_equal_prompt_is_tried_anew_after_the_first_has_failed(
    ledger: Ledger, make_requests: Requests
) -> None:
    first, *others = make_requests(600)
    last = replace(first, row_id="again")

    def answer(number: int, body: dict[str, Any]) -> Answer:
        return failed(400) if question(body) == first.messages[-1]["content"] else chat()

    with serving(answer) as server:
        done = by_row(teacher(server, ledger).map([first, *others, last]))
    assert len(server.seen) == 601
    assert [done[row].status for row in ("row-0", "again")] == ["rejected", "rejected"]


TROUBLE = {
    "429, wait 0": failed(429, Retry_After="0"),
    "429, wait 5 ms": failed(429, Retry_After_Ms="5"),
    "429, bare": failed(429),
    "408": failed(408),
    "409": failed(409),
    "500": failed(500),
    "503": failed(503),
    "JSON cut off": Answer(body=b'{"choices": [{"mess'),
    "a list": Answer(body=b"[]"),
    "no body": Answer(),
    "no choices": Answer(body=b'{"choices": [], "usage": null}'),
    "deep JSON": Answer(body=b"[" * 100_000),
    "invalid UTF-8": Answer(body=b'{"choices": [{"message": {"content": "\xff\xfe"}}]}'),
    "HTML with 200": Answer(body=b"<html>busy</html>", headers={"content-type": "text/html"}),
    "truncated body": Answer(body=b'{"choices": [', promised=500),
    "hang": chat(delay=3.0),
    "10 MB": chat("茶" * (10 * 2**20 // 3)),
    "aborted": chat("半", "abort"),
    "absurd usage": chat(usage=(10**40, 1)),
    "false gzip": replace(chat(), headers={"content-encoding": "gzip"}),
    "infinite usage": Answer(body=completion(GOOD).replace(b": 10", b": 1e999")),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_passing_trouble_is_tried_again(ledger: Ledger, make_requests: Requests, name: str) -> None:
    trouble = TROUBLE[name]
    with serving(lambda n, body: trouble if n <= 2 else chat()) as server:
        asked = teacher(server, ledger, limits={"timeout": 0.7})
        done = by_row(asked.map(make_requests(5)))
    assert {c.status for c in done.values()} == {"ok"}
    assert len(server.seen) == 7
    assert stored(ledger) == 5
    paid = trouble.status == 200
    assert len(ledger.wasted()) == (2 if paid else 0)
    if paid:
        waste = ledger.wasted()[0]
        assert waste.body == trouble.body[: 64 * 1024] or name in (
            "truncated body",
            "hang",
            "false gzip",
        )
        assert waste.tokens > 0
        assert asked.budget.spent.tokens >= 5 * 15 + 2 * 15


def test_a_content_type_that_lies_does_not_matter(ledger: Ledger, make_requests: Requests) -> None:
    lying = replace(chat(), headers={"content-type": "text/plain; charset=big5"})
    with serving(lambda n, body: lying) as server:
        assert {c.status for c in teacher(server, ledger).map(make_requests(3))} == {"ok"}


def test_lasting_trouble_fails_the_row_and_not_the_run(
    ledger: Ledger, make_requests: Requests
) -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        said = question(body)
        return failed(400) if "茶1是" in said else failed(500) if "茶2是" in said else chat()

    with serving(answer) as server:
        asked = teacher(server, ledger, limits={"attempts": 3})
        done = by_row(asked.map(make_requests(4)))
    assert [done[f"row-{i}"].status for i in range(4)] == ["ok", "rejected", "failed", "ok"]
    assert "HTTP 400" in done["row-1"].error
    assert (done["row-2"].fault, done["row-2"].attempts) == ("http_500", 3)
    assert len(server.seen) == 1 + 1 + 3 + 1
    assert asked.account.tallies["expand_query"].faults == Counter(http_400=1, http_500=1)


def test_an_unreachable_server_stops_the_run_and_says_so(
    ledger: Ledger, make_requests: Requests
) -> None:
    with serving() as server:
        pass
    asked = teacher(server, ledger, role="writer", limits={"patience": 0.5})
    with pytest.raises(TeacherError, match=r"writer m at .*: no answer .*check the address"):
        list(asked.map(make_requests(2)))
    assert asked.budget.spent.tokens == 0
    assert not ledger.wasted()


def test_an_unknown_host_stops_the_run_and_says_so(ledger: Ledger, make_requests: Requests) -> None:
    options = EndpointOptions(
        model="m", base_url="http://nowhere.invalid/v1", limits={"patience": 0.5, "backoff": 0.01}
    )
    with pytest.raises(TeacherError, match=r"nowhere\.invalid.*no connection"):
        list(OpenAITeacher(options, ledger).map(make_requests(1)))


def test_an_outage_is_waited_out_without_losing_rows(
    ledger: Ledger, make_requests: Requests
) -> None:
    down_until = [0.0]

    def answer(number: int, body: dict[str, Any]) -> Answer:
        if number == 30:
            down_until[0] = time.monotonic() + 2.0
        return failed(503) if time.monotonic() < down_until[0] else chat()

    with serving(answer) as server:
        asked = teacher(server, ledger, limits={"attempts": 2, "patience": 60.0})
        done = by_row(asked.map(make_requests(100)))
    statuses = Counter(c.status for c in done.values())
    assert statuses["ok"] >= 100 - 12, "only what failed before the breaker opened is given up"
    assert len(server.seen) < 100 + 30, "a server that is down is probed, not hammered"


def test_a_server_that_only_refuses_stops_the_run(ledger: Ledger, make_requests: Requests) -> None:
    with (
        serving(lambda n, body: failed(429)) as server,
        pytest.raises(TeacherError, match=r"nothing but refusals .*HTTP 429"),
    ):
        list(teacher(server, ledger, limits={"patience": 0.3}).map(make_requests(3)))


def test_a_wait_of_hours_stops_the_run(ledger: Ledger, make_requests: Requests) -> None:
    with (
        serving(lambda n, body: failed(429, Retry_After="36000")) as server,
        pytest.raises(TeacherError, match=r"come back in 10\.0 h"),
    ):
        list(teacher(server, ledger).map(make_requests(3)))


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "x"), (402, "x"), (403, "x"), (404, "x"), (307, "x"), (429, "insufficient_quota")],
)
def test_rejected_credentials_stop_the_run_and_keep_what_was_paid(
    ledger: Ledger, make_requests: Requests, status: int, code: str
) -> None:
    with (
        serving(lambda n, body: chat() if n <= 6 else failed(status, code)) as server,
        pytest.raises(TeacherError, match=f"HTTP {status}.*check the address, the credentials"),
    ):
        list(teacher(server, ledger).map(make_requests(300)))
    assert len(server.seen) <= 6 + 4
    assert stored(ledger) == 6


def test_a_reply_out_of_form_is_asked_again_once_with_the_reason(
    ledger: Ledger, make_requests: Requests
) -> None:
    with serving(lambda n, body: chat('{"queries": "茶"}' if n == 1 else GOOD)) as server:
        (done,) = teacher(server, ledger).map(make_requests(1))
    assert (done.status, done.prompt_tokens, done.attempts) == ("ok", 20, 2)
    again = server.seen[1]["messages"]
    assert [m["role"] for m in again] == ["system", "user", "assistant", "user"]
    assert again[2]["content"] == '{"queries": "茶"}'
    assert "queries" in again[3]["content"]
    with serving(lambda n, body: chat("不會")) as server:
        (done,) = teacher(server, ledger).map(make_requests(1, prefix="水"))
    assert (done.status, done.parsed, len(server.seen)) == ("invalid", None, 2)
    assert done.fault == "not_json"
    assert "no complete JSON object" in done.error


def test_a_model_that_cannot_write_json_may_use_tags(
    ledger: Ledger, make_requests: Requests
) -> None:
    tagged = "<queries>茶的歷史</queries>\n<queries>茶</queries>"
    with serving(lambda n, body: chat("茶的歷史；茶" if n == 1 else tagged)) as server:
        (done,) = teacher(server, ledger).map(make_requests(1))
    assert done.parsed.queries == ["茶的歷史", "茶"]  # type: ignore[union-attr]
    assert "<queries>…</queries>" in question(server.seen[1])


@pytest.mark.parametrize(
    ("answer", "status", "fault", "sends"),
    [
        (chat('{"queries": ["茶', "length"), "truncated", "length", 1),
        (chat("", "length"), "truncated", "length", 1),
        (chat("<think>想很久", "length"), "truncated", "length", 1),
        (chat(None, "content_filter"), "filtered", "filter", 1),
        (chat(None, refusal="我不能回答"), "rejected", "refusal", 1),
        (chat(f"<think>先想</think>\n{GOOD}"), "ok", "", 1),
        (chat(f'先想 {{"queries": ["水"]}}</think>\n{GOOD}'), "ok", "", 1),
        (chat(f"好的：\n```json\n{GOOD}\n```"), "ok", "", 1),
        (chat([{"type": "text", "text": GOOD}]), "ok", "", 1),
        (Answer(body=completion(GOOD).replace("茶".encode(), rb"\\ud83d\\ude00")), "ok", "", 1),
        (Answer(body=completion(GOOD).replace("茶".encode(), rb"\\ud83d")), "ok", "", 1),
        (Answer(body=completion(GOOD).replace("茶".encode(), rb"\ud83d")), "ok", "", 1),
        (chat(GOOD, None), "ok", "", 1),
        (chat(None), "invalid", "empty", 2),
        (chat(None, "tool_calls", tool_calls=[{"id": "1"}]), "invalid", "tool_calls", 2),
        (chat('{"queries": []}'), "invalid", "schema", 2),
        (chat(f"{GOOD}\n<think>或者"), "invalid", "form", 2),
        (chat('{"queries": ["茶"], "more": 1}'), "invalid", "schema", 2),
    ],
)
def test_outcomes_are_told_apart(
    ledger: Ledger, make_requests: Requests, answer: Answer, status: str, fault: str, sends: int
) -> None:
    with serving(lambda n, body: answer) as server:
        (done,) = teacher(server, ledger).map(make_requests(1))
    assert (done.status, done.fault, len(server.seen)) == (status, fault, sends)
    assert "<think>" not in done.text
    assert (done.parsed is not None) == (status == "ok")
    assert stored(ledger) == sends, "what was paid for is kept, of use or not"


def test_usage_that_is_not_told_counts_as_the_worst(
    ledger: Ledger, make_requests: Requests
) -> None:
    with serving(lambda n, body: chat(usage=None)) as server:
        asked = teacher(server, ledger, prices={"completion": 1.0})
        (done,) = asked.map(make_requests(1))
    assert done.completion_tokens == 64
    assert done.prompt_tokens > sum(len(m["content"]) for m in server.seen[0]["messages"])
    assert asked.budget.spent.tokens == done.prompt_tokens + 64
    assert done.cost == pytest.approx(64e-6)


def test_at_a_cap_of_requests_the_rest_is_deferred(ledger: Ledger, make_requests: Requests) -> None:
    with serving() as server:
        asked = teacher(server, ledger, budget={"requests": 7})
        done = by_row(asked.map(make_requests(20)))
        assert len(server.seen) == 7
        assert sorted(c.status for c in done.values()) == ["deferred"] * 13 + ["ok"] * 7
        assert stored(ledger) == 7
        finished = by_row(teacher(server, ledger).map(make_requests(20)))
    assert {c.status for c in finished.values()} == {"ok"}
    assert len(server.seen) == 20


@pytest.mark.parametrize("unit", ["tokens", "cost"])
def test_caps_on_tokens_and_money_are_never_passed(
    ledger: Ledger, make_requests: Requests, unit: str
) -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        prompt = sum(len(m["content"].encode()) for m in body["messages"])
        return chat(usage=(prompt, 1 + number * 7919 % 64), delay=0.001 * (number % 5))

    billed = 0.0
    with serving() as server:
        probe = teacher(server, ledger)
        (call,) = [probe.caller.call(request) for request in make_requests(1, prefix="水")]
    cap = 20.5 * call.worst.tokens
    with serving(answer) as server:
        asked = teacher(
            server,
            ledger,
            prices={"prompt": 1e6, "completion": 1e6},
            budget={unit: cap if unit == "cost" else int(cap)},
            limits={"in_flight": 16},
        )
        done = by_row(asked.map(make_requests(100)))
        for number, body in enumerate(server.seen, 1):
            billed += sum(len(m["content"].encode()) for m in body["messages"])
            billed += 1 + number * 7919 % 64
    counts = Counter(c.status for c in done.values())
    assert counts["ok"] + counts["deferred"] == 100
    assert counts["deferred"]
    assert cap - 1.2 * call.worst.tokens < billed <= cap
    assert getattr(asked.budget.spent, unit) == pytest.approx(billed)


def test_a_reply_that_could_not_be_asked_for_again_waits_for_the_next_run(
    ledger: Ledger, make_requests: Requests
) -> None:
    with serving(lambda n, body: chat("甲" if n == 1 else GOOD)) as server:
        (late,) = teacher(server, ledger, budget={"requests": 1}).map(make_requests(1))
        (done,) = teacher(server, ledger).map(make_requests(1))
    assert (late.status, late.fault, done.status) == ("deferred", "budget", "ok")
    assert done.prompt_tokens == 10, "the first reply was paid for by the run before"
    assert len(server.seen) == 2


def test_failed_sends_count_in_a_shared_cap_of_requests(
    ledger: Ledger, make_requests: Requests
) -> None:
    with serving(lambda n, body: failed(500)) as server:
        asked = teacher(server, ledger, budget={"requests": 2, "per": "ledger"})
        (late,) = asked.map(make_requests(1))
    assert (late.status, len(server.seen), asked.budget.spent.requests) == ("deferred", 2, 2)


def test_a_cap_may_count_earlier_runs(ledger: Ledger, make_requests: Requests) -> None:
    with serving() as server:
        for _ in range(3):
            budget = {"requests": 7, "per": "ledger"}
            list(teacher(server, ledger, budget=budget).map(make_requests(20)))
        assert len(server.seen) == 7


def test_runs_at_the_same_time_share_a_budget(ledger: Ledger, make_requests: Requests) -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        if number % 9 == 0:
            return failed(429, Retry_After="0")
        prompt = sum(len(m["content"].encode()) for m in body["messages"])
        finish = "abort" if number % 7 == 0 else "stop"
        return chat(GOOD, finish, usage=(prompt, 1 + number * 7919 % 64), delay=0.002)

    with serving(answer) as server, Ledger(ledger.path) as other:
        budget = {"tokens": 30_000, "per": "ledger"}
        done: list[Completion] = []
        threads = [
            threading.Thread(
                target=lambda books=books, prefix=prefix: done.extend(
                    teacher(server, books, budget=budget).map(make_requests(60, prefix=prefix))
                )
            )
            for books, prefix in ((ledger, "茶"), (other, "水"))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        billed = sum(
            sum(len(m["content"].encode()) for m in body["messages"]) + 1 + number * 7919 % 64
            for number, body in enumerate(server.seen, 1)
            if number % 9
        )
    assert len(done) == 120
    assert {c.status for c in done} == {"ok", "deferred"}
    assert 30_000 - 2_000 < billed == ledger.spent("m").tokens <= 30_000


def test_what_is_in_a_batch_is_neither_sent_again_nor_forgotten_in_the_budget(
    ledger: Ledger, make_requests: Requests
) -> None:
    with serving() as server:
        asked = teacher(server, ledger)
        *_, waiting = (asked.caller.call(request) for request in make_requests(5))
        ledger.open_job("token", "m", {waiting.key: waiting.worst})
        with pytest.raises(TeacherError, match=r"is in a batch at the server .* kind: batch"):
            list(asked.map(make_requests(5)))
        sent = len(server.seen)
        capped = teacher(server, ledger, budget={"requests": sent + 1, "per": "ledger"})
        (late,) = capped.map(make_requests(1, prefix="水"))
        assert (late.status, len(server.seen)) == ("deferred", sent)


def test_what_was_paid_for_nothing_counts(ledger: Ledger, make_requests: Requests) -> None:
    with serving(lambda n, body: chat(finish="abort") if n == 1 else chat()) as server:
        asked = teacher(server, ledger, prices={"completion": 1e6})
        (done,) = asked.map(make_requests(1))
    assert (done.status, done.attempts, done.cost) == ("ok", 2, pytest.approx(10.0))
    assert asked.account.cost == asked.budget.spent.cost == pytest.approx(10.0)
    assert ledger.spent("m").cost == pytest.approx(10.0)


def test_an_estimate_knows_the_ledger_and_earlier_replies(
    ledger: Ledger, make_requests: Requests
) -> None:
    with serving(lambda n, body: chat(usage=(40, 20))) as server:
        asked = teacher(server, ledger, prices={"prompt": 1.0, "completion": 1.0})
        first = asked.estimate(make_requests(30))
        list(asked.map(make_requests(20)))
        second = asked.estimate([*make_requests(30), *make_requests(5)])
        assert len(server.seen) == 20, "an estimate sends nothing"
    assert (first.requests, first.held, first.calls, first.measured) == (30, 0, 30, False)
    assert first.cost[0] < first.cost[1]
    assert (second.requests, second.held, second.calls, second.measured) == (35, 25, 10, True)
    assert "10 to send" in str(second)
    low, high = second.tokens
    assert 10 * 20 < low <= high < first.tokens[1] / 3


def test_more_urgent_requests_go_first(ledger: Ledger, make_requests: Requests) -> None:
    requests = [
        replace(request, priority=0 if number < 30 else -1)
        for number, request in enumerate(make_requests(60))
    ]
    with serving(lambda n, body: chat(delay=0.01)) as server:
        list(teacher(server, ledger, limits={"in_flight": 1}).map(requests))
    urgent = {str(request.messages[-1]["content"]) for request in requests[30:]}
    places = [n for n, body in enumerate(server.seen) if question(body) in urgent]
    assert max(places) <= 31


def test_rates_are_kept(ledger: Ledger, make_requests: Requests) -> None:
    with serving() as server:
        asked = teacher(server, ledger, limits={"requests_per_minute": 1200})
        started = time.monotonic()
        list(asked.map(make_requests(120)))
        took = time.monotonic() - started
    assert took >= (120 - 5 * 20) / 20 - 0.1
    assert len(server.seen) == 120


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (
            {"base_url": "https://api.openai.com/v1", "model": "o4-mini"},
            {"max_completion_tokens": 64, "temperature": None},
        ),
        (
            {"base_url": "https://api.openai.com/v1", "model": "gpt-4o-mini"},
            {"max_completion_tokens": 64, "temperature": 0.5},
        ),
        ({"base_url": "http://host/v1", "model": "qwen"}, {"max_tokens": 64, "temperature": 0.5}),
        ({"model": "m", "dialect": "transformers"}, {"max_tokens": 64, "response_format": None}),
        (
            {"model": "m", "service_tier": "flex", "parameters": {"reasoning_effort": "low"}},
            {"service_tier": "flex", "reasoning_effort": "low"},
        ),
    ],
)
def test_servers_are_spoken_to_in_their_dialect(
    ledger: Ledger, make_requests: Requests, options: dict[str, Any], sent: dict[str, Any]
) -> None:
    request = replace(next(make_requests(1)), temperature=0.5)
    body = OpenAITeacher(EndpointOptions(**options), ledger).caller.call(request).body
    assert {name: body.get(name) for name in sent} == sent


def test_a_key_knows_no_address_tier_or_dialect(ledger: Ledger, make_requests: Requests) -> None:
    request = next(make_requests(1))
    keys = {
        OpenAITeacher(EndpointOptions(model="m", **more), ledger).caller.call(request).key
        for more in (
            {},
            {"base_url": "http://host/v1"},
            {"service_tier": "flex"},
            {"dialect": "openai-reasoning"},
            {"name": "writer of ours"},
        )
    }
    assert len(keys) == 1


def test_options_refuse_what_cannot_be_meant() -> None:
    for url in ("http://user:pw@host/v1", "http://host/v1?key=1", "host/v1", "ftp://host"):
        with pytest.raises(ValidationError, match="base_url"):
            EndpointOptions(model="m", base_url=url)
    with pytest.raises(ValidationError, match="must not set messages, stream"):
        EndpointOptions(model="m", parameters={"stream": True, "messages": []})


def test_no_secret_is_in_a_log_or_an_error(
    ledger: Ledger, make_requests: Requests, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        serving(lambda n, body: failed(401)) as server,
        pytest.raises(TeacherError) as raised,
    ):
        list(teacher(server, ledger).map(make_requests(2)))
    assert "sk-secret" not in caplog.text + str(raised.value)
    assert b"sk-secret" not in ledger.path.read_bytes()


def test_waits_named_by_the_server() -> None:
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < (retry_after({"retry-after": later}) or 0) <= 30
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "inf"}) is None
    assert retry_after({"retry-after": "-1"}) is None
    assert retry_after({}) is None


def test_a_wrong_clock_does_not_lengthen_a_wait() -> None:
    there = datetime(2031, 5, 1, tzinfo=UTC)
    headers = {
        "date": format_datetime(there, usegmt=True),
        "retry-after": format_datetime(there + timedelta(seconds=20), usegmt=True),
    }
    assert retry_after(headers) == 20


def test_a_clock_that_jumps_does_no_harm(
    ledger: Ledger, make_requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = time.time, iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: real() + (next(calls) % 3 - 1) * 86_400)

    with serving(lambda n, body: failed(429, Retry_After="0") if n % 5 == 0 else chat()) as server:
        asked = teacher(server, ledger, limits={"requests_per_minute": 60_000})
        done = by_row(asked.map(make_requests(50)))
    assert {c.status for c in done.values()} == {"ok"}


def test_one_teacher_serves_several_threads(ledger: Ledger, make_requests: Requests) -> None:
    with serving() as server:
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
        assert server.most_in_flight <= 4, "they share the limit of the endpoint"
    assert results == [25, 25, 25]
    assert len(server.seen) == shared.budget.spent.requests == 75


def test_two_teachers_on_one_ledger_pay_once(ledger: Ledger, make_requests: Requests) -> None:
    with serving(lambda n, body: chat(delay=0.01)) as server, Ledger(ledger.path) as other:
        done: list[dict[str, Completion]] = []
        threads = [
            threading.Thread(
                target=lambda books=books: done.append(
                    by_row(teacher(server, books).map(make_requests(100)))
                )
            )
            for books in (ledger, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(server.seen) == 100
    assert [len(one) for one in done] == [100, 100]
    assert {r: c.text for r, c in done[0].items()} == {r: c.text for r, c in done[1].items()}


def test_it_works_inside_a_running_loop(ledger: Ledger, make_requests: Requests) -> None:
    async def notebook(server: Server) -> list[Completion]:
        return list(teacher(server, ledger).map(make_requests(5)))

    with serving() as server:
        assert len(asyncio.run(notebook(server))) == 5
