"""A teacher behind any server that speaks OpenAI's chat completions (OpenAI, vLLM, SGLang, ...).

Requests run on an event loop of their own thread, so ``map`` is synchronous and works in notebooks
and under servers. A reply is committed to the ledger before it is looked at: a run that is killed
pays again only for what was in flight.
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
import queue
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from kyara_kedro.content import batched
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.teachers.admission import Lane, Limits, Outcome, OutOfReach
from kyara_kedro.teachers.background import background_loop
from kyara_kedro.teachers.base import ChatRequest, Completion, TeacherError
from kyara_kedro.teachers.budget import Budget, BudgetExhausted, Reservation
from kyara_kedro.teachers.calls import Call
from kyara_kedro.teachers.ledger import Ledger, LedgerError, Spent, StoredReply, Waste, now
from kyara_kedro.teachers.model import PAGE, EndpointOptions, LanguageModel
from kyara_kedro.teachers.replies import read_body, summed, used_by, without_reply
from kyara_kedro.teachers.tasks import ReplyError

if TYPE_CHECKING:
    import httpx2
    import openai

LOGGER = logging.getLogger(__name__)

_STOPPING = frozenset({401, 403, 404})
_BUSY = 429
_TRIED_AGAIN = frozenset({408, 409})
_GROUP = 256
"""Most replies of one commit."""
_GRACE = 30.0
"""Seconds that replies in flight get when the run stops early, and a full disk to be cleared."""
_LOOK_AGAIN = 0.1
"""Seconds between two looks at requests that another process is sending."""
_POLL = 0.02
_LONGEST_BACKOFF = 60.0
_KEPT = 64 * 1024
"""Bytes that are kept of an unusable body."""
_NOTHING = Reservation(0, 0.0)


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
        before = ledger.spent(self.name) if options.budget.per == "ledger" else Spent()
        self.budget = Budget(options.budget, before)
        self.key = api_key or SecretStr("none")

    def _answers(self, requests: Iterable[ChatRequest]) -> Iterator[Completion]:
        session: _Session | None = None
        most = max(2 * self.options.limits.in_flight, PAGE)
        try:
            for page in batched(requests, PAGE):
                calls = [self._caller.call(request) for request in page]
                held = self.ledger.get_many(call.key for call in calls)
                for call in calls:
                    reply = held.get(call.key)
                    if reply is not None:
                        found = self.complete(call, reply, cached=True)
                        if self.again(call, found) is None:
                            yield found
                            continue
                    session = session or _Session(self)
                    session.submit(call)
                while session is not None and (session.pending > most or session.arrived):
                    yield session.next()
            while session is not None and session.pending:
                yield session.next()
        finally:
            if session is not None:
                session.close()


@dataclass(frozen=True, slots=True)
class _Heard:
    """What came of one send.

    Attributes:
        outcome: What it says about the endpoint.
        reply: The reply, if it is one.
        used: What was or may have been paid for.
        fault: Class of the failure.
        why: The failure in a line.
        body: An unusable body, kept.
        wait: Seconds that the server asks to wait.
        final: Whether sending it again is of no use.
    """

    outcome: Outcome
    reply: StoredReply | None = None
    used: Reservation = _NOTHING
    fault: str = ""
    why: str = ""
    body: bytes = b""
    wait: float | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class _Got:
    """A reply that is on disk, and what it took to get it."""

    reply: StoredReply
    attempts: int = 0
    wasted: float = 0.0


class _Halted(Exception):
    """Nothing more is sent; the caller has been told why."""


class _Unanswered(Exception):
    """A request without a usable reply."""

    def __init__(self, heard: _Heard, attempts: int, wasted: float) -> None:
        super().__init__(heard.why)
        self.heard, self.attempts, self.wasted = heard, attempts, wasted


class _Session:
    """One ``map``: its connections, its calls in flight, and the writer to the ledger."""

    def __init__(self, teacher: OpenAITeacher) -> None:
        for noisy in ("openai", "httpx2", "httpcore2", "aiohttp"):  # a line and an address each
            logging.getLogger(noisy).setLevel(logging.WARNING)
        options = teacher.options
        self.pending = 0
        self._teacher = teacher
        self._limits = options.limits
        self._lane = _lane(options.base_url, options.model, options.limits)
        self._loop = background_loop()
        self._arrivals: queue.SimpleQueue[Completion | Exception] = queue.SimpleQueue()
        self._works: set[asyncio.Task[None]] = set()
        self._flying: set[asyncio.Task[Any]] = set()
        self._asked: dict[str, asyncio.Future[_Got]] = {}
        self._wanted: dict[str, asyncio.Future[StoredReply | None]] = {}
        self._claimed: set[str] = set()
        self._wake = asyncio.Event()
        self._entries: asyncio.Queue[_Entry] = asyncio.Queue()
        self._halted = False
        self._give_up_at = 0.0
        self._client: openai.AsyncOpenAI
        self._response: type[httpx2.Response]
        if not teacher.ledger.has_room():
            raise _full(teacher.ledger)
        self._do(self._open())

    def submit(self, call: Call) -> None:
        """Start to answer a call."""
        self.pending += 1
        self._loop.call_soon_threadsafe(self._begin, call)

    @property
    def arrived(self) -> bool:
        """Whether :meth:`next` has something at once."""
        return not self._arrivals.empty()

    def next(self) -> Completion:
        """Wait for the next completion.

        Raises:
            TeacherError, LedgerError: nothing more can be asked.
        """
        arrival = self._arrivals.get()
        if isinstance(arrival, Exception):
            raise arrival
        self.pending -= 1
        return arrival

    def close(self) -> None:
        """Send nothing more, keep what is in flight, and close."""
        if self.pending and self._flying:
            LOGGER.info("waiting for %d replies in flight", len(self._flying))
        self._do(self._close())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> None:
        import httpx2
        import openai

        options, timeout = self._teacher.options, self._limits.timeout
        most = httpx2.Limits(max_connections=self._limits.in_flight, keepalive_expiry=30.0)
        self._response = httpx2.Response
        self._client = openai.AsyncOpenAI(
            api_key=self._teacher.key.get_secret_value(),
            base_url=options.base_url,
            max_retries=0,
            timeout=httpx2.Timeout(timeout, connect=min(60.0, timeout)),
            http_client=openai.DefaultAioHttpClient(limits=most, follow_redirects=False),
        )
        self._keepers = [asyncio.create_task(self._claim()), asyncio.create_task(self._write())]

    async def _close(self) -> None:
        self._halted = True
        waiting = self._works - self._flying
        for task in waiting:
            task.cancel()
        given_up_at = time.monotonic() + _GRACE
        while self._flying and time.monotonic() < given_up_at:
            await asyncio.sleep(_POLL)
        for task in self._works:
            task.cancel()
        await asyncio.gather(*self._works, return_exceptions=True)
        await self._entries.join()
        for task in self._keepers:
            task.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        if self._claimed:
            await asyncio.to_thread(self._teacher.ledger.release, self._claimed)
        await self._client.close()

    def _begin(self, call: Call) -> None:
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
            self._arrivals.put(found)

    def _halt(self, error: Exception) -> None:
        """Send nothing more and tell the caller why."""
        if not self._halted:
            self._halted = True
            self._arrivals.put(error)

    async def _ask(self, call: Call) -> Completion:
        name = self._teacher.name
        try:
            got = await self._get(call)
        except BudgetExhausted as error:
            return without_reply(call, name, "deferred", "budget", str(error))
        except _Unanswered as error:
            heard = error.heard
            blank = without_reply(
                call, name, "rejected" if heard.final else "failed", heard.fault, heard.why
            )
            return replace(blank, attempts=error.attempts, cost=error.wasted)
        found = self._teacher.complete(
            call, got.reply, cached=not got.attempts, attempts=got.attempts
        )
        return replace(found, cost=found.cost + got.wasted) if got.wasted else found

    async def _get(self, call: Call) -> _Got:
        """The reply to a call, from the ledger or the server; equal calls are sent once.

        Raises:
            TeacherError, LedgerError: nothing more can be asked.
            BudgetExhausted: the budget does not allow it.
            _Unanswered: the server refused this request, or failed at every attempt.
        """
        running = self._asked.get(call.key)
        if running is not None:
            return _Got((await asyncio.shield(running)).reply)
        future = self._asked[call.key] = self._loop.create_future()
        try:
            held = await self._claim_of(call.key)
            got = _Got(held) if held is not None else await self._send(call)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)
                future.exception()  # seen: nobody else need be waiting for it
            raise
        else:
            future.set_result(got)
            return got
        finally:
            del self._asked[call.key]

    async def _claim_of(self, key: str) -> StoredReply | None:
        """Wait for what another one is sending; None when it is ours to send."""
        wanted: asyncio.Future[StoredReply | None] = self._loop.create_future()
        self._wanted[key] = wanted
        self._wake.set()
        try:
            return await wanted
        finally:
            self._wanted.pop(key, None)

    async def _claim(self) -> None:
        """Claim all that is wanted at once, again and again while others are sending some of it."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            wanted = list(self._wanted)
            try:
                claimed = await asyncio.to_thread(self._teacher.ledger.claim, wanted)
            except Exception as error:
                for future in self._wanted.values():
                    _settle(future, error)
                continue
            self._claimed |= claimed.granted
            for key in wanted:
                waiting = self._wanted.get(key)
                if waiting is None:
                    continue
                if key in claimed.held or key in claimed.granted:
                    _settle(waiting, claimed.held.get(key))
                else:
                    self._loop.call_later(_LOOK_AGAIN, self._wake.set)

    async def _send(self, call: Call) -> _Got:
        """Send until it is answered."""
        attempts = failures = 0
        wasted = 0.0
        while True:
            heard, probe = await self._send_once(call, again=attempts > 0)
            attempts += 1
            if heard.reply is not None:
                return _Got(heard.reply, attempts, wasted)
            wasted += heard.used.cost
            failures += heard.outcome != "busy" and not probe
            if heard.final or failures >= self._limits.attempts:
                raise _Unanswered(heard, attempts, wasted)
            if self._halted:
                raise _Halted
            LOGGER.debug("attempt %d of %s: %s", attempts, call.key[:12], heard.why)
            if heard.wait is not None and heard.wait > max(self._limits.patience, _LONGEST_BACKOFF):
                raise TeacherError(
                    f"{self._place}: asks to come back in {heard.wait / 3600:.1f} h ({heard.why}); "
                    "all replies so far are kept: run again then"
                )
            if not self._lane.breaker.open:
                backoff = min(_LONGEST_BACKOFF, self._limits.backoff * 2 ** max(0, failures - 1))
                jitter = _jitter(call.key, attempts)
                await asyncio.sleep(jitter * backoff if heard.wait is None else heard.wait)

    async def _send_once(self, call: Call, *, again: bool) -> tuple[_Heard, bool]:
        """Wait for leave and budget, send, and commit what came.

        Returns:
            What was heard, and whether the send was a probe of a broken endpoint.
        """
        if self._halted:
            raise _Halted
        priority = call.request.priority - again
        leave = await self._lane.enter(call.tokens, priority)
        try:
            await self._teacher.budget.reserve(call.worst)
        except BaseException:
            self._lane.abandon(leave)
            raise
        task = asyncio.current_task()
        if self._halted or task is None:
            self._teacher.budget.settle(call.worst, _NOTHING, sent=False)
            self._lane.abandon(leave)
            raise _Halted
        self._flying.add(task)
        try:
            heard = await self._post(call)
            self._teacher.budget.settle(call.worst, heard.used)
            try:
                self._lane.leave(leave, heard.outcome, heard.used.tokens, heard.why)
            except OutOfReach as error:
                raise TeacherError(
                    f"{self._place}: {error}; check the address and that the server is up; all "
                    "replies so far are kept"
                ) from None
            if heard.reply is not None:
                heard = replace(heard, reply=await self._commit(heard.reply))
            elif heard.used.tokens:
                await self._commit(waste=self._waste(call, heard))
        finally:
            self._flying.discard(task)
        return heard, leave.probe

    async def _post(self, call: Call) -> _Heard:
        """Send once and read what comes back.

        Raises:
            TeacherError: no request of this kind can be answered.
        """
        import openai

        options, started = self._teacher.options, time.perf_counter()
        content = b""
        try:
            async with asyncio.timeout(self._limits.timeout):
                response = await self._client.post(
                    "/chat/completions", cast_to=self._response, body=call.body
                )
            content = response.content
            reply = read_body(content, call, options, time.perf_counter() - started)
        except openai.APIStatusError as error:
            return self._refused(error)
        except (openai.APIConnectionError, TimeoutError) as error:
            if _never_sent(error):
                why = f"no connection ({_root(error)})"
                return _Heard("broken", fault="unreachable", why=why)
            slow = time.perf_counter() - started >= self._limits.timeout
            fault = "timeout" if slow else "no_answer"
            why = f"no whole answer ({_root(error)})"
            return _Heard("broken", used=call.worst, fault=fault, why=why)
        except ReplyError as error:
            used = used_by(content, call, options)
            body = content[:_KEPT]
            return _Heard("answered", used=used, fault=error.fault, why=str(error), body=body)
        paid = Reservation(reply.prompt_tokens + reply.completion_tokens, reply.cost)
        return _Heard("answered", reply=reply, used=paid)

    def _refused(self, error: openai.APIStatusError) -> _Heard:
        status = error.status_code
        why = f"HTTP {status}: {' '.join(error.message.split())[:200]}"
        if status in _STOPPING or error.code == "insufficient_quota":
            raise TeacherError(
                f"{self._place}: {why}; check the credentials, the model's name and the quota"
            )
        fault = f"http_{status}"
        wait = retry_after(error.response.headers)
        if status == _BUSY:
            return _Heard("busy", fault=fault, why=why, wait=wait)
        if status >= 500 or status in _TRIED_AGAIN:
            return _Heard("broken", fault=fault, why=why, wait=wait)
        return _Heard("answered", fault=fault, why=why, final=True)

    @property
    def _place(self) -> str:
        options = self._teacher.options
        return f"{self._teacher.role} {options.model} at {options.base_url}"

    def _waste(self, call: Call, heard: _Heard) -> Waste:
        return Waste(
            request_id=call.key,
            teacher=self._teacher.name,
            task=call.request.task,
            reason=heard.fault,
            body=heard.body,
            tokens=heard.used.tokens,
            cost=heard.used.cost,
            received_at=now(),
        )

    async def _commit(
        self, reply: StoredReply | None = None, waste: Waste | None = None
    ) -> StoredReply | None:
        """Have something written; gives what the ledger then holds for the reply."""
        written: asyncio.Future[StoredReply | None] = self._loop.create_future()
        self._entries.put_nowait(_Entry(reply, waste, written))
        return await written

    async def _write(self) -> None:
        """Commit all that has arrived in one transaction, then hand it out."""
        while True:
            group = [await self._entries.get()]
            while not self._entries.empty() and len(group) < _GROUP:
                group.append(self._entries.get_nowait())
            try:
                held = await self._put(group)
            except Exception as error:
                for entry in group:
                    _settle(entry.written, error)
            else:
                for entry in group:
                    _settle(
                        entry.written, held.get(entry.reply.request_id) if entry.reply else None
                    )
            finally:
                for _ in group:
                    self._entries.task_done()

    async def _put(self, group: list[_Entry]) -> dict[str, StoredReply]:
        """Write; when the disk is full, send nothing more and try again until the grace is over."""
        ledger = self._teacher.ledger
        replies = [entry.reply for entry in group if entry.reply is not None]
        waste = [entry.waste for entry in group if entry.waste is not None]
        while True:
            try:
                held = await asyncio.to_thread(ledger.put, replies, waste)
            except LedgerError as error:
                self._halt(error)
                self._give_up_at = self._give_up_at or time.monotonic() + _GRACE
                if time.monotonic() > self._give_up_at:
                    raise
                await asyncio.sleep(1)
            else:
                break
        if not ledger.has_room():
            self._halt(_full(ledger))
        self._claimed -= {reply.request_id for reply in replies}
        return {reply.request_id: reply for reply in held}


@dataclass(frozen=True, slots=True)
class _Entry:
    """Something to be written, and who waits for it."""

    reply: StoredReply | None
    waste: Waste | None
    written: asyncio.Future[StoredReply | None]


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


@cache
def _lane(base_url: str, model: str, limits: Limits) -> Lane:
    """The lane to a model, shared by all teachers of the process that ask it."""
    return Lane(limits)


def _full(ledger: Ledger) -> LedgerError:
    return LedgerError(
        f"ledger {ledger.path}: the disk is nearly full, so nothing more is sent; make room and "
        "run again: all that was answered is kept"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and its causes, the outermost first."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _never_sent(error: BaseException) -> bool:
    """Whether no connection was made, so that the server cannot have worked for it."""
    import aiohttp

    return any(isinstance(one, aiohttp.ClientConnectorError) for one in _chain(error))


def _root(error: BaseException) -> str:
    """The first cause of a failed send in a few words."""
    *_, first = _chain(error)
    return " ".join(f"{type(first).__name__} {first}".split())[:160]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by the headers ``Retry-After-Ms`` and ``Retry-After`` (seconds or a date).

    A date is compared with the response's own ``Date``, so that a wrong clock here does no harm.
    """
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return _seconds(milliseconds) / 1000
        if (value := headers.get("retry-after")) is None:
            return None
        try:
            return _seconds(value)
        except ValueError:
            told = headers.get("date")
            here = datetime.now(UTC) if told is None else email.utils.parsedate_to_datetime(told)
            return max(0.0, (email.utils.parsedate_to_datetime(value) - here).total_seconds())
    except (ValueError, TypeError):
        return None


def _seconds(value: str) -> float:
    """A number of seconds that can be waited.

    Raises:
        ValueError: it is none.
    """
    seconds = float(value)
    if not 0 <= seconds < float("inf"):
        raise ValueError(value)
    return seconds


def _jitter(key: str, attempt: int) -> float:
    """A factor in [0.5, 1.5) that differs between requests and attempts, not between runs."""
    start = 2 * (attempt % 29)
    return 0.5 + int(key[start : start + 6], 16) / 16**6
