"""Admission: when the next request may be sent, for one model at one endpoint.

The window follows TCP's additive increase and multiplicative decrease (Chiu and Jain 1989), with
two differences. A 429 alone says little, since some servers send them at random: the window is cut
only when they are a share of the recent outcomes, and by that share. And a refused request keeps
its place for as long as an answer usually takes, so that a window of N asks N times a round trip
whether the server answers or refuses.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from pydantic import Field

from kyara_kedro.options import Options

LOGGER = logging.getLogger(__name__)

Outcome = Literal["answered", "busy", "broken"]
"""answered: the server did its work, whatever it said; busy: a 429; broken: no answer or a 5xx."""

_START = 32
"""First window; it doubles with every round trip until something is refused."""
_RECENT = 64
_BUSY_SHARE = 0.15
"""Share of 429s among the recent outcomes that calls for a smaller window."""
_DEEPEST_CUT = 0.5
_BURST = 5.0
"""Seconds of a rate that may be used at once."""
_ROUND_TRIP = 0.25
"""Seconds that an answer is taken to need before the first one has come."""
_BROKEN = 8
"""Failures in a row that open the breaker; fewer when the endpoint has never answered."""
_BROKEN_STRANGER = 3
_LONGEST_PAUSE = 5.0
"""Seconds between the probes of a broken endpoint, at most."""
_PATIENCE_STRANGER = 15.0
"""Seconds that an endpoint gets which has never answered: its address may be wrong."""


class Limits(Options):
    """What an endpoint bears.

    Attributes:
        in_flight: Most requests in flight.
        requests_per_minute: Most sends a minute; None leaves it to the server's refusals.
        tokens_per_minute: Most tokens a minute, likewise.
        timeout: Seconds until a request is given up and sent again.
        attempts: Most sends of one request.
        backoff: Seconds before the second send; doubles each time, up to a minute.
        patience: Seconds that an endpoint may be out of reach before the run stops.
    """

    in_flight: int = Field(64, ge=1, le=1024)
    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    timeout: float = Field(600.0, gt=0)
    attempts: int = Field(8, ge=1)
    backoff: float = Field(1.0, ge=0)
    patience: float = Field(600.0, ge=0)


class OutOfReach(Exception):
    """The endpoint has not answered for too long; the message says for how long."""


class Bucket:
    """A token bucket: so much a minute, some seconds' worth at once, with refunds.

    Args:
        per_minute: The rate; None for no limit.
        clock: Seconds that never go back.
    """

    def __init__(self, per_minute: float | None, clock: Callable[[], float]) -> None:
        self._rate = None if per_minute is None else per_minute / 60
        self._clock = clock
        self._most = 0.0 if self._rate is None else max(1.0, self._rate * _BURST)
        self._level = self._most
        self._filled = clock()

    def wait(self, amount: float) -> float:
        """Seconds until so much is there, or until the bucket is full."""
        if self._rate is None:
            return 0.0
        moment = self._clock()
        self._level = min(self._most, self._level + (moment - self._filled) * self._rate)
        self._filled = moment
        return max(0.0, (min(amount, self._most) - self._level) / self._rate)

    def take(self, amount: float) -> None:
        """Take an amount, or give some back when it is negative."""
        if self._rate is not None:
            self._level = min(self._most, self._level - amount)


class Window:
    """How many requests may be in flight.

    Args:
        most: Upper bound.
        clock: Seconds that never go back.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self.size = float(min(most, _START))
        self._most = most
        self._clock = clock
        self._recent: deque[bool] = deque(maxlen=_RECENT)
        self._doubling = True
        self._cut_at = clock()

    def note(self, outcome: Outcome, sent_at: float) -> None:
        """Adapt to one outcome; what was sent before the last cut says nothing about it."""
        if sent_at < self._cut_at or outcome == "broken":
            return
        self._recent.append(outcome == "busy")
        if outcome == "answered":
            step = 1.0 if self._doubling else 1 / self.size
            self.size = min(self._most, self.size + step)
            return
        self._doubling = False
        share = sum(self._recent) / len(self._recent)
        if share > _BUSY_SHARE and len(self._recent) >= min(int(self.size), _RECENT):
            self.size = max(1.0, self.size * max(_DEEPEST_CUT, 1 - share))
            self._recent.clear()
            self._cut_at = self._clock()


class Breaker:
    """Stops sending to an endpoint that does not answer, and lets a probe through now and then.

    Args:
        patience: Seconds without an answer until it is given up.
        clock: Seconds that never go back.
    """

    def __init__(self, patience: float, clock: Callable[[], float]) -> None:
        self._patience = patience
        self._clock = clock
        self._answered = False
        self._failures = 0
        self._openings = 0
        self._failing_since = 0.0
        self._refused_since: float | None = None
        self._probe_at = 0.0
        self._probing = False

    @property
    def open(self) -> bool:
        """Whether only probes are let through."""
        return self._openings > 0

    def wait(self) -> float:
        """Seconds until the next send; infinite while a probe is out."""
        if not self.open:
            return 0.0
        return float("inf") if self._probing else max(0.0, self._probe_at - self._clock())

    def sent(self) -> None:
        """Note a send."""
        self._probing = self.open

    def _check_refusals(self, moment: float, outcome: Outcome, why: str) -> None:
        if outcome == "answered":
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = moment
        elif moment - self._refused_since > self._patience:
            raise OutOfReach(
                f"nothing but refusals for {moment - self._refused_since:.0f} s, the last: {why}"
            )

    def resume(self) -> None:
        """Forget since when there is no answer: nobody has asked in between."""
        self._refused_since = None
        self._failing_since = self._clock()

    def recall(self) -> None:
        """Let another probe out, since the one before is back or was never sent."""
        self._probing = False

    def note(self, outcome: Outcome, *, probe: bool, why: str) -> None:
        """Adapt to one outcome.

        Args:
            outcome: What came of a send.
            probe: Whether it was sent while the breaker was open.
            why: What is told when the endpoint is given up.

        Raises:
            OutOfReach: the endpoint has not answered for too long.
        """
        if probe:
            self.recall()
        moment = self._clock()
        if outcome != "broken":
            if self.open:
                LOGGER.info("the endpoint answers again")
            self._answered, self._failures, self._openings = True, 0, 0
            self._check_refusals(moment, outcome, why)
            return
        if not self._failures:
            self._failing_since = moment
        self._failures += 1
        enough = _BROKEN if self._answered else _BROKEN_STRANGER
        if self._failures < enough or (self.open and not probe):
            return
        for_how_long = moment - self._failing_since
        stranger = min(self._patience, _PATIENCE_STRANGER)
        if for_how_long > (self._patience if self._answered else stranger):
            raise OutOfReach(f"no answer for {for_how_long:.0f} s, the last failure: {why}")
        if not self.open:
            LOGGER.warning("the endpoint does not answer (%s): probing it until it does", why)
        self._probe_at = moment + min(_LONGEST_PAUSE, 0.5 * 2**self._openings)
        self._openings += 1


class Pass:
    """A request's leave to be sent; it has to be handed back."""

    __slots__ = ("probe", "sent_at", "tokens")

    def __init__(self, tokens: int, sent_at: float, probe: bool) -> None:
        self.tokens = tokens
        self.sent_at = sent_at
        self.probe = probe


class Lane:
    """Admission to one model at one endpoint; it belongs to one event loop.

    Args:
        limits: What the endpoint bears.
        clock: Seconds that never go back, so that a changed system time does no harm.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.window = Window(limits.in_flight, clock)
        self.breaker = Breaker(limits.patience, clock)
        self._requests = Bucket(limits.requests_per_minute, clock)
        self._tokens = Bucket(limits.tokens_per_minute, clock)
        self._clock = clock
        self._flying = 0
        self._latency = 0.0
        self._queue: list[tuple[int, int, int, asyncio.Future[Pass]]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def resume(self) -> None:
        """Begin anew to be patient, unless somebody is still being served."""
        if not self._flying and not self._queue:
            self.breaker.resume()

    async def enter(self, tokens: int, priority: int = 0) -> Pass:
        """Wait for one's turn.

        Args:
            tokens: What the request will take by estimate, for the rate of tokens.
            priority: Lower numbers go first; equal ones in their order.
        """
        if not self._queue and (leave := self._admit(tokens)):
            return leave
        turn: asyncio.Future[Pass] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (priority, next(self._order), tokens, turn))
        self._advance()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.abandon(turn.result())
            raise

    def abandon(self, leave: Pass) -> None:
        """Hand back a pass that nothing was sent with."""
        if leave.probe:
            self.breaker.recall()
        self._tokens.take(-leave.tokens)
        self._requests.take(-1)
        self._free()

    def leave(self, leave: Pass, outcome: Outcome, tokens: int, why: str = "") -> None:
        """Hand a pass back.

        Args:
            leave: What :meth:`enter` gave.
            outcome: What came of the send.
            tokens: What it took.
            why: What went wrong, for the breaker's message.

        Raises:
            OutOfReach: the endpoint is given up.
        """
        self._tokens.take(tokens - leave.tokens)
        self.window.note(outcome, leave.sent_at)
        took = self._clock() - leave.sent_at
        if outcome == "busy":
            hold = max(0.0, (self._latency or _ROUND_TRIP) - took)
            asyncio.get_running_loop().call_later(hold, self._free)
        else:
            if outcome == "answered":
                self._latency += (took - self._latency) * (0.1 if self._latency else 1.0)
            self._flying -= 1
        was_open = self.breaker.open
        try:
            self.breaker.note(outcome, probe=leave.probe, why=why)
        finally:
            if was_open and not self.breaker.open:
                self.window = Window(self.limits.in_flight, self._clock)
            self._advance()

    def _free(self) -> None:
        self._flying -= 1
        self._advance()

    def _admit(self, tokens: int) -> Pass | None:
        if self._flying >= int(self.window.size) or self._delay(tokens):
            return None
        self._requests.take(1)
        self._tokens.take(tokens)
        self._flying += 1
        probe = self.breaker.open
        self.breaker.sent()
        return Pass(tokens, self._clock(), probe)

    def _delay(self, tokens: int) -> float:
        return max(self.breaker.wait(), self._requests.wait(1), self._tokens.wait(tokens))

    def _advance(self) -> None:
        """Let in whom there is room for, and come back when time will have made room."""
        while self._queue:
            _, _, tokens, turn = self._queue[0]
            if turn.done():
                heapq.heappop(self._queue)
                continue
            leave = self._admit(tokens)
            if leave is None:
                break
            heapq.heappop(self._queue)
            turn.set_result(leave)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue and self._flying < int(self.window.size):
            delay = self._delay(self._queue[0][2])
            if 0 < delay < float("inf"):
                self._timer = asyncio.get_running_loop().call_later(delay, self._advance)
