"""Answers from the ledger alone: for tests, and to reproduce a run without paying."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from kyara_kedro.teachers.base import TeacherError
from kyara_kedro.teachers.calls import Call
from kyara_kedro.teachers.replies import Failure, Got
from kyara_kedro.teachers.waves import WaveTeacher


class ReplayTeacher(WaveTeacher):
    """Gives the replies that the ledger holds and sends nothing.

    It is strict: a request that was never answered stops the run, since a result with holes would
    be another one than that of the recorded run.
    """

    def _fetch(
        self, calls: Sequence[Call], off: threading.Event
    ) -> Iterator[tuple[str, Got | Failure]]:
        request = calls[0].request
        raise TeacherError(
            f"replay of {self.name}: the ledger {self.ledger.path} holds no reply for "
            f"{len(calls)} of the requests, the first for row {request.row_id}, task "
            f"{request.task!r}, prompt {request.prompt_version}; it had no usable answer then, or "
            "it was recorded with other inputs, prompts or parameters, or for another model"
        )
