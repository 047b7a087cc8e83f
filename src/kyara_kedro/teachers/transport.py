"""aiohttp under the ``openai`` client, for a great many requests to one address.

The client's own HTTP layer merges headers, joins addresses, keeps cookies and follows redirects for
every request. Nothing of this is of use here, and it takes a third of the time of a send.
"""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2

_IDLE = 30.0
"""Seconds that an unused connection is kept."""
_CONNECT = 60.0
"""Seconds that opening a connection may take; many at once take their time."""


class Transport(httpx2.AsyncBaseTransport):
    """Sends through aiohttp, whose errors it lets pass.

    To be made on the event loop that it is used on.

    Args:
        address: Where it is sent to; the environment's proxy for it is used.
        connections: Most of them at a time.
    """

    def __init__(self, address: str, connections: int) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections, keepalive_timeout=_IDLE, ssl=_certificates()
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT),
            auto_decompress=False,
            proxy=_proxy(address),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and read the whole answer.

        Raises:
            aiohttp.ClientError: there is none.
        """
        async with self._session.request(
            request.method,
            str(request.url),
            headers=[(name.decode(), value.decode()) for name, value in request.headers.raw],
            data=request.content,
            allow_redirects=False,
        ) as response:
            content = await response.read()
        return httpx2.Response(
            response.status, headers=response.raw_headers, content=content, request=request
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()


class HttpClient(httpx2.AsyncClient):
    """What the ``openai`` client sends through, straight to a transport.

    Args:
        address: Where it is sent to.
        connections: Most of them at a time.
    """

    def __init__(self, address: str, connections: int) -> None:
        self._straight = Transport(address, connections)
        super().__init__(transport=self._straight, trust_env=False)
        self._encodings = [("accept-encoding", self.headers["accept-encoding"])]

    def build_request(
        self, method: str, url: httpx2.URL | str, *, content: Any = None, **more: Any
    ) -> httpx2.Request:
        """Make a request of a body that is written already."""
        headers = [*self._encodings, *more.get("headers", ())]
        return httpx2.Request(method, _parsed(str(url)), headers=headers, content=content)

    async def send(self, request: httpx2.Request, **_: Any) -> httpx2.Response:
        """Send a request and read the whole answer.

        Raises:
            aiohttp.ClientError: there is none.
        """
        return await self._straight.handle_async_request(request)


@cache
def _parsed(address: str) -> httpx2.URL:
    return httpx2.URL(address)


def _proxy(address: str) -> str | None:
    """The proxy that the environment names for an address, looked up once and not by request."""
    parts = urlsplit(address)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)


@cache
def _certificates() -> ssl.SSLContext:
    """The usual ones; loading them takes longer than a connection."""
    return httpx2.create_ssl_context()
