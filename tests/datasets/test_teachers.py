import re
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog, DatasetError
from tests.teachers.conftest import requests_for_queries

from kyara_kedro.datasets.teachers import TeacherDataset
from kyara_kedro.errors import UserError
from kyara_kedro.teachers.batch import BatchTeacher
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.openai_chat import OpenAITeacher
from kyara_kedro.teachers.replay import ReplayTeacher
from kyara_kedro.teachers.team import TeamTeacher


def dataset(folder: Path, kind: str = "openai", **options: Any) -> TeacherDataset:
    settings = {"role": "writer", "model": "m", "base_url": "http://host/v1", **options}
    return TeacherDataset(
        kind=kind,  # type: ignore[arg-type]
        options=settings,
        ledger={"path": str(folder / "replies.db")},
    )


def why_not(teacher: TeacherDataset) -> str:
    """What the project's command line tells of a teacher that cannot be made."""
    with pytest.raises(DatasetError) as raised:
        teacher.load()
    assert isinstance(raised.value.__cause__, UserError)
    return str(raised.value.__cause__)


@pytest.mark.parametrize(
    ("kind", "made"),
    [("openai", OpenAITeacher), ("batch", BatchTeacher), ("replay", ReplayTeacher)],
)
def test_one_line_of_configuration_changes_how_a_model_is_asked(
    tmp_path: Path, kind: str, made: type
) -> None:
    Ledger(tmp_path / "replies.db").close()
    teacher = dataset(tmp_path, kind, budget={"cost": 3}, limits={"in_flight": 8}).load()
    assert isinstance(teacher, made)
    assert (teacher.name, teacher.role, teacher.kind) == ("m", "writer", "llm")


def test_the_embedded_teacher_needs_nothing() -> None:
    teacher = TeacherDataset(kind="extractive", options={"role": "judge"}).load()
    assert isinstance(teacher, ExtractiveTeacher)
    assert (teacher.role, teacher.kind) == ("judge", "rules")


def test_the_nodes_of_a_run_share_one_teacher_and_its_caps(tmp_path: Path) -> None:
    writer = dataset(tmp_path)
    assert writer.load() is writer.load()
    judge = dataset(tmp_path, role="judge").load()
    assert judge is not writer.load()
    assert judge.ledger is writer.load().ledger  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modle": "x"}, r"teacher writer: 'modle': .*not permitted; there are base_url, .*model"),
        ({"limits": {"in_flight": 0}}, r"teacher writer: 'limits.in_flight': .*greater.*, not 0"),
        ({"dialect": "klingon"}, "teacher writer: 'dialect': "),
        ({"budget": {"cost": -1}}, r"'budget.cost'.*not -1"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    said = why_not(dataset(tmp_path, **options))
    assert re.search(message, said)
    assert "\n" not in said


def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    secret = dataset(tmp_path, base_url="http://me:hunter2@host/v1")
    assert "must hold no user" in why_not(secret)
    with pytest.raises(DatasetError) as raised:
        secret.load()
    assert "hunter2" not in f"{raised.value} {raised.value.__cause__} {secret}"


def test_openai_itself_needs_a_key(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="needs a key: set OPENAI_API_KEY"):
        dataset(tmp_path, base_url="https://api.openai.com/v1").load()


def test_a_model_needs_a_ledger() -> None:
    with pytest.raises(DatasetError, match="needs a ledger"):
        TeacherDataset(kind="openai", options={"model": "m"}).load()


def test_unknown_kinds_are_named() -> None:
    with pytest.raises(DatasetError, match="kind 'oracle' is unknown: there are extractive"):
        TeacherDataset(kind="oracle")  # type: ignore[arg-type]


def test_a_replay_needs_its_ledger(tmp_path: Path) -> None:
    assert "replies.db: no such file" in why_not(dataset(tmp_path, "replay"))


def member(folder: Path, model: str, **more: Any) -> dict[str, Any]:
    """A member of a team, in the one line that it is in a catalog."""
    options = {"model": model, "base_url": "https://api.openai.com/v1", **more.pop("options", {})}
    return {"kind": "openai", "options": options, **more}


def team(folder: Path, **members: Any) -> TeacherDataset:
    return TeacherDataset(
        kind="team",
        options={"role": "writer", "overflow": True},
        ledger={"path": str(folder / "replies.db")},
        members=members,
    )


def test_kedro_finds_the_credentials_of_members(tmp_path: Path) -> None:
    entry = {
        "type": "kyara_kedro.datasets.TeacherDataset",
        "kind": "team",
        "options": {"role": "writer"},
        "ledger": {"path": str(tmp_path / "replies.db")},
        "members": {
            "strong": {**member(tmp_path, "gpt-4o"), "weight": 3, "credentials": "openai"},
            "other": {**member(tmp_path, "o4-mini"), "credentials": "elsewhere"},
            "rules": {"kind": "extractive"},
        },
    }
    secrets = {"openai": {"api_key": "sk-one"}, "elsewhere": {"api_key": "sk-two"}}
    catalog = DataCatalog.from_config({"writer": entry}, secrets)
    writer = catalog.load("writer")
    assert isinstance(writer, TeamTeacher)
    strong, other, rules = writer.members.values()
    assert [one.key.get_secret_value() for one in (strong, other)] == ["sk-one", "sk-two"]
    assert strong.ledger is other.ledger
    assert rules.kind == "rules"
    assert {one.role for one in writer.members.values()} == {"writer"}
    assert catalog.load("writer") is writer
    assert "sk-" not in f"{catalog} {catalog['writer']}"
    row = next(requests_for_queries(1))
    assert writer.responsible(row)[0] in ("strong", "other", "rules")


def test_a_key_is_never_given_to_another_member(tmp_path: Path) -> None:
    two = team(
        tmp_path,
        a=member(tmp_path, "m1", credentials={"api_key": "sk-one"}),
        b=member(tmp_path, "m2"),
    )
    with pytest.raises(DatasetError, match=r"teacher writer, member b: .* needs a key"):
        two.load()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, r"teacher writer: 'members' has to be a mapping"),
        ({"a": {"options": {}}}, r"teacher writer, member a: needs a 'kind'"),
        ({"a": {"kind": "extractive", "wieght": 1}}, r"member a: 'wieght' is unknown; .*'weight'"),
        ({"a": {"kind": "oracle"}}, r"kind 'oracle' is unknown"),
    ],
)
def test_a_wrong_team_is_told_in_one_line(
    tmp_path: Path, members: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=message) as raised:
        team(tmp_path, **members).load()
    assert "\n" not in str(raised.value)


def test_a_wrong_option_of_a_member_names_the_member(tmp_path: Path) -> None:
    assert re.search(
        r"teacher writer, member a: 'weight': .*greater",
        why_not(team(tmp_path, a={"kind": "extractive", "weight": 0})),
    )
    assert "member a: 'modle'" in why_not(
        team(tmp_path, a={"kind": "extractive", "options": {"modle": 1}})
    )
    twins = {name: {"kind": "extractive"} for name in "ab"}
    assert "several members are called 'extractive-rules-v1'" in why_not(team(tmp_path, **twins))


def test_a_list_of_members_is_refused_since_kedro_leaves_its_credentials(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has to be a mapping"):
        TeacherDataset(kind="team", members=[member(tmp_path, "m")]).load()  # type: ignore[arg-type]
