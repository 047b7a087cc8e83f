import re
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DatasetError

from kyara_kedro.datasets.teachers import TeacherDataset
from kyara_kedro.errors import UserError
from kyara_kedro.teachers.batch import BatchTeacher
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.openai_chat import OpenAITeacher
from kyara_kedro.teachers.replay import ReplayTeacher


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
