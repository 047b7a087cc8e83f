"""A teacher behind any server that speaks OpenAI's chat completions (OpenAI, vLLM, SGLang, ...).

Requests run on an event loop of their own thread, so ``map`` is synchronous and works in notebooks
and under servers. A reply is committed to the ledger before it is looked at: a run that is killed
pays again only for what was in flight.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401 - before ours, so that its exit comes after
import copy
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

from pydantic import SecretStr

from kyara_kedro.content import batched
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.teachers.admission import Lane, Limits, OutOfReach, Pass
from kyara_kedro.teachers.background import background_loop
from kyara_kedro.teachers.base import (
    NOTHING_YET,
    ChatRequest,
    Completion,
    Status,
    TeacherError,
)
from kyara_kedro.teachers.bookkeeper import Bookkeeper
from kyara_kedro.teachers.budget import (
    AnyBudget,
    Budget,
    BudgetExhausted,
    Portion,
    SharedBudget,
)
from kyara_kedro.teachers.calls import Call
from kyara_kedro.teachers.endpoint import LONGEST_BACKOFF, NOTHING_USED, Endpoint, Heard
from kyara_kedro.teachers.feed import off_signal, stop_if
from kyara_kedro.teachers.ledger import NOTHING, Ledger, Spent
from kyara_kedro.teachers.model import PAGE, EndpointOptions, LanguageModel
from kyara_kedro.teachers.replies import Failure, Got, summed, wasted

LOGGER = logging.getLogger(__name__)

_GRACE = 30.0
"""Seconds that replies in flight get when the run stops early."""
_POLL = 0.02
_LOOK = 0.1
"""Seconds between two looks at whether the work has been called off."""


class OpenAITeacher(LanguageModel):
    """A language model behind an OpenAI-compatible server.

    Args:
        options: Model, endpoint, limits, prices and budget.
        ledger: Where replies are kept and looked up.
        api_key: The credential; a server without authentication takes any.
        library: Templates; only the one that asks again is used here.
    """

    def __init__(
        self,
        options: EndpointOptions,
        ledger: Ledger,
        api_key: SecretStr | None = None,
        library: PromptLibrary | None = None,
    ) -> None:
        super().__init__(options, ledger, library)
        self.options = options
        self.when_spent = options.budget.when_spent
        self.budget: AnyBudget = (
            SharedBudget(options.budget, ledger, self.name)
            if options.budget.per == "ledger"
            else Budget(options.budget)
        )
        self.key = api_key or SecretStr("none")

    def portion(
        self, share: float | None, used: Mapping[str, Spent] = NOTHING_YET
    ) -> OpenAITeacher:
        """The same teacher with a part of its budget, see :meth:`Teacher.portion`."""
        super().portion(share, used)
        if share is None or not self.budget.options.capped:
            return self
        view = copy.copy(self)
        view.budget = Portion(self.budget, share, used.get(self.name, NOTHING))
        return view

    @property
    def used(self) -> Mapping[str, Spent]:
        """What was used up through this teacher or this portion of it."""
        return {self.name: self.budget.spent}

    def _answers(self, requests: Iterable[ChatRequest]) -> Iterator[Completion]:
        session: _Session | None = None
        most = max(2 * self.options.limits.in_flight, PAGE)
        off = off_signal(requests)
        try:
            for page in batched(requests, PAGE):
                stop_if(off)
                calls = [self.caller.call(request) for request in page]
                held = self.ledger.get_many(call.key for call in calls)
                missing: list[Call] = []
                for call in calls:
                    reply = held.get(call.key)
                    if reply is not None:
                        found = self.outcome(call, Got(reply, attempts=0))
                        if self.again(call, found) is None:
                            yield found
                            continue
                    session = session or _Session(self)
                    missing.append(call)
                if session is not None:
                    session.submit(missing)
                while session is not None and (session.pending > most or session.arrived):
                    yield session.next(off)
            while session is not None and session.pending:
                yield session.next(off)
        finally:
            if session is not None:
                session.close()


class _Halted(Exception):
    """Nothing more is sent; the caller has been told why."""


class _Unanswered(Exception):
    """A request without a usable reply."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.why)
        self.failure = failure


class _Session:
    """One ``map``: its calls in flight, from the ledger or the endpoint to the ledger."""

    def __init__(self, teacher: OpenAITeacher) -> None:
        teacher.ledger.check_room()
        options = teacher.options
        self.pending = 0
        self._teacher = teacher
        self._limits = options.limits
        self._lane: Lane
        self._ready: deque[Completion] = deque()
        self._arrivals: queue.SimpleQueue[list[Completion] | Exception] = queue.SimpleQueue()
        self._answered: list[Completion] = []
        self._works: set[asyncio.Task[None]] = set()
        self._flying: set[asyncio.Task[Any]] = set()
        self._asked: dict[str, asyncio.Future[Got]] = {}
        self._halted = False
        self._endpoint: Endpoint
        self._books: Bookkeeper
        self._loop = background_loop()
        self._do(self._open())
        _OPEN.add(self)

    def submit(self, calls: Sequence[Call]) -> None:
        """Start to answer calls."""
        self.pending += len(calls)
        self._loop.call_soon_threadsafe(self._begin, calls)

    @property
    def arrived(self) -> bool:
        """Whether :meth:`next` has something at once."""
        return bool(self._ready) or not self._arrivals.empty()

    def next(self, off: threading.Event) -> Completion:
        """Wait for the next completion.

        Raises:
            TeacherError, LedgerError: nothing more can be asked.
            CalledOff: ``off`` is set.
        """
        while not self._ready:
            stop_if(off)
            with suppress(queue.Empty):
                arrival = self._arrivals.get(timeout=_LOOK)
                if isinstance(arrival, Exception):
                    raise arrival
                self._ready.extend(arrival)
        self.pending -= 1
        return self._ready.popleft()

    def close(self) -> None:
        """Send nothing more, keep what is in flight, and close."""
        if self in _OPEN:
            _OPEN.discard(self)
            self._do(self._close())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> None:
        options = self._teacher.options
        self._lane = _lane(options.base_url, options.model, options.limits)
        self._endpoint = Endpoint(self._teacher.options, self._teacher.key)
        self._books = Bookkeeper(self._teacher.ledger, self._halt)
        self._lane.resume()

    async def _close(self) -> None:
        self._halted = True
        if self._flying:
            LOGGER.info("waiting for %d replies in flight", len(self._flying))
        for task in self._works - self._flying:
            task.cancel()
        given_up_at = time.monotonic() + _GRACE
        while self._flying and time.monotonic() < given_up_at:
            await asyncio.sleep(_POLL)
        for task in self._works:
            task.cancel()
        await asyncio.gather(*self._works, return_exceptions=True)
        try:
            await self._books.close()
        finally:
            await self._endpoint.close()

    def _halt(self, error: Exception) -> None:
        """Send nothing more and tell the caller why."""
        if not self._halted:
            self._halted = True
            self._arrivals.put(error)

    def _begin(self, calls: Sequence[Call]) -> None:
        for call in calls:
            task = self._loop.create_task(self._answer(call))
            self._works.add(task)
            task.add_done_callback(self._works.discard)

    async def _answer(self, call: Call) -> None:
        """Ask, and ask once more with the reason when the reply is not in the task's form."""
        try:
            found = await self._ask(call)
            again = self._teacher.again(call, found)
            if again is not None:
                found = summed(found, await self._ask(again))
        except _Halted:
            return
        except Exception as error:
            self._halt(error)
        else:
            if not self._answered:  # replies come in groups, and waking the caller takes time
                self._loop.call_soon(self._hand_over)
            self._answered.append(found)

    def _hand_over(self) -> None:
        self._arrivals.put(self._answered)
        self._answered = []

    async def _ask(self, call: Call) -> Completion:
        outcome: Got | Failure
        try:
            outcome = await self._get(call)
        except BudgetExhausted as error:
            outcome = Failure("deferred", error.fault, str(error))
        except _Unanswered as error:
            outcome = error.failure
        return self._teacher.outcome(call, outcome)

    async def _get(self, call: Call) -> Got:
        """The reply to a call, from the ledger or the server; equal calls are sent once.

        Raises:
            TeacherError, LedgerError: nothing more can be asked.
            BudgetExhausted: the budget does not allow it.
            _Unanswered: the server refused this request, or failed at every attempt.
        """
        running = self._asked.get(call.key)
        if running is not None:
            try:
                return Got((await asyncio.shield(running)).reply, attempts=0)
            except _Unanswered as error:
                raise _Unanswered(error.failure._replace(attempts=0, wasted=0.0)) from None
        future = self._asked[call.key] = self._loop.create_future()
        try:
            held = await self._books.claim(call.key)
            got = Got(held, attempts=0) if held is not None else await self._send(call)
        except BaseException as error:
            self._books.release(call.key)
            future.set_exception(_Halted() if isinstance(error, asyncio.CancelledError) else error)
            future.exception()  # seen: nobody else need be waiting for it
            raise
        else:
            future.set_result(got)
            return got
        finally:
            del self._asked[call.key]

    async def _send(self, call: Call) -> Got:
        """Send until it is answered."""
        attempts = failures = 0
        lost = 0.0
        while True:
            leave = await self._admitted(call, again=attempts > 0)
            heard = await self._heard(call, leave)
            attempts += 1
            if heard.reply is not None:
                return Got(heard.reply, attempts, lost)
            lost += heard.used.cost
            failures += heard.outcome != "busy" and not leave.probe
            if heard.final or failures >= self._limits.attempts:
                status: Status = "rejected" if heard.final else "failed"
                raise _Unanswered(Failure(status, heard.fault, heard.why, attempts, lost))
            LOGGER.debug("attempt %d of %s: %s", attempts, call.key[:12], heard.why)
            if self._halted:
                raise _Halted
            if self._lane.breaker.open:
                continue  # the breaker says when
            if heard.wait is not None:
                await asyncio.sleep(heard.wait)
            else:
                backoff = min(LONGEST_BACKOFF, self._limits.backoff * 2 ** max(0, failures - 1))
                await asyncio.sleep(_jitter(call.key, attempts) * backoff)

    async def _admitted(self, call: Call, *, again: bool) -> Pass:
        """Wait for leave and for budget.

        Raises:
            BudgetExhausted: the budget does not allow it.
        """
        leave = await self._lane.enter(call.tokens, call.request.priority - again)
        try:
            await self._teacher.budget.reserve(call.key, call.worst)
        except BaseException:
            self._lane.abandon(leave)
            raise
        if self._halted:
            self._lane.abandon(leave)
            await self._teacher.budget.give_back(call.key, call.worst, NOTHING_USED, sent=False)
            raise _Halted
        return leave

    async def _heard(self, call: Call, leave: Pass) -> Heard:
        """Send once; what comes is on disk when this returns.

        Raises:
            TeacherError: the endpoint is given up.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - narrows the type
        heard = Heard("answered", used=call.worst, fault="lost", why="not waited for")
        self._flying.add(task)
        try:
            heard = await self._endpoint.send(call)
        finally:
            try:
                await self._teacher.budget.give_back(call.key, call.worst, heard.used)
                heard = await self._kept(call, heard)
            finally:  # until it is on disk it counts as in flight, since a kill would lose it
                self._flying.discard(task)
                self._leave(leave, heard)
        if heard.stopping:
            raise TeacherError(f"{self._place}: {heard.why}")
        if heard.wait is not None and heard.wait > max(self._limits.patience, LONGEST_BACKOFF):
            why = f"asks to come back in {heard.wait / 3600:.1f} h ({heard.why})"
            raise TeacherError(f"{self._place}: {why}; {_GO_ON}")
        return heard

    def _leave(self, leave: Pass, heard: Heard) -> None:
        try:
            self._lane.leave(leave, heard.outcome, heard.used.tokens, heard.why)
        except OutOfReach as error:
            why = f"{error}; check the address and that the server is up"
            raise TeacherError(f"{self._place}: {why}; {_GO_ON}") from None

    async def _kept(self, call: Call, heard: Heard) -> Heard:
        """Have what was paid for written down."""
        if heard.reply is not None:
            return replace(heard, reply=await self._books.commit(heard.reply))
        if heard.used.tokens:
            lost = wasted(call, self._teacher.name, heard.fault, heard.used, heard.body)
            await self._books.discard(lost)
        return heard

    @property
    def _place(self) -> str:
        options = self._teacher.options
        return f"{self._teacher.role} {options.model} at {options.base_url}"


_OPEN: set[_Session] = set()


def _close_all() -> None:
    """Keep what is in flight of generators that were not read to their end."""
    for session in list(_OPEN):
        session.close()


# before the threads that the loop needs end; the public atexit comes after that
threading._register_atexit(_close_all)  # type: ignore[attr-defined]


_GO_ON = "all replies so far are kept: run again to go on"


@cache
def _lane(base_url: str, model: str, limits: Limits) -> Lane:
    """The lane to a model, shared by all teachers of the process; asked for on the loop alone."""
    return Lane(limits)


def _jitter(key: str, attempt: int) -> float:
    """A factor in [0.5, 1.5) that differs between requests and attempts, not between runs."""
    start = 2 * (attempt % 29)
    return 0.5 + int(key[start : start + 6], 16) / 16**6
