"""A small OpenAI-compatible server around a model directory, for the loopback.

Chat completions and raw ones, without streaming; what it cannot honour it refuses. Requests that
wait are answered together, the longest first, by one thread that alone touches the model.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import queue
import secrets
import socket
import threading
import time
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FiniteFloat,
    PositiveInt,
    ValidationError,
)

from kyara_kedro.content import Message, content_id
from kyara_kedro.decoding import HaltedError, Prompt, Written
from kyara_kedro.errors import UserError
from kyara_kedro.options import Options
from kyara_kedro.teachers.local import ChatModel, RefusedError, cut, load

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

LOGGER = logging.getLogger(__name__)

_LONGEST = 4 * 2**20
"""Bytes of a body."""
_QUIET = 0.005
"""Seconds without a further request after which those that wait are answered."""
_GRACE = 10
"""Seconds that replies in the making get at the end; another Ctrl-C ends at once."""
_SHORT = 16
"""Tokens of a raw completion when nobody says, as with OpenAI and vLLM."""
_MOST_STOPS = 4
"""Texts that may end a reply, as with OpenAI."""
_NEUTRAL: Mapping[str, Any] = {
    "best_of": 1,
    "echo": False,
    "frequency_penalty": 0,
    "logprobs": False,
    "n": 1,
    "presence_penalty": 0,
    "response_format": {"type": "text"},
    "store": False,
    "stream": False,
    "tools": [],
}
"""Fields that this server cannot honour, and the values that ask for nothing."""


class ApiError(Exception):
    """An answer in the shape of OpenAI's errors."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def _whole(content: str) -> str:
    if not content.isascii() and any("\ud800" <= letter <= "\udfff" for letter in content):
        raise ValueError("holds half a surrogate pair")
    return content


def _several(stop: Any) -> Any:
    return (stop,) if isinstance(stop, str) else stop


Text = Annotated[str, AfterValidator(_whole)]


class _Said(Options):
    """A message; text alone."""

    role: Literal["system", "user", "assistant"]
    content: Text


class Body(Options):
    """What can be asked, in OpenAI's words.

    Attributes:
        model: One of the server's names for its model, or nothing.
        max_tokens: Longest reply.
        temperature: 0, the most probable tokens, when nobody says.
        top_p: 1 when nobody says.
        stop: Texts that end the reply, and are no part of it; a single one may stand alone.
        seed: With the prompt it determines the sample; otherwise samples differ.
        user: Of no effect.
    """

    model: str | None = None
    max_tokens: PositiveInt | None = None
    temperature: FiniteFloat | None = Field(None, ge=0)
    top_p: FiniteFloat | None = Field(None, gt=0, le=1)
    stop: Annotated[tuple[Text, ...], BeforeValidator(_several), Field(max_length=_MOST_STOPS)] = ()
    seed: int | None = None
    user: str | None = None

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Read the body of a request.

        Raises:
            ApiError: it is not JSON, no such request, or asks for what cannot be honoured.
        """
        try:
            fields = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, f"the body is not JSON: {error}", "invalid_json") from None
        if not isinstance(fields, dict):
            raise ApiError(400, "the body is not a JSON object", "invalid_json")
        said = {
            name: value
            for name, value in fields.items()
            if value is not None and not (name in _NEUTRAL and value == _NEUTRAL[name])
        }
        try:
            return cls.model_validate(said)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                message = f"{where}: this server cannot honour it; leave it out"
                raise ApiError(400, message, "unsupported_parameter") from None
            raise ApiError(400, f"{where}: {first['msg']}", "invalid_value") from None

    @abstractmethod
    def encoded(self, model: ChatModel) -> Prompt:
        """Encode it for a model.

        Raises:
            RefusedError: see :meth:`ChatModel.prompt` and :meth:`ChatModel.continuation`.
        """

    def _seed(self, asked: Any) -> int:
        """The seed of the sample, 63 bits."""
        if self.seed is None:
            return secrets.randbits(63)
        return int(content_id(asked, self.seed)[:16], 16) >> 1


class ChatBody(Body):
    """A conversation to go on with.

    Attributes:
        messages: Roles and order as the model's template allows them.
        max_completion_tokens: Longest reply by its newer name; 1,024 or what the context leaves
            when nobody says.
    """

    messages: list[_Said] = Field(min_length=1)
    max_completion_tokens: PositiveInt | None = None

    def encoded(self, model: ChatModel) -> Prompt:
        """Encode it for a model by its chat template."""
        messages = [Message(role=one.role, content=one.content) for one in self.messages]
        limit = self.max_completion_tokens or self.max_tokens
        return model.prompt(messages, self._seed(messages), limit, self.temperature, self.top_p)


class TextBody(Body):
    """A text to go on with as it is.

    Attributes:
        prompt: The text; control tokens that are written out in it are real ones.
    """

    prompt: Text = Field(min_length=1)

    def encoded(self, model: ChatModel) -> Prompt:
        """Encode it for a model."""
        limit = self.max_tokens or _SHORT
        return model.continuation(
            self.prompt, self._seed(self.prompt), limit, self.temperature, self.top_p
        )


class _Answer(NamedTuple):
    prompt_tokens: int
    written: Written


class _Asked(NamedTuple):
    body: Body
    answer: Future[_Answer]


class Batcher:
    """Answers whatever waits at the same time together, in one thread, from ``with`` to its end.

    Args:
        model: Who answers; touched by that thread alone.
        batch_size: Rows written at once.
    """

    def __init__(self, model: ChatModel, batch_size: int) -> None:
        self._model = model
        self._decoder = model.decoder(batch_size)
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, in the middle of a reply if need be."""
        self._halt.set()
        self._asked.put(None)
        self._thread.join()

    def ask(self, body: Body) -> Future[_Answer]:
        """Have a request answered.

        The future raises :class:`ApiError` for a prompt that the model cannot be given, and when
        the server ends first.
        """
        answer: Future[_Answer] = Future()
        if self._halt.is_set():
            answer.set_exception(_ending())
        else:
            self._asked.put(_Asked(body, answer))
        return answer

    def _work(self) -> None:
        while not self._halt.is_set():
            self._write(list(self._gather()))
        with suppress(queue.Empty):
            while True:
                asked = self._asked.get_nowait()
                if asked is not None and asked.answer.set_running_or_notify_cancel():
                    asked.answer.set_exception(_ending())

    def _gather(self) -> Iterator[_Asked]:
        """What waits, and what comes before it is quiet while there is room in the batch."""
        count, asked = 0, self._asked.get()
        with suppress(queue.Empty):
            while asked is not None:
                yield asked
                count += 1
                asked = self._asked.get(timeout=_QUIET if count < self._decoder.batch_size else 0)

    def _write(self, some: list[_Asked]) -> None:
        by_stop: dict[tuple[str, ...], list[tuple[Prompt, Future[_Answer]]]] = {}
        for body, answer in some:
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                prompt = body.encoded(self._model)
            except Exception as error:
                answer.set_exception(_told(error))
            else:
                by_stop.setdefault(body.stop, []).append((prompt, answer))
        for stop, asked in by_stop.items():
            self._write_until(stop, [one for one, _ in asked], [answer for _, answer in asked])

    def _write_until(
        self, stop: tuple[str, ...], prompts: list[Prompt], answers: list[Future[_Answer]]
    ) -> None:
        try:
            decoder = self._decoder
            if stop:
                decoder = self._model.decoder(self._decoder.batch_size, stop)
            for batch in decoder.write(prompts, self._halt.is_set):
                for number, written in batch:
                    tokens = len(prompts[number].tokens)
                    answers[number].set_result(_Answer(tokens, cut(written, stop)))
        except Exception as error:
            told = _told(error)
            for answer in answers:
                if not answer.done():
                    answer.set_exception(told)


def _ending() -> ApiError:
    return ApiError(503, "the server is ending", "server_ending")


def _told(error: Exception) -> ApiError:
    """What a client hears of an error in the writing thread, which goes on."""
    if isinstance(error, HaltedError):
        return _ending()
    if isinstance(error, RefusedError):
        return ApiError(400, str(error), error.code)
    LOGGER.error("A batch could not be written.", exc_info=error)
    why = str(error) if isinstance(error, UserError) else type(error).__name__
    return ApiError(500, f"the model could not write: {why}", "writing_failed")


def app(model: ChatModel, batcher: Batcher, name: str, hosts: Sequence[str]) -> Starlette:
    """The server's routes: chat completions, completions, models, health.

    Args:
        model: Who answers.
        batcher: Has it answer.
        name: What it is called; ``name@fingerprint`` too, which no other weights answer to.
        hosts: Names by which the server may be called, against web pages that rebind theirs.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    exact = exact_name(name, model)
    begun = int(time.time())

    async def answered(request: Request, body: Body) -> tuple[str, dict[str, Any]]:
        """What is written, and the part of the answer that both kinds of requests get."""
        if body.model not in (None, name, exact):
            raise ApiError(
                404, f"model {body.model!r} is not here, but {exact!r} is", "model_not_found"
            )
        asked = asyncio.wrap_future(batcher.ask(body))
        left = asyncio.ensure_future(request.receive())  # behind a body only a disconnect can come
        try:
            await asyncio.wait((asked, left), return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                asked.cancel()
                raise ApiError(499, "the client has left")
            answer = asked.result()
        except asyncio.CancelledError:
            raise _ending() from None
        finally:
            left.cancel()
        completion = model.tokens_of(answer.written)
        finish = "stop" if answer.written.stopped else "length"
        return answer.written.text, {
            "created": int(time.time()),
            "model": exact,
            "system_fingerprint": model.fingerprint,
            "choices": [{"index": 0, "logprobs": None, "finish_reason": finish}],
            "usage": {
                "prompt_tokens": answer.prompt_tokens,
                "completion_tokens": completion,
                "total_tokens": answer.prompt_tokens + completion,
            },
        }

    async def chat(request: Request) -> JSONResponse:
        text, told = await answered(request, ChatBody.of(await _content(request)))
        told["choices"][0]["message"] = {"role": "assistant", "content": text, "refusal": None}
        kind = {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": "chat.completion"}
        return JSONResponse(kind | told)

    async def continued(request: Request) -> JSONResponse:
        text, told = await answered(request, TextBody.of(await _content(request)))
        told["choices"][0]["text"] = text
        return JSONResponse({"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion"} | told)

    async def models(_: Request) -> JSONResponse:
        one = {"id": exact, "object": "model", "created": begun, "owned_by": "local"}
        return JSONResponse({"object": "list", "data": [one]})

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def refused(_: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, ApiError):
            known = cast("HTTPException", error)
            error = ApiError(known.status_code, known.detail)
        kind = "invalid_request_error" if error.status < 500 else "server_error"
        told = {"message": str(error), "type": kind, "param": None, "code": error.code}
        return JSONResponse({"error": told}, error.status)

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/completions", continued, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
        exception_handlers=dict.fromkeys((ApiError, HTTPException), refused),
    )


def exact_name(name: str, model: ChatModel) -> str:
    """The name that no other weights answer to."""
    return f"{name}@{model.fingerprint[:8]}"


async def _content(request: Any) -> bytes:
    """The body; JSON by its header, which a web page may not send without asking first."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise ApiError(415, "the content type must be application/json", "content_type")
    content = bytearray()
    async for some in request.stream():
        content += some
        if len(content) > _LONGEST:
            raise ApiError(413, f"the body is longer than {_LONGEST:,} bytes", "body_too_long")
    return bytes(content)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


class Address(NamedTuple):
    """Where a model is served.

    Attributes:
        base_url: Root of the API, for a teacher's settings.
        model: The model's exact name.
    """

    base_url: str
    model: str


@contextmanager
def _server(
    directory: Path, host: str, port: int, batch_size: int, device: str
) -> Iterator[tuple[Address, uvicorn.Server, socket.socket]]:
    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error
        raise UserError(f"{host}:{port}: {why}; choose another address or port") from error
    with listener:
        model = load(directory, device)
        name = directory.resolve().name
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}/v1"
        hosts = ("localhost", "127.0.0.1", "::1", host) if is_loopback(host) else ("*",)
        with Batcher(model, batch_size) as batcher:
            config = uvicorn.Config(
                app(model, batcher, name, hosts),
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=_GRACE,
            )
            yield Address(url, exact_name(name, model)), uvicorn.Server(config), listener


def serve(
    directory: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    batch_size: int = 16,
    device: str = "auto",
    ready: Callable[[Address], None] = lambda _: None,
) -> None:
    """Serve a model until Ctrl-C or SIGTERM; there is no authentication.

    Args:
        directory: The model.
        host: Address to listen on.
        port: 0 takes a free one.
        batch_size: Requests answered at once.
        device: As in ``LocalOptions``.
        ready: Told where it is, as soon as it can be asked.

    Raises:
        UserError: the port is taken.
        TeacherError: see :func:`kyara_kedro.teachers.local.load`.
    """
    with _server(directory, host, port, batch_size, device) as (address, server, listener):
        ready(address)
        with suppress(KeyboardInterrupt):
            server.run([listener])


@contextmanager
def served(directory: Path, batch_size: int = 16, device: str = "auto") -> Iterator[Address]:
    """Serve a model on a free port of the loopback, in this process, for the block's time."""
    with _server(directory, "127.0.0.1", 0, batch_size, device) as (address, server, listener):
        thread = threading.Thread(target=server.run, args=([listener],), name="server")
        thread.start()
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join()
