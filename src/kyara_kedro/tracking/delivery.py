"""From the spool to MLflow: each event arrives once, however often it has to be sent.

What MLflow has is noted behind every request. When an answer is lost, the request is made again,
which changes nothing: runs are looked for by their key before they are made, MLflow keeps equal
points, parameters, inputs and tags once, and files replace each other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from kyara_kedro.content import batched
from kyara_kedro.tracking.spool import Event, Spool, spools
from kyara_kedro.tracking.store import answers, experiment_id, without_password
from kyara_kedro.tracking.target import Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

logger = logging.getLogger("kyara_kedro")
KEY = "kyara.run"
"""Tag of a run with its key."""
_PARAMETERS, _METRICS = 100, 1000
"""Most that MLflow takes in a request."""
_ERROR = 500
"""Characters of an error that are shown."""
_EVENTS = 200
"""Most events between two notes of what MLflow has."""
_FINAL = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}
"""Answers that will be the same next time."""


class NoAnswer(Exception):
    """The MLflow server is down."""


class NoEnclosingRun(Exception):
    """MLflow does not have the enclosing run yet."""


class Delivery:
    """Sends one run's events.

    Args:
        spool: The events.
        tracking: Where they go.
    """

    def __init__(self, spool: Spool, tracking: Tracking) -> None:
        self._spool = spool
        self._tracking = tracking
        self._sent = spool.sent(tracking.store)

    def send(self) -> bool:
        """Send what waits.

        Returns:
            Whether the run has ended and MLflow has all of it; then the spool is gone.

        Raises:
            Exception: MLflow does not take it now. What it has is noted, the rest waits.
        """
        if not answers(self._tracking.uri):
            raise NoAnswer("the server does not answer")
        for kind, group in groupby(
            self._spool.events(self._sent.position), key=lambda event: event[1]["kind"]
        ):
            for some in batched(group, _EVENTS):
                self._deliver(kind, [event for _, event in some])
                self._note(position=some[-1][0], ended=kind == "end")
        for path, folder in self._spool.files():
            self._client.log_artifact(self._run, str(path), None if folder == "." else folder)
            path.unlink()
        if self._sent.ended:
            self._spool.remove()
        return self._sent.ended

    def _deliver(self, kind: str, events: Sequence[Event]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            getattr(self, f"_send_{kind}")(events)
        except MlflowException as error:
            if error.error_code not in _FINAL or kind == "start":
                raise
            if len(events) > 1:
                for event in events:
                    self._deliver(kind, [event])
            else:
                why = without_password(error)
                logger.warning("MLflow refuses %s of a run: %s", kind, why)
                self._spool.refuse(events[0], why)

    def _note(self, **changes: Any) -> None:
        self._sent = replace(self._sent, **changes)
        self._spool.note(self._sent)

    def _send_start(self, events: Sequence[Event]) -> None:
        (event,) = events
        self._note(run_id=self._find(self._spool.key) or self._create(event))

    def _create(self, event: Event) -> str:
        tags = event["tags"] | {KEY: self._spool.key}
        if parent := event["parent"]:
            if found := self._find(parent):
                tags["mlflow.parentRunId"] = found
            elif Spool(self._tracking.spool, parent).exists:
                raise NoEnclosingRun(parent)
        run = self._client.create_run(
            self._experiment, start_time=event["time"], tags=tags, run_name=event["name"]
        )
        return str(run.info.run_id)

    def _find(self, key: str) -> str | None:
        return find_run(self._client, self._experiment, key)

    def _send_params(self, events: Sequence[Event]) -> None:
        from mlflow.entities import Param

        params = [Param(key, value) for event in events for key, value in event["values"].items()]
        for some in batched(params, _PARAMETERS):
            self._client.log_batch(self._run, params=some, synchronous=True)

    def _send_metrics(self, events: Sequence[Event]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(key, value, event["time"], event["step"])
            for event in events
            for key, value in event["values"].items()
        ]
        for some in batched(metrics, _METRICS):
            self._client.log_batch(self._run, metrics=some, synchronous=True)

    def _send_inputs(self, events: Sequence[Event]) -> None:
        inputs = [_input(values) for event in events for values in event["values"]]
        self._client.log_inputs(self._run, inputs)

    def _send_end(self, events: Sequence[Event]) -> None:
        for event in events:
            if event["error"]:
                self._client.set_tag(self._run, "error", event["error"][:_ERROR])
            self._client.set_terminated(self._run, event["status"], event["time"])

    @property
    def _run(self) -> str:
        return str(self._sent.run_id)

    @cached_property
    def _client(self) -> MlflowClient:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self._tracking.uri)

    @cached_property
    def _experiment(self) -> str:
        target = self._tracking
        return experiment_id(self._client, target.uri, target.experiment, target.artifact_location)


class Rest(NamedTuple):
    """Runs that were sent to their end, and those that still wait."""

    sent: int
    waiting: int


def send_rest(tracking: Tracking) -> Rest:
    """Send what former processes could not; runs that died with their process end as KILLED.

    Runs that a living process tracks are left to it.
    """
    outcomes = [_conclude(spool, tracking, "KILLED", None) for spool in spools(tracking.spool)]
    return Rest(outcomes.count(True), outcomes.count(False))


def conclude(tracking: Tracking, status: str, error: str | None) -> None:
    """End a run in the name of its process, if that died before it could."""
    _conclude(Spool(tracking.spool, tracking.key), tracking, status, error)


def _conclude(spool: Spool, tracking: Tracking, status: str, error: str | None) -> bool | None:
    """End a run that nobody owns and send it: whether all of it arrived, None where it is owned."""
    with spool.owned() as mine:
        if not mine:
            return None
        spool.end_if_dead(status, error)
        with suppress(Exception):
            return Delivery(spool, tracking).send()
        return False


def find_run(client: MlflowClient, experiment: str, key: str) -> str | None:
    """The id that MLflow gave to a run of ours, None when it does not have it."""
    found = client.search_runs([experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
    return str(found[0].info.run_id) if found else None


def _input(values: Event) -> DatasetInput:
    """A data set as MLflow shows it, identified by a digest of our own.

    MLflow's own digests do not see nested columns, nor rows behind the first ten thousand.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return DatasetInput(Dataset(**values), [InputTag("mlflow.data.context", "training")])
