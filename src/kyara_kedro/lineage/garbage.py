"""What earlier runs have left: which of it something still needs, and which of it may go.

Things name what they need: a version of a table those that it was made from, a model that which it
started from. What a root needs, however far away, is kept; the rest may be deleted.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from kyara_kedro.reporting.terminal import aligned

Kind = Literal["version", "model", "run", "prompt", "leftover"]
_ORDER: tuple[Kind, ...] = ("version", "model", "run", "prompt", "leftover")
"""What refers goes before what it refers to, so that a kill leaves nothing that points nowhere."""
_UNITS = ("B", "KB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Thing:
    """Something on a disk or in an object store that can be deleted by itself.

    Attributes:
        key: Names it among all things.
        kind: What it is.
        place: Its path or address.
        size: In bytes.
        made: When, as seconds since 1970.
        needs: Keys of what it was made from or refers to.
        delete: Deletes it; what was begun before a kill is not seen any more.
    """

    key: str
    kind: Kind
    place: str
    size: int
    made: float
    delete: Callable[[], None]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What of the things is kept.

    Attributes:
        kept: Things that are kept, each with the reason.
        garbage: Things that may go, in the order in which they have to.
    """

    kept: Mapping[Thing, str]
    garbage: Sequence[Thing]


def sort_out(things: Iterable[Thing], roots: Mapping[str, str]) -> Verdict:
    """Tell what is needed from what is not.

    Args:
        things: All there is.
        roots: Keys of things that are needed for themselves, with the reason; a key that names
            nothing that is there is passed over.
    """
    known = {thing.key: thing for thing in things}
    reasons = {key: why for key, why in roots.items() if key in known}
    waiting = list(reasons)
    while waiting:
        key = waiting.pop(0)
        for needed in known[key].needs:
            if needed in known and needed not in reasons:
                reasons[needed] = f"needed by {key}: {_root(reasons[key])}"
                waiting.append(needed)
    garbage = sorted(
        (thing for key, thing in known.items() if key not in reasons),
        key=lambda thing: (_ORDER.index(thing.kind), -thing.made, thing.key),
    )
    return Verdict({known[key]: why for key, why in reasons.items()}, garbage)


def clear(verdict: Verdict, tell: Callable[[Thing], None]) -> None:
    """Delete what may go.

    Args:
        verdict: What that is.
        tell: Takes each thing that is gone.
    """
    for thing in verdict.garbage:
        thing.delete()
        tell(thing)


def verdict_text(verdict: Verdict, kept: bool) -> str:
    """What may go, and what is kept.

    Args:
        verdict: What was found.
        kept: Whether each thing that is kept is listed, with its reason.
    """
    lines = []
    if kept and verdict.kept:
        rows = [
            (thing.kind, thing.key, size(thing.size), why)
            for thing, why in sorted(verdict.kept.items(), key=lambda item: item[0].key)
        ]
        lines.append(aligned([("保留 kept", "", "", "原因 because"), *rows]))
    if verdict.garbage:
        rows = [
            (thing.kind, thing.key, size(thing.size), _day(thing.made)) for thing in verdict.garbage
        ]
        lines.append(aligned([("可刪除 may go", "", "", "日期 made"), *rows]))
    free = sum(thing.size for thing in verdict.garbage)
    held = sum(thing.size for thing in verdict.kept)
    counts = Counter(thing.kind for thing in verdict.garbage)
    told = (
        ", ".join(
            f"{counts[kind]} {kind}{'s' * (counts[kind] > 1)}" for kind in _ORDER if counts[kind]
        )
        or "nothing"
    )
    lines.append(
        f"可刪除 may go: {told}, {size(free)}; 保留 kept: {len(verdict.kept)} things, {size(held)}"
    )
    return "\n".join(lines)


def remove_folder(folder: Path) -> None:
    """Delete a folder such that it is gone at once; what a kill leaves of it is a leftover."""
    gone = folder.with_name(leftover_name(folder.name))
    folder.rename(gone)
    shutil.rmtree(gone)


def leftover_name(name: str) -> str:
    """Name of something that is being deleted, as killed writers leave it."""
    import os

    return f".{name}.{os.getpid()}.gone.part"


def size(number: float) -> str:
    """A number of bytes for people."""
    for unit in _UNITS[:-1]:
        if number < 1000:
            return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} {_UNITS[-1]}"


def _root(why: str) -> str:
    return why.rpartition(": ")[2]


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
