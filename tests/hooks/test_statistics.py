"""What the log says of a node and a pipeline, and the counts that kedro-viz shows."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from kedro.pipeline import Node

from kyara_kedro.hooks.statistics import StatisticsHooks

NODE = Node(lambda: (1, 2), None, ["rows", "things_summary"], name="make", namespace="things")
SUMMARY = {"rows": {"in": 1200, "out": 1198, "dropped": {"blank": 2}}, "recall": 0.5}


def hooked(folder: Path, rows: int) -> None:
    hooks = StatisticsHooks()
    context: Any = SimpleNamespace(project_path=folder)
    hooks.after_context_created(context)
    hooks.before_node_run(NODE)
    table = pl.DataFrame({"id": ["a"] * rows})
    hooks.after_node_run(NODE, {"rows": table, "things_summary": SUMMARY})
    hooks.after_pipeline_run()


def counts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / ".viz" / "stats.json").read_text("utf-8"))
    return found


def test_a_node_and_its_drops_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kyara_kedro"):
        hooked(tmp_path, 1198)
    first, second = caplog.messages
    assert first.startswith("things.make: rows 1,198, things_summary (0.")
    assert second == "things: rows 1,200 in, 1,198 out, dropped: blank 2"


def test_counts_of_earlier_runs_stay(tmp_path: Path) -> None:
    (tmp_path / ".viz").mkdir()
    (tmp_path / ".viz" / "stats.json").write_text('{"other": {"rows": 1}}', "utf-8")
    hooked(tmp_path, 3)
    assert counts(tmp_path) == {"other": {"rows": 1}, "rows": {"rows": 3, "columns": 1}}


@pytest.mark.parametrize("damaged", ['{"rows": {"rows": 1', "[]", ""])
def test_damaged_counts_are_begun_anew_and_fail_no_run(tmp_path: Path, damaged: str) -> None:
    (tmp_path / ".viz").mkdir()
    (tmp_path / ".viz" / "stats.json").write_text(damaged, "utf-8")
    hooked(tmp_path, 3)
    assert counts(tmp_path) == {"rows": {"rows": 3, "columns": 1}}
