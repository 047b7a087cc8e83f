"""The state of the last run of each node, for kedro-viz's view of the workflow.

kedro-viz's own hook keeps whole sequential runs alone, and takes a run of some pipelines for one of
all. This one puts what a run has done into what is known: nodes that it left out, or skipped since
nothing has changed, keep the state and the time of the run that made what is there.
"""

import atexit
import hashlib
import json
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline.node import Node

from kyara_kedro.datasets.atomic import AtomicDataset
from kyara_kedro.files import written_whole

FILE = Path(".viz/kedro_pipeline_events.json")
Event = dict[str, Any]
_BEGUN, _ENDED, _FAILED = "before_pipeline_run", "after_pipeline_run", "on_pipeline_error"


class WorkflowHooks:
    """Notes what nodes and datasets go through, and merges it into kedro-viz's file."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._catalog: DataCatalog | None = None
        self._started: dict[str, float] = {}
        self._begun: Event = {}
        self._events: dict[str, Event] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note where kedro-viz looks."""
        self._file = Path(context.project_path) / FILE

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog) -> None:
        """Keep the catalog, which knows the files."""
        self._catalog = catalog

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Begin a run; one that is told to stop ends with the process."""
        self._begun = {"event": _BEGUN, "timestamp": _now()}
        self._events = {}
        atexit.register(self._stopped)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Start the clock."""
        self._started[node.name] = time.perf_counter()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Note that a node has come to its end, and how long it took."""
        seconds = time.perf_counter() - self._started.pop(node.name)
        self._note(_node_event(node, "after_node_run") | {"duration": seconds, "status": "success"})

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Note what was written, and its size."""
        dataset = self._catalog.get(dataset_name) if self._catalog else None
        if isinstance(dataset, AtomicDataset):
            self._note(
                {
                    "event": "after_dataset_saved",
                    "dataset": dataset_name,
                    "node_id": identity(dataset_name),
                    "size": dataset.size(),
                    "status": "success",
                }
            )

    @hook_impl
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Note what went wrong in a node."""
        self._note(_node_event(node, "on_node_error") | _told(error))

    @hook_impl
    def after_pipeline_run(self) -> None:
        """End the run well."""
        self._write({"event": _ENDED, "timestamp": _now()})

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """End the run with its error."""
        self._write({"event": _FAILED} | _told(error))

    def hand_over(self) -> Mapping[str, Any]:
        """Give what nodes of this process have gone through."""
        given, self._events = self._events, {}
        return {"events": given}

    def take_over(self, facts: Mapping[str, Any]) -> None:
        """Take what nodes have gone through in another process."""
        self._events |= facts["events"]

    def _note(self, event: Event) -> None:
        self._events[event["node_id"]] = event

    def _stopped(self) -> None:
        error = {"error": "the run was stopped", "timestamp": _now()}
        self._write({"event": _FAILED} | error)

    def _write(self, end: Event) -> None:
        atexit.unregister(self._stopped)
        if self._file is None:
            return
        events = [self._begun, *(known(self._file) | self._events).values(), end]
        with written_whole(self._file) as part:
            part.write_text(json.dumps(events, ensure_ascii=False, indent=1), "utf-8")


def known(file: Path) -> dict[str, Event]:
    """The last event of each node and dataset; none where the file is missing or damaged."""
    try:
        events = json.loads(file.read_text("utf-8"))
        return {event["node_id"]: event for event in events if "node_id" in event}
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def identity(name: str) -> str:
    """How kedro-viz calls a node, by its text, or a dataset, by its name."""
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:8]


def _node_event(node: Node, what: str) -> Event:
    return {"event": what, "node": node.name, "node_id": identity(str(node))}


def _told(error: Exception) -> Event:
    trace = "".join(traceback.format_exception(error))
    return {"error": str(error), "traceback": trace, "timestamp": _now()}


def _now() -> str:
    return datetime.now(UTC).isoformat()
