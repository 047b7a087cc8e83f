"""The ledger: every reply that was paid for, committed to disk before anyone reads it.

SQLite in WAL mode with full synchronisation: what :meth:`Ledger.put` has accepted survives a killed
process and a power cut. A rowid table, since large values in a ``WITHOUT ROWID`` tree double the
file and halve the speed. Not for network file systems.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl

from kyara_kedro.errors import UserError
from kyara_kedro.records import REPLY, content_id

_VERSION = 1
_LOOKUP = 500
"""Keys of one query; SQLite's limit on parameters is 999 in old builds."""


@dataclass(frozen=True)
class StoredReply:
    """One reply as it came from the server; the columns of ``records.REPLY`` but ``id``."""

    request_id: str
    teacher: str
    task: str
    prompt_version: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cost: float
    latency: float
    received_at: str


_COLUMNS = tuple(field.name for field in fields(StoredReply))
_CREATE = """
CREATE TABLE IF NOT EXISTS reply (
  request_id TEXT NOT NULL UNIQUE, teacher TEXT NOT NULL, task TEXT NOT NULL,
  prompt_version TEXT NOT NULL, text TEXT NOT NULL, finish_reason TEXT NOT NULL,
  prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost REAL NOT NULL,
  latency REAL NOT NULL, received_at TEXT NOT NULL
)
"""
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM reply"  # noqa: S608 - names of a dataclass
_INSERT = (
    f"INSERT OR IGNORE INTO reply ({', '.join(_COLUMNS)}) "  # noqa: S608
    f"VALUES ({', '.join('?' * len(_COLUMNS))})"
)


class Ledger:
    """Replies by request key, in one SQLite file with mode 0600; safe to share among threads.

    Args:
        path: The file; made with its folders when missing.

    Raises:
        UserError: the file is not a ledger of this version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=60)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise UserError(f"ledger {path}: {error}; move the file away or repair it") from error

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"is of version {version}, this program reads {_VERSION}")
        self._db.execute(_CREATE)
        self._db.execute(f"PRAGMA user_version={_VERSION}")

    def get_many(self, keys: Iterable[str]) -> dict[str, StoredReply]:
        """The stored replies among the given request keys."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, StoredReply] = {}
        with self._lock:
            for start in range(0, len(wanted), _LOOKUP):
                some = wanted[start : start + _LOOKUP]
                query = f"{_SELECT} WHERE request_id IN ({', '.join('?' * len(some))})"
                found |= {row[0]: StoredReply(*row) for row in self._db.execute(query, some)}
        return found

    def put(self, replies: Sequence[StoredReply]) -> list[StoredReply]:
        """Commit replies in one transaction; a key that is there already keeps its first reply.

        Returns:
            What the ledger now holds for each of them, in the same order.
        """
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(_INSERT, [tuple(asdict(reply).values()) for reply in replies])
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        held = self.get_many(reply.request_id for reply in replies)
        return [held[reply.request_id] for reply in replies]

    def frame(self) -> pl.DataFrame:
        """All replies as a table of ``records.REPLY``, sorted by request."""
        with self._lock:
            rows = self._db.execute(f"{_SELECT} ORDER BY request_id").fetchall()
        return REPLY.frame(
            {"id": content_id("reply", row[0]), **dict(zip(_COLUMNS, row, strict=True))}
            for row in rows
        )

    def close(self) -> None:
        """Close the file; what was put stays."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
