"""A recorded run is done again beside the project's data, without paying."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline

from kyara_kedro.datasets import JSONDataset, ModelRegistryDataset, TeacherDataset
from kyara_kedro.errors import UserError
from kyara_kedro.lineage.manifest import InputState, NodeReport, OutputState, RunManifest
from kyara_kedro.runners.identity import identity
from kyara_kedro.upkeep.repetition import Repetition, find_run, working_folder

from support import run_kedro

TABLE = "kyara_kedro.datasets.TableDataset"
TEACHER = "kyara_kedro.datasets.TeacherDataset"
SELECTED = "--nodes=" + ",".join(
    f"ingest.{verb}_{kind}" for kind in ("prompts", "personas") for verb in ("read", "keep")
)


def repetition(folder: Path, **known: Any) -> Repetition:
    inputs = known.pop("inputs", {})
    manifest = RunManifest(run_id="r", started_at="2026-01-01", status="finished", inputs=inputs)
    return Repetition(Path("/project"), manifest, folder, **known)


def test_inputs_stay_where_they_are_and_outputs_go_elsewhere(tmp_path: Path) -> None:
    again = repetition(tmp_path)
    entry = {"type": TABLE, "filepath": "/project/data/02/a.parquet"}
    assert again._entry("a", entry, {"a"}) == entry
    moved = again._entry("a", entry, set())
    assert moved["filepath"] == str(tmp_path / "data/02/a.parquet")
    remote = again._entry("a", {"type": TABLE, "filepath": "s3://bucket/a.parquet"}, set())
    assert remote["filepath"] == str(tmp_path / "elsewhere/s3/bucket/a.parquet")
    assert repetition(tmp_path, in_place=True)._entry("a", entry, set()) == entry


def test_stores_are_never_those_of_the_project(tmp_path: Path) -> None:
    entry = {"type": "kyara_kedro.datasets.FolderDataset", "filepath": "/project/data/06_models"}
    moved = repetition(tmp_path)._entry("model_store", entry, {"model_store"})
    assert moved["filepath"] == str(tmp_path / "data/06_models")


def test_what_was_not_there_is_not_there_again(tmp_path: Path) -> None:
    entry = {
        "type": "kyara_kedro.datasets.EarlierTableDataset",
        "filepath": "/project/data/a.parquet",
        "record": "kyara_kedro.records.REFERENCE",
    }
    then = repetition(tmp_path, inputs={"a": InputState(hash="not there")})
    assert then._entry("a", entry, {"a"})["filepath"] == str(tmp_path / "data/a.parquet")
    there = repetition(tmp_path, inputs={"a": InputState(hash="1")})
    assert there._entry("a", entry, {"a"}) == entry


def test_a_server_of_the_knowledge_base_is_not_written_to(tmp_path: Path) -> None:
    entry = {
        "type": "kyara_kedro.datasets.KnowledgeBaseDataset",
        "filepath": "/project/data/kb",
        "kind": "server",
        "url": "http://qdrant:6333",
    }
    moved = repetition(tmp_path)._entry("knowledge_base", entry, set())
    assert (moved["kind"], moved["url"]) == ("edge", None)


def test_restored_prompts_win_over_those_of_now(tmp_path: Path) -> None:
    entry = {"type": "kyara_kedro.datasets.PromptLibraryDataset", "overrides": ["/project/own"]}
    again = repetition(tmp_path)
    assert again._entry("prompt_library", entry, {"prompt_library"}) == entry
    (tmp_path / "prompts").mkdir()
    restored = again._entry("prompt_library", entry, {"prompt_library"})
    assert restored["overrides"] == ["/project/own", str(tmp_path / "prompts")]


def test_teachers_answer_from_the_ledger_unless_paying_is_allowed(tmp_path: Path) -> None:
    paid = {"kind": "openai", "options": {"model": "m"}}
    entry = {
        "type": TEACHER,
        "kind": "panel",
        "ledger": {"path": "/project/data/ledger/replies.db"},
        "options": {"role": "judge"},
        "members": {"a": paid, "b": {"kind": "extractive"}},
    }
    replayed = repetition(tmp_path)._entry("judge", entry, {"judge"})
    assert {name: one["kind"] for name, one in replayed["members"].items()} == {
        "a": "replay",
        "b": "extractive",
    }
    assert replayed["ledger"] == entry["ledger"]
    TeacherDataset(**{key: value for key, value in replayed.items() if key != "type"})
    assert repetition(tmp_path, pay=True)._entry("judge", entry, {"judge"}) == entry


def test_vectors_of_an_endpoint_have_to_be_paid(tmp_path: Path) -> None:
    entry = {
        "type": "kyara_kedro.datasets.EncoderDataset",
        "options": {"model": "m", "base_url": "http://127.0.0.1:1/v1"},
    }
    with pytest.raises(UserError, match="--pay"):
        repetition(tmp_path)._entry("text_encoder", entry, {"text_encoder"})
    assert repetition(tmp_path)._entry("text_encoder", entry, set()) == entry
    assert repetition(tmp_path, pay=True)._entry("text_encoder", entry, {"text_encoder"}) == entry


def test_the_champion_of_then_is_what_the_run_has_stored(tmp_path: Path) -> None:
    stored = JSONDataset(filepath=str(tmp_path / "champion.json"))
    stored.save({"version": 3})
    registry = ModelRegistryDataset(
        filepath=str(tmp_path), tracking_uri=None, experiment="e", model="m"
    )
    catalog = DataCatalog({"model_registry": registry, "champion": stored})
    find = Node(lambda registry: {}, "model_registry", "champion", name="find")
    ask = Node(lambda champion: champion, "champion", "answers", name="ask")
    again = repetition(tmp_path / "project")
    told = identity(stored, again._contents())
    output = {"champion": OutputState(hash=told)}
    again.manifest.nodes["find"] = NodeReport(state="ran", why="", outputs=output)
    lines: list[str] = []
    left = again._without_lookups(Pipeline([find, ask]), catalog, lines.append)
    assert ([node.name for node in left.nodes], lines) == (["ask"], [])
    stored.save({"version": 4})
    left = again._without_lookups(Pipeline([find, ask]), catalog, lines.append)
    assert len(left.nodes) == 2
    assert lines == ["champion: what the registry said is not stored any more"]


def test_a_run_is_found_by_its_file_and_not_while_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "copy.json"
    manifest = RunManifest(run_id="r", started_at="2026-01-01", status="finished")
    file.write_text(manifest.model_dump_json())
    assert find_run(tmp_path, str(file)).run_id == "r"
    file.write_text(RunManifest(run_id="r", started_at="2026-01-01").model_dump_json())
    with pytest.raises(UserError, match="still running"):
        find_run(tmp_path, str(file))


def test_results_are_kept_in_an_empty_folder_alone(tmp_path: Path) -> None:
    with working_folder(None) as folder:
        (folder / "a").touch()
    assert not folder.exists()
    with working_folder(tmp_path / "new" / "one") as folder:
        (folder / "a").touch()
    with pytest.raises(UserError, match="is not empty"), working_folder(folder):
        pass


@pytest.mark.end_to_end
def test_what_follows_from_a_changed_input_differs_and_nothing_else(project: Path) -> None:
    (project / "conf" / "local" / "mlflow.yml").write_text("enabled: false\n")
    done = run_kedro(project, "run", SELECTED, "--params=ingest.salt=geheim")
    assert done.returncode == 0, done.stderr
    manifest = next((project / "data" / "runs").glob("*.json")).read_text("utf-8")
    assert "geheim" not in manifest
    (project / "conf" / "local" / "parameters.yml").write_text("ingest: {salt: geheim}\n")
    raw = project / "data" / "01_raw" / "sample" / "prompts.jsonl"
    first, rest = raw.read_text("utf-8").split("\n", 1)
    changed = {key: f"{value}？" for key, value in json.loads(first).items()}
    raw.write_text(f"{json.dumps(changed)}\n{rest}", "utf-8")
    tables = {file: file.stat().st_mtime_ns for file in project.glob("data/02*/*.parquet")}

    done = run_kedro(project, "reproduce", json.loads(manifest)["run_id"][:20])
    assert done.returncode == 1, done.stdout + done.stderr
    assert "input raw_prompts: not what the run read" in done.stdout
    assert "prompts (ingest.keep_prompts): different: " in done.stdout
    assert "(ingest.read_personas)" not in done.stdout
    assert "(ingest.keep_personas)" not in done.stdout
    assert "input raw_personas" not in done.stdout
    assert {file: file.stat().st_mtime_ns for file in tables} == tables
    assert len([*(project / "data" / "runs").glob("*.json")]) == 1
