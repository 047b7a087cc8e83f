from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.teachers.loopback import GOOD, chat, serving
from tests.teachers.tiny import chat_model

from kyara_kedro.datasets.teachers import TeacherDataset
from kyara_kedro.teachers.archive import export_replies, open_to_replay
from kyara_kedro.teachers.base import ChatRequest, TeacherError
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher
from kyara_kedro.teachers.replay import ReplayTeacher

__all__ = ["chat_model"]

Requests = Callable[..., Iterator[ChatRequest]]


@pytest.mark.parametrize("form", ["ledger", "parquet"])
def test_a_recorded_run_is_repeated_without_a_server(
    tmp_path: Path, make_requests: Requests, form: str
) -> None:
    path = tmp_path / "replies.db"
    with (
        serving(lambda n, body: chat(GOOD if len(body["messages"]) > 2 else "甲")) as server,
        Ledger(path) as ledger,
    ):
        options = EndpointOptions(model="m", base_url=server.url)
        live = {c.row_id: c for c in OpenAITeacher(options, ledger).map(make_requests(10))}
        if form == "parquet":
            path = tmp_path / "replies.parquet"
            export_replies(ledger, path)
    with open_to_replay(path) as cassette:
        again = ReplayTeacher(options, cassette)
        replayed = {c.row_id: c for c in again.map(make_requests(10))}
    assert {r: c.parsed for r, c in replayed.items()} == {r: c.parsed for r, c in live.items()}
    assert all(c.cached and c.cost == 0 for c in replayed.values())
    assert again.account.tallies["expand_query"].attempts == 0


def test_a_request_that_was_never_answered_stops_the_run(
    tmp_path: Path, make_requests: Requests
) -> None:
    Ledger(tmp_path / "replies.db").close()
    with open_to_replay(tmp_path / "replies.db") as cassette:
        teacher = ReplayTeacher(EndpointOptions(model="m"), cassette)
        with pytest.raises(TeacherError, match=r"no reply for 3 .* row row-0, task 'expand_query'"):
            list(teacher.map(make_requests(3)))


def test_a_model_of_this_machine_is_replayed_by_its_content(
    tmp_path: Path, chat_model: Path
) -> None:
    entry: dict[str, Any] = {
        "options": {"path": str(chat_model), "name": "ours"},
        "ledger": {"path": str(tmp_path / "replies.db")},
    }
    request = ChatRequest(
        "row", "respond", {}, ({"role": "user", "content": "茶"},), "v", "zh-TW", max_tokens=4
    )
    (live,) = TeacherDataset(kind="transformers-local", **entry).load().map([request])
    (again,) = TeacherDataset(kind="replay", **entry).load().map([request])
    assert again.cached
    assert (again.text, again.key) == (live.text, live.key)
