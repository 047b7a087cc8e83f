"""A tracked run as the process sees it that does the work: told in passing, never waited for."""

from __future__ import annotations

import atexit
import json
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from kyara_kedro.tracking.delivery import Delivery, send_rest
from kyara_kedro.tracking.spool import Spool, new_key
from kyara_kedro.tracking.target import Tracking, tagged
from kyara_kedro.tracking.values import allowed, flat

logger = logging.getLogger("kyara_kedro")
Status = Literal["FINISHED", "FAILED", "KILLED"]
_PAUSE, _LONGEST_PAUSE = 5.0, 60.0
"""Seconds between two deliveries, and the most that an outage makes of them."""
_FAREWELL = {"FINISHED": 60.0, "FAILED": 60.0, "KILLED": 20.0}
"""Seconds that the end of a run waits for MLflow, as long as it answers."""
_PARAMETER = 500
"""Characters of a parameter that every store keeps."""


class TrackedRun:
    """A run whose events are on disk at once and in MLflow soon.

    Nothing here raises or waits for MLflow, but for :meth:`end`, which gives it a minute to take
    what it does not have. What is left then is sent with the next tracked run, or by
    ``kedro track-sync``. A process that exits without an end has been killed.

    Args:
        tracking: Where the run is tracked.
        name: Its name in MLflow.
        tags: What it is known by, besides its provenance.
        key: Its key, when others were told it before; made here otherwise.
    """

    def __init__(
        self,
        tracking: Tracking,
        name: str,
        tags: Mapping[str, object],
        key: str | None = None,
    ) -> None:
        self.key = key or new_key()
        self._tracking = tracking
        self._spool = Spool(tracking.spool, self.key)
        self._closing = threading.Event()
        self._warned = False
        self._safely(
            lambda: self._spool.begin(
                name=name, parent=tracking.parent, tags=tagged({**tracking.provenance, **tags})
            )
        )
        self._thread = threading.Thread(target=self._work, name=f"tracking {name}", daemon=True)
        self._thread.start()
        atexit.register(self.end, "KILLED")

    def params(self, values: Any) -> None:
        """Log settings, nested or flat; a value cannot be changed later."""
        told = {key: str(value)[:_PARAMETER] for key, value in flat(values).items()}
        self._append("params", values=told)

    def tags(self, values: Mapping[str, object]) -> None:
        """Set tags."""
        self._append("tags", values=tagged(values))

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

    def text(self, name: str, content: str) -> None:
        """Keep a text as an artifact."""
        self._safely(lambda: self._spool.write(name, content))

    def history(self) -> dict[str, list[tuple[int, float]]]:
        """All points so far, by metric: (step, value) in the order in which they were logged."""
        found: dict[str, list[tuple[int, float]]] = {}
        for _, event in self._spool.events():
            if event["kind"] == "metrics":
                for key, value in event["values"].items():
                    found.setdefault(key, []).append((event["step"], value))
        return found

    def end(self, status: Status, error: str | None = None) -> None:
        """End the run; a second end is none."""
        if self._closing.is_set():
            return
        atexit.unregister(self.end)
        if error:
            self.tags({"error": error[:_PARAMETER]})
        self._safely(lambda: self._spool.end(status))
        self._closing.set()
        self._thread.join(_FAREWELL[status])
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
        """Send what is there, now and then, until the run has ended."""
        if not self._spool.exists:
            return
        delivery = Delivery(self._spool, self._tracking)
        pause, down, first = _PAUSE, False, True
        while True:
            last = self._closing.is_set()
            try:
                done = delivery.send()
                if first and not last:
                    send_rest(self._tracking)
                pause, down, first = _PAUSE, False, False
            except Exception as error:
                done = False
                if not down:
                    logger.warning("tracking: MLflow is given everything later: %s", error)
                pause, down = min(2 * pause, _LONGEST_PAUSE), True
            if done or last:
                break
            self._closing.wait(pause)
        self._spool.release()
