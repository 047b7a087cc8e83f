"""The list of runs, and pins."""

from pathlib import Path

from kyara_kedro.lineage.history import asked, pin, pins, runs_text, seconds
from kyara_kedro.lineage.manifest import NodeReport, RunManifest


def run(run_id: str, **known: object) -> RunManifest:
    return RunManifest(run_id=run_id, started_at="2026-01-01T00:00:00+00:00", **known)


def test_a_run_says_what_was_asked_for() -> None:
    selection = {"pipeline_names": ["curate"], "tags": None, "from_nodes": ["a", "b"]}
    assert asked(run("r", selection=selection)) == "curate; from a, b"
    assert asked(run("r")) == "everything"


def test_a_run_without_an_end_took_what_its_nodes_took() -> None:
    nodes = {"a": NodeReport(state="ran", why="", seconds=1.5)}
    assert seconds(run("r", nodes=nodes)) == 1.5
    assert seconds(run("r", ended_at="2026-01-01T00:01:00+00:00")) == 60


def test_pins_are_told_and_taken_away(tmp_path: Path) -> None:
    pin(tmp_path, "r1")
    assert pins(tmp_path) == {"r1"}
    lines = runs_text([run("r2", costs={"n": 0.25}), run("r1")], pins(tmp_path)).splitlines()
    assert "0.25" in lines[1]
    assert lines[2].endswith("pinned")
    pin(tmp_path, "r1", pinned=False)
    assert pins(tmp_path) == set()
