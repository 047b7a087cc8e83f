"""The ledger: every reply that was paid for, committed to disk before anyone reads it.

One SQLite file in WAL mode with full synchronisation: what :meth:`Ledger.put` has accepted survives
a killed process and a power cut. Rowid tables, since large values in a ``WITHOUT ROWID`` tree
double the file and halve the speed. Not for network file systems.

Several processes may work on one ledger: a request is claimed before it is sent, and what another
one has claimed is waited for. A claim lives as long as its owner, who holds a lock that the
operating system releases when the process ends, however it ends; no clock is involved.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from filelock import FileLock, Timeout

from kyara_kedro.content import batched, content_id
from kyara_kedro.errors import UserError

if TYPE_CHECKING:
    import polars as pl


_VERSION = 3
_LOOKUP = 500
"""Keys of one query; SQLite's limit on parameters is 999 in old builds."""
SHARD = 10_000
"""Rows of an export or import that are in memory at a time."""
_ROOM = 64 * 2**20
"""Free bytes below which nothing more is sent, so that what is in flight can still be kept."""


class LedgerError(UserError):
    """The ledger cannot be read or written; the message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class StoredReply:
    """One reply as it came from the server; the columns of ``records.REPLY`` but ``id``.

    ``top_logprobs`` is JSON: a list with a mapping from tokens to log-probabilities for each place
    of the reply; empty where the server told none.
    """

    request_id: str
    teacher: str
    task: str
    prompt_version: str
    text: str
    finish_reason: str
    served_by: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost: float
    latency: float
    received_at: str
    top_logprobs: str = ""


@dataclass(frozen=True, slots=True)
class Waste:
    """What was paid, or may have been, for nothing: an unreadable body, or no answer heard.

    Attributes:
        request_id: Key of the request.
        teacher: Who was asked.
        task: What was asked.
        reason: Why it is of no use.
        body: What came back.
        tokens: What it took; the reservation when the server did not say.
        cost: Likewise, in the currency of the teacher's prices.
        received_at: Time in UTC.
    """

    request_id: str
    teacher: str
    task: str
    reason: str
    body: bytes
    tokens: int
    cost: float
    received_at: str


class Spent(NamedTuple):
    """What a teacher has used up."""

    requests: int = 0
    tokens: int = 0
    cost: float = 0.0


NOTHING = Spent()


class Reservation(NamedTuple):
    """What a request may use up at worst.

    Attributes:
        tokens: Of prompt and reply.
        cost: In the currency of the teacher's prices.
    """

    tokens: int
    cost: float


class Entry(NamedTuple):
    """One line of a ledger's summary.

    Attributes:
        teacher: Who was paid.
        what: The task, or why it was of no use.
        number: How many replies.
        tokens: Of prompts and replies.
        cost: In the currency of the teacher's prices.
    """

    teacher: str
    what: str
    number: int
    tokens: int
    cost: float


class Claimed(NamedTuple):
    """What became of the requests that somebody wanted to send.

    Attributes:
        held: Replies that are there already.
        granted: Keys that the caller has to send now; the others are being sent by somebody else.
        batched: Keys that are in a batch at a server.
    """

    held: Mapping[str, StoredReply]
    granted: frozenset[str]
    batched: frozenset[str] = frozenset()


class Pledge(NamedTuple):
    """Whether a request may be paid for.

    Attributes:
        lacking: Which cap is in the way; empty when it may.
        waiting: Whether requests in flight may still give back some of what is set aside; batches
            at a server may too, but not soon.
    """

    lacking: str
    waiting: bool


class Job(NamedTuple):
    """A batch of requests at a server.

    Attributes:
        token: Our own name for it, which the server keeps with the batch.
        batch_id: The server's name; None until the server has told it.
        worst: Its requests that have no reply yet, and what each of them may use up.
    """

    token: str
    batch_id: str | None
    worst: Mapping[str, Reservation]


_REPLY = tuple(field.name for field in fields(StoredReply))
_WASTE = tuple(field.name for field in fields(Waste))
_SCHEMA = f"""
BEGIN;
CREATE TABLE IF NOT EXISTS reply (
  request_id TEXT NOT NULL UNIQUE, teacher TEXT NOT NULL, task TEXT NOT NULL,
  prompt_version TEXT NOT NULL, text TEXT NOT NULL, finish_reason TEXT NOT NULL,
  served_by TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL, cost REAL NOT NULL, latency REAL NOT NULL,
  received_at TEXT NOT NULL, top_logprobs TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS reply_spent
  ON reply (teacher, task, prompt_tokens, completion_tokens, cost);
CREATE TABLE IF NOT EXISTS waste (
  request_id TEXT NOT NULL, teacher TEXT NOT NULL, task TEXT NOT NULL, reason TEXT NOT NULL,
  body BLOB NOT NULL, tokens INTEGER NOT NULL, cost REAL NOT NULL, received_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS account (
  teacher TEXT PRIMARY KEY, requests INTEGER NOT NULL, tokens INTEGER NOT NULL, cost REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claim (
  request_id TEXT PRIMARY KEY, owner TEXT NOT NULL, teacher TEXT NOT NULL DEFAULT '',
  tokens INTEGER NOT NULL DEFAULT 0, cost REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS job (token TEXT PRIMARY KEY, teacher TEXT NOT NULL, batch_id TEXT);
CREATE TABLE IF NOT EXISTS job_request (
  token TEXT NOT NULL, request_id TEXT NOT NULL, tokens INTEGER NOT NULL, cost REAL NOT NULL,
  PRIMARY KEY (token, request_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS job_request_id ON job_request (request_id);
PRAGMA user_version={_VERSION};
COMMIT;
"""
_UPGRADE = f"""
BEGIN;
ALTER TABLE reply ADD COLUMN top_logprobs TEXT NOT NULL DEFAULT '';
PRAGMA user_version={_VERSION};
COMMIT;
"""
"""From version 2, which knew no log-probabilities."""
_AS_UPGRADED = "CREATE TEMP VIEW reply AS SELECT *, '' AS top_logprobs FROM main.reply"
_SELECT = f"SELECT {', '.join(_REPLY)} FROM reply"  # noqa: S608 - names of a dataclass


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


_INSERT_REPLY, _INSERT_WASTE = (
    f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({_marks(columns)})"  # noqa: S608
    for table, columns in (("reply", _REPLY), ("waste", _WASTE))
)
_reply_values = attrgetter(*_REPLY)
_waste_values = attrgetter(*_WASTE)
_END_CLAIM = "DELETE FROM claim WHERE request_id = ?"
_END_PLEDGE = "UPDATE claim SET tokens = 0, cost = 0 WHERE request_id = ?"
_END_NOTE = "DELETE FROM job_request WHERE token = ? AND request_id = ?"
_SPEND = (
    "INSERT INTO account VALUES (?, 1, ?, ?) ON CONFLICT (teacher) DO UPDATE SET "
    "requests = requests + 1, tokens = tokens + excluded.tokens, cost = cost + excluded.cost"
)


class Ledger:
    """Replies by request key, in one SQLite file with mode 0600; safe to share among threads.

    Args:
        path: The file; made with its folders when missing.
        read_only: Open an existing file for reading alone.

    Raises:
        LedgerError: the file is missing (read only), damaged, or of another version; it is left as
            it is.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._owner = ""
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        with self._explained():
            if read_only:
                if not path.is_file():
                    raise LedgerError(f"ledger {path}: no such file")
                log = path.with_name(f"{path.name}-wal")
                sealed = not os.access(path.parent, os.W_OK)
                if sealed and log.exists():
                    raise LedgerError(
                        f"ledger {path}: was not closed, and its folder cannot be written: copy "
                        f"{path.name} and {log.name} to a folder of yours"
                    )
                self._reader = self._writer = self._connect("ro&immutable=1" if sealed else "ro")
                if self._check_version() == _VERSION - 1:
                    self._reader.execute(_AS_UPGRADED)
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._reader, self._writer = self._connect("rw"), self._connect("rw")
            with self._lock_of("opening"):
                version = self._check_version()
                if version == 0:
                    self._writer.execute("PRAGMA journal_mode=WAL")
                    self._writer.executescript(_SCHEMA)
                elif version < _VERSION:
                    self._writer.executescript(_UPGRADE)
                for file in self._locks.iterdir():  # of processes that were killed
                    if file.name != "opening":
                        self._lives(file.name)
            self._writer.execute("PRAGMA synchronous=FULL")

    def _check_version(self) -> int:
        """The version of the file, 0 for an empty one; others than the last two are refused."""
        (version,) = self._reader.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise LedgerError(
                f"ledger {self.path} is of version {version} and this program reads {_VERSION}: "
                "update the program, or name another file"
            )
        (tables,) = self._reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version < _VERSION - 1 and tables:
            raise LedgerError(
                f"ledger {self.path} is of version {version}, from before the first release, or is "
                "no ledger: name another file; this one is left as it is"
            )
        return int(version)

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            check_same_thread=False,
            isolation_level=None,
            timeout=60,
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(f"ledger {self.path}: {error}; {_remedy(error)}") from error
        except OSError as error:
            raise LedgerError(f"ledger {self.path}: {error.strerror or error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def get_many(self, keys: Iterable[str]) -> dict[str, StoredReply]:
        """The stored replies among the given request keys."""
        found: dict[str, StoredReply] = {}
        with self._reading, self._explained():
            for some in batched(dict.fromkeys(keys), _LOOKUP):
                found |= _held(self._reader, some)
        return found

    def put(
        self,
        replies: Sequence[StoredReply] = (),
        waste: Sequence[Waste] = (),
        *,
        paid: bool = True,
        job: str = "",
    ) -> list[StoredReply]:
        """Commit in one transaction; a key that is there already keeps its first reply.

        Args:
            replies: They end the claims on their requests.
            waste: They end what is pledged for their requests.
            paid: Whether it counts as spent; what comes from another ledger does not.
            job: Our own name for the batch that the waste is from; it forgets these requests.

        Returns:
            What the ledger now holds for each of the replies, in the same order.
        """
        spent = [
            *(
                (one.teacher, one.prompt_tokens + one.completion_tokens, one.cost)
                for one in replies
            ),
            *((one.teacher, one.tokens, one.cost) for one in waste),
        ]
        with self._transaction() as db:
            before = db.total_changes
            db.executemany(_INSERT_REPLY, map(_reply_values, replies))
            new = db.total_changes - before == len(replies)
            db.executemany(_INSERT_WASTE, map(_waste_values, waste))
            db.executemany(_END_CLAIM, [(reply.request_id,) for reply in replies])
            db.executemany(_END_PLEDGE, [(one.request_id,) for one in waste])
            db.executemany(_END_NOTE, [(job, one.request_id) for one in waste])
            if paid:
                db.executemany(_SPEND, spent)
        if new:
            return list(replies)
        held = self.get_many(reply.request_id for reply in replies)
        return [held[reply.request_id] for reply in replies]

    def check_room(self) -> None:
        """See that the disk has room for what may still be in flight.

        Raises:
            LedgerError: it is nearly full.
        """
        with self._explained():
            free = shutil.disk_usage(self.path.parent).free
        if free < _ROOM:
            raise LedgerError(
                f"ledger {self.path}: the disk is nearly full, so nothing more is sent; make room "
                "and run again: all that was answered is kept"
            )

    def claim(self, keys: Iterable[str], *, take_up: bool = False) -> Claimed:
        """Ask for the right to send requests; nobody else gets it until they are put or released.

        A request that another live owner has claimed is neither held nor granted: ask again later.

        Args:
            keys: The requests.
            take_up: Whether to grant those too that are in a batch, to be waited for.
        """
        wanted = list(dict.fromkeys(keys))
        held: dict[str, StoredReply] = {}
        granted: set[str] = set()
        in_batch: set[str] = set()
        with self._transaction() as db:
            owner = self._name()
            for some in batched(wanted, _LOOKUP):
                held |= _held(db, some)
                left = [key for key in some if key not in held]
                if not take_up:
                    in_batch |= _in_batches(db, left)
                    left = [key for key in left if key not in in_batch]
                claims = dict(
                    db.execute(
                        f"SELECT request_id, owner FROM claim WHERE request_id IN ({_marks(left)})",  # noqa: S608
                        left,
                    )
                )
                dead = self._bury(db, set(claims.values()))
                free = [key for key in left if claims.get(key) is None or claims[key] in dead]
                db.executemany(
                    "INSERT INTO claim (request_id, owner) VALUES (?, ?)",
                    [(key, owner) for key in free],
                )
                granted.update(free)
        return Claimed(held, frozenset(granted), frozenset(in_batch))

    def _bury(self, db: sqlite3.Connection, owners: Iterable[str]) -> set[str]:
        """End the claims of those among some owners that are no more.

        Returns:
            Those owners.
        """
        dead = {owner for owner in owners if not self._lives(owner)}
        for owner in dead:
            keys = db.execute("SELECT request_id FROM claim WHERE owner = ?", [owner]).fetchall()
            _end_claims(db, owner, [key for (key,) in keys])
        return dead

    def pledge(
        self,
        teacher: str,
        key: str,
        worst: Reservation,
        lacks: Callable[[Spent, Spent], str],
    ) -> Pledge:
        """Set aside what a claimed request may use up, in a budget that all runs share.

        A pledge ends with the reply or the waste that is put for it. When its claim ends without
        either, as that of a killed process, it counts as spent: nobody knows what became of it.

        Args:
            teacher: Whose budget it is.
            key: The request.
            worst: What it may use up.
            lacks: Says which cap is in the way, given what is spent and what is pledged by others.
        """
        with self._transaction() as db:
            pledged = dict(
                db.execute(
                    "SELECT owner, count(*) FROM claim WHERE teacher = ? AND tokens > 0 "
                    "AND request_id != ? GROUP BY owner",
                    [teacher, key],
                )
            )
            dead = self._bury(db, pledged)
            spent = _spent(db, teacher)
            why = lacks(spent, _aside(db, teacher, key))
            if not why:
                db.execute(
                    "UPDATE claim SET teacher = ?, tokens = ?, cost = ? WHERE request_id = ?",
                    [teacher, *worst, key],
                )
        return Pledge(why, waiting=bool(pledged.keys() - dead))

    def unpledge(self, teacher: str, key: str, *, sent: bool) -> None:
        """End a pledge for a request that cost nothing; a send counts all the same."""
        with self._transaction() as db:
            db.execute(_END_PLEDGE, [key])
            if sent:
                db.execute(_SPEND, [teacher, 0, 0.0])

    def disown(self) -> None:
        """Let all claims lapse that could not be given back; whoever wants them may have them."""
        if self._owner:
            self._alive.release()
            self._owner = ""

    def release(self, keys: Iterable[str]) -> None:
        """Give back claims on requests that were not answered."""
        with self._transaction() as db:
            _end_claims(db, self._owner, keys)

    def _name(self) -> str:
        """This object's name as an owner, with its lock held."""
        if not self._owner:
            owner = uuid.uuid4().hex
            self._alive = self._lock_of(owner)
            self._alive.acquire()
            self._owner = owner
        return self._owner

    def _lock_of(self, owner: str) -> FileLock:
        self._locks.mkdir(mode=0o700, exist_ok=True)
        return FileLock(self._locks / owner, thread_local=False)

    @property
    def _locks(self) -> Path:
        return self.path.with_name(f"{self.path.name}-locks")

    def _lives(self, owner: str) -> bool:
        lock = self._lock_of(owner)
        if owner == self._owner:
            return True
        if not Path(lock.lock_file).exists():
            return False
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return True
        _remove(lock)
        return False

    def spent(self, teacher: str) -> Spent:
        """What a teacher has used up in all runs so far, paid replies that were of no use too."""
        with self._reading, self._explained():
            return _spent(self._reader, teacher)

    def committed(self, teacher: str) -> Spent:
        """What a teacher has used up, and may by what all runs have in flight and in batches."""
        with self._reading, self._explained():
            return _committed(self._reader, teacher)

    def beginning_with(self, prefix: str, most: int) -> list[str]:
        """Keys of stored replies that begin with some characters, sorted; so many at most."""
        query = "SELECT request_id FROM reply WHERE request_id >= ? AND request_id < ? ORDER BY 1"
        with self._reading, self._explained():
            rows = self._reader.execute(f"{query} LIMIT ?", [prefix, f"{prefix}\U0010ffff", most])
            return [key for (key,) in rows]

    def summary(self) -> list[Entry]:
        """What each teacher was paid for: by task, and by reason what was of no use."""
        with self._reading, self._explained():
            rows = self._reader.execute(
                "SELECT teacher, task, count(*), total(prompt_tokens + completion_tokens), "
                "total(cost) FROM reply GROUP BY 1, 2 UNION ALL "
                "SELECT teacher, 'of no use: ' || reason, count(*), total(tokens), total(cost) "
                "FROM waste GROUP BY 1, 2 ORDER BY 1, 2"
            ).fetchall()
        return [
            Entry(teacher, what, number, int(tokens), cost)
            for teacher, what, number, tokens, cost in rows
        ]

    def completion_lengths(self, teacher: str, task: str) -> list[int]:
        """Tokens of some hundred replies of a teacher to a task, sorted; what estimates rest on."""
        return sorted(reply.completion_tokens for reply in self.some(teacher, task))

    def some(self, teacher: str, task: str) -> list[StoredReply]:
        """Some hundred replies of a teacher to a task."""
        with self._reading, self._explained():
            rows = self._reader.execute(
                f"{_SELECT} WHERE teacher = ? AND task = ? LIMIT 500", [teacher, task]
            ).fetchall()
        return [StoredReply(*row) for row in rows]

    def count(self, teacher: str, task: str, prompt_version: str) -> int:
        """Replies of a teacher to a task, to prompts of one version."""
        with self._reading, self._explained():
            found = self._reader.execute(
                "SELECT count(*) FROM reply WHERE teacher = ? AND task = ? AND prompt_version = ?",
                [teacher, task, prompt_version],
            ).fetchone()
        return int(found[0])

    def open_job(
        self,
        token: str,
        teacher: str,
        worst: Mapping[str, Reservation],
        fits: Callable[[Spent], bool] | None = None,
    ) -> bool:
        """Note a batch, and what its requests may use up, before the server hears of it.

        Args:
            token: Our own name for it.
            teacher: Whose budget it is.
            worst: What its requests may use up.
            fits: Says whether there is room for it, given what is :meth:`committed`.

        Returns:
            Whether it was noted.
        """
        with self._transaction() as db:
            if fits and not fits(_committed(db, teacher)):
                return False
            db.execute("INSERT INTO job VALUES (?, ?, NULL)", [token, teacher])
            db.executemany(
                "INSERT INTO job_request VALUES (?, ?, ?, ?)",
                [(token, key, *most) for key, most in worst.items()],
            )
        return True

    def name_job(self, token: str, batch_id: str) -> None:
        """Note the name that the server gave a batch."""
        with self._transaction() as db:
            db.execute("UPDATE job SET batch_id = ? WHERE token = ?", [batch_id, token])

    def close_job(self, token: str, keys: Iterable[str] = (), *, free: int = 0) -> None:
        """Forget requests of a batch that are dealt with, and the batch when all are.

        Args:
            token: Our own name for the batch.
            keys: The requests.
            free: How many of them were sent and cost nothing; they count as requests all the same.
        """
        with self._transaction() as db:
            if free:
                db.execute(
                    "INSERT INTO account SELECT teacher, ?, 0, 0.0 FROM job WHERE token = ? "
                    "ON CONFLICT (teacher) DO UPDATE SET requests = requests + excluded.requests",
                    [free, token],
                )
            db.executemany(_END_NOTE, [(token, key) for key in keys])
            db.execute(
                "DELETE FROM job_request WHERE token = ? AND request_id IN "
                "(SELECT request_id FROM reply)",
                [token],
            )
            db.execute(
                "DELETE FROM job WHERE token = ?1 AND NOT EXISTS "
                "(SELECT 1 FROM job_request WHERE token = ?1)",
                [token],
            )

    def jobs(self, teacher: str) -> list[Job]:
        """The batches of a teacher that are not dealt with, the oldest first."""
        with self._reading, self._explained():
            rows = self._reader.execute(
                "SELECT token, batch_id FROM job WHERE teacher = ? ORDER BY rowid", [teacher]
            ).fetchall()
            return [
                Job(
                    token,
                    batch_id,
                    {
                        key: Reservation(tokens, cost)
                        for key, tokens, cost in self._reader.execute(
                            "SELECT request_id, tokens, cost FROM job_request WHERE token = ? "
                            "AND request_id NOT IN (SELECT request_id FROM reply) ORDER BY 1",
                            [token],
                        )
                    },
                )
                for token, batch_id in rows
            ]

    def frames(self) -> Iterator[pl.DataFrame]:
        """All replies as tables of ``records.REPLY``, some thousand at a time, by request."""
        from kyara_kedro.records import REPLY

        last = ""
        while True:
            with self._reading, self._explained():
                rows = self._reader.execute(
                    f"{_SELECT} WHERE request_id > ? ORDER BY request_id LIMIT {SHARD}", [last]
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield REPLY.frame(
                {"id": content_id("reply", row[0]), **dict(zip(_REPLY, row, strict=True))}
                for row in rows
            )

    def wasted(self) -> list[Waste]:
        """All that was paid for nothing, the oldest first."""
        with self._reading, self._explained():
            rows = self._reader.execute(f"SELECT {', '.join(_WASTE)} FROM waste ORDER BY rowid")  # noqa: S608
            return [Waste(*row) for row in rows]

    def close(self) -> None:
        """Close the file and give up all claims; what was put stays."""
        if self._owner:
            with self._transaction() as db:
                keys = db.execute("SELECT request_id FROM claim WHERE owner = ?", [self._owner])
                _end_claims(db, self._owner, [key for (key,) in keys.fetchall()])
            _remove(self._alive)
            self._owner = ""
        with self._lock, self._reading:
            self._writer.close()
            self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _held(db: sqlite3.Connection, keys: Sequence[str]) -> dict[str, StoredReply]:
    query = f"{_SELECT} WHERE request_id IN ({_marks(keys)})"
    return {row[0]: StoredReply(*row) for row in db.execute(query, keys)}


def _in_batches(db: sqlite3.Connection, keys: Sequence[str]) -> set[str]:
    query = f"SELECT request_id FROM job_request WHERE request_id IN ({_marks(keys)})"  # noqa: S608
    return {key for (key,) in db.execute(query, keys)}


def _remove(lock: FileLock) -> None:
    """Release a lock and remove its file, which some systems forbid while another one looks."""
    lock.release()
    with suppress(OSError):
        Path(lock.lock_file).unlink()


def _end_claims(db: sqlite3.Connection, owner: str, keys: Iterable[str]) -> None:
    """End claims; what is still pledged for them was sent, and may have been paid for."""
    for some in batched(keys, _LOOKUP):
        mine = f"owner = ? AND request_id IN ({_marks(some)})"
        lost = db.execute(
            f"SELECT request_id, teacher, tokens, cost FROM claim WHERE tokens > 0 AND {mine}",  # noqa: S608
            [owner, *some],
        ).fetchall()
        waste = [
            Waste(key, teacher, "", "lost", b"", tokens, cost, now())
            for key, teacher, tokens, cost in lost
        ]
        db.executemany(_INSERT_WASTE, map(_waste_values, waste))
        db.executemany(_SPEND, [(one.teacher, one.tokens, one.cost) for one in waste])
        db.execute(f"DELETE FROM claim WHERE {mine}", [owner, *some])  # noqa: S608


def _spent(db: sqlite3.Connection, teacher: str) -> Spent:
    query = "SELECT requests, tokens, cost FROM account WHERE teacher = ?"
    return Spent(*(db.execute(query, [teacher]).fetchone() or ()))


def _aside(db: sqlite3.Connection, teacher: str, but: str = "") -> Spent:
    """What is set aside for a teacher's requests in flight, but for one, and in batches."""
    query = (
        "SELECT count(*), total(tokens), total(cost) FROM (SELECT tokens, cost FROM claim "
        "WHERE teacher = ?1 AND tokens > 0 AND request_id != ?2 UNION ALL "
        "SELECT tokens, cost FROM job_request JOIN job USING (token) "
        "WHERE teacher = ?1 AND request_id NOT IN (SELECT request_id FROM reply))"
    )
    requests, tokens, cost = db.execute(query, [teacher, but]).fetchone()
    return Spent(requests, int(tokens), cost)


def _committed(db: sqlite3.Connection, teacher: str) -> Spent:
    spent, aside = _spent(db, teacher), _aside(db, teacher)
    return Spent(
        spent.requests + aside.requests, spent.tokens + aside.tokens, spent.cost + aside.cost
    )


def _remedy(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return (
            "the file is damaged and was left as it is: keep it, try `sqlite3 FILE .recover`, or "
            "name another file"
        )
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE):
        return "make room on the disk and run again: all that was answered before is kept"
    return "check that the file can be written and that no other program locks it"


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
