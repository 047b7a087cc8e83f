"""Each run is tracked to its end, however it ends, and tracking never stands in its way."""

import shutil
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from .conftest import start_kedro, wait_for
from support import run_kedro

pytestmark = pytest.mark.faults


@pytest.fixture
def small(small: Path, mlflow_tables: Path) -> Path:
    """A small private copy of the project whose MLflow store has its tables."""
    (small / "data" / "mlflow").mkdir()
    shutil.copy(mlflow_tables, small / "data" / "mlflow")
    return small


def tracked(project: Path) -> list[tuple[str, str | None]]:
    """Status and error of every tracked run."""
    with sqlite3.connect(project / "data" / "mlflow" / "mlflow.db") as base:
        return base.execute(
            "SELECT status, tags.value FROM runs LEFT JOIN tags"
            " ON tags.run_uuid = runs.run_uuid AND tags.key = 'error' ORDER BY start_time"
        ).fetchall()


def test_a_run_that_fails_ends_as_failed_with_its_error(small: Path) -> None:
    done = run_kedro(small, "run", "--pipelines=ingest", "--params", "raw_documents=nowhere")
    assert done.returncode == 1
    said = "nowhere does not exist; name a folder of .md/.txt/"
    assert said in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    ((status, error),) = tracked(small)
    assert status == "FAILED"
    assert error is not None
    assert said in error


def test_a_run_that_is_told_to_stop_ends_as_killed(small: Path) -> None:
    process = start_kedro(small, "run", "--pipelines=ingest,synthesize")
    wait_for((small / "data/02_intermediate/open_conversations.parquet").exists, process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in said
    assert tracked(small) == [("KILLED", None)]


def test_a_server_that_is_down_costs_seconds_and_loses_nothing(small: Path) -> None:
    (small / "conf" / "down").mkdir()
    (small / "conf/down/mlflow.yml").write_text("tracking_uri: http://127.0.0.1:9\n", "utf-8")
    started = time.monotonic()
    done = run_kedro(small, "run", "--pipelines=ingest", "--env=down")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tracking: MLflow gets everything later" in done.stdout
    assert time.monotonic() - started < 40
    assert (small / "data/02_intermediate/ingest_summary.json").exists()
    still = run_kedro(small, "track-sync", "--env=down")
    assert still.returncode == 1
    assert still.stdout.startswith("0 runs sent, 1 waiting in ")
    assert "is the server up?" in still.stderr
    assert tracked(small) == []
    sent = run_kedro(small, "track-sync")
    assert sent.stdout.startswith("1 runs sent, 0 waiting in "), sent.stderr
    assert tracked(small) == [("FINISHED", None)]
