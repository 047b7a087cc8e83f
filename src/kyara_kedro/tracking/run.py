"""A tracked run as the process sees it that does the work: told in passing, never waited for."""

from __future__ import annotations

import atexit
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from kyara_kedro.tracking.delivery import Delivery, NoEnclosingRun, send_rest
from kyara_kedro.tracking.spool import Spool
from kyara_kedro.tracking.store import answers, without_password
from kyara_kedro.tracking.target import Tracking
from kyara_kedro.tracking.values import allowed, flat

logger = logging.getLogger("kyara_kedro")
Status = Literal["FINISHED", "FAILED", "KILLED"]
_MOMENT, _PAUSE, _LONGEST_PAUSE = 0.5, 5.0, 60.0
"""Seconds until the enclosing run may be there, between two deliveries, and in a long outage."""
_FAREWELL = {"FINISHED": 60.0, "FAILED": 60.0, "KILLED": 20.0}
"""Seconds that the end of a run waits for MLflow, as long as it answers."""
_PARAMETER, _TAG = 500, 5000
"""Characters of a parameter and of a tag that every store keeps."""


def add_to_run(
    tracking: Tracking, metrics: Mapping[str, float], texts: Mapping[str, str], folder: str
) -> None:
    """Tell more of a run that is under way, from wherever a part of its work is done.

    The process that began the run sends it. A disk that takes nothing fails no work.

    Args:
        tracking: The run.
        metrics: Its metrics, of which this is the only point.
        texts: Names of artifacts to their texts.
        folder: Where the artifacts belong.
    """
    spool = Spool(tracking.spool, tracking.key)
    told = {allowed(key): float(value) for key, value in metrics.items()}
    try:
        spool.append("metrics", step=0, values=told)
        for name, text in texts.items():
            spool.write(name, text, folder)
    except OSError as error:
        logger.warning("tracking: not everything can be kept: %s", error)


class TrackedRun:
    """A run whose events are on disk at once and in MLflow soon.

    Nothing here raises or waits for MLflow, but for :meth:`end`, which gives it a minute to take
    what it does not have. What is left then is sent with the next tracked run, or by
    ``kedro track-sync``. A process that exits without an end has been killed.

    Args:
        tracking: Where the run is tracked.
        name: Its name in MLflow.
        tags: What it is known by, besides the tags that it was given before.
    """

    def __init__(self, tracking: Tracking, name: str, tags: Mapping[str, object]) -> None:
        self._tracking = tracking
        self._spool = Spool(tracking.spool, tracking.key)
        self._closing, self._settled = threading.Event(), threading.Event()
        self._warned = False
        self._safely(
            lambda: self._spool.begin(
                name=name,
                parent=tracking.parent,
                tags={key: str(value)[:_TAG] for key, value in {**tracking.tags, **tags}.items()},
            )
        )
        threading.Thread(target=self._work, name=f"tracking {name}", daemon=True).start()
        atexit.register(self.end, "KILLED")

    def params(self, values: Any) -> None:
        """Log settings, nested or flat; a value cannot be changed later."""
        told = {key: str(value)[:_PARAMETER] for key, value in flat(values).items()}
        self._append("params", values=told)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log points of a step."""
        told = {allowed(key): float(value) for key, value in values.items()}
        self._append("metrics", step=step, values=told)

    def data(self, name: str, digest: str, source: str, profile: Mapping[str, Any]) -> None:
        """Log a data set that the run learns from.

        Args:
            name: What it is called.
            digest: Hash of its content, at most 36 characters.
            source: Where it lies.
            profile: Its kind and counts.
        """
        told = {
            "name": name,
            "digest": digest,
            "source_type": "local",
            "source": json.dumps({"uri": source}),
            "profile": json.dumps(profile, ensure_ascii=False),
        }
        self._append("inputs", values=[told])

    def file(self, source: Path) -> None:
        """Keep a copy of a file as an artifact."""
        self._safely(lambda: self._spool.keep(source))

    def text(self, name: str, content: str, folder: str) -> None:
        """Keep a text as an artifact, in a folder."""
        self._safely(lambda: self._spool.write(name, content, folder))

    def history(self) -> dict[str, list[tuple[int, float]]]:
        """All points so far, by metric: (step, value) in the order in which they were logged."""
        found: dict[str, list[tuple[int, float]]] = {}
        for _, event in self._spool.events() if self._spool.exists else ():
            if event["kind"] == "metrics":
                for key, value in event["values"].items():
                    found.setdefault(key, []).append((event["step"], value))
        return found

    def end(self, status: Status, error: str | None = None) -> None:
        """End the run; a second end is none."""
        if self._closing.is_set():
            return
        atexit.unregister(self.end)
        self._safely(lambda: self._spool.end(status, error))
        self._closing.set()
        limit = time.monotonic() + _FAREWELL[status]
        while not self._settled.wait(_PAUSE) and time.monotonic() < limit:
            if not answers(self._tracking.uri):
                break
        if self._spool.exists:
            logger.warning(
                "tracking: a run waits in %s; it is sent with the next one, or by "
                "`kedro track-sync`",
                self._tracking.spool,
            )

    def _append(self, kind: str, **event: Any) -> None:
        self._safely(lambda: self._spool.append(kind, **event))

    def _safely(self, action: Callable[[], None]) -> None:
        """Do what the work must not fail for, as it would on a full disk."""
        try:
            action()
        except OSError as error:
            if not self._warned:
                logger.warning("tracking: not everything can be kept: %s", error)
            self._warned = True

    def _work(self) -> None:
        """Send what is there, now and then, until MLflow has all of an ended run."""
        delivery = Delivery(self._spool, self._tracking)
        pause, down, alone = _PAUSE, False, self._tracking.parent is None
        while self._spool.exists:
            ending = settled = self._closing.is_set()
            try:
                if delivery.send():
                    break
                if alone and not ending:
                    send_rest(self._tracking)
                pause, down, alone = _PAUSE, False, False
            except NoEnclosingRun:
                pause, settled = _MOMENT, False
            except Exception as error:
                if not down:
                    logger.warning(
                        "tracking: MLflow gets everything later: %s", without_password(error)
                    )
                pause, down = min(2 * pause, _LONGEST_PAUSE), True
            if settled:
                self._settled.set()
            if ending:
                time.sleep(pause)
            else:
                self._closing.wait(pause)
        self._spool.release()
        self._settled.set()
