"""What is passed over and what is not, in a small pipeline of this project's data sets."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from kyara_kedro.datasets import JSONDataset, SourceFilesDataset, TableDataset
from kyara_kedro.hooks.accounts import AccountHooks
from kyara_kedro.hooks.runs import RunHooks
from kyara_kedro.lineage.manifest import RunManifest, runs
from kyara_kedro.options import Options
from kyara_kedro.runners import SequentialRunner, ThreadRunner

NODES = """
import polars as pl

def read(files, params):
    text = "".join(file.path.read_text() for file in files)
    return pl.DataFrame({"id": [line for line in text.split() if len(line) >= params.shortest]})

def count(table, params):
    return table.height * params.factor, {"rows": table.height}

def close(counted, table):
    return {"counted": counted, "rows": table.height}

def fail(table):
    raise ValueError("no luck")
"""
NEEDED = "close needs counted as of now"
"""Whether it does shows only later, and what is not kept has to be there by then."""


class Settings(Options):
    shortest: int = 1
    factor: int = 1
    unused: int = 0


class Toy:
    """A project of three nodes; `counted` is not kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings()
        self.runner: type[SequentialRunner | ThreadRunner] = SequentialRunner
        self.runs = 0
        (folder / "raw").mkdir()
        (folder / "raw" / "a.txt").write_text("one two three")
        self.code(NODES)

    def code(self, text: str) -> None:
        (self.folder / "toy_nodes.py").write_text(text)
        sys.modules.pop("toy_nodes", None)
        importlib.invalidate_caches()
        self.nodes = importlib.import_module("toy_nodes")

    def pipeline(self) -> Pipeline:
        nodes = self.nodes
        return Pipeline(
            [
                Node(nodes.read, ["raw", "params:toy"], "table", name="read"),
                Node(nodes.count, ["table", "params:toy"], ["counted", "facts"], name="count"),
                Node(nodes.close, ["counted", "table"], "summary", name="close"),
            ]
        )

    def run(self, pipeline: Pipeline | None = None, *, fresh: bool = False) -> dict[str, str]:
        """Run it; the nodes that ran, with why."""
        pipeline = pipeline or self.pipeline()
        at = self.folder
        catalog = DataCatalog(
            {
                "raw": SourceFilesDataset(path=str(at / "raw"), suffixes=[".txt"]),
                "table": TableDataset(filepath=str(at / "table.parquet")),
                "facts": JSONDataset(filepath=str(at / "facts.json")),
                "summary": JSONDataset(filepath=str(at / "summary.json")),
                "parameters": MemoryDataset({"toy": self.settings}),
                "params:toy": MemoryDataset(self.settings),
            }
        )
        hooks = RunHooks(AccountHooks())
        hooks._project = at
        manager = _create_hook_manager()
        manager.register(hooks)
        self.runs += 1
        run_params = {
            "run_id": f"run-{self.runs}",
            "env": "local",
            "only_missing_outputs": not fresh,
            "pipeline_names": ["toy"],
        }
        hooks.before_pipeline_run(run_params, pipeline, catalog)
        try:
            self.runner().run(pipeline, catalog, manager, run_params["run_id"])
        except Exception as error:
            hooks.on_pipeline_error(error, run_params)
            raise
        hooks.after_pipeline_run(run_params)
        return self.told("ran")

    def told(self, state: str) -> dict[str, str]:
        nodes = self.manifest.nodes
        return {name: node.why for name, node in nodes.items() if node.state == state}

    @property
    def manifest(self) -> RunManifest:
        return RunManifest.read(self.folder / "data" / "runs" / f"run-{self.runs}.json")


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.syspath_prepend(tmp_path)
    return Toy(tmp_path)


def test_a_second_run_has_nothing_to_do(toy: Toy) -> None:
    assert toy.run().keys() == {"read", "count", "close"}

    assert toy.run() == {}
    assert toy.told("skipped").keys() == {"read", "count", "close"}


@pytest.mark.parametrize("runner", [SequentialRunner, ThreadRunner])
def test_every_runner_passes_over_what_is_up_to_date(
    toy: Toy, runner: type[SequentialRunner | ThreadRunner]
) -> None:
    toy.runner = runner
    toy.run()

    assert toy.run() == {}


def test_fresh_runs_everything_all_the_same(toy: Toy) -> None:
    toy.run()

    assert toy.run(fresh=True).keys() == {"read", "count", "close"}


def test_a_setting_reruns_the_nodes_that_read_it(toy: Toy) -> None:
    toy.run()
    toy.settings = Settings(factor=2)

    assert toy.run() == {"count": "toy.factor: 1 -> 2", "close": "counted changed"}


def test_a_setting_that_nobody_reads_reruns_nothing(toy: Toy) -> None:
    toy.run()
    toy.settings = Settings(unused=5)

    assert toy.run() == {}


def test_a_new_file_reruns_what_comes_of_it(toy: Toy) -> None:
    toy.run()
    (toy.folder / "raw" / "b.txt").write_text(" four")

    assert toy.run() == {"read": "raw changed", "count": NEEDED, "close": "counted changed"}


def test_a_file_that_was_only_touched_reruns_nothing(toy: Toy) -> None:
    toy.run()
    os.utime(toy.folder / "raw" / "a.txt")

    assert toy.run() == {}


def test_what_comes_out_as_before_reruns_nothing_after_it(toy: Toy) -> None:
    toy.run()
    (toy.folder / "raw" / "a.txt").write_text("one  two   three\n")

    assert toy.run() == {"read": "raw changed", "count": NEEDED}
    assert toy.told("skipped")["close"] == "what it reads came out as before"


def test_edited_code_reruns_its_node(toy: Toy) -> None:
    toy.run()
    toy.code(NODES.replace('"rows": table.height}', '"rows": -table.height}', 1))

    assert toy.run() == {
        "count": "the code of toy_nodes changed",
        "close": "counted changed",
    }


@pytest.mark.parametrize("harm", ["deleted", "cut short", "edited"])
def test_an_output_that_is_not_what_was_stored_is_made_again(toy: Toy, harm: str) -> None:
    toy.run()
    table = toy.folder / "table.parquet"
    whole = table.read_bytes()
    if harm == "deleted":
        table.unlink()
    else:
        table.write_bytes(whole[:40] if harm == "cut short" else whole + b"x")

    assert toy.run() == {"read": "table is not what it stored", "count": NEEDED}
    assert table.read_bytes() == whole


def test_what_is_not_kept_is_made_when_somebody_needs_it(toy: Toy) -> None:
    toy.run()
    (toy.folder / "summary.json").unlink()

    assert toy.run() == {"count": NEEDED, "close": "summary is not what it stored"}


def test_a_part_of_a_pipeline_is_judged_by_itself(toy: Toy) -> None:
    toy.run()
    part = toy.pipeline().filter(from_nodes=["count"])

    assert toy.run(part) == {}
    toy.settings = Settings(factor=3)
    assert toy.run(part).keys() == {"count", "close"}


def test_a_node_that_failed_runs_again_and_is_told_of(toy: Toy) -> None:
    failing = toy.pipeline() + Pipeline([Node(toy.nodes.fail, "table", "facts2", name="fail")])

    with pytest.raises(ValueError, match="no luck"):
        toy.run(failing)
    assert toy.manifest.status == "failed"
    assert toy.manifest.error == "ValueError: no luck"
    assert "fail" in toy.told("failed")
    with pytest.raises(ValueError, match="no luck"):
        toy.run(failing)
    assert toy.told("failed") == {"fail": "it has not run to its end yet"}


def test_a_node_that_was_cut_short_does_not_pass_for_what_it_was(toy: Toy) -> None:
    toy.run()
    toy.settings = Settings(factor=2)
    toy.code(NODES.replace("return table.height *", "raise KeyboardInterrupt\n    return 1 *"))
    with pytest.raises(KeyboardInterrupt):
        toy.run()
    toy.settings = Settings()
    toy.code(NODES)

    assert "count" in toy.run()


def test_the_manifest_tells_what_the_run_was(toy: Toy) -> None:
    toy.run()

    manifest = toy.manifest
    table = manifest.nodes["read"].outputs["table"]
    assert manifest.status == "finished"
    assert manifest.parameters == {"toy": {"shortest": 1, "factor": 1, "unused": 0}}
    assert manifest.selection["pipeline_names"] == ["toy"]
    assert (table.rows, table.bytes) == (3, (toy.folder / "table.parquet").stat().st_size)
    assert manifest.inputs["raw"].hash is not None
    assert [run.run_id for run in runs(toy.folder / "data" / "runs")] == ["run-1"]


def test_the_same_inputs_give_the_same_fingerprints(toy: Toy) -> None:
    toy.run()
    first = toy.manifest.nodes
    toy.run(fresh=True)

    assert {n: (r.fingerprint, r.outputs) for n, r in toy.manifest.nodes.items()} == {
        n: (r.fingerprint, r.outputs) for n, r in first.items()
    }


def test_a_run_whose_process_is_gone_counts_as_killed(toy: Toy) -> None:
    toy.run()
    path = toy.folder / "data" / "runs" / "run-1.json"
    running = toy.manifest.model_copy(update={"status": "running", "pid": 2**22 + 1})
    path.write_text(running.model_dump_json())

    assert RunManifest.read(path).status == "killed"


def test_without_a_log_the_runner_is_kedros() -> None:
    catalog = DataCatalog({"x": MemoryDataset(1)})
    thread: list[str] = []

    def step(x: int) -> int:
        thread.append(threading.current_thread().name)
        return x + 1

    pipeline = Pipeline([Node(step, "x", "y", name="step")])
    for runner in (SequentialRunner(), ThreadRunner()):
        manager: Any = _create_hook_manager()
        assert runner.run(pipeline, catalog, manager)["y"].load() == 2
    assert thread[0] == "MainThread" != thread[1]
