"""A teacher behind any server that speaks OpenAI's chat completions (OpenAI, vLLM, SGLang, ...).

Requests run with bounded concurrency on an event loop of their own, so ``map`` is synchronous and
works in notebooks and threads. A reply is committed to the ledger before it is parsed: a run that
is killed pays again only for what was in flight.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import queue
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, SecretStr, field_validator

from kyara_kedro.options import Options
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import Message
from kyara_kedro.teachers.base import (
    ChatRequest,
    Completion,
    Status,
    TeacherError,
    request_key,
    unanswered,
)
from kyara_kedro.teachers.ledger import Ledger, StoredReply, now
from kyara_kedro.teachers.tasks import TASKS, ReplyError, read_reply, without_thoughts

if TYPE_CHECKING:
    import httpx2
    import openai

LOGGER = logging.getLogger(__name__)

_RETRIED = frozenset({408, 409, 429})
_STOPPING = frozenset({401, 403, 404})
_WINDOW = 256
"""Requests looked up in the ledger at once, and the most replies of one commit."""
_BUDGET_POLL = 0.05
_GRACE = 30.0
"""Seconds that replies in flight get when the caller stops early."""


class OpenAIOptions(Options):
    """Settings of an :class:`OpenAITeacher`; the API key is not one of them.

    Attributes:
        model: Model name as the server knows it.
        name: Name on the records; the model's when None.
        licence_note: What may be done with the output.
        base_url: Root of the API, as ``https://host/v1``; without user, password or query.
        concurrency: Most requests in flight.
        timeout: Seconds until a request is given up and retried.
        max_attempts: Most sends of one request.
        backoff: Seconds before the second send; doubles each time up to ``max_backoff``.
        max_backoff: Longest wait in seconds when the server names none.
        structured_output: Whether the server is asked to enforce the reply's JSON schema.
        limit_parameter: How the server calls the completion's limit.
        extra_body: Further fields of the body, such as ``reasoning_effort``.
        price_prompt: Price of a million prompt tokens.
        price_completion: Price of a million completion tokens.
        max_requests: Most sends during the teacher's life, retries included.
        max_tokens_total: Most tokens during the teacher's life, reserved before sending.
    """

    model: str = Field(min_length=1)
    name: str | None = None
    licence_note: str = "see the terms of the model and of its provider"
    base_url: str = "https://api.openai.com/v1"
    concurrency: int = Field(32, ge=1, le=512)
    timeout: float = Field(600.0, gt=0)
    max_attempts: int = Field(8, ge=1)
    backoff: float = Field(1.0, ge=0)
    max_backoff: float = Field(60.0, ge=0)
    structured_output: bool = True
    limit_parameter: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    extra_body: dict[str, JsonValue] = Field(default_factory=dict)
    price_prompt: float = Field(0.0, ge=0)
    price_completion: float = Field(0.0, ge=0)
    max_requests: int | None = Field(None, ge=0)
    max_tokens_total: int | None = Field(None, ge=0)

    @field_validator("base_url")
    @classmethod
    def _without_secrets(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http or https address such as https://host/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "must hold no user, password or query, since addresses are logged; pass the key "
                "as a credential"
            )
        return url


class BudgetExhausted(Exception):
    """The budget does not allow another send."""


class _Unanswered(Exception):
    """The request cannot be answered; the message says why."""


class Budget:
    """Caps on sends and tokens; what a send may cost at worst is reserved before it goes out.

    Args:
        max_requests: Most sends, None for no cap.
        max_tokens: Most tokens of prompts and replies, None for no cap.
    """

    def __init__(self, max_requests: int | None = None, max_tokens: int | None = None) -> None:
        self.max_requests = max_requests
        self.max_tokens = max_tokens
        self.requests = 0
        self.tokens = 0
        self.reserved = 0
        self._lock = threading.Lock()

    def reserve(self, tokens: int) -> bool:
        """Reserve one send of at most so many tokens.

        Returns:
            False when there is no room now, but sends in flight may give some back.

        Raises:
            BudgetExhausted: there is no room and there will be none.
        """
        with self._lock:
            if self.max_requests is not None and self.requests >= self.max_requests:
                raise BudgetExhausted(f"the cap of {self.max_requests} requests is reached")
            taken = self.tokens + self.reserved
            if self.max_tokens is not None and taken + tokens > self.max_tokens:
                if self.reserved:
                    return False
                raise BudgetExhausted(
                    f"{self.tokens} of {self.max_tokens} tokens are spent, and this request may "
                    f"take {tokens}"
                )
            self.requests += 1
            self.reserved += tokens
            return True

    def settle(self, reserved: int, used: int) -> None:
        """Replace a reservation by what was used."""
        with self._lock:
            self.reserved -= reserved
            self.tokens += used


@dataclass(frozen=True)
class _Call:
    """One prompt as it is sent: its key and its body without ``model``."""

    key: str
    messages: tuple[Message, ...]
    body: Mapping[str, Any]
    task: str
    prompt_version: str
    token_bound: int


class OpenAITeacher:
    """A language model behind an OpenAI-compatible server, with every reply in a ledger.

    Args:
        options: Model, endpoint, limits and prices.
        ledger: Where replies are kept and looked up.
        api_key: The credential; a server without authentication takes any.
        library: Templates; only the one that asks again is used here.
    """

    kind: Literal["llm"] = "llm"

    def __init__(
        self,
        options: OpenAIOptions,
        ledger: Ledger,
        api_key: SecretStr | None = None,
        library: PromptLibrary | None = None,
    ) -> None:
        self.options = options
        self.name = options.name or options.model
        self.licence_note = options.licence_note
        self.budget = Budget(options.max_requests, options.max_tokens_total)
        self._ledger = ledger
        self._key = api_key or SecretStr("none")
        self._library = library or PromptLibrary()
        for noisy in ("openai", "httpx2", "httpcore2"):  # they log addresses, one line a request
            logging.getLogger(noisy).setLevel(logging.WARNING)

    def map(self, requests: Iterable[ChatRequest]) -> Iterator[Completion]:
        """Answer all requests, in the order in which their replies arrive.

        Raises:
            TeacherError: the server rejects the credentials or does not know the model; replies
                that came before are in the ledger.
        """
        source = iter(requests)
        with _Session(self.options, self._key, self._ledger, self.budget) as session:
            done: queue.SimpleQueue[Future[Completion]] = queue.SimpleQueue()
            pending = 0
            while window := list(islice(source, _WINDOW)):
                calls = [self._call(request, request.messages) for request in window]
                session.recall(calls)
                for request, call in zip(window, calls, strict=True):
                    session.submit(self._answer(session, request, call)).add_done_callback(done.put)
                pending += len(window)
                while pending >= _WINDOW or (pending and not done.empty()):
                    yield done.get().result()
                    pending -= 1
            for _ in range(pending):
                yield done.get().result()

    async def _answer(self, session: _Session, request: ChatRequest, call: _Call) -> Completion:
        """Ask, and ask once more with the reason when the reply is not in the task's form."""
        first = await self._complete(session, request, call)
        if first.status != "invalid":
            return first
        again = self._library.render("reask", request.language, error=first.error)
        said = Message(role="assistant", content=first.text or "(empty)")
        second = await self._complete(
            session, request, self._call(request, (*call.messages, said, *again.messages))
        )
        if second.status == "deferred":
            return replace(first, error=f"{first.error}; not asked again: {second.error}")
        return replace(
            second,
            cached=first.cached and second.cached,
            prompt_tokens=first.prompt_tokens + second.prompt_tokens,
            completion_tokens=first.completion_tokens + second.completion_tokens,
            cost=first.cost + second.cost,
            latency=first.latency + second.latency,
        )

    async def _complete(self, session: _Session, request: ChatRequest, call: _Call) -> Completion:
        blank = unanswered(request, self.name, self.kind, call.key)
        try:
            reply, cached = await session.reply(call)
        except BudgetExhausted as error:
            return replace(blank, status="deferred", error=str(error))
        except _Unanswered as error:
            return replace(blank, status="failed", error=str(error))
        text = without_thoughts(reply.text)
        found = replace(
            blank,
            text=text,
            cached=cached,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            cost=0.0 if cached else reply.cost,
            latency=reply.latency,
        )
        if reply.finish_reason in _UNUSABLE:
            status, why = _UNUSABLE[reply.finish_reason]
            return replace(found, status=status, error=why)
        try:
            return replace(found, parsed=read_reply(request.task, text))
        except ReplyError as error:
            return replace(found, status="invalid", error=str(error))

    def _call(self, request: ChatRequest, messages: tuple[Message, ...]) -> _Call:
        options = self.options
        schema = TASKS[request.task].schema if options.structured_output else None
        parameters: dict[str, Any] = {
            **options.extra_body,
            options.limit_parameter: request.max_tokens,
        }
        if request.temperature is not None:
            parameters["temperature"] = request.temperature
        if request.top_p is not None:
            parameters["top_p"] = request.top_p
        body: dict[str, Any] = {"messages": list(messages), **parameters}
        if schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": request.task, "schema": schema, "strict": True},
            }
        return _Call(
            key=request_key(options.model, messages, parameters, schema, request.sample),
            messages=messages,
            body=body,
            task=request.task,
            prompt_version=request.prompt_version,
            token_bound=_most_tokens(messages) + request.max_tokens,
        )


_UNUSABLE: Mapping[str, tuple[Status, str]] = {
    "length": ("truncated", "the reply was cut at the token limit"),
    "content_filter": ("filtered", "the server's content filter withheld the reply"),
    "refusal": ("refused", "the model declined"),
}


class _Session:
    """One ``map``: its event loop in a thread, its connections, and the writer to the ledger."""

    def __init__(
        self, options: OpenAIOptions, key: SecretStr, ledger: Ledger, budget: Budget
    ) -> None:
        self._options = options
        self._secret = key
        self._ledger = ledger
        self._budget = budget
        self._held: dict[str, StoredReply] = {}
        self._asked: dict[str, asyncio.Task[tuple[StoredReply, bool]]] = {}
        self._slots = asyncio.Semaphore(options.concurrency)
        self._arrived: asyncio.Queue[tuple[StoredReply, asyncio.Future[StoredReply]]] = (
            asyncio.Queue()
        )
        self._stop: TeacherError | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="teacher", daemon=True)
        self._client: openai.AsyncOpenAI
        self._response: type[httpx2.Response]

    def __enter__(self) -> _Session:
        import httpx2
        import openai

        self._response = httpx2.Response
        self._client = openai.AsyncOpenAI(
            api_key=self._secret.get_secret_value(),
            base_url=self._options.base_url,
            max_retries=0,
            timeout=httpx2.Timeout(self._options.timeout, connect=min(60, self._options.timeout)),
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._stop is None:
            self._stop = TeacherError("the caller stopped")
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def recall(self, calls: Iterable[_Call]) -> None:
        """Look a window of calls up in the ledger, in one query."""
        self._held |= self._ledger.get_many(call.key for call in calls)

    def submit(self, work: Coroutine[Any, Any, Completion]) -> Future[Completion]:
        """Run a coroutine on the session's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def reply(self, call: _Call) -> tuple[StoredReply, bool]:
        """The reply to a call, and whether nothing had to be sent for it by this caller.

        Equal calls that wait at the same time are sent once.

        Raises:
            TeacherError: the server rejected the credentials or the model, now or before.
            BudgetExhausted: the budget does not allow it.
            _Unanswered: the server refused this request, or failed at every attempt.
        """
        running = self._asked.get(call.key)
        if running is not None:
            return (await asyncio.shield(running))[0], True
        task = self._loop.create_task(self._find_or_ask(call))
        self._asked[call.key] = task
        task.add_done_callback(lambda _: self._asked.pop(call.key))
        return await asyncio.shield(task)

    async def _find_or_ask(self, call: _Call) -> tuple[StoredReply, bool]:
        held = self._held.pop(call.key, None)
        if held is None:
            held = (await asyncio.to_thread(self._ledger.get_many, [call.key])).get(call.key)
        if held is not None:
            return held, True
        async with self._slots:
            reply = await self._send_until_answered(call)
        committed: asyncio.Future[StoredReply] = self._loop.create_future()
        self._arrived.put_nowait((reply, committed))
        return await committed, False

    async def _send_until_answered(self, call: _Call) -> StoredReply:
        """Send with retries. The slot is held while waiting: a busy server is asked less often."""
        import openai

        why = ""
        for attempt in range(self._options.max_attempts):
            if self._stop is not None:
                raise self._stop
            while not self._budget.reserve(call.token_bound):
                await asyncio.sleep(_BUDGET_POLL)
            used = call.token_bound  # unless known better: an unheard answer may be billed
            wait: float | None = None
            try:
                started = time.perf_counter()
                response = await self._client.post(
                    "/chat/completions",
                    cast_to=self._response,
                    body={"model": self._options.model, **call.body},
                )
                reply = self._stored(call, response.content, time.perf_counter() - started)
                used = reply.prompt_tokens + reply.completion_tokens
            except openai.APIStatusError as error:
                used = 0
                why = f"HTTP {error.status_code}: {error.message[:200]}"
                if error.status_code in _STOPPING or error.code == "insufficient_quota":
                    self._stop = TeacherError(
                        f"teacher {self._options.model} at {self._options.base_url}: {why}; "
                        "check the credentials, the model's name and the quota"
                    )
                    raise self._stop from None
                if error.status_code < 500 and error.status_code not in _RETRIED:
                    raise _Unanswered(why) from None
                wait = retry_after(error.response.headers)
            except openai.APIConnectionError as error:
                why = type(error).__name__
            except ReplyError as error:
                why = str(error)
            else:
                return reply
            finally:
                self._budget.settle(call.token_bound, used)
            LOGGER.debug("attempt %d of %s: %s", attempt + 1, call.key[:12], why)
            if attempt + 1 < self._options.max_attempts:
                backoff = min(self._options.max_backoff, self._options.backoff * 2**attempt)
                await asyncio.sleep(_jitter(call.key, attempt) * backoff if wait is None else wait)
        raise _Unanswered(f"{self._options.max_attempts} attempts failed, the last with {why}")

    def _stored(self, call: _Call, content: bytes, latency: float) -> StoredReply:
        """Read the envelope of a reply, not what the model wrote.

        Raises:
            ReplyError: the body is not a chat completion.
        """
        try:
            body = json.loads(content)
            choice = body["choices"][0]
            message = choice["message"]
            usage = body.get("usage") or {}
            refusal = message.get("refusal")
            text = message.get("content") or refusal or ""
            prompt_tokens = int(usage.get("prompt_tokens") or 0)
            completion_tokens = int(usage.get("completion_tokens") or 0)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ReplyError(
                f"the body is not a chat completion ({type(error).__name__})"
            ) from None
        return StoredReply(
            request_id=call.key,
            teacher=self._options.model,
            task=call.task,
            prompt_version=call.prompt_version,
            text=str(text),
            finish_reason="refusal" if refusal else str(choice.get("finish_reason") or "stop"),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cost=(
                prompt_tokens * self._options.price_prompt
                + completion_tokens * self._options.price_completion
            )
            / 1e6,
            latency=latency,
            received_at=now(),
        )

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._writer = self._loop.create_task(self._write())
        self._loop.run_forever()

    async def _write(self) -> None:
        """Commit all replies that have arrived in one transaction, then hand them out."""
        while True:
            batch = [await self._arrived.get()]
            while not self._arrived.empty() and len(batch) < _WINDOW:
                batch.append(self._arrived.get_nowait())
            try:
                held = await asyncio.to_thread(self._ledger.put, [reply for reply, _ in batch])
            except Exception as error:
                for _, committed in batch:
                    committed.set_exception(error)
                continue
            for reply, (_, committed) in zip(held, batch, strict=True):
                committed.set_result(reply)

    async def _finish(self) -> None:
        """Let what is in flight arrive, then close."""
        if self._asked:
            await asyncio.wait(self._asked.values(), timeout=_GRACE)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._client.close()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by the headers ``Retry-After-Ms`` and ``Retry-After`` (seconds or a date)."""
    if (milliseconds := headers.get("retry-after-ms")) is not None:
        try:
            return max(0.0, float(milliseconds) / 1000)
        except ValueError:
            return None
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _most_tokens(messages: Iterable[Message]) -> int:
    """Upper bound of a prompt's tokens: a byte-level tokeniser makes at most one a byte."""
    return sum(len(message["content"].encode()) + 16 for message in messages)


def _jitter(key: str, attempt: int) -> float:
    """A factor in [0.5, 1.5) that differs between requests and attempts, not between runs."""
    start = 2 * (attempt % 29)
    return 0.5 + int(key[start : start + 6], 16) / 16**6
