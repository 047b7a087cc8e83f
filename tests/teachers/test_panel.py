"""Members of a panel answer what is addressed to them, and an absent one leaves a gap."""

import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.teachers.loopback import Answer, chat, failed, serving

from kyara_kedro.datasets import TeacherDataset
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.teachers.base import ChatRequest, TeacherError, ask
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.panel import OUT_OF_REACH, Panel
from kyara_kedro.teachers.team import TeamOptions, TeamTeacher

LIBRARY = PromptLibrary()


def nowhere() -> str:
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def member(url: str, model: str, **more: Any) -> dict[str, Any]:
    limits = {"in_flight": 4, "backoff": 0.01, "patience": 0.2}
    return {
        "kind": "openai",
        "options": {"model": model, "base_url": url, "limits": limits},
        **more,
    }


def panel(folder: Path, **members: dict[str, Any]) -> Panel:
    made = TeacherDataset(
        kind="panel",
        ledger={"path": str(folder / "replies.db")},
        options={"role": "contestant"},
        members=members,
    ).load()
    assert isinstance(made, Panel)
    return made


def requests(*names: str, count: int = 20) -> list[ChatRequest]:
    return [
        ask(LIBRARY, f"r{n}:{name}", "respond", "zh-TW", prompt=f"第{n}題", documents=[])
        for n in range(count)
        for name in names
    ]


def test_everybody_answers_what_is_addressed_to_it(tmp_path: Path) -> None:
    with serving(lambda number, body: chat(body["model"])) as server:
        made = panel(
            tmp_path,
            one=member(server.url, "m1", grounded=True),
            two=member(server.url, "m2", family="house"),
            rules={"kind": "extractive"},
        )
        found = list(made.map(requests("one", "two", "rules")))
    assert len(found) == 60
    for completion in found:
        name = completion.row_id.partition(":")[2]
        assert completion.teacher == {"one": "m1", "two": "m2"}.get(name, "extractive-rules-v1")
    assert made.grounded == {"one"}
    assert [one.family for one in made.direct.values()] == ["m1", "house", ""]
    assert {one.role for one in made.members.values()} == {"contestant"}


def test_the_same_model_may_take_part_twice(tmp_path: Path) -> None:
    with serving(lambda number, body: chat("好")) as server:
        made = panel(tmp_path, one=member(server.url, "m"), two=member(server.url, "m"))
        assert made.name == "m"
        assert len(list(made.map(requests("one", "two")))) == 40


DOWN = {
    "connection refused": None,
    "server error": lambda number, body: failed(503),
    "wrong key": lambda number, body: failed(401),
    "unknown model": lambda number, body: failed(404),
}


@pytest.mark.parametrize("why", DOWN)
def test_a_member_that_is_down_leaves_a_gap_and_the_others_go_on(tmp_path: Path, why: str) -> None:
    answer = DOWN[why]
    with (
        serving(lambda number, body: chat("好")) as server,
        serving(answer) as broken,
    ):
        url = broken.url if answer else nowhere()
        made = panel(
            tmp_path,
            good=member(server.url, "m1"),
            bad=member(url, "m2"),
            rules={"kind": "extractive"},
        ).going_on()
        found = list(made.map(requests("good", "bad", "rules", count=30)))
        assert Counter(one.row_id for one in found).most_common(1)[0][1] == 1
        assert len(found) == 90
        statuses = Counter((one.row_id.partition(":")[2], one.status) for one in found)
        assert statuses == {("good", "ok"): 30, ("rules", "ok"): 30, ("bad", "failed"): 30}
        absent = [one for one in found if one.status == "failed"]
        assert {one.fault for one in absent} == {OUT_OF_REACH}
        assert list(made.gaps) == ["bad"]
        assert all(one.error == made.gaps["bad"] for one in absent)
        assert len(broken.seen) < 30


def test_without_going_on_it_stops_as_any_teacher(tmp_path: Path) -> None:
    with serving(lambda number, body: chat("好")) as server:
        made = panel(tmp_path, good=member(server.url, "m1"), bad=member(nowhere(), "m2"))
        with pytest.raises(TeacherError):
            list(made.map(requests("good", "bad")))


def test_a_member_that_is_back_is_asked_for_the_rest(tmp_path: Path) -> None:
    up = [False]

    def answer(number: int, body: dict[str, Any]) -> Answer:
        return chat("好") if up[0] else failed(500)

    with serving(answer) as server:
        made = panel(tmp_path, one=member(server.url, "m1"))
        first = list(made.going_on().map(requests("one")))
        up[0] = True
        second = list(made.going_on().map(requests("one")))
    assert {one.status for one in first} == {"failed"}
    assert {one.status for one in second} == {"ok"}


def test_one_that_dies_in_the_middle_keeps_what_it_said(tmp_path: Path) -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        return chat("好") if number <= 10 else failed(401)

    with serving(answer) as server:
        view = panel(tmp_path, one=member(server.url, "m1")).going_on()
        found = Counter(one.status for one in view.map(requests("one", count=300)))
    assert 0 < found["ok"] <= 10  # those that were on their way are in the ledger
    assert found["failed"] == 300 - found["ok"]


def test_any_teacher_is_a_panel_of_judges() -> None:
    rules = ExtractiveTeacher()
    assert list(Panel.of(rules).direct) == [rules.name]
    made = Panel.of(rules)
    assert Panel.of(made) is made
    team = TeamTeacher({"a": rules}, {"a": 2.0}, TeamOptions(role="judge"))
    assert (Panel.of(team).weights, Panel.of(team).role) == ({"a": 2.0}, "judge")
    assert Panel.of(team).direct == {"a": rules}


def test_estimates_and_accounts_are_those_of_the_members(tmp_path: Path) -> None:
    with serving(lambda number, body: chat("好")) as server:
        made = panel(tmp_path, one=member(server.url, "m1"), two=member(server.url, "m2"))
        estimate = made.going_on().estimate(requests("one", "two", count=5))
        assert estimate is not None
        assert estimate.requests == 10
        list(made.going_on().map(requests("one", "two", count=5)))
    assert [one.account.copy()["respond"].asked for one in made.members.values()] == [5, 5]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "extractive", "grounding": True}, "'grounding' is unknown"),
        ({"options": {}}, "needs a 'kind'"),
    ],
)
def test_settings_that_do_not_exist_are_refused(
    tmp_path: Path, entry: dict[str, Any], message: str
) -> None:
    from kedro.io import DatasetError

    with pytest.raises(DatasetError, match=message):
        panel(tmp_path, one=entry)


def test_only_a_panel_has_grounded_members(tmp_path: Path) -> None:
    from kedro.io import DatasetError

    team = TeacherDataset(kind="team", members={"a": {"kind": "extractive", "grounded": True}})
    with pytest.raises(DatasetError, match="'grounded' is unknown"):
        team.load()
