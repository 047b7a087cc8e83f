"""`kedro estimate` against what a priced endpoint then counts and charges."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kedro.framework.project import configure_project
from tests.faults.conftest import small_project
from tests.scripted import point, scripted, wish

from kyara_kedro.cli import cli
from kyara_kedro.datasets.ledger import open_ledger
from kyara_kedro.teachers.ledger import Ledger

pytestmark = pytest.mark.end_to_end
ASKED = ("--pipelines=synthesize", "--env=vllm")
TWICE = 2


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small project with a few personas and targets, in which no MLflow run is kept."""
    project = small_project(tmp_path)
    personas = project / "data/01_raw/sample/personas.jsonl"
    personas.write_text("".join(personas.read_text("utf-8").splitlines(True)[:3]), "utf-8")
    wish(project, knowledge={"target": 12}, rag={"target": 0}, dialogue={"target": 1})
    wish(project, told={"target": 1}, magpie={"target": 2}, document={"target": 2})
    (project / "conf/vllm/mlflow.yml").write_text("enabled: false\n")
    (project / "conf/local").mkdir(exist_ok=True)
    monkeypatch.chdir(project)
    open_ledger.cache_clear()
    yield project
    open_ledger.cache_clear()


def kedro(*arguments: str) -> str:
    configure_project("kyara_kedro")
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert done.exception is None, (done.output, done.exception)
    return done.stdout


def estimated(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kedro("estimate", "--json", *ASKED, *arguments))
    return found


def paid(project: Path) -> float:
    with Ledger(project / "data/ledger/replies.db", read_only=True) as ledger:
        return sum(entry.cost for entry in ledger.summary())


def test_an_estimate_holds_and_is_close_once_there_are_replies_to_go_by(project: Path) -> None:
    with scripted() as (model, server):
        point(project, server, budget={"requests": 100_000, "cost": 1e-9})
        missing = estimated()
        assert "run `kedro run --pipelines=ingest` first" in missing["not_counted"][0]["why"]
        kedro("run", "--pipelines=ingest", "--env=vllm")

        first = estimated()
        assert {cap["what"]: cap["verdict"] for cap in first["budgets"]} == {
            "requests": "enough",
            "cost": "not_enough",
        }
        point(project, server, budget={"requests": 100_000, "cost": None})
        assert not model.exchanges
        kedro("run", *ASKED)
        calls, cost = len(model.exchanges), paid(project)
        for name, truth in {"calls": calls, "cost": cost}.items():
            assert first["total"][name]["low"] <= truth <= first["total"][name]["high"]

        assert not estimated()["total"]["calls"]["high"]  # the ledger answers everything
        wish(project, knowledge={"target": 60}, math={"target": TWICE})
        more = estimated()["total"]
        kedro("run", *ASKED)
        calls, cost = len(model.exchanges) - calls, paid(project) - cost
        assert calls > 30
        for name, truth in {"calls": calls, "cost": cost}.items():
            assert more[name]["low"] <= truth <= more[name]["high"]
            assert more[name]["expected"] == pytest.approx(truth, rel=0.3)

    rows = json.loads(kedro("costs", "--json"))
    assert sum(row["worth"] for row in rows) == pytest.approx(paid(project), rel=0.05)
