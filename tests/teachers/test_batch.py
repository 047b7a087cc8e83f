import json
import logging
import os
import random
import re
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr
from tests.teachers.loopback import GOOD, completion
from tests.teachers.loopback import serving as serving_chat

from kyara_kedro.records import REPLY
from kyara_kedro.teachers import batch
from kyara_kedro.teachers.base import ChatRequest, Completion, TeacherError
from kyara_kedro.teachers.batch import BatchTeacher
from kyara_kedro.teachers.ledger import Ledger, Reservation, Spent
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher

ROOT = Path(__file__).parents[2]
Requests = Callable[..., Iterator[ChatRequest]]
Line = dict[str, Any] | bytes | None
EXPIRED: dict[str, Any] = {"response": None, "error": {"code": "batch_expired", "message": "late"}}


def said(content: Any = GOOD, **more: Any) -> dict[str, Any]:
    """The result of a request that the model has answered."""
    body = json.loads(completion(content, **more))
    return {"response": {"status_code": 200, "body": body}, "error": None}


def error(status: int, message: str = "no") -> dict[str, Any]:
    body = {"error": {"message": message}}
    return {"response": {"status_code": status, "body": body}, "error": None}


def shown(one: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name not in ("requests", "polls")}


class Service:
    """A batch service on the loopback.

    A batch ends when it has been looked at ``polls`` times; ``answer`` makes its results from the
    number of the batch and the body of each request, ``end`` its status.
    """

    def __init__(self) -> None:
        self.answer: Callable[[int, dict[str, Any]], Line | list[Line]] = lambda number, body: (
            said()
        )
        self.end: Callable[[int], str] = lambda number: "completed"
        self.trouble: Callable[[str, int], tuple[int, str, bytes] | None] = lambda call, count: None
        self.lost: set[int] = set()
        """Batches whose creation is not acknowledged."""
        self.polls = 2
        self.queue = 10**9
        self.most = 10**9
        self.batches: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.executed: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.lock = threading.RLock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                self.handle_one("POST", self.rfile.read(int(self.headers["content-length"])))

            def do_GET(self) -> None:
                self.handle_one("GET", b"")

            def do_DELETE(self) -> None:
                self.handle_one("DELETE", b"")

            def handle_one(self, method: str, content: bytes) -> None:
                url = urlsplit(self.path)
                call = f"{method} {re.sub('(file|batch)-[0-9]+', 'ID', url.path[4:])}"
                with service.lock:
                    service.calls[call] += 1
                    service.keys.add(self.headers["authorization"])
                    status, kind, told = service.trouble(call, service.calls[call]) or service.do(
                        call, url.path.split("/"), parse_qs(url.query), content, self.headers
                    )
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_: Any) -> None:
                pass

        class Http(ThreadingHTTPServer):
            daemon_threads = True

        self.http = Http(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def do(
        self, call: str, path: list[str], query: dict[str, list[str]], content: bytes, headers: Any
    ) -> tuple[int, str, bytes]:
        found: Any = None
        match call:
            case "POST files":
                form = message_from_bytes(
                    b"content-type: " + headers["content-type"].encode() + b"\r\n\r\n" + content
                )
                parts = {
                    str(part.get_param("name", header="content-disposition")): part
                    for part in form.get_payload()
                }
                assert parts["purpose"].get_payload() == "batch"
                found = {"id": self.keep(parts["file"].get_payload(decode=True))}
            case "DELETE files/ID" if path[3] in self.files:
                del self.files[path[3]]
                found = {"id": path[3], "deleted": True}
            case "GET files/ID/content" if path[3] in self.files:
                return 200, "application/octet-stream", self.files[path[3]]
            case "POST batches":
                found = shown(self.create(json.loads(content)))
                if len(self.batches) in self.lost:
                    return 0, "", b""
            case "GET batches":  # pages of two, the newest first
                newest = self.batches[::-1]
                names = [one["id"] for one in newest]
                first = names.index(query["after"][0]) + 1 if "after" in query else 0
                page = [shown(one) for one in newest[first : first + 2]]
                found = {"data": page, "has_more": first + 2 < len(newest), "object": "list"}
            case "GET batches/ID":
                found = next((one for one in self.batches if one["id"] == path[3]), None)
                if found is not None:
                    self.advance(found)
                    found = shown(found)
        if found is None:
            return 404, "application/json", b'{"error": {"message": "nothing of this name"}}'
        return 200, "application/json", json.dumps(found).encode()

    def keep(self, content: bytes) -> str:
        name = f"file-{len(self.files) + self.calls['DELETE files/ID']}"
        self.files[name] = content
        return name

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["endpoint"] == "/v1/chat/completions"
        assert asked["completion_window"] == "24h"
        number = len(self.batches) + 1
        self.batches.append(
            {
                "id": f"batch-{number}",
                "object": "batch",
                "status": "validating",
                "created_at": 1000,
                "endpoint": asked["endpoint"],
                "completion_window": "24h",
                "input_file_id": asked["input_file_id"],
                "metadata": asked["metadata"],
                "requests": [
                    json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()
                ],
                "polls": 0,
            }
        )
        return self.batches[-1]

    def advance(self, one: dict[str, Any]) -> None:
        if one["status"] not in ("validating", "in_progress"):
            return
        one["polls"] += 1
        asked = one["requests"]
        open_requests = sum(
            len(other["requests"])
            for other in self.batches
            if other["status"] in ("validating", "in_progress") and other["id"] <= one["id"]
        )
        errors = []
        if one["status"] == "validating" and open_requests > self.queue:
            errors = [{"code": "token_limit_exceeded", "message": "the queue is full"}]
        elif len(asked) > self.most:
            errors = [
                {"code": "too_many", "message": f"line {n}\nis too much", "line": n}
                for n in range(5)
            ]
        if errors:
            one |= {"status": "failed", "errors": {"data": errors}, "failed_at": 1001}
            return
        one["status"] = "in_progress"
        if one["polls"] < self.polls:
            return
        lines: dict[str, list[bytes]] = {"output": [], "error": []}
        for request in asked:
            assert (request["method"], request["url"]) == ("POST", "/v1/chat/completions")
            results = self.answer(int(one["id"].split("-")[1]), request["body"])
            for result in results if isinstance(results, list) else [results]:
                if isinstance(result, dict):
                    fine = (result["response"] or {}).get("status_code") == 200
                    self.executed[request["custom_id"]] += fine
                    line = json.dumps({"custom_id": request["custom_id"], **result})
                    lines["output" if fine else "error"].append(line.encode())
                elif result is not None:
                    lines["output"].append(result)
        for kind, some in lines.items():
            random.Random(1).shuffle(some)
            if some:
                one[f"{kind}_file_id"] = self.keep(b"\n".join(some) + b"\n")
        counts = {"completed": len(asked), "failed": 0, "total": len(asked)}
        end = self.end(int(one["id"].split("-")[1]))
        one |= {"status": end, f"{end}_at": 1060, "request_counts": counts}

    @property
    def sizes(self) -> list[int]:
        return [len(one["requests"]) for one in self.batches]


@contextmanager
def serving() -> Iterator[Service]:
    service = Service()
    thread = threading.Thread(target=service.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.http.shutdown()
        service.http.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as one:
        yield one


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


def teacher(service: Service, ledger: Ledger, **options: Any) -> BatchTeacher:
    limits = {"backoff": 0.01, "patience": 5.0, **options.pop("limits", {})}
    settings = {"model": "m", "base_url": service.url, "poll": 0.01, "limits": limits, **options}
    return BatchTeacher(EndpointOptions.model_validate(settings), ledger, SecretStr("sk-secret"))


def by_row(done: Iterator[Completion]) -> dict[str, Completion]:
    return {one.row_id: one for one in done}


def statuses(done: dict[str, Completion]) -> Counter[str]:
    return Counter(one.status for one in done.values())


def test_a_batch_answers_all_in_any_order_and_shares_its_replies_with_single_requests(
    service: Service, ledger: Ledger, make_requests: Requests, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    service.answer = lambda number, body: said(json.dumps({"queries": [question(body)]}))
    prices = {"prompt": 1.0, "completion": 2.0}
    asked = teacher(service, ledger, prices=prices)
    done = by_row(asked.map(make_requests(20)))
    assert statuses(done) == {"ok": 20}
    for number in range(20):
        one = done[f"row-{number}"]
        assert f"茶{number}是什麼" in one.parsed.queries[0]  # type: ignore[union-attr]
        assert (one.cached, one.attempts, one.latency) == (False, 1, 60)
        assert one.cost == pytest.approx(20e-6)
    assert service.sizes == [20]
    assert service.keys == {"Bearer sk-secret"}
    body = service.batches[0]["requests"][0]["body"]
    assert body["response_format"]["json_schema"]["name"] == "expand_query"
    assert service.batches[0]["input_file_id"] not in service.files
    assert ledger.jobs("m") == []
    assert asked.budget.spent == (20, 300, pytest.approx(20 * 20e-6))
    assert {row for frame in ledger.frames() for row in REPLY.validate(frame)["request_id"]} == {
        one.key for one in done.values()
    }
    assert sorted(path.name for path in ledger.path.parent.iterdir()) == [
        "ledger.db",
        "ledger.db-locks",
        "ledger.db-shm",
        "ledger.db-wal",
    ]
    told = [record.message for record in caplog.records if record.name == batch.__name__]
    assert [message.split(": ", 1)[1] for message in told] == [
        "submitted, 20 requests",
        "in_progress, 0 of 20 requests done",
        "completed, 20 of 20 requests done",
        "collected, 20 of 20 requests have a reply",
    ]
    assert not any("sk-secret" in record.getMessage() for record in caplog.records)

    calls = service.calls.total()
    again = by_row(teacher(service, ledger, prices=prices).map(make_requests(20)))
    assert all(one.cached and one.cost == 0 for one in again.values())
    assert {row: one.text for row, one in again.items()} == {r: o.text for r, o in done.items()}
    assert service.calls.total() == calls
    with serving_chat() as server:
        single = OpenAITeacher(
            asked.options.model_copy(update={"base_url": server.url}), ledger, None
        )
        assert statuses(by_row(single.map(make_requests(20)))) == {"ok": 20}
        assert not server.seen


def question(body: dict[str, Any]) -> str:
    text: str = body["messages"][-1]["content"]
    return text


@pytest.mark.parametrize("end", ["expired", "completed", "cancelled"])
def test_only_what_is_missing_is_submitted_again(
    service: Service, ledger: Ledger, make_requests: Requests, end: str
) -> None:
    lost = re.compile("茶[2468]是")

    def answer(number: int, body: dict[str, Any]) -> Line:
        if number > 1 or not lost.search(question(body)):
            return said()
        return EXPIRED if "茶2" in question(body) else None

    service.answer = answer
    service.end = lambda number: end if number == 1 else "completed"
    if end == "cancelled":
        with pytest.raises(TeacherError, match=r"cancelled batch batch-1; 6 of its 10 replies"):
            list(teacher(service, ledger).map(make_requests(10)))
        assert ledger.jobs("m") == []
    done = by_row(teacher(service, ledger).map(make_requests(10)))
    assert statuses(done) == {"ok": 10}
    assert service.sizes == [10, 4]
    assert set(service.executed.values()) == {1}
    silent = 3 if end == "completed" else 0  # nobody knows whether those were paid for
    assert [one.reason for one in ledger.wasted()] == ["no_answer"] * silent


def test_refused_requests_are_rejected_and_unlucky_ones_asked_again(
    service: Service, ledger: Ledger, make_requests: Requests
) -> None:
    def answer(number: int, body: dict[str, Any]) -> Line:
        if "茶1是" in question(body):
            return error(400, "too\nlong")
        if "茶2是" in question(body):
            return error(500)
        if "茶3是" in question(body) and number == 1:
            return error(429)
        return said()

    service.answer = answer
    asked = teacher(service, ledger, limits={"attempts": 3})
    done = by_row(asked.map(make_requests(5)))
    assert {row: one.status for row, one in done.items()} == {
        "row-0": "ok",
        "row-1": "rejected",
        "row-2": "failed",
        "row-3": "ok",
        "row-4": "ok",
    }
    assert (done["row-1"].fault, done["row-1"].error) == ("http_400", "HTTP 400: too long")
    assert done["row-2"].fault == "http_500"
    assert service.sizes == [5, 2, 1]
    assert ledger.jobs("m") == []
    assert ledger.claim([done["row-2"].key]).granted
    assert (asked.budget.spent.requests, asked.budget.spent.tokens) == (8, 45)
    assert ledger.spent("m")[:2] == (8, 45), "refused requests count in a shared budget too"


def test_a_deferred_request_tells_what_was_sent_for_it_before(
    service: Service, ledger: Ledger, make_requests: Requests
) -> None:
    service.answer = lambda number, body: {"response": None, "error": None}
    prices = {"prompt": 1.0, "completion": 2.0}
    asked = teacher(service, ledger, prices=prices, budget={"requests": 4})
    done = by_row(asked.map(make_requests(3)))
    assert Counter((one.status, one.attempts) for one in done.values()) == {
        ("deferred", 1): 2,
        ("deferred", 2): 1,
    }
    costs = sum(one.cost for one in done.values())
    assert costs == pytest.approx(ledger.spent("m").cost)
    assert costs > 0


def test_waste_of_an_interrupted_collection_counts_once(
    service: Service, ledger: Ledger, make_requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: Line = {"response": {"status_code": 200, "body": {"choices": []}}, "error": None}

    def answer(number: int, body: dict[str, Any]) -> Line:
        if number > 1 or "茶9是" in question(body):
            return said()
        return None if "茶8是" in question(body) else broken

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    service.answer = answer
    monkeypatch.setattr(batch, "_GROUP", 3)
    monkeypatch.setattr(Ledger, "close_job", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(teacher(service, ledger).map(make_requests(10)))
    monkeypatch.undo()
    assert Counter(one.reason for one in ledger.wasted()) == {"body": 8, "no_answer": 1}
    assert [job.worst for job in ledger.jobs("m")] == [{}]
    assert statuses(by_row(teacher(service, ledger).map(make_requests(10)))) == {"ok": 10}
    assert len(ledger.wasted()) == 9
    assert ledger.spent("m").requests == 19
    assert service.sizes == [10, 9]
    assert ledger.jobs("m") == []


def test_broken_results_are_kept_as_waste_and_asked_again(
    service: Service, ledger: Ledger, make_requests: Requests, caplog: pytest.LogCaptureFixture
) -> None:
    stray = json.dumps({"custom_id": "0" * 64, **said()}).encode()
    deep = b'{"custom_id": ' + b"[" * 100_000

    odd = said()
    odd["response"]["body"]["choices"][0]["message"]["content"] = '{"queries": ["\ud800茶"]}'
    broken: dict[str, Line | list[Line]] = {
        "茶0是": [said(), said('{"queries": ["水"]}'), stray, b"", b"[]", b'"\xff"'],
        "茶1是": [b"{", deep, b'{"custom_id": ["x"]}'],
        "茶2是": {"response": {"status_code": 200, "body": {"choices": []}}, "error": None},
        "茶3是": {"response": {"status_code": 200, "body": "<html>"}, "error": None},
        "茶4是": {"response": {"status_code": "200"}, "error": None},
        "茶5是": {"response": None, "error": None},
        "茶7是": odd,
    }

    def answer(number: int, body: dict[str, Any]) -> Line | list[Line]:
        found = [one for key, one in broken.items() if key in question(body)]
        return found[0] if found and number == 1 else said()

    service.answer = answer
    done = by_row(teacher(service, ledger).map(make_requests(8)))
    assert statuses(done) == {"ok": 8}
    assert service.sizes == [8, 5]
    assert done["row-7"].parsed.queries == ["?茶"]  # type: ignore[union-attr]
    assert Counter(one.reason for one in ledger.wasted()) == {"body": 2, "no_answer": 3}
    assert "1 results of unknown requests and 5 unreadable ones ignored" in caplog.text


def test_an_invalid_reply_is_asked_for_again_in_a_second_batch(
    service: Service, ledger: Ledger, make_requests: Requests
) -> None:
    def answer(number: int, body: dict[str, Any]) -> Line:
        return said("甲" if "茶1是" in question(body) and len(body["messages"]) < 3 else GOOD)

    service.answer = answer
    done = by_row(teacher(service, ledger).map(make_requests(5)))
    assert statuses(done) == {"ok": 5}
    assert service.sizes == [5, 1]
    assert done["row-1"].attempts == 2
    assert len(service.batches[1]["requests"][0]["body"]["messages"]) > 2


@pytest.mark.parametrize("by", ["count", "size"])
def test_more_than_fits_in_a_batch_goes_into_several_side_by_side(
    service: Service,
    ledger: Ledger,
    make_requests: Requests,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
) -> None:
    list(make_requests(1))
    if by == "count":
        monkeypatch.setattr(batch, "MOST_REQUESTS", 7)
        service.most = 7
    else:
        most = 10_000
        monkeypatch.setattr(batch, "MOST_BYTES", most)
    asked = 0

    def answer(number: int, body: dict[str, Any]) -> Line:
        nonlocal asked
        asked = asked or len(service.batches)
        return said()

    service.answer = answer
    done = by_row(teacher(service, ledger).map(make_requests(20)))
    assert statuses(done) == {"ok": 20}
    assert asked == len(service.batches), "they are all submitted before one is answered"
    if by == "count":
        assert service.sizes == [7, 7, 6]
    else:
        sizes = [
            sum(
                len(json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode()) + 1
                for one in batched["requests"]
            )
            for batched in service.batches
        ]
        assert len(sizes) > 1
        assert most / 2 < max(sizes) <= most


def test_a_failed_validation_is_told_in_a_line_and_does_not_loop(
    service: Service, ledger: Ledger, make_requests: Requests
) -> None:
    service.most = 5
    with pytest.raises(TeacherError) as caught:
        list(teacher(service, ledger).map(make_requests(10)))
    told = str(caught.value)
    assert "batch batch-1 failed (too_many: line 0 is too much; too_many: line 1" in told
    assert "line 3" not in told
    assert "\n" not in told
    assert (service.sizes, ledger.jobs("m")) == ([10], [])
    service.most = 10
    assert statuses(by_row(teacher(service, ledger).map(make_requests(10)))) == {"ok": 10}
    assert service.sizes == [10, 10]


def test_a_full_queue_is_waited_for_and_filled_with_less(
    service: Service, ledger: Ledger, make_requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_REQUESTS", 8)
    service.queue = 8
    done = by_row(teacher(service, ledger).map(make_requests(20)))
    assert statuses(done) == {"ok": 20}
    assert set(service.executed.values()) == {1}

    service.queue, before = 3, len(service.batches)
    done = by_row(teacher(service, ledger).map(make_requests(10, "水")))
    assert statuses(done) == {"ok": 10}
    assert set(service.executed.values()) == {1}
    assert service.sizes[before:] == [8, 2, 8, 4, 2, 2, 2, 2]

    service.queue = 0
    with pytest.raises(TeacherError, match="the queue is full"):
        list(teacher(service, ledger).map(make_requests(4, "酒")))


def test_the_budget_is_never_passed(
    service: Service, ledger: Ledger, make_requests: Requests
) -> None:
    used: list[int] = []
    pick = random.Random(3)

    def answer(number: int, body: dict[str, Any]) -> Line:
        used.append(pick.randrange(200, 600))
        return said(usage=(used[-1] - 20, 20))

    service.answer = answer
    cap = 20_000
    budget = {"tokens": cap, "per": "ledger"}
    asked = teacher(service, ledger, budget=budget)
    done = by_row(asked.map(make_requests(100)))
    assert statuses(done).keys() == {"ok", "deferred"}
    assert 0.7 * cap < sum(used) <= cap
    assert ledger.spent("m").tokens == asked.budget.spent.tokens == sum(used)
    assert len(service.batches) > 1, "what is spared is used for further batches"
    one = next(one for one in done.values() if one.status == "deferred")
    assert (one.fault, one.attempts) == ("budget", 0)
    assert "budget" in one.error
    assert ledger.claim([one.key]).granted
    ledger.release([one.key])

    more = teacher(service, ledger, budget={"tokens": 10**6, "per": "ledger"})
    assert statuses(by_row(more.map(make_requests(100)))) == {"ok": 100}
    assert set(service.executed.values()) == {1}


def test_the_budget_counts_batches_that_are_still_open(
    service: Service, ledger: Ledger, make_requests: Requests
) -> None:
    ledger.open_job("token", "m", {"k": Reservation(9_900, 0.0), "l": Reservation(50, 0.0)})
    budget = {"tokens": 10_000, "per": "ledger"}
    done = by_row(teacher(service, ledger, budget=budget).map(make_requests(5)))
    assert statuses(done) == {"deferred": 5}
    assert not service.batches
    budget = {"requests": 3}
    done = by_row(teacher(service, ledger, budget=budget).map(make_requests(5)))
    assert statuses(done) == {"ok": 3, "deferred": 2}


def test_the_budget_counts_what_others_have_in_flight(
    service: Service, ledger: Ledger, make_requests: Requests
) -> None:
    asked = teacher(service, ledger, budget={"tokens": 10_000, "per": "ledger"})
    with Ledger(ledger.path) as other:
        other.claim(["k"])
        other.pledge("m", "k", Reservation(9_950, 0.0), lambda spent, aside: "")
        done = by_row(asked.map(make_requests(5)))
        assert statuses(done) == {"deferred": 5}
        assert re.search("9,950 of 10,000 tokens", done["row-0"].error)
        other.unpledge("m", "k", sent=False)
    assert statuses(by_row(asked.map(make_requests(5)))) == {"ok": 5}


def test_room_that_others_take_in_between_is_theirs(
    service: Service, ledger: Ledger, make_requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Ledger.committed
    asked = teacher(service, ledger, budget={"requests": 5, "per": "ledger"})

    def overtaken(self: Ledger, name: str) -> Spent:
        found = original(self, name)
        if not ledger.jobs("m"):
            worst = Reservation(1, 0.0)
            assert ledger.open_job("token", "m", {"k": worst, "l": worst, "o": worst})
        return found

    monkeypatch.setattr(Ledger, "committed", overtaken)
    assert statuses(by_row(asked.map(make_requests(5)))) == {"ok": 2, "deferred": 3}
    assert service.sizes == [2]
    assert asked.budget.spent.requests == 2


def test_two_runs_at_once_do_not_pass_the_budget_together(
    service: Service, tmp_path: Path, make_requests: Requests
) -> None:
    service.polls = 4
    cap = 30
    together: list[dict[str, Completion]] = []
    with Ledger(tmp_path / "ledger.db") as one, Ledger(tmp_path / "ledger.db") as two:
        budget = {"requests": cap, "per": "ledger"}
        pairs = [(teacher(service, one, budget=budget), "茶")]
        pairs += [(teacher(service, two, budget=budget), "水")]

        def run(asked: BatchTeacher, prefix: str) -> None:
            together.append(by_row(asked.map(make_requests(20, prefix))))

        threads = [threading.Thread(target=run, args=pair) for pair in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        assert sum((statuses(done) for done in together), Counter()) == {"ok": 30, "deferred": 10}
        assert one.spent("m").requests == service.executed.total() == cap


CRASH = """
import os, signal, sys
import openai.resources.batches
from pathlib import Path
from tests.teachers.conftest import requests_for_queries
from tests.teachers.test_batch import teacher
from kyara_kedro.teachers import batch
from kyara_kedro.teachers.ledger import Ledger

def die_at(owner, name, before=True, count=1):
    original, left = getattr(owner, name), [count]
    def wrapped(*args, **kwargs):
        left[0] -= 1
        if before and left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        found = original(*args, **kwargs)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    setattr(owner, name, wrapped)

point, url, path = sys.argv[1:]
batch._GROUP = 4
match point:
    case "noted":
        die_at(Ledger, "open_job", before=False)
    case "uploaded":
        die_at(openai.resources.batches.Batches, "create")
    case "created":
        die_at(Ledger, "name_job")
    case "waiting":
        die_at(batch.BatchService, "look", count=2)
    case "reading":
        die_at(Ledger, "put", before=False, count=2)
    case "read":
        die_at(Ledger, "close_job")
    case "closed":
        die_at(Ledger, "close_job", before=False)
service = type("Service", (), {"url": url})
list(teacher(service, Ledger(Path(path))).map(requests_for_queries(20)))
"""


@pytest.mark.faults
@pytest.mark.parametrize(
    "point", ["noted", "uploaded", "created", "waiting", "reading", "read", "closed"]
)
def test_a_killed_run_is_taken_up_and_nothing_is_paid_twice(
    service: Service, tmp_path: Path, make_requests: Requests, point: str
) -> None:
    path = tmp_path / "ledger.db"
    for _ in range(3):  # batches of others, so that ours is on a later page
        service.create(
            {
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
                "input_file_id": service.keep(b""),
                "metadata": None,
            }
        )
    killed = subprocess.run(
        [sys.executable, "-c", CRASH, point, service.url, str(path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    for _ in range(2):
        service.create(
            {
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
                "input_file_id": service.keep(b""),
                "metadata": {"kyara": "another"},
            }
        )
    with Ledger(path) as ledger:
        held = sum(len(frame) for frame in ledger.frames())
        assert held == {"reading": 8, "read": 20, "closed": 20}.get(point, 0)
        done = by_row(teacher(service, ledger).map(make_requests(20)))
        assert statuses(done) == {"ok": 20}
        assert sum(one.cached for one in done.values()) == held
        assert len(service.executed) == 20
        assert set(service.executed.values()) == {1}
        assert [size for size in service.sizes if size] == [20]
        by_row(teacher(service, ledger).map(make_requests(21)))
        assert ledger.jobs("m") == []
        assert ledger.claim(["x"]).granted


def test_a_stopped_run_is_taken_up(
    service: Service, ledger: Ledger, make_requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.polls = 5

    def interrupt(off: threading.Event, seconds: float) -> None:
        if service.calls["GET batches/ID"] >= 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(batch, "pause", interrupt)
    asked = teacher(service, ledger, budget={"tokens": 10**6})
    with pytest.raises(KeyboardInterrupt):
        list(asked.map(make_requests(10)))
    monkeypatch.undo()
    [job] = ledger.jobs("m")
    assert (job.batch_id, len(job.worst)) == ("batch-1", 10)
    assert statuses(by_row(asked.map(make_requests(10)))) == {"ok": 10}
    assert asked.budget.spent.tokens == 150
    assert service.sizes == [10]


def test_a_batch_with_requests_of_two_later_runs_is_forgotten_after_both(
    service: Service, ledger: Ledger, make_requests: Requests
) -> None:
    service.polls = 10**9
    batches = service.batches
    first = teacher(service, ledger)

    def run() -> None:
        with pytest.raises(TeacherError):
            list(first.map(make_requests(10)))

    thread = threading.Thread(target=run)
    thread.start()
    while not batches or not batches[0]["polls"]:
        time.sleep(0.01)
    service.trouble = lambda call, count: (400, "application/json", b"{}")
    thread.join(timeout=10)
    service.trouble, service.polls = (lambda call, count: None), 2
    rows = list(make_requests(10))
    assert statuses(by_row(teacher(service, ledger).map(rows[:4]))) == {"ok": 4}
    [job] = ledger.jobs("m")
    assert len(job.worst) == 6
    assert statuses(by_row(teacher(service, ledger).map(rows[4:]))) == {"ok": 6}
    assert ledger.jobs("m") == []
    assert service.sizes == [10]


def test_a_batch_may_be_taken_up_bit_by_bit(
    service: Service, ledger: Ledger, make_requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(off: threading.Event, seconds: float) -> None:
        raise KeyboardInterrupt

    service.polls = 10
    monkeypatch.setattr(batch, "pause", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(teacher(service, ledger).map(make_requests(10)))
    monkeypatch.undo()
    [job] = ledger.jobs("m")
    with Ledger(ledger.path) as other:
        some = sorted(job.worst)[:5]
        assert other.claim(some, take_up=True).granted

        def trouble(call: str, count: int) -> None:
            if call == "GET batches/ID" and count == 4:
                other.release(some)

        service.trouble = trouble
        assert statuses(by_row(teacher(service, ledger).map(make_requests(10)))) == {"ok": 10}
    assert service.sizes == [10]
    assert ledger.jobs("m") == []


def test_two_runs_on_one_ledger_pay_once(
    service: Service, tmp_path: Path, make_requests: Requests
) -> None:
    service.polls = 5
    done: dict[int, dict[str, Completion]] = {}
    Ledger(tmp_path / "ledger.db").close()

    def run(number: int) -> None:
        with Ledger(tmp_path / "ledger.db") as ledger:
            rows = list(make_requests(40))[10 * number :]
            done[number] = by_row(teacher(service, ledger).map(rows))

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert (statuses(done[0]), statuses(done[1])) == ({"ok": 40}, {"ok": 30})
    assert len(service.executed) == 40
    assert set(service.executed.values()) == {1}


def test_an_unacknowledged_batch_is_found_instead_of_created_twice(
    service: Service, ledger: Ledger, make_requests: Requests
) -> None:
    service.lost = {1}
    assert statuses(by_row(teacher(service, ledger).map(make_requests(5)))) == {"ok": 5}
    assert service.sizes == [5]


def test_a_batch_that_may_have_been_created_is_looked_for_again_by_the_next_run(
    service: Service, ledger: Ledger, make_requests: Requests
) -> None:
    refused = (403, "application/json", b'{"error": {"message": "may not list"}}')
    service.lost = {1}
    service.trouble = lambda made, count: refused if made == "GET batches" else None
    with pytest.raises(TeacherError, match="may not list"):
        list(teacher(service, ledger).map(make_requests(5)))
    assert [job.batch_id for job in ledger.jobs("m")] == [None]
    service.trouble = lambda made, count: None
    assert statuses(by_row(teacher(service, ledger).map(make_requests(5)))) == {"ok": 5}
    assert service.sizes == [5]


def test_a_shaky_server_is_borne(service: Service, ledger: Ledger, make_requests: Requests) -> None:
    troubles = [
        (500, "application/json", b"{}"),
        (429, "application/json", b'{"error": {"message": "slow down"}}'),
        (200, "text/html", b"<html>busy</html>"),
        (200, "application/json", b"{"),
        (200, "application/json", b"{}"),
        (0, "", b""),
    ]

    def trouble(call: str, count: int) -> tuple[int, str, bytes] | None:
        if count > len(troubles) or (call.endswith("content") and 4 <= count <= 5):
            return None
        return troubles[count - 1]

    service.trouble = trouble
    done = by_row(teacher(service, ledger, limits={"backoff": 0.001}).map(make_requests(5)))
    assert statuses(done) == {"ok": 5}
    assert service.sizes == [5]


def test_a_server_out_of_reach_is_told_in_a_line(
    service: Service, ledger: Ledger, make_requests: Requests
) -> None:
    service.http.server_close()
    with pytest.raises(TeacherError, match=r"teacher m at http.*out of reach") as caught:
        list(teacher(service, ledger).map(make_requests(5)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("call", ["POST files", "POST batches"])
def test_a_refusal_is_told_and_leaves_nothing_behind(
    service: Service, ledger: Ledger, make_requests: Requests, call: str
) -> None:
    refused = (401, "application/json", b'{"error": {"message": "no such key"}}')
    service.trouble = lambda made, count: refused if made == call else None
    asked = teacher(service, ledger, budget={"requests": 5})
    with pytest.raises(TeacherError, match=r"HTTP 401: .*no such key.*credentials"):
        list(asked.map(make_requests(5)))
    assert ledger.jobs("m") == []
    service.trouble = lambda made, count: None
    assert statuses(by_row(asked.map(make_requests(5)))) == {"ok": 5}


def test_a_batch_that_the_server_does_not_know_is_not_paid_for_again(
    service: Service, ledger: Ledger, make_requests: Requests
) -> None:
    asked = teacher(service, ledger)
    calls = [asked.caller.call(request) for request in make_requests(5)]
    ledger.open_job("token", "m", {call.key: call.worst for call in calls})
    ledger.name_job("token", "batch-77")
    for _ in range(2):
        with pytest.raises(TeacherError, match="does not know batch batch-77"):
            list(asked.map(make_requests(5)))
    assert not service.batches
    other = teacher(service, ledger, name="other")
    assert statuses(by_row(other.map(make_requests(5)))) == {"ok": 5}


def test_results_that_are_gone_are_asked_for_again(
    service: Service, ledger: Ledger, make_requests: Requests, caplog: pytest.LogCaptureFixture
) -> None:
    gone = (404, "application/json", b"{}")
    service.trouble = lambda call, n: gone if call.endswith("content") and n == 1 else None
    assert statuses(by_row(teacher(service, ledger).map(make_requests(5)))) == {"ok": 5}
    assert service.sizes == [5, 5]
    assert "batch batch-1: its results in file-1 are gone" in caplog.text


def test_urgent_requests_come_first(
    service: Service, ledger: Ledger, make_requests: Requests
) -> None:
    rows = [replace(row, priority=-n) for n, row in enumerate(make_requests(6))]
    done = by_row(teacher(service, ledger, budget={"requests": 2}).map(rows))
    assert {row for row, one in done.items() if one.status == "ok"} == {"row-4", "row-5"}


def test_no_file_is_opened_for_no_requests(tmp_path: Path) -> None:
    assert list(batch._spooled([], 5, tmp_path / "missing")) == []


def test_files_are_private_and_vanish(tmp_path: Path) -> None:
    with batch.spool(tmp_path) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
        file.write(b"x")
    assert not list(tmp_path.iterdir())
