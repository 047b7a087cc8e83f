"""What may go of a project of real tables, models and runs, and that the rest still resolves."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kedro.io import DataCatalog, Version
from kedro.pipeline import Node, Pipeline

from kyara_kedro.datasets import (
    FolderDataset,
    JSONDataset,
    ModelRefDataset,
    ModelRegistryDataset,
    TableDataset,
    TokensRefDataset,
)
from kyara_kedro.errors import UserError
from kyara_kedro.lineage.garbage import Verdict, clear
from kyara_kedro.lineage.history import pin
from kyara_kedro.lineage.manifest import InputState, NodeReport, OutputState, RunManifest
from kyara_kedro.training.model_ref import ModelRef, written_whole
from kyara_kedro.training.tokens import TokensRef
from kyara_kedro.upkeep.clearing import DOWN, Clearing, Policy, _stored_versions, aliases

STAGES = ("sft_model", "dpo_model")


def stamp(number: int) -> str:
    return f"2026-01-{number + 1:02}T00.00.00.000Z"


class Project:
    """Rows, from which two models are trained, one from the other, in each of some runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs_folder = folder / "runs"
        self.runs_folder.mkdir(parents=True)
        self.runs = 0
        self.aliases: dict[str, Path] | None = {}

    def catalog(self, version: str | None = None) -> DataCatalog:
        newest = Version(version, version)
        models = self.folder / "models"
        return DataCatalog(
            {
                "rows": TableDataset(filepath=str(self.folder / "rows.parquet"), version=newest),
                "plain": TableDataset(filepath=str(self.folder / "plain.parquet")),
                "sft_model": ModelRefDataset(filepath=str(models / "sft.json"), version=newest),
                "dpo_model": ModelRefDataset(filepath=str(models / "dpo.json"), version=newest),
                "tokens": TokensRefDataset(filepath=str(models / "tokens.json")),
                "model_store": FolderDataset(filepath=str(models)),
                "model_facts": JSONDataset(filepath=str(self.folder / "facts.json")),
            }
        )

    def pipeline(self) -> Pipeline:
        return Pipeline(
            [
                Node(lambda rows: rows, "rows", "sft_model", name="sft"),
                Node(lambda rows, model: model, ["rows", "sft_model"], "dpo_model", name="dpo"),
            ]
        )

    def run(self, *, trains: bool = True) -> str:
        """Make new rows, and models of them, and leave a manifest."""
        run_id = stamp(self.runs)
        catalog = self.catalog(run_id)
        catalog.save("rows", pl.DataFrame({"id": [run_id]}))
        outputs = {"rows": OutputState(version=run_id)}
        before = f"{self.runs + 1:02x}" * 16
        for stage in STAGES if trains else ():
            ref = self.model(stage.removesuffix("_model"), self.runs, before)
            catalog.save(stage, ref)
            outputs[stage] = OutputState(version=run_id)
            before = ref.fingerprint
        manifest = RunManifest(
            run_id=run_id,
            started_at="2026-01-01T00:00:00+00:00",
            status="finished",
            nodes={"all": NodeReport(state="ran", why="", outputs=outputs)},
        )
        (self.runs_folder / f"{run_id}.json").write_text(manifest.model_dump_json())
        self.runs += 1
        return run_id

    def model(self, stage: str, number: int, start: str) -> ModelRef:
        fingerprint = ("a" if stage == "sft" else "b") * 8 + f"{number:02}" * 12
        path = self.folder / "models" / stage / fingerprint[:16]
        ref = ModelRef(str(path), fingerprint, stage, "embedded", start=start)
        with written_whole(ref) as building:
            (building / "model.safetensors").write_bytes(b"weights")
        export = self.folder / "models" / "export" / fingerprint[:16]
        export.mkdir(parents=True, exist_ok=True)
        (export / "README.md").write_text("card")
        return ref

    def clearing(self, keep: int = 1, older_than: float = 0) -> Clearing:
        return Clearing(
            self.catalog(),
            self.pipeline(),
            self.runs_folder,
            self.folder / "spool",
            Policy(keep, older_than),
            self.aliases,
        )

    def clear(self, keep: int = 1, steps: int | None = None) -> list[str]:
        verdict = self.clearing(keep).verdict()
        gone: list[str] = []
        part = Verdict(verdict.kept, verdict.garbage[:steps])
        clear(part, lambda thing: gone.append(thing.key))
        return gone

    def check_run(self, run_id: str) -> None:
        """All that a run made can be loaded, and what its models started from is there."""
        catalog = self.catalog(run_id)
        assert catalog.load("rows")["id"].item() == run_id
        for stage in STAGES:
            if (self.folder / "models" / f"{stage[:3]}.json" / run_id).exists():
                self.check_model(Path(catalog.load(stage).path))

    def check_model(self, folder: Path) -> None:
        assert (folder / "model.safetensors").read_bytes() == b"weights"
        start = json.loads((folder / "model_ref.json").read_text())["start"]
        if start.startswith("a"):
            self.check_model(self.folder / "models" / "sft" / start[:16])


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def kept(project: Project, keep: int = 1) -> dict[str, str]:
    found = project.clearing(keep).verdict().kept
    return {thing.key: why for thing, why in found.items()}


def test_only_the_newest_is_kept_when_nothing_else_is_needed(project: Project) -> None:
    first, last = project.run(), project.run()
    gone = project.clear()
    assert {"rows@" + first, "dpo_model@" + first, "run " + first} <= {*gone}
    assert f"models/dpo/{'b' * 8}{'00' * 4}" in gone
    project.check_run(last)
    assert project.clear() == []


def test_a_champion_keeps_what_it_was_made_from(project: Project) -> None:
    first = project.run()
    project.run()
    folder = project.folder / "models" / "dpo" / f"{'b' * 8}{'00' * 4}"
    project.aliases = {"champion": folder}
    reasons = kept(project)
    assert reasons[f"models/dpo/{folder.name}"] == "it is the champion"
    assert reasons[f"models/export/{folder.name}"] == "it is the champion"
    assert reasons[f"rows@{first}"].endswith("it is the champion")
    assert reasons[f"run {first}"].endswith("it is the champion")
    project.clear()
    project.check_run(first)


def test_a_model_is_found_where_the_project_was_moved_to(project: Project) -> None:
    project.run()
    project.run()
    name = f"{'b' * 8}{'00' * 4}"
    project.aliases = {"candidate": Path("/elsewhere/models/dpo") / name}
    assert kept(project)[f"models/dpo/{name}"] == "it is the candidate"


def test_a_silent_registry_keeps_all_models_but_no_tables(project: Project) -> None:
    first = project.run()
    project.run(trains=False)
    project.run(trains=False)
    project.aliases = None
    reasons = kept(project)
    assert {why for key, why in reasons.items() if key.startswith("models/")} == {DOWN}
    assert f"dpo_model@{first}" in reasons
    assert f"rows@{stamp(1)}" in project.clear()


def test_a_pinned_run_keeps_what_it_read_and_made(project: Project) -> None:
    first = project.run()
    later = project.run(trains=False)
    manifest = RunManifest(
        run_id=stamp(8),
        started_at="2026-01-01T00:00:00+00:00",
        status="finished",
        inputs={"rows": InputState(version=first)},
    )
    (project.runs_folder / f"{stamp(8)}.json").write_text(manifest.model_dump_json())
    pin(project.runs_folder, stamp(8))
    project.run(trains=False)
    gone = project.clear()
    assert f"rows@{later}" in gone
    project.check_run(first)
    pin(project.runs_folder, stamp(8), pinned=False)
    pin(project.runs_folder, later)


def test_references_without_versions_and_model_cards_keep_their_folders(project: Project) -> None:
    project.run()
    project.run()
    tokens = project.folder / "models" / "tokens" / "dpo"
    tokens.mkdir(parents=True)
    project.catalog().save("tokens", TokensRef(str(tokens), "d", "pairs", 1, 1, 0))
    project.catalog().save("model_facts", {"fingerprint": "b" * 8 + "00" * 12})
    reasons = kept(project)
    assert reasons["models/tokens/dpo"] == "tokens refers to it"
    assert reasons[f"models/export/{'b' * 8}{'00' * 4}"] == "the model card is about it"


def test_what_is_young_is_kept(project: Project) -> None:
    project.run()
    project.run()
    young = project.clearing(older_than=36_500).verdict()
    assert young.garbage == []
    assert "younger than 36500 days" in young.kept.values()


def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(
    project: Project,
) -> None:
    project.run()
    dead = project.folder / ".plain.parquet.999999999.part"
    mine = project.folder / f".plain.parquet.{os.getpid()}.part"
    half = project.folder / "models" / "dpo" / ".x.999999999.abc.part"
    former = project.folder / "models" / "dpo" / ".y.999999999.abcformer"
    for file in (dead, mine):
        file.write_text("half")
    for folder in (half, former):
        folder.mkdir()
        (folder / "weights").write_text("half")
    spool = project.folder / "spool" / "sent"
    spool.mkdir(parents=True)
    os.utime(spool, (0, 0))
    gone = {name for name in project.clear() if not name.startswith("models/export/")}
    assert gone == {str(dead), str(half), str(spool)}
    assert mine.exists()
    assert former.exists()


def test_what_a_killed_clearing_left_is_no_version_and_goes(project: Project) -> None:
    run_id = project.run()
    half = project.folder / "rows.parquet" / f".{stamp(5)}.999999999.gone.part"
    half.mkdir()
    (half / "rows.parquet").write_text("half")
    assert f"rows@{half.name}" not in kept(project)
    assert str(half) in project.clear()
    assert not half.exists()
    project.check_run(run_id)


def test_versions_in_an_object_store_are_listed_and_deleted() -> None:
    def table(version: str | None) -> TableDataset:
        return TableDataset(
            filepath="memory://clearing/rows.parquet", version=Version(version, version)
        )

    for number in range(2):
        table(stamp(number)).save(pl.DataFrame({"id": [number]}))
    old, new = _stored_versions(table(None))
    assert (old.name, new.name) == (stamp(0), stamp(1))
    assert old.size > 0
    old.delete()
    assert [one.name for one in _stored_versions(table(None))] == [stamp(1)]
    assert table(None).load()["id"].item() == 1


def test_nothing_is_deleted_beside_a_run(project: Project) -> None:
    going = RunManifest(run_id=stamp(0), started_at="2026-01-01T00:00:00+00:00")
    (project.runs_folder / f"{stamp(0)}.json").write_text(going.model_dump_json())
    with pytest.raises(UserError, match="is going on"):
        project.clearing().check_idle()


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    runs=st.lists(st.booleans(), min_size=1, max_size=5),
    champion=st.integers(0, 4),
    pinned=st.integers(0, 4),
    keep=st.integers(1, 3),
    steps=st.integers(0, 12),
)
def test_aliases_pins_and_the_newest_always_resolve(
    tmp_path_factory: pytest.TempPathFactory,
    runs: list[bool],
    champion: int,
    pinned: int,
    keep: int,
    steps: int,
) -> None:
    project = Project(tmp_path_factory.mktemp("project"))
    made = [project.run(trains=trains) for trains in runs]
    trained = [number for number, trains in enumerate(runs) if trains]
    folder = project.folder / "models" / "dpo" / ("b" * 8 + f"{champion:02}" * 4)
    project.aliases = {"champion": folder} if champion in trained else {}
    if pinned < len(made):
        pin(project.runs_folder, made[pinned])
    project.clear(keep, steps)
    check(project, made, keep, champion if champion in trained else None, pinned)
    project.clear(keep)
    check(project, made, keep, champion if champion in trained else None, pinned)
    for ref in project.folder.glob("models/*.json/*/*.json"):
        assert (ref.parents[2] / json.loads(ref.read_text())["path"]).is_dir()


def check(project: Project, made: list[str], keep: int, champion: int | None, pinned: int) -> None:
    for run_id in made[-keep:]:
        project.check_run(run_id)
    if champion is not None:
        project.check_run(made[champion])
    if pinned < len(made):
        project.check_run(made[pinned])


def test_aliases_come_from_the_registry(
    project: Project, tmp_path: Path, mlflow_tables: Path
) -> None:
    def registry(uri: str | None) -> Any:
        folder = str(tmp_path / "mlflow")
        return ModelRegistryDataset(
            filepath=folder, tracking_uri=uri, experiment="e", model="m", log_model="reference"
        )

    assert aliases(registry(None)) == {}
    assert aliases(registry("http://127.0.0.1:9")) is None
    project.run()
    (tmp_path / "mlflow").mkdir()
    shutil.copy(mlflow_tables, tmp_path / "mlflow" / "mlflow.db")
    folder = project.folder / "models" / "dpo" / f"{'b' * 8}{'00' * 4}"
    (folder / "config.json").write_text('{"architectures": ["Gemma2ForCausalLM"]}')
    registry(None).load().nominate(folder, None, {})
    assert aliases(registry(None)) == {"candidate": folder.resolve()}
