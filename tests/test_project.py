"""The project as Kedro sees it: registry, lineage without cycles, start-up cost, its messages."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.framework.project import configure_project, find_pipelines, pipelines
from kedro.framework.session import KedroSession
from kedro.pipeline import Pipeline
from pydantic import ValidationError

from kyara_kedro.params import SynthesizeParams
from kyara_kedro.pipeline_registry import PIPELINES
from kyara_kedro.teachers.families import family_of

from support import ROOT, run_kedro

HEAVY = (
    *("torch", "transformers", "trl", "peft", "datasets", "mlflow", "qdrant_client", "qdrant_edge"),
    *("openai", "sklearn", "scipy", "matplotlib", "ray", "boto3", "plotly"),
    *("pandas", "pyarrow", "polars", "numpy", "kedro_datasets"),
)


@pytest.fixture(scope="module", autouse=True)
def _configured() -> None:
    configure_project("kyara_kedro")


def entries() -> dict[str, dict[str, object]]:
    """The catalog's entries; those that are patterns of names left out."""
    found: dict[str, dict[str, object]] = {}
    for file in sorted((ROOT / "conf" / "base" / "catalog").glob("*.yml")):
        text = file.read_text(encoding="utf-8").replace("${", "$<")
        found |= yaml.safe_load(text)
    return {name: entry for name, entry in found.items() if "{" not in name}


def whole() -> Pipeline:
    return pipelines["__default__"]


def test_the_seven_pipelines_are_registered() -> None:
    assert set(pipelines) == {*PIPELINES, "__default__"}
    assert set(PIPELINES) <= set(find_pipelines(raise_errors=True))


def test_every_input_from_outside_is_in_the_catalog() -> None:
    free = {name for name in whole().inputs() if not name.startswith("params:")}
    assert free <= set(entries())


def test_every_catalog_table_is_made_or_read() -> None:
    made = whole().datasets()
    assert {name for name in entries() if not name.startswith("{")} <= made
    ends = [name.removeprefix("{part}") for name in entries() if name.startswith("{")]
    assert [end for end in ends if not any(name.endswith(end) for name in made)] == []


def test_everything_between_nodes_is_stored_so_that_each_can_be_a_job_of_its_own() -> None:
    with KedroSession.create(ROOT) as session:
        catalog = session.load_context().catalog
        between = {name for name in whole().all_outputs() if name not in catalog}
    assert between == set()


def test_every_parquet_table_that_is_stored_has_a_contract() -> None:
    tables = {
        name: entry
        for name, entry in entries().items()
        if str(entry["type"]).endswith(".TableDataset")
    }
    assert tables
    assert [name for name, entry in tables.items() if "validator" not in entry] == []


@pytest.mark.parametrize("env", ["openai", "vllm"])
def test_the_judge_of_an_environment_may_judge_its_contestants(env: str) -> None:
    def read(file: str) -> dict[str, Any]:
        path = ROOT / "conf" / env / file
        return yaml.safe_load(path.read_text("utf-8")) if path.exists() else {}

    teachers = read("catalog/teachers.yml")
    judge, *contestants = (
        family_of(entry["options"]["model"])
        for entry in (teachers["judge"], *teachers["contestants"]["members"].values())
    )
    settings = read("parameters/preference.yml").get("preference", {})
    assert contestants
    assert settings.get("allow_own_family", False) == (judge in contestants)


def test_namespaces_form_no_cycle() -> None:
    makers = {output: node.namespace for node in whole().nodes for output in node.outputs}
    graph: dict[str, set[str]] = {}
    for node in whole().nodes:
        needs = {makers[name] for name in node.inputs if name in makers} - {node.namespace}
        graph.setdefault(str(node.namespace), set()).update(map(str, needs))
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("sft") < order.index("preference") < order.index("dpo")
    assert set(order) == {*PIPELINES, "sft", "dpo"} - {"train"}


def test_layers_form_no_cycle() -> None:
    layers = {
        name: str(entry["metadata"]["kedro-viz"]["layer"])  # type: ignore[index]
        for name, entry in entries().items()
        if "metadata" in entry
    }
    graph: dict[str, set[str]] = {}
    for node in whole().nodes:
        for output in node.outputs:
            needs = {layers[name] for name in node.inputs if name in layers}
            layer = layers.get(output)
            if layer:
                graph.setdefault(layer, set()).update(needs - {layer})
    list(TopologicalSorter(graph).static_order())
    assert set(layers.values()) == {
        *("01_raw", "02_passages", "03_synthetic", "04_deduplicated", "05_curated"),
        *("06_sft_model", "07_preference", "08_aligned_model", "09_output", "10_reporting"),
    }


def test_node_names_are_verbs_of_their_namespace_and_tags_say_what_they_need() -> None:
    for node in whole().nodes:
        assert node.name.startswith(f"{node.namespace}.")
        assert node.tags & {"cpu", "llm", "gpu"}


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        (["--version"], ()),
        (["registry", "list"], ("numpy", "polars", "kedro_datasets")),
        # Kedro looks for pandas as soon as a catalog holds parameters.
        (
            ["catalog", "describe-datasets"],
            ("numpy", "polars", "kedro_datasets", "pandas", "pyarrow"),
        ),
    ],
    ids=" ".join,
)
def test_light_commands_load_nothing_heavy(command: list[str], allowed: tuple[str, ...]) -> None:
    script = (
        "import sys\nfrom kedro.framework.cli.cli import main\n"
        f"sys.argv = ['kedro', *{command!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('loaded', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.splitlines()[-1].removeprefix("loaded ")
    assert set(ast.literal_eval(loaded)) <= set(allowed)


def test_imports_go_down_only() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_contracts_know_every_room() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contracts = {one["id"]: one for one in tomllib.loads(text)["tool"]["importlinter"]["contracts"]}
    floors = [layer.split(" | ") for layer in contracts["floors"]["layers"]]
    rooms = {
        f"kyara_kedro.{path.stem}"
        for path in (ROOT / "src" / "kyara_kedro").iterdir()
        if path.suffix in ("", ".py") and path.stem not in ("__init__", "__pycache__")
    }
    assert {name for names in floors for name in names} == rooms
    pipelines_of = {f"kyara_kedro.pipelines.{name}" for name in PIPELINES}
    assert set(contracts["pipelines"]["modules"]) == pipelines_of
    above = next(number for number, names in enumerate(floors) if "kyara_kedro.datasets" in names)
    below = {name for names in floors[above + 1 :] for name in names}
    assert below == set(contracts["kedro"]["source_modules"])


def test_the_lock_pins_every_version_and_names_no_place() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").split()
    assert "torch==2.13.0" in lines
    assert all(line.count("==") == 1 and "/" not in line and "+" not in line for line in lines)


def test_an_unknown_parameter_stops_the_run(project: Path) -> None:
    for parameter, message in (
        ("ingest.min_char=3", "ingest"),
        ("ingst.min_chars=3", "unknown parameter 'ingst': did you mean 'ingest'?"),
        ("ingest.min_chars=-1", "greater than 0"),
    ):
        done = run_kedro(project, "run", "--pipelines=ingest", "--params", parameter)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr + done.stdout
    assert not (project / "data" / "02_intermediate").exists()


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("synthesize", "is not there yet: run `kedro run --pipelines=ingest` first"),
        ("train", "is not there yet: run `kedro run --pipelines=dedup` first"),
        ("dedup", "is not there yet: run `kedro run --pipelines=ingest` first"),
    ],
)
def test_a_missing_upstream_table_is_one_line(project: Path, pipeline: str, message: str) -> None:
    done = run_kedro(project, "run", f"--pipeline={pipeline}")
    assert done.returncode == 1
    assert message in done.stderr
    assert "deprecated" not in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_pipeline_or_environment_that_is_not_there_is_one_line(project: Path) -> None:
    for option, message in (
        ("--pipelines=curat", "no such pipeline: there are ingest, synthesize, dedup, curate,"),
        ("--env=nowhere", "conf/nowhere"),
    ):
        done = run_kedro(project, "run", option)
        assert done.returncode == 1
        assert message in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr + done.stdout


def test_the_packaged_project_has_its_run_command() -> None:
    from kedro.framework.cli.utils import find_run_command

    assert find_run_command("kyara_kedro").name == "run"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"languages": ["ja"]}, "zh-Hant-TW"),
        ({"evolution": {"operations": ["deepen"]}}, "say how questions of"),
        ({"evolution": {"operations": ["none"]}}, "constrain"),
        ({"knowledge": {"styles": {"scenario": ["brief"]}}}, "say how questions of"),
        ({"document": {"chars": [3, 2]}}, "3 is more than 2"),
        ({"rag": {"target": -1}}, "greater than or equal to 0"),
        ({"math": {"share": 1.5}}, "less than or equal to 1"),
        ({"questions": {"kinds": {"colour": 0.5}}}, "time"),
    ],
)
def test_impossible_synthesis_is_refused(change: dict[str, object], message: str) -> None:
    possible = {"knowledge": {"styles": {"none": ["brief"], "scenario": ["brief"]}}}
    SynthesizeParams.model_validate(possible)
    with pytest.raises(ValidationError, match=message):
        SynthesizeParams.model_validate(possible | change)


def test_previous_results_are_told_where(project: Path) -> None:
    done = run_kedro(project, "where")
    assert "evaluation_report.html" in done.stdout
    assert "make viz" in done.stdout
    assert "data/06_models/export  (not there yet" in done.stdout
    for age, name in ((0, "new"), (9, "old")):
        config = project / "data/06_models/export" / name / "config.json"
        config.parent.mkdir(parents=True)
        config.touch()
        os.utime(config, (1e9 - age, 1e9 - age))
    assert "export/new  (kedro chat)" in run_kedro(project, "where").stdout


def test_the_key_of_planted_rows_names_rows_that_exist() -> None:
    sample = ROOT / "data" / "01_raw" / "sample"
    key = json.loads((sample / "planted.json").read_text(encoding="utf-8"))
    for entry in key["exact_duplicates"] + key["near_duplicates"] + key["cross_script_duplicates"]:
        for name in ("copy", "original"):
            file, _, number = entry[name].partition("#")
            text = (sample / file).read_text(encoding="utf-8")
            rows = json.loads(text) if file.endswith(".json") else text.split("\n")
            assert 1 <= int(number) <= len(rows)
