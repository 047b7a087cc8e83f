"""The Ray runner: what nodes take of a cluster, and, where Ray is there, one of two workers."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from kyara_kedro.datasets.files import JSONDataset
from kyara_kedro.errors import UserError
from kyara_kedro.hooks.accounts import AccountHooks
from kyara_kedro.hooks.statistics import StatisticsHooks
from kyara_kedro.hooks.tracking import TrackingHooks
from kyara_kedro.runners import RayRunner
from kyara_kedro.runners.ray import (
    DEMANDS,
    CarriesFacts,
    check_stored,
    demand,
    linked,
    options,
    portable,
)

from support import KEDRO, run_kedro

RAY = ("--runner=RayRunner", "--runner-params=workers=2")


@pytest.mark.parametrize(
    ("tags", "taken"),
    [
        ({"cpu"}, {"num_cpus": 1}),
        ({"llm"}, {"num_cpus": 0.1}),
        ({"llm", "gpu"}, {"num_cpus": 1, "num_gpus": 1}),
        (set(), {"num_cpus": 1}),
    ],
)
def test_a_node_takes_the_most_that_one_of_its_tags_says(
    tags: set[str], taken: dict[str, float]
) -> None:
    assert demand(tags, DEMANDS) == taken


def test_resources_that_ray_does_not_know_are_the_clusters_own() -> None:
    assert options({"num_cpus": 2, "teacher": 0.5}) == {
        "num_cpus": 2,
        "resources": {"teacher": 0.5},
    }
    assert options({"num_gpus": 1}) == {"num_gpus": 1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "workers=0"),
        ({"workers": 2, "address": "auto"}, "workers=2"),
        (
            {"resources": {"tpu": {"num_cpus": 1}}},
            r"resources.tpu: tags of nodes are cpu, gpu, llm",
        ),
        ({"resources": {"gpu": 2}}, r"resources.gpu is 2: give amounts by name"),
        ({"resources": {"gpu": {"num_gpus": "two"}}}, r"give amounts by name"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RayRunner(**settings)  # type: ignore[arg-type]


def test_what_is_in_memory_only_is_refused(tmp_path: Path) -> None:
    pipeline = Pipeline([Node(len, "text", "length"), Node(abs, "length", "told")])
    stored = JSONDataset(filepath=str(tmp_path / "told.json"))
    catalog = DataCatalog({"length": MemoryDataset(), "told": stored, "text": MemoryDataset("a")})
    with pytest.raises(UserError, match="'length' is in memory only"):
        check_stored(pipeline, catalog)
    check_stored(pipeline.only_nodes_with_outputs("told"), catalog)


def test_facts_of_other_processes_are_carried_to_the_run() -> None:
    away, here = StatisticsHooks(), StatisticsHooks()
    away._statistics["table"] = {"rows": 3, "columns": 2}
    here.take_over(away.hand_over())
    assert here._statistics == {"table": {"rows": 3, "columns": 2}}
    assert away.hand_over() == {}
    assert all(isinstance(hook, CarriesFacts) for hook in (away, AccountHooks(), TrackingHooks()))


def test_an_error_keeps_its_causes_on_the_way_from_another_process() -> None:
    try:
        try:
            raise LocalError("row 3", 7)
        except LocalError as error:
            raise UserError("table.parquet: row 3") from error
    except UserError as error:
        arrived = linked(pickle.loads(pickle.dumps(portable(error))))  # noqa: S301
    assert str(arrived) == "table.parquet: row 3"
    assert str(arrived.__cause__) == "LocalError: row 3 7"
    assert "row 3" in arrived.__notes__[0]


class LocalError(ValueError):
    """An error that pickle cannot make again."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what} {number}")


@pytest.fixture(scope="module")
def cluster() -> None:
    pytest.importorskip("ray", reason="needs pip install 'kyara-kedro[ray]'")


def tables(project: Path) -> dict[str, bytes]:
    """The content of all tables that a run has made, by their paths without versions."""
    found = {}
    for path in sorted((project / "data").glob("0[2-8]*/**/*.parquet")):
        if path.is_file():
            parts = path.relative_to(project).parts
            found["/".join(p for p in parts if not p.startswith("20"))] = path.read_bytes()
    return found


@pytest.mark.usefixtures("cluster")
def test_nodes_on_a_cluster_make_the_same_tables_and_lose_no_facts(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = shutil.copytree(project, tmp_path_factory.mktemp("other") / "project")
    on_ray = run_kedro(project, "run", "--pipelines=ingest", *RAY)
    assert on_ray.returncode == 0, on_ray.stdout + on_ray.stderr
    assert run_kedro(other, "run", "--pipelines=ingest").returncode == 0
    assert tables(project) == tables(other)
    assert tables(project)
    counts = [json.loads((one / ".viz/stats.json").read_text("utf-8")) for one in (project, other)]
    assert counts[0] == counts[1]


@pytest.mark.usefixtures("cluster")
def test_a_failure_on_a_cluster_is_told_in_one_line(project: Path) -> None:
    first = run_kedro(project, "run", "--nodes=ingest.read_documents")
    assert first.returncode == 0, first.stderr
    table = project / "data/02_intermediate/document_rows.parquet"
    table.write_bytes(b"no table")
    done = run_kedro(project, "run", "--nodes=ingest.chunk_documents", *RAY)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: document_rows: parquet: File out of specification")
    assert last.endswith("run `kedro run --pipelines=ingest` again")


@pytest.mark.usefixtures("cluster")
@pytest.mark.faults
def test_an_interrupted_run_stops_its_nodes(project: Path) -> None:
    assert run_kedro(project, "run", "--pipelines=ingest").returncode == 0
    environment = os.environ | {"PYTHONPATH": str(project / "src"), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [str(KEDRO), "run", "--nodes=synthesize.inject_knowledge", *RAY],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "synthesize.inject_knowledge pid=" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode != 0
    time.sleep(1)
    left = subprocess.run(["pgrep", "-f", "ray::synthesize"], capture_output=True, check=False)
    assert left.stdout == b""
    assert not (project / "data/03_primary/questions.parquet").exists()
