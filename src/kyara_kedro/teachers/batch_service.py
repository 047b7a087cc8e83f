"""The batch service of an OpenAI-compatible server: what is uploaded, looked at and downloaded."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TypeVar

from pydantic import SecretStr

from kyara_kedro.teachers.base import TeacherError
from kyara_kedro.teachers.endpoint import LONGEST_BACKOFF, in_line, quiet_clients, retry_after
from kyara_kedro.teachers.feed import pause
from kyara_kedro.teachers.model import EndpointOptions

T = TypeVar("T")
LOGGER = logging.getLogger(__name__)

URL: Final = "/v1/chat/completions"
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
TRIED_AGAIN = frozenset({408, 409, 429})
_LABEL = "kyara"
"""Key of a batch's metadata under which our own name for it stands."""
_STRANGER = 4
"""Calls to a server that has never answered, before it is given up."""
_ERRAND = 30.0
"""Seconds that tidying up may take."""
_UNREADABLE = (ValueError, AttributeError)
"""What answers of another form cause; the client itself trips over a page that is no JSON."""


class Batch(NamedTuple):
    """What the server tells of a batch.

    Attributes:
        id: The server's name for it.
        status: What has become of it.
        uploaded: File with the requests.
        files: Files with results.
        done: Requests that are dealt with.
        total: Requests in all.
        seconds: From its creation to its end, 0 before.
        errors: Codes and messages of why it failed.
    """

    id: str
    status: str
    uploaded: str | None
    files: tuple[str, ...]
    done: int
    total: int
    seconds: float
    errors: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, told: Any) -> Batch:
        """Read what the client made of an answer, which may be anything.

        Raises:
            ValueError: it is no batch.
        """
        name, status = _text(told, "id"), _text(told, "status")
        if not (name and status):
            raise ValueError("the answer is no batch")
        counts = getattr(told, "request_counts", None)
        began = _number(told, "created_at")
        ended = max(_number(told, f"{end}_at") for end in ENDED)
        files = _text(told, "output_file_id"), _text(told, "error_file_id")
        errors = getattr(getattr(told, "errors", None), "data", None)
        return cls(
            id=name,
            status=status,
            uploaded=_text(told, "input_file_id"),
            files=tuple(file for file in files if file),
            done=int(_number(counts, "completed") + _number(counts, "failed")),
            total=int(_number(counts, "total")),
            seconds=max(0.0, ended - began),
            errors=tuple(
                (_text(one, "code") or "", _text(one, "message") or "") for one in errors or ()
            ),
        )


def _text(told: Any, name: str) -> str | None:
    value = getattr(told, name, None)
    return value if isinstance(value, str) and value else None


def _number(told: Any, name: str) -> float:
    value = getattr(told, name, None)
    return float(value) if isinstance(value, int | float) else 0.0


class Refused(TeacherError):
    """The server will not do what it was asked to, now or later.

    Attributes:
        status: The HTTP status.
        undone: Whether it cannot have done it either, at an earlier try that had no answer.
    """

    def __init__(self, message: str, status: int, undone: bool) -> None:
        super().__init__(message)
        self.status, self.undone = status, undone


class BatchService:
    """The batch service: each call is repeated while the server is busy or out of reach.

    The client's own retries are off, since it would create a batch twice when the first answer is
    lost.
    """

    def __init__(
        self,
        options: EndpointOptions,
        key: SecretStr,
        place: str,
        folder: Path,
        off: threading.Event,
    ) -> None:
        import httpx2
        import openai

        quiet_clients()
        timeout = options.limits.timeout
        self.place = place
        self.folder = folder
        self._off = off
        self._limits = options.limits
        self._met = False
        self._client = openai.OpenAI(
            api_key=key.get_secret_value(),
            base_url=options.base_url,
            max_retries=0,
            http_client=openai.DefaultHttpxClient(
                timeout=httpx2.Timeout(timeout, connect=min(60.0, timeout)), follow_redirects=False
            ),
        )

    def submit(self, token: str, file: IO[bytes]) -> Batch:
        """Have the requests in a file answered.

        When nobody knows whether a batch was created, it is looked for before another is created.
        """

        def upload() -> str:
            file.seek(0)
            told = self._client.files.create(file=("batch.jsonl", file), purpose="batch")
            name = _text(told, "id")
            if name is None:
                raise ValueError("the answer is no file")
            return name

        def create() -> Batch:
            return Batch.of(
                self._client.batches.create(
                    input_file_id=uploaded,
                    endpoint=URL,
                    completion_window="24h",
                    metadata={_LABEL: token},
                )
            )

        uploaded = self._ask(upload)
        return self._ask(create, lambda: self.find([token]).get(token))

    def find(self, tokens: Collection[str]) -> dict[str, Batch]:
        """The batches that were created under some of our own names."""

        def search() -> dict[str, Batch]:
            found: dict[str, Batch] = {}
            page = self._client.batches.list(limit=100)
            while True:
                if not isinstance(getattr(page, "data", None), list):
                    raise ValueError("the answer is no list of batches")
                for told in page.data:
                    labels = getattr(told, "metadata", None)
                    token = labels.get(_LABEL) if isinstance(labels, dict) else None
                    if isinstance(token, str) and token in tokens:
                        found.setdefault(token, Batch.of(told))
                if len(found) == len(tokens) or not page.has_next_page():
                    return found
                page = page.get_next_page()

        try:
            return self._ask(search)
        except Refused as refused:  # of the search: what is searched for may be there
            refused.undone = False
            raise

    def look(self, batch_id: str) -> Batch | None:
        """What has become of a batch; None when the server does not know it."""
        try:
            return self._ask(lambda: Batch.of(self._client.batches.retrieve(batch_id)))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def results(self, batch: Batch) -> Iterator[bytes]:
        """The results of a batch line by line, in any order, those in error too."""
        for name in batch.files:
            with spool(self.folder) as file:
                try:
                    self._ask(partial(self._download, name, file))
                except Refused as refused:
                    if refused.status != 404:
                        raise
                    LOGGER.warning("batch %s: its results in %s are gone", batch.id, name)
                file.seek(0)
                yield from file

    def _download(self, name: str, file: IO[bytes]) -> None:
        file.seek(0)
        file.truncate()
        with self._client.files.with_streaming_response.content(name) as response:
            if response.headers.get("content-type", "").startswith("text/html"):
                raise ValueError("the answer is a web page")
            for part in response.iter_bytes():
                file.write(part)

    def discard(self, name: str) -> None:
        """Delete a file that is of no more use, if the server is willing."""
        import openai

        try:
            self._client.files.delete(name, timeout=_ERRAND)
        except (openai.OpenAIError, *_UNREADABLE) as error:
            LOGGER.debug("file %s is left at the server (%s)", name, type(error).__name__)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, ask: Callable[[], T], find: Callable[[], T | None] = lambda: None) -> T:
        """Ask until there is an answer.

        Args:
            ask: Asks once.
            find: After a failure, looks whether the server has done it all the same.

        Raises:
            Refused: asking again is of no use.
            TeacherError: the server has been out of reach for too long.
            CalledOff: the work is not wanted any more.
        """
        import httpx2
        import openai

        failing, tries = 0.0, 0
        while True:
            try:
                answer = ask()
            except openai.APIStatusError as error:
                self._met = True
                status = error.status_code
                why = f"HTTP {status}: {in_line(error.message)}"
                given_up = error.code == "insufficient_quota"
                if given_up or (status < 500 and status not in TRIED_AGAIN):
                    raise Refused(
                        f"{self.place}: {why}; check the credentials, the quota, and that the "
                        "server has a batch service",
                        status,
                        undone=not tries,
                    ) from None
                wait = retry_after(error.response.headers)
            except (openai.APIConnectionError, httpx2.HTTPError, *_UNREADABLE) as error:
                cause = error.__cause__ or error
                why, wait = in_line(f"{type(cause).__name__} {cause}"), None
            else:
                self._met = True
                return answer
            failing = failing or time.monotonic()
            tries += 1
            if wait is None:
                wait = min(LONGEST_BACKOFF, self._limits.backoff * 2 ** (tries - 1))
            stranger = not self._met and tries >= _STRANGER
            if stranger or time.monotonic() - failing + wait > self._limits.patience:
                raise TeacherError(
                    f"{self.place}: out of reach ({why}); check the address and that the server is "
                    "up, then run again: batches go on at the server and are collected then"
                )
            LOGGER.debug("%s: %s", self.place, why)
            pause(self._off, wait)
            if (found := find()) is not None:
                return found


def spool(folder: Path) -> IO[bytes]:
    """A file without a name, for this user alone, that is gone when it is closed."""
    return tempfile.TemporaryFile(dir=folder)
