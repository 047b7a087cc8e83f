"""The events of a tracked run on disk, from where they go to MLflow as soon as it answers.

A run has a folder of its own: its events as lines of JSON that are only ever appended, the files
that belong to it, and what MLflow has already. The process that tracks the run holds a lock, which
the system takes away when the process dies, however it dies.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kyara_kedro.tracking.store import without_password

Event = dict[str, Any]
"""``kind``, ``time`` (milliseconds since 1970) and what belongs to the kind."""
_EVENTS, _SENT, _FILES, _LOCK = "events.jsonl", "sent.json", "files", "lock"
_REFUSED = "refused.jsonl"


@dataclass(frozen=True)
class Sent:
    """What MLflow has of a run.

    Attributes:
        store: Hash of the address of the store that has it.
        run_id: The run's id there, None before it was made.
        position: Bytes of the events that are there.
        ended: Whether the last event is there.
    """

    store: str
    run_id: str | None = None
    position: int = 0
    ended: bool = False


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def new_key() -> str:
    """A key for a run, 32 hexadecimal digits; later ones sort after earlier ones."""
    return f"{now():012x}{uuid.uuid4().hex[:20]}"


class Spool:
    """The events of one run.

    Args:
        folder: Folder of all spools.
        key: The run's key.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.key = key
        self._folder = folder
        self._home = folder / key
        self._lock = FileLock(self._home / _LOCK, timeout=0, thread_local=False)

    @property
    def exists(self) -> bool:
        """Whether there is anything of the run that MLflow may not have."""
        return (self._home / _EVENTS).exists()

    @contextmanager
    def owned(self) -> Iterator[bool]:
        """Keep other processes and threads away; False where one of them owns the run."""
        if not self.exists:
            yield False
            return
        try:
            self._lock.acquire()
        except (Timeout, FileNotFoundError):
            yield False
            return
        try:
            yield self.exists
        finally:
            self._lock.release()

    def begin(self, **event: Any) -> None:
        """Own a new run for as long as this process lives, and write its first event."""
        (self._home / _FILES).mkdir(parents=True)
        self._lock.acquire()
        building = self._home / f".{_EVENTS}"
        building.write_text(_line("start", event), "utf-8")
        building.rename(self._home / _EVENTS)

    def append(self, kind: str, **event: Any) -> None:
        """Write an event behind the others; the system writes it to the disk when it likes."""
        with (self._home / _EVENTS).open("a", encoding="utf-8") as file:
            file.write(_line(kind, event))

    def end(self, status: str, error: str | None, **event: Any) -> None:
        """Write the last event; an error may quote an address with a password."""
        self.append("end", status=status, error=error and without_password(error), **event)
        self.flush()

    def release(self) -> None:
        """Give the run up to whoever sends the rest of it."""
        self._lock.release()

    def end_if_dead(self, status: str, error: str | None) -> None:
        """End a run whose process died, at the time of its last event; half a line is cut off."""
        *_, (whole, last) = self.events()
        os.truncate(self._home / _EVENTS, whole)
        if last["kind"] != "end":
            self.end(status, error, time=last["time"])

    def flush(self) -> None:
        """Have the events on the disk."""
        with (self._home / _EVENTS).open("rb") as file:
            os.fsync(file.fileno())

    def events(self, position: int = 0) -> Iterator[tuple[int, Event]]:
        """The events from a position on, each with the position behind it.

        What is not an event, as a disk that was full leaves it, is left out.
        """
        with (self._home / _EVENTS).open("rb") as file:
            file.seek(position)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                position += len(line)
                with suppress(ValueError):
                    yield position, json.loads(line)

    def keep(self, source: Path) -> None:
        """Copy a file that belongs to the run."""
        building = self._home / f".{source.name}"
        shutil.copyfile(source, building)
        building.rename(self._home / _FILES / source.name)

    def write(self, name: str, text: str, folder: str) -> None:
        """Write a file that belongs to the run, into a folder of its files."""
        place = self._home / _FILES / folder
        place.mkdir(exist_ok=True)
        building = self._home / f".{name}"
        building.write_text(text, "utf-8")
        building.rename(place / name)

    def files(self) -> list[tuple[Path, str]]:
        """The files that MLflow does not have, and the folder that each belongs in."""
        home = self._home / _FILES
        found = sorted(path for path in home.rglob("*") if path.is_file())
        return [(path, path.parent.relative_to(home).as_posix()) for path in found]

    def sent(self, store: str) -> Sent:
        """What a store has; nothing where another one was sent to before."""
        path = self._home / _SENT
        found = Sent(**json.loads(path.read_text("utf-8"))) if path.exists() else Sent(store)
        return found if found.store == store else Sent(store)

    def note(self, sent: Sent) -> None:
        """Remember what a store has."""
        building = self._home / f".{_SENT}"
        building.write_text(json.dumps(asdict(sent)), "utf-8")
        building.rename(self._home / _SENT)

    def refuse(self, event: Event, why: str) -> None:
        """Put aside what MLflow will never take."""
        line = json.dumps({"run": self.key, "why": why, **event}, ensure_ascii=False)
        with (self._folder / _REFUSED).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def remove(self) -> None:
        """Forget the run, of which MLflow has everything."""
        shutil.rmtree(self._home)


def _line(kind: str, event: Event) -> str:
    return json.dumps({"kind": kind, "time": now(), **event}, ensure_ascii=False) + "\n"


def spools(folder: Path) -> list[Spool]:
    """All runs of which MLflow may not have everything, the oldest first."""
    found = sorted(folder.glob(f"*/{_EVENTS}"))
    return [Spool(folder, path.parent.name) for path in found]
