"""What kedro-viz's view of the workflow is told."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kedro.io import DataCatalog
from kedro.pipeline import Node

from kyara_kedro.datasets.files import TextDataset
from kyara_kedro.hooks.workflow import FILE, WorkflowHooks, identity

MAKE = Node(lambda: "a", None, "text", name="make", namespace="things")
USE = Node(lambda text: None, "text", None, name="use", namespace="things")


@pytest.fixture
def hooks(tmp_path: Path) -> WorkflowHooks:
    hooks, context = WorkflowHooks(), SimpleNamespace(project_path=tmp_path)
    hooks.after_context_created(context)  # type: ignore[arg-type]
    text = TextDataset(filepath=str(tmp_path / "text.md"))
    text.save("山水")
    hooks.after_catalog_created(DataCatalog({"text": text}))
    return hooks


def play(hooks: WorkflowHooks, *nodes: Node, error: Exception | None = None) -> None:
    hooks.before_pipeline_run()
    for node in nodes:
        hooks.before_node_run(node)
        if error is None:
            for name in node.outputs:
                hooks.after_dataset_saved(name)
            hooks.after_node_run(node)
        else:
            hooks.on_node_error(error, node)
    if error is None:
        hooks.after_pipeline_run()
    else:
        hooks.on_pipeline_error(error)


def status(folder: Path) -> Any:
    events = pytest.importorskip("kedro_viz.api.rest.responses.run_events")
    told = json.loads((folder / FILE).read_text("utf-8"))
    return events.transform_events_to_structured_format(told)


def test_kedro_viz_knows_nodes_and_datasets_by_the_same_names() -> None:
    utils = pytest.importorskip("kedro_viz.integrations.kedro.hooks_utils")
    assert identity(str(MAKE)) == utils.hash_node(MAKE)
    assert identity("text") == utils.hash_node("text")


def test_a_partial_run_leaves_what_is_known_of_other_nodes(
    hooks: WorkflowHooks, tmp_path: Path
) -> None:
    play(hooks, MAKE, USE)
    first = status(tmp_path)
    assert {one.status.value for one in first.nodes.values()} == {"success"}
    assert first.datasets[identity("text")].size == len("山水".encode())

    play(hooks, USE, error=ValueError("no ink"))
    second = status(tmp_path)
    assert second.pipeline.status.value == "failed" and second.pipeline.error.message == "no ink"
    assert second.nodes[identity(str(USE))].error.message == "no ink"
    assert second.nodes[identity(str(MAKE))] == first.nodes[identity(str(MAKE))]

    play(hooks, USE)
    third = status(tmp_path)
    assert third.pipeline.status.value == third.nodes[identity(str(USE))].status.value == "success"


def test_a_run_that_is_stopped_ends_with_its_process(hooks: WorkflowHooks, tmp_path: Path) -> None:
    hooks.before_pipeline_run()
    hooks.before_node_run(MAKE)
    hooks.after_node_run(MAKE)
    hooks._stopped()
    found = status(tmp_path)
    assert found.pipeline.status.value == "failed" and "stopped" in found.pipeline.error.message
    assert found.nodes[identity(str(MAKE))].status.value == "success"


@pytest.mark.parametrize("damaged", ['[{"node_id": "a"', "{}", "[1]", ""])
def test_a_damaged_file_is_begun_anew(hooks: WorkflowHooks, tmp_path: Path, damaged: str) -> None:
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_text(damaged, "utf-8")
    play(hooks, MAKE)
    assert set(status(tmp_path).nodes) == {identity(str(MAKE))}
