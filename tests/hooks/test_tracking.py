"""A Kedro run in MLflow: what it was told, what its nodes counted, and how it ended."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from kyara_kedro.datasets import TrackingDataset
from kyara_kedro.hooks.tracking import TrackingHooks
from kyara_kedro.tracking.target import Tracking


def run(
    folder: Path, config: dict[str, Any], node: Callable[[Tracking | None], dict[str, Any]]
) -> None:
    """Run a pipeline of one node, which is told where it is tracked, as a Kedro session does."""
    settings = {"enabled": True, "folder": "mlflow", "experiment": folder.name} | config
    context: Any = SimpleNamespace(project_path=folder, config_loader={"mlflow": settings})
    hooks = TrackingHooks()
    hooks.after_context_created(context)
    manager = _create_hook_manager()
    manager.register(hooks)
    pipeline = Pipeline([Node(node, "tracking", "train_summary", name="train")])
    catalog = DataCatalog(
        {
            "tracking": TrackingDataset(),
            "parameters": MemoryDataset({"train": {"rows": 3, "mix": {"百科": 0.5}}}),
        }
    )
    told = {"run_id": "2026-11-22", "env": "local", "pipeline_names": ["train"]}
    hooks.before_pipeline_run(told, pipeline, catalog)
    try:
        SequentialRunner().run(pipeline, catalog, manager, run_id=told["run_id"])
    except ValueError as error:
        hooks.on_pipeline_error(error, told)
        raise
    hooks.after_pipeline_run(told)


def runs(uri: str, experiment: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def test_a_run_is_told_and_tells_its_nodes(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "4f2a")  # as job files set it
    seen: list[Tracking | None] = []

    def node(tracking: Tracking | None) -> dict[str, Any]:
        seen.append(tracking)
        return {"pairs": {"in": 5, "kept": 0.5, "done": True}, "name": "dpo"}

    run(tmp_path, {"tracking_uri": database}, node)
    (found,) = runs(database, tmp_path.name)
    assert (found.info.run_name, found.info.status) == ("train", "FINISHED")
    assert found.data.params["train.rows"] == "3" and len(found.data.params) == 2
    assert found.data.metrics == {"train.pairs.in": 5, "train.pairs.kept": 0.5}
    assert found.data.tags["kedro.run_id"] == "2026-11-22" and "host" in found.data.tags
    assert found.data.tags["mlflow.parentRunId"] == "4f2a"
    assert seen[0] and found.data.tags["kyara.run"] == seen[0].key
    assert seen[0].below().parent == seen[0].key


def test_a_run_that_fails_says_with_what(database: str, tmp_path: Path) -> None:
    def node(tracking: Tracking | None) -> dict[str, Any]:
        raise ValueError("no rows in pairs.parquet")

    with pytest.raises(ValueError, match="no rows"):
        run(tmp_path, {"tracking_uri": database}, node)
    (found,) = runs(database, tmp_path.name)
    assert found.info.status == "FAILED"
    assert found.data.tags["error"] == "ValueError: no rows in pairs.parquet"


def test_what_is_not_tracked_leaves_nothing(database: str, tmp_path: Path) -> None:
    seen: list[Tracking | None] = []

    def node(tracking: Tracking | None) -> dict[str, Any]:
        seen.append(tracking)
        return {}

    run(tmp_path, {"enabled": False, "tracking_uri": database}, node)
    assert seen == [None]
    assert runs(database, tmp_path.name) == []
    assert list(tmp_path.iterdir()) == []
