"""The ledger for many tasks of one event loop: what they want is done together, in few commits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kyara_kedro.teachers.base import TeacherError
from kyara_kedro.teachers.ledger import Ledger, LedgerError, StoredReply, Waste

_GROUP = 256
"""Most replies of one commit."""
_LOOK_AGAIN = 0.1
"""Seconds between two looks at requests that another process is sending."""
_GRACE = 30.0
"""Seconds that a full disk has to be cleared before replies are given up."""
_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class _Entry:
    """Something to be written, and who waits for it."""

    reply: StoredReply | None
    waste: Waste | None
    written: asyncio.Future[StoredReply | None]


class Bookkeeper:
    """Claims requests and commits replies; to be made and used on one event loop.

    Args:
        ledger: Where it is all written.
        trouble: Told when the ledger cannot be written or the disk is nearly full, so that nothing
            more is sent.
    """

    def __init__(self, ledger: Ledger, trouble: Callable[[LedgerError], None]) -> None:
        self._ledger = ledger
        self._trouble = trouble
        self._give_up_at = 0.0
        self._entries: asyncio.Queue[_Entry] = asyncio.Queue()
        self._wanted: dict[str, asyncio.Future[StoredReply | None]] = {}
        self._claimed: set[str] = set()
        self._released: set[str] = set()
        self._wake = asyncio.Event()
        self._closed = False
        self._claims = asyncio.create_task(self._claim())
        self._writes = asyncio.create_task(self._write())

    async def claim(self, key: str) -> StoredReply | None:
        """Get the right to send a request, or its reply when it is there or somebody else sends it.

        Returns:
            The reply; None when it is the caller's to send.

        Raises:
            LedgerError: the ledger cannot be written.
        """
        wanted: asyncio.Future[StoredReply | None] = asyncio.get_running_loop().create_future()
        self._wanted[key] = wanted
        self._wake.set()
        try:
            return await wanted
        finally:
            self._wanted.pop(key, None)

    def release(self, key: str) -> None:
        """Give a claim back that no reply came to."""
        if key in self._claimed:
            self._claimed.discard(key)
            self._released.add(key)
            self._wake.set()

    async def commit(self, reply: StoredReply) -> StoredReply:
        """Have a reply written; gives what the ledger then holds for its key.

        Raises:
            LedgerError: the ledger cannot be written.
        """
        held = await self._enter(reply, None)
        return reply if held is None else held

    async def discard(self, waste: Waste) -> None:
        """Have something written that was paid for nothing.

        Raises:
            LedgerError: the ledger cannot be written.
        """
        await self._enter(None, waste)

    async def close(self) -> None:
        """Write what is left and give all claims back."""
        await self._entries.join()
        self._writes.cancel()
        self._closed = True
        self._wake.set()
        await self._claims  # cancelled, it would not know what has been claimed in its name
        left = self._claimed | self._released
        if left:
            try:
                await asyncio.to_thread(self._ledger.release, left)
            except LedgerError:
                self._ledger.disown()
                raise

    async def _enter(self, reply: StoredReply | None, waste: Waste | None) -> StoredReply | None:
        written: asyncio.Future[StoredReply | None] = asyncio.get_running_loop().create_future()
        self._entries.put_nowait(_Entry(reply, waste, written))
        return await written

    async def _claim(self) -> None:
        """Claim all that is wanted at once, again and again while others are sending some of it."""
        while not self._closed:
            await self._wake.wait()
            self._wake.clear()
            wanted, released = list(self._wanted), self._released
            self._released = set()
            try:
                if released:
                    await asyncio.to_thread(self._ledger.release, released)
                claimed = await asyncio.to_thread(self._ledger.claim, wanted)
            except Exception as error:
                self._released |= released
                for waiting in self._wanted.values():
                    _settle(waiting, error)
                continue
            for key in claimed.batched & self._wanted.keys():
                why = f"request {key[:12]} is in a batch at the server and would be paid for twice"
                _settle(self._wanted[key], TeacherError(f"{why}; collect it with kind: batch"))
            self._claimed |= claimed.granted
            settled = claimed.granted | claimed.held.keys()
            for key in settled:
                if key in self._wanted:
                    _settle(self._wanted[key], claimed.held.get(key))
                else:
                    self.release(key)
            if len(settled) + len(claimed.batched) < len(wanted):
                asyncio.get_running_loop().call_later(_LOOK_AGAIN, self._wake.set)

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
                    found = held.get(entry.reply.request_id) if entry.reply else None
                    _settle(entry.written, found)
            finally:
                for _ in group:
                    self._entries.task_done()

    async def _put(self, group: list[_Entry]) -> dict[str, StoredReply]:
        """Write; when it cannot be done, tell so and try again until the grace is over."""
        replies = [entry.reply for entry in group if entry.reply is not None]
        waste = [entry.waste for entry in group if entry.waste is not None]
        while True:
            try:
                held = await asyncio.to_thread(self._ledger.put, replies, waste)
            except LedgerError as error:
                self._trouble(error)
                self._give_up_at = self._give_up_at or time.monotonic() + _GRACE
                if time.monotonic() > self._give_up_at:
                    raise
                await asyncio.sleep(_PAUSE)
            else:
                break
        self._claimed -= {reply.request_id for reply in replies}
        try:
            self._ledger.check_room()
        except LedgerError as error:
            self._trouble(error)
        return {reply.request_id: reply for reply in held}


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
