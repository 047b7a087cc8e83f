"""The book of each run: what is due, and the manifest that is left."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from kyara_kedro.hooks.accounts import AccountHooks
from kyara_kedro.hooks.gatekeeper import SOURCES
from kyara_kedro.lineage.manifest import Git, RunManifest
from kyara_kedro.lineage.reproduce import HIDDEN
from kyara_kedro.runners.log import NAME, RunLog
from kyara_kedro.runners.reads import Reads, plain
from kyara_kedro.tracking.target import provenance, versions

logger = logging.getLogger("kyara_kedro")
FOLDER = Path("data/runs")
_SELECTION = (
    "pipeline_names",
    "tags",
    "node_names",
    "from_nodes",
    "to_nodes",
    "from_inputs",
    "to_outputs",
    "namespaces",
    "load_versions",
)


class RunHooks:
    """Opens the log that the runner asks what is due, and closes it with the run.

    Args:
        accounts: Who knows the costs.
    """

    def __init__(self, accounts: AccountHooks) -> None:
        self._accounts = accounts
        self._project = Path()
        self._open: dict[str, RunLog] = {}
        self._reads: dict[tuple[str, str], Reads] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note where the project is."""
        self._project = Path(context.project_path)

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Find out what is due, unless everything was asked for."""
        run_id = run_params["run_id"]
        known = provenance(self._project)
        manifest = _manifest(run_params, known)
        log = RunLog(self._project / FOLDER, manifest, pipeline, catalog, known)
        if shards := catalog.load("parameters").get("shards"):
            manifest.parameters["shards"] = plain(shards)
        manifest.runtime_params = _told(run_params.get("runtime_params") or {}, manifest.parameters)
        if run_params["only_missing_outputs"]:
            log.make_plan()
        catalog[NAME] = MemoryDataset(log, copy_mode="assign")
        self._open[run_id] = log
        atexit.register(self._close, run_id, "killed")  # a run that has ended is closed already

    @hook_impl
    def before_node_run(
        self, node: Node, inputs: dict[str, Any], run_id: str
    ) -> dict[str, Any] | None:
        """Watch what the node reads of settings and prompts."""
        if log := self._open.get(run_id):
            return log.watch(node, inputs)
        reads = self._reads[run_id, node.name] = Reads()
        return {name: reads.watch(name, value) for name, value in inputs.items()}

    def hand_over(self) -> Mapping[str, Any]:
        """Give what nodes of this process have read."""
        given, self._reads = self._reads, {}
        return {"reads": given}

    def take_over(self, facts: Mapping[str, Any]) -> None:
        """Tell the log what nodes have read in another process."""
        for (run_id, node), reads in facts["reads"].items():
            if log := self._open.get(run_id):
                log.take_reads(node, reads)

    @hook_impl
    def after_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Close the log."""
        self._close(run_params["run_id"], "finished")

    @hook_impl
    def on_pipeline_error(self, error: Exception, run_params: dict[str, Any]) -> None:
        """Close the log with the error."""
        self._close(run_params["run_id"], "failed", f"{type(error).__name__}: {error}")

    def _close(self, run_id: str, status: Any, error: str | None = None) -> None:
        log = self._open.pop(run_id, None)
        if log and log.is_open:
            costs = self._accounts.costs.items()
            log.manifest.costs = {node: cost for node, cost in costs if cost}
            log.close(status, error)


def _manifest(run_params: Mapping[str, Any], known: Mapping[str, str]) -> RunManifest:
    dirty = known.get("git.dirty")
    return RunManifest(
        run_id=run_params["run_id"],
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        selection={name: plain(run_params.get(name)) for name in _SELECTION},
        env=run_params["env"],
        git=Git(
            commit=known.get("mlflow.source.git.commit"),
            dirty=None if dirty is None else dirty == "true",
        ),
        lock=known.get("requirements.lock"),
        packages=versions(),
        python=known["python"],
    )


def _told(given: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the command line gave that concerns a run, with hashes in place of secrets."""
    return {
        name: _without_secrets(value, settings.get(name))
        for name, value in given.items()
        if name in settings or name in SOURCES
    }


def _without_secrets(value: Any, told: Any) -> Any:
    if isinstance(value, Mapping) and isinstance(told, Mapping):
        return {name: _without_secrets(one, told.get(name)) for name, one in value.items()}
    return told if str(told).startswith(HIDDEN) else plain(value)
