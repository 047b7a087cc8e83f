"""Synthesis with a model behind an endpoint: a server that answers from what it is sent."""

import json
import re
import signal
import time
from pathlib import Path

import polars as pl
import pytest
from tests.audit import Tables
from tests.faults.conftest import small_project, start_kedro, wait_for
from tests.scripted import everything, point, scripted, wish

from kyara_kedro.teachers.ledger import Ledger

from support import run_kedro

pytestmark = pytest.mark.end_to_end
RUN = ("run", "--pipelines=ingest,synthesize", "--env=vllm")
TABLES = ("questions", "references", "rag_conversations", "synthetic_conversations")
TEACHER = "Qwen/Qwen2.5-72B-Instruct"
IN_FLIGHT = 8


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project with a few personas, as what they pose is tested elsewhere."""
    project = small_project(tmp_path)
    personas = project / "data/01_raw/sample/personas.jsonl"
    personas.write_text("".join(personas.read_text("utf-8").splitlines(True)[:5]), "utf-8")
    wish(project, magpie={"target": 4})
    return project


def tables(project: Path) -> dict[str, pl.DataFrame]:
    written = Tables(project / "data")
    return {name: written[name] for name in TABLES}


def ledger_rows(project: Path) -> int:
    with Ledger(project / "data" / "ledger" / "replies.db", read_only=True) as ledger:
        return sum(frame.height for frame in ledger.frames())


@pytest.mark.slow
def test_a_night_that_is_interrupted_pays_for_every_reply_once(project: Path) -> None:
    with scripted(everything(0.01)) as (model, server):
        point(project, server, budget={"requests": 10})
        spent = run_kedro(project, *RUN)
        assert spent.returncode == 1
        assert 10 <= len(model.exchanges) == ledger_rows(project) <= 30  # 10 for each teacher
        last = spent.stderr.strip().splitlines()[-1]
        assert re.search(
            r"all 10 requests of the budget are used; \d+ of .* run again to go on", last
        )

        point(project, server, budget={"requests": None})
        killed = start_kedro(project, *RUN)
        wait_for(lambda: len(model.exchanges) > 80, killed)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        time.sleep(0.3)
        assert ledger_rows(project) >= len(server.seen) - IN_FLIGHT

        done = run_kedro(project, *RUN)
        assert done.returncode == 0, done.stdout + done.stderr
        assert ledger_rows(project) <= len(server.seen) <= ledger_rows(project) + IN_FLIGHT
        first = tables(project)
        paid = len(server.seen)

        idle = run_kedro(project, *RUN)
        assert idle.returncode == 0, idle.stdout + idle.stderr
        assert "nodes are up to date and passed over" in idle.stdout
        again = run_kedro(project, *RUN, "--fresh")
        assert again.returncode == 0, again.stdout + again.stderr
        assert len(server.seen) == paid
    assert "all answered by the ledger" in again.stdout + again.stderr
    for name, table in tables(project).items():
        assert table.equals(first[name]), name

    made = first["synthetic_conversations"]
    assert made.height > 20
    assert set(made["teacher"].drop_nulls()) == {TEACHER}
    accounts = json.loads((project / "data/08_reporting/teacher_accounts.json").read_text("utf-8"))
    asked_rows = [row for rows in accounts["nodes"].values() for row in rows]
    assert {row["role"] for row in asked_rows} == {"writer", "checker", "magpie"}
    assert all(row["cached"] == row["requests"] and row["cost"] == 0 for row in asked_rows)

    point(project, server, "replay")  # the server is gone
    replayed = run_kedro(project, *RUN)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    for name, table in tables(project).items():
        assert table.equals(first[name]), name

    point(project, server, "openai", model="another")
    lost = run_kedro(project, *RUN)
    assert lost.returncode == 1
    assert "no answer for" in lost.stderr.strip().splitlines()[-1]
    assert "Traceback" not in lost.stderr
