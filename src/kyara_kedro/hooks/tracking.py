"""MLflow tracking of Kedro runs, through the client alone and with state kept by run id."""

import atexit
import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.io.core import AbstractVersionedDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from kyara_kedro.content import content_id
from kyara_kedro.datasets.tracking import tracking_uri
from kyara_kedro.hooks.accounts import AccountHooks
from kyara_kedro.options import Options

logger = logging.getLogger("kyara_kedro")
_VALUE = 500
_BATCH = 100
"""Most parameters that MLflow takes at once."""
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_FORBIDDEN = re.compile(r"[^\w\-. /]", re.ASCII)


class TrackingHooks:
    """Opens one MLflow run a Kedro run; a tracking server that is down never fails a run.

    Parameters, input versions, the counts of the pipelines' summaries and what teachers have cost
    are logged. A run ends as FINISHED, FAILED (with the error), or KILLED when the process is told
    to stop.

    Args:
        accounts: Who knows the costs.
    """

    def __init__(self, accounts: AccountHooks | None = None) -> None:
        self._accounts = accounts
        self._config: dict[str, Any] = {}
        self._folder = Path()
        self._open: dict[str, str] = {}
        self._client: Any = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read conf/<env>/mlflow.yml."""
        self._config = dict(context.config_loader["mlflow"])
        self._folder = Path(context.project_path) / self._config["folder"]

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Start the MLflow run."""
        if self._config.get("enabled"):
            self._safely(lambda: self._start(run_params, pipeline, catalog))

    @hook_impl
    def after_node_run(self, node: Node, outputs: dict[str, Any], run_id: str) -> None:
        """Log the counts of a pipeline's summary."""
        run = self._open.get(run_id)
        for name, data in outputs.items():
            if run and name.endswith("_summary"):
                self._safely(lambda data=data, name=name: self._log_numbers(run, name, data))  # type: ignore[misc]

    @hook_impl
    def after_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """End the MLflow run well."""
        self._end(run_params["run_id"], "FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception, run_params: dict[str, Any]) -> None:
        """End the MLflow run as failed, with the error."""
        self._end(run_params["run_id"], "FAILED", error)

    def _start(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        from kyara_kedro.evaluation.registry import experiment_id

        self._config["tracking_uri"] = tracking_uri(self._config["tracking_uri"], self._folder)
        if self._client is None:
            self._client = MlflowClient(tracking_uri=self._config["tracking_uri"])
            atexit.register(self._end_all)
            _exit_on_sigterm()
        names = sorted(run_params.get("pipeline_names") or ["__default__"])
        run = self._client.create_run(
            experiment_id(self._client, self._config),
            run_name="+".join(names),
            tags={"kedro.run_id": run_params["run_id"], "kedro.env": str(run_params["env"])},
        )
        self._open[run_params["run_id"]] = run.info.run_id
        os.environ["MLFLOW_RUN_ID"] = run.info.run_id
        parameters = _flat(catalog.load("parameters"))
        parameters |= _versions(pipeline, catalog)
        told = [Param(key, str(value)[:_VALUE]) for key, value in parameters.items()]
        for start in range(0, len(told), _BATCH):
            self._client.log_batch(run.info.run_id, params=told[start : start + _BATCH])

    def _log_numbers(self, run: str, name: str, data: Any) -> None:
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        numbers = {
            key: value
            for key, value in _flat(data).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        stem = name.removesuffix("_summary")
        self._client.log_batch(
            run, metrics=[Metric(f"{stem}.{key}", value, now, 0) for key, value in numbers.items()]
        )

    def _end(self, run_id: str, status: str, error: BaseException | None = None) -> None:
        run = self._open.pop(run_id, None)
        if run:
            os.environ.pop("MLFLOW_RUN_ID", None)
            self._safely(lambda: self._close(run, status, error))

    def _close(self, run: str, status: str, error: BaseException | None) -> None:
        costs = {} if self._accounts is None else self._accounts.costs
        self._log_numbers(run, "cost_summary", {node: cost for node, cost in costs.items() if cost})
        if error is not None:
            self._client.set_tag(run, "error", f"{type(error).__name__}: {error}"[:_VALUE])
        self._client.set_terminated(run, status)

    def _end_all(self) -> None:
        for run_id in list(self._open):
            self._end(run_id, "KILLED")

    @staticmethod
    def _safely(action: Callable[[], None]) -> None:
        try:
            with little_patience():
                action()
        except Exception as error:
            logger.warning("MLflow tracking is unavailable and skipped: %s", error)


@contextmanager
def little_patience() -> Iterator[None]:
    """Let requests to a server fail within seconds, where the environment does not say otherwise.

    MLflow tries for four minutes by default, which suits its registry but not our bookkeeping.
    """
    added = {name: value for name, value in _PATIENCE.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _exit_on_sigterm() -> None:
    """Let SIGTERM unwind the process, so that its runs are closed as killed."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings to dotted keys, with the characters that MLflow allows."""
    if isinstance(values, Options):
        values = values.model_dump()
    if not isinstance(values, dict):
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        allowed = _FORBIDDEN.sub("_", str(key))
        name = allowed if allowed.strip("_") else f"key_{content_id(str(key))[:8]}"
        flat |= _flat(value, f"{prefix}.{name}" if prefix else name)
    return flat


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
