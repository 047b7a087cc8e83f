"""Teachers that answer many requests at a time: all of a wave, then those to be asked again."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence

from kyara_kedro.content import batched
from kyara_kedro.teachers.base import ChatRequest, Completion
from kyara_kedro.teachers.calls import Call
from kyara_kedro.teachers.feed import off_signal, stop_if
from kyara_kedro.teachers.model import LanguageModel
from kyara_kedro.teachers.replies import Failure, Got, summed


class WaveTeacher(LanguageModel):
    """A language model that is asked many things at a time."""

    wave = 1024

    def _answers(self, requests: Iterable[ChatRequest]) -> Iterator[Completion]:
        off = off_signal(requests)
        for wave in batched(requests, self.wave):
            stop_if(off)
            again: list[tuple[Completion, Call]] = []
            for found, call in self._look([self.caller.call(request) for request in wave], off):
                second = self.again(call, found)
                if second is None:
                    yield found
                else:
                    again.append((found, second))
            firsts = {id(call): first for first, call in again}
            for found, call in self._look([call for _, call in again], off):
                yield summed(firsts[id(call)], found)

    def _look(
        self, calls: Sequence[Call], off: threading.Event
    ) -> Iterator[tuple[Completion, Call]]:
        """Find the calls in the ledger, and have those that are missing answered."""
        held = self.ledger.get_many(call.key for call in calls)
        missing: dict[str, list[Call]] = {}
        for call in calls:
            if call.key in held:
                yield self.outcome(call, Got(held[call.key], attempts=0)), call
            else:
                missing.setdefault(call.key, []).append(call)
        if not missing:
            return
        for key, outcome in self._fetch([same[0] for same in missing.values()], off):
            for number, call in enumerate(missing[key]):
                paid = outcome if number == 0 else outcome._replace(attempts=0, wasted=0.0)
                yield self.outcome(call, paid), call

    @abstractmethod
    def _fetch(
        self, calls: Sequence[Call], off: threading.Event
    ) -> Iterator[tuple[str, Got | Failure]]:
        """Have calls answered whose replies are not in the ledger, and put them there.

        Args:
            calls: With a key of its own each.
            off: Looked at while it waits.

        Yields:
            For each of them its key, and what came of it.

        Raises:
            CalledOff: ``off`` is set.
        """
