"""MLflow tracking of Kedro runs, with state kept by run id."""

import logging
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.io.core import AbstractVersionedDataset
from kedro.pipeline import Pipeline

from kyara_kedro.hooks.accounts import AccountHooks
from kyara_kedro.runners.log import RunLog, due_part, log_of
from kyara_kedro.tracking.run import Status, TrackedRun
from kyara_kedro.tracking.store import tracking_uri
from kyara_kedro.tracking.target import Tracking, provenance
from kyara_kedro.tracking.values import flat, numbers

logger = logging.getLogger("kyara_kedro")
TRACKING = "tracking"
"""Name of the data set that tells nodes where they are tracked."""


class TrackingHooks:
    """Opens one MLflow run a Kedro run; a tracking server that is down never fails a run.

    Parameters, inputs with version and hash, the run's manifest, the counts of the pipelines'
    summaries and what teachers have cost are logged. A run ends as FINISHED, FAILED (with the
    error), or KILLED when the process is told to stop.

    Args:
        accounts: Who knows the costs.
    """

    def __init__(self, accounts: AccountHooks | None = None) -> None:
        self._accounts = accounts
        self._config: dict[str, Any] = {}
        self._project = Path()
        self._open: dict[str, TrackedRun] = {}
        self._counted: dict[str, dict[str, Any]] = {}
        self._manifests: dict[TrackedRun, Path] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read conf/<env>/mlflow.yml."""
        self._config = dict(context.config_loader["mlflow"])
        self._project = Path(context.project_path)

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Start the run and tell the nodes; a run that has nothing to do is none."""
        if not (self._config.get("enabled") and due_part(pipeline, catalog).nodes):
            return
        _exit_on_sigterm()
        log = log_of(catalog)
        known = log.provenance if log else provenance(self._project)
        tracking = configured(self._config, self._project, known)
        names = sorted(run_params.get("pipeline_names") or ["__default__"])
        run = TrackedRun(
            tracking,
            "+".join(names),
            {"kedro.run_id": run_params["run_id"], "kedro.env": run_params["env"]} | enclosing(),
        )
        run.params(flat(catalog.load("parameters")) | _versions(pipeline, catalog))
        self._open[run_params["run_id"]] = run
        if log:
            self._tell(run, log, tracking.key)
        if TRACKING in catalog:
            catalog.save(TRACKING, tracking)

    def _tell(self, run: TrackedRun, log: RunLog, key: str) -> None:
        """Let the run and its manifest know of each other."""
        log.manifest.mlflow_run = key
        for name, state in log.manifest.inputs.items():
            if state.hash:
                told = {"version": state.version, "path": state.path}
                run.data(name, state.hash, state.path or name, told)
        self._manifests[run] = log.file

    @hook_impl
    def after_node_run(self, outputs: dict[str, Any], run_id: str) -> None:
        """Log the counts of a pipeline's summary."""
        counts = {
            name.removesuffix("_summary"): data
            for name, data in outputs.items()
            if name.endswith("_summary")
        }
        if counts and (run := self._open.get(run_id)):
            run.metrics(0, numbers(counts))
        elif counts and not self._config:
            self._counted.setdefault(run_id, {}).update(counts)

    def hand_over(self) -> Mapping[str, Any]:
        """Give the counts of the summaries that were made in this process, by run."""
        given, self._counted = self._counted, {}
        return given

    def take_over(self, facts: Mapping[str, Any]) -> None:
        """Log the counts of summaries."""
        for run_id, counts in facts.items():
            if run := self._open.get(run_id):
                run.metrics(0, numbers(counts))

    @hook_impl
    def after_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """End the run well."""
        self._end(run_params["run_id"], "FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception, run_params: dict[str, Any]) -> None:
        """End the run as failed, with the error."""
        self._end(run_params["run_id"], "FAILED", f"{type(error).__name__}: {error}")

    def _end(self, run_id: str, status: Status, error: str | None = None) -> None:
        if run := self._open.pop(run_id, None):
            costs = {} if self._accounts is None else self._accounts.costs
            told = {node: cost for node, cost in costs.items() if cost}
            if told:
                run.metrics(0, numbers({"cost": told}))
            if manifest := self._manifests.pop(run, None):
                run.file(manifest)
            run.end(status, error)


def configured(
    config: dict[str, Any], project: Path, tags: dict[str, str] | None = None
) -> Tracking:
    """Where runs are tracked, as conf/<env>/mlflow.yml says.

    Args:
        config: What the file says.
        project: The project's folder.
        tags: What is known of the run.
    """
    folder = project / config["folder"]
    return Tracking(
        uri=tracking_uri(config["tracking_uri"], folder),
        experiment=config["experiment"],
        artifact_location=config.get("artifact_location"),
        spool=folder / "spool",
        tags=tags or {},
    )


def enclosing() -> dict[str, str]:
    """The tag of the run above this one, which job files name by ``MLFLOW_RUN_ID``."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    return {"mlflow.parentRunId": run_id} if run_id else {}


def _exit_on_sigterm() -> None:
    """Let SIGTERM unwind the process, so that its runs are closed as killed."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _versions(pipeline: Pipeline, catalog: DataCatalog) -> dict[str, str]:
    """The versions of the versioned tables that this run reads from disk."""
    versions = {}
    for name in sorted(pipeline.inputs()):
        dataset = None if name.startswith("params:") else catalog.get(name)
        if isinstance(dataset, AbstractVersionedDataset):
            version = dataset.resolve_load_version()
            if version:
                versions[f"version.{name}"] = version
    return versions
