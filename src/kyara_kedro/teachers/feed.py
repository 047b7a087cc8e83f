"""Requests that another thread hands over and may call off, while they are being answered."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Self

from kyara_kedro.teachers.base import ChatRequest


class CalledOff(Exception):
    """Whoever handed the requests over wants no more answers; what is in flight has been kept."""


class Feed(Iterator[ChatRequest]):
    """Requests with a signal that stops the work for them, wherever it waits.

    A generator in another thread cannot be closed, so teachers look at the signal whenever they
    wait for long.

    Args:
        requests: What is handed over.
        off: Set when nothing more is wanted.
    """

    def __init__(self, requests: Iterable[ChatRequest], off: threading.Event) -> None:
        self.off = off
        self._requests = iter(requests)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ChatRequest:
        return next(self._requests)


def off_signal(requests: Iterable[ChatRequest]) -> threading.Event:
    """The signal that stops the work for requests; one that is never set when there is none."""
    return requests.off if isinstance(requests, Feed) else threading.Event()


def stop_if(off: threading.Event) -> None:
    """Stop where the work has been called off.

    Raises:
        CalledOff: it has.
    """
    if off.is_set():
        raise CalledOff


def pause(off: threading.Event, seconds: float) -> None:
    """Wait, and stop as soon as the work is called off.

    Raises:
        CalledOff: it has been.
    """
    off.wait(seconds)
    stop_if(off)
