"""An OpenAI-compatible endpoint: one send, and what is heard of it."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from pydantic import SecretStr

from kyara_kedro.teachers.admission import Outcome
from kyara_kedro.teachers.calls import Call
from kyara_kedro.teachers.ledger import Reservation, StoredReply
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.replies import read_body, used_by
from kyara_kedro.teachers.tasks import ReplyError

if TYPE_CHECKING:
    import openai

NOTHING_USED = Reservation(0, 0.0)
_STOPPING = frozenset({401, 402, 403, 404, 405})
_OUT_OF_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_BUSY = 429
_TRIED_AGAIN = frozenset({408, 409})
LONGEST_BACKOFF = 60.0
"""Seconds between two sends of one request, at most, when the server names no time."""
KEPT = 64 * 1024
"""Bytes that are kept of an unusable body."""


@dataclass(frozen=True, slots=True)
class Heard:
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
        stopping: Whether sending anything else is of no use either.
    """

    outcome: Outcome
    reply: StoredReply | None = None
    used: Reservation = NOTHING_USED
    fault: str = ""
    why: str = ""
    body: bytes = b""
    wait: float | None = None
    final: bool = False
    stopping: bool = False


class Endpoint:
    """A model at an address, through the ``openai`` client.

    The client's ``post`` is used, since ``create`` takes twice the time to build objects that are
    not needed, and aiohttp as transport, which is three times as fast as the default and loses no
    request when many are in flight. The client's own retries are off: only the lane knows whether
    the endpoint bears another send. To be made and used on one event loop.

    Args:
        options: The model, its address and limits.
        key: The credential.
    """

    def __init__(self, options: EndpointOptions, key: SecretStr) -> None:
        import httpx2
        import openai

        from kyara_kedro.teachers.transport import HttpClient

        quiet_clients()
        self._options = options
        self._response = httpx2.Response
        self._client = openai.AsyncOpenAI(
            api_key=key.get_secret_value(),
            base_url=options.base_url,
            max_retries=0,
            http_client=HttpClient(options.base_url, options.limits.in_flight),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def send(self, call: Call) -> Heard:
        """Send once and read what comes back; failures are told, not raised."""
        import aiohttp
        import openai

        started = time.perf_counter()
        content = b""
        try:
            async with asyncio.timeout(self._options.limits.timeout):
                response = await self._client.post(
                    f"{self._options.base_url}/{call.path}",
                    cast_to=self._response,
                    body=call.body,
                    options={"idempotency_key": call.key},
                )
            content = response.content
            reply = read_body(content, call, self._options, time.perf_counter() - started)
        except openai.APIStatusError as error:
            return _refused(error, self._client.api_key)
        except openai.APIConnectionError as error:
            return self._unheard(error.__cause__ or error, call)
        except (aiohttp.ClientError, TimeoutError) as error:
            return self._unheard(error, call)
        except ReplyError as error:
            used = used_by(content, call, self._options)
            body = content[:KEPT]
            return Heard("answered", used=used, fault=error.fault, why=str(error), body=body)
        paid = Reservation(reply.prompt_tokens + reply.completion_tokens, reply.cost)
        return Heard("answered", reply=reply, used=paid)

    def _unheard(self, error: BaseException, call: Call) -> Heard:
        """What a send without an answer says about the endpoint and the bill."""
        import aiohttp

        told = in_line(f"{type(error).__name__} {_without_address(error)}")
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            why = f"its certificate is not trusted ({told})"
            return Heard("answered", fault="certificate", why=why, final=True, stopping=True)
        if isinstance(error, _never_sent()):
            return Heard("broken", fault="unreachable", why=f"no connection ({told})")
        if isinstance(error, TimeoutError):
            why = f"no answer in {self._options.limits.timeout:g} s"
            return Heard("broken", used=call.worst, fault="timeout", why=why)
        return Heard("broken", used=call.worst, fault="no_answer", why=f"no whole answer ({told})")


@cache
def _never_sent() -> tuple[type[Exception], ...]:
    """Errors after which no server can have worked for a request."""
    import aiohttp

    return (
        aiohttp.ClientConnectorError,
        aiohttp.ConnectionTimeoutError,
        aiohttp.ClientHttpProxyError,
    )


def _without_address(error: BaseException) -> str:
    """What an error says, unless it repeats an address, which may hold a proxy's password."""
    status = getattr(error, "status", None)
    return str(error) if status is None else f"HTTP {status}"


def _refused(error: openai.APIStatusError, secret: str) -> Heard:
    status = error.status_code
    fault = f"http_{status}"
    said = error.message.replace(secret, "…")  # some gateways repeat the key
    why = f"HTTP {status}: {in_line(said)}"
    if status in _STOPPING or status < 400 or error.code in _OUT_OF_MONEY:
        why = f"{why}; check the address, the credentials, the model's name and the quota"
        return Heard("answered", fault=fault, why=why, final=True, stopping=True)
    wait = retry_after(error.response.headers)
    if status == _BUSY:
        return Heard("busy", fault=fault, why=why, wait=wait)
    if status >= 500 or status in _TRIED_AGAIN:
        return Heard("broken", fault=fault, why=why, wait=wait)
    return Heard("answered", fault=fault, why=why, final=True)


def quiet_clients() -> None:
    """Keep the HTTP clients from logging a line with an address for every request."""
    for noisy in ("openai", "httpx2", "httpcore2", "aiohttp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def in_line(said: str) -> str:
    """A message as one line of a bearable length."""
    return " ".join(said.split())[:200]


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
