"""Log-probabilities of a judge's tokens: asked for, kept, and weighed where a server tells them."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.teachers.loopback import Answer, chat, serving
from tests.teachers.test_batch import serving as serving_batches
from tests.teachers.test_batch import teacher as batch_teacher
from tests.teachers.test_ledger import REPLY_A

from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.teachers.archive import export_replies, import_replies, open_to_replay
from kyara_kedro.teachers.base import ChatRequest, Completion, TeacherError, ask
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher
from kyara_kedro.teachers.replay import ReplayTeacher
from kyara_kedro.teachers.tasks import AlpacaVerdict, ArenaVerdict

LIBRARY = PromptLibrary()
LIKELY = {"M": -0.1, "m": -2.5, "The": -9.0}


def request(task: str = "judge_alpaca") -> ChatRequest:
    return ask(LIBRARY, "row", task, "en", prompt="q", answer_a="a", answer_b="b")


def told(content: str, *places: dict[str, float], finish: str = "length") -> Answer:
    body = json.loads(chat(content, finish).body)
    body["choices"][0]["logprobs"] = {
        "content": [
            {"token": "?", "top_logprobs": [{"token": t, "logprob": p} for t, p in place.items()]}
            for place in places
        ]
    }
    return Answer(body=json.dumps(body).encode())


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


def asked(ledger: Ledger, one: ChatRequest, *answers: Answer, **options: Any) -> Completion:
    """What comes of one request; the server gives its answers in turn, and has no more."""
    with serving(lambda number, body: answers[number - 1]) as server:
        settings = EndpointOptions(model="m", base_url=server.url, **options)
        (found,) = OpenAITeacher(settings, ledger).map([one])
    assert len(server.seen) == len(answers)
    return found


def test_they_are_asked_for_kept_and_weighed(ledger: Ledger, tmp_path: Path) -> None:
    live = asked(ledger, request(), told("M", LIKELY))
    assert live.status == "ok"
    assert live.top_logprobs == (LIKELY,)
    assert isinstance(live.parsed, AlpacaVerdict)
    assert live.parsed.value(swapped=True) == pytest.approx(1 / (1 + 2.718281828 ** (-2.4)))
    assert live.parsed.value(swapped=False) == pytest.approx(1 - live.parsed.second)
    export_replies(ledger, tmp_path / "replies.parquet")
    for path in (ledger.path, tmp_path / "replies.parquet"):
        with open_to_replay(path) as cassette:
            (again,) = ReplayTeacher(EndpointOptions(model="m"), cassette).map([request()])
        assert (again.parsed, again.top_logprobs) == (live.parsed, live.top_logprobs)


def test_a_batch_tells_them_too(ledger: Ledger) -> None:
    body = json.loads(told("m", {"m": -0.1}).body)
    with serving_batches() as service:
        service.answer = lambda number, sent: {"response": {"status_code": 200, "body": body}}
        (found,) = batch_teacher(service, ledger).map([request()])
    assert (found.parsed, found.top_logprobs) == (AlpacaVerdict(second=0), ({"m": -0.1},))
    assert service.batches[0]["requests"][0]["body"]["top_logprobs"] == 5


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, {"logprobs": True, "top_logprobs": 5}),
        ({"dialect": "transformers"}, {"logprobs": None, "top_logprobs": None}),
        ({"dialect": "openai-reasoning"}, {"logprobs": None, "top_logprobs": None}),
    ],
)
def test_they_are_asked_for_where_they_can_be_had(
    ledger: Ledger, options: dict[str, Any], sent: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caller = OpenAITeacher(EndpointOptions(model=f"m{options}", **options), ledger).caller
    call = caller.call(request())
    assert {name: call.body.get(name) for name in sent} == sent
    assert ("does not tell log-probabilities" in caplog.text) == (sent["logprobs"] is None)


def test_a_key_knows_them_only_when_they_are_wanted(ledger: Ledger) -> None:
    caller = OpenAITeacher(EndpointOptions(model="m"), ledger).caller
    plain = replace(request(), top_logprobs=0)
    assert "logprobs" not in caller.call(plain).body
    keys = {caller.call(replace(plain, top_logprobs=n)).key for n in (0, 2, 5)}
    assert len(keys) == 3


@pytest.mark.parametrize("content", ["M", " M", "**M**", '"M"', "M."])
def test_a_server_that_tells_none_is_read_by_its_text(ledger: Ledger, content: str) -> None:
    found = asked(ledger, request(), chat(content))
    assert found.parsed == AlpacaVerdict(second=1)
    assert found.top_logprobs == ()


@pytest.mark.parametrize("broken", [{"content": 3}, {"content": [{}]}, [], "x", {"content": None}])
def test_what_it_tells_in_another_form_costs_no_reply(ledger: Ledger, broken: Any) -> None:
    body = json.loads(chat("m").body)
    body["choices"][0]["logprobs"] = broken
    found = asked(ledger, request(), Answer(body=json.dumps(body).encode()))
    assert found.parsed == AlpacaVerdict(second=0)


def test_a_reply_without_a_letter_is_asked_again_once(ledger: Ledger) -> None:
    found = asked(ledger, request(), told("The", {"The": -0.1}), told("m", {"m": -0.1}))
    assert (found.status, found.parsed) == ("ok", AlpacaVerdict(second=0))


def test_contradicting_labels_are_none_and_not_asked_again(ledger: Ledger) -> None:
    found = asked(ledger, request("judge_arena"), chat("[[A>B]] or rather [[B>A]]"))
    assert (found.status, found.fault, found.parsed) == ("invalid", "several", None)


def test_a_missing_label_is_asked_for_again_once(ledger: Ledger) -> None:
    found = asked(ledger, request("judge_arena"), chat("A is fine."), chat("[[A>>B]]"))
    assert isinstance(found.parsed, ArenaVerdict)
    assert (found.parsed.verdict, found.parsed.value(swapped=True)) == ("A>>B", 0)
    assert found.parsed.value(swapped=False) == 1


def test_a_long_reply_that_is_cut_stays_truncated(ledger: Ledger) -> None:
    found = asked(ledger, request("judge_arena"), chat("[[A>B]]", "length"))
    assert found.status == "truncated"


@pytest.mark.parametrize("task", ["judge_alpaca", "judge_arena"])
def test_rules_decline_to_judge_by_these_protocols(task: str) -> None:
    with pytest.raises(TeacherError, match=f"no rule for the task '{task}'"):
        list(ExtractiveTeacher().map([request(task)]))


def test_a_ledger_of_before_is_read_as_it_is_and_raised_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with Ledger(path) as ledger:
        ledger.put([REPLY_A])
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE reply DROP COLUMN top_logprobs")
        database.execute("PRAGMA user_version=2")
    database.close()
    with Ledger(path, read_only=True) as ledger:
        assert ledger.get_many([REPLY_A.request_id]) == {REPLY_A.request_id: REPLY_A}
        assert ledger.summary()[0].number == 1
    other = replace(REPLY_A, request_id="b" * 64, top_logprobs='[{"M": -0.5}]')
    for _ in range(2):
        with Ledger(path) as ledger:
            ledger.put([other])
            held = ledger.get_many([REPLY_A.request_id, other.request_id])
            assert set(held.values()) == {REPLY_A, other}


def test_an_export_of_before_is_imported(ledger: Ledger, tmp_path: Path) -> None:
    ledger.put([REPLY_A])
    export_replies(ledger, tmp_path / "new.parquet")
    table = pl.read_parquet(tmp_path / "new.parquet").drop("top_logprobs")
    table.write_parquet(tmp_path / "old.parquet")
    with Ledger(tmp_path / "other.db") as other:
        assert import_replies(other, tmp_path / "old.parquet") == 1
        assert other.get_many([REPLY_A.request_id]) == {REPLY_A.request_id: REPLY_A}
