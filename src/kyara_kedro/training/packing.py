"""Which rows share a sequence, so that few places of it stay empty."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Packs:
    """Sequences, each of one or more whole rows.

    Attributes:
        rows: Numbers of the rows, sequence after sequence.
        ends: Where in ``rows`` each sequence ends.
    """

    rows: Numbers
    ends: Numbers

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> Numbers:
        """The rows of a sequence."""
        return self.rows[self.ends[number - 1] if number else 0 : self.ends[number]]


def pack(lengths: NDArray[np.integer], room: int) -> Packs:
    """Put rows into sequences, best fit decreasing over the whole set.

    From the longest to the shortest, a row goes where it leaves the least room, and into a new
    sequence where it fits nowhere (Johnson, 1973; for training, arXiv:2404.10830). Rows of one
    length are placed together: the fullest sequence that takes one of them stays the fullest that
    takes the next, so all sequences with equal room are filled in one step.

    Args:
        lengths: Tokens of each row, [rows].
        room: Tokens of a sequence.

    Returns:
        Every row in exactly one sequence; none is longer than ``room``. The same for the same
        lengths.

    Raises:
        ValueError: a row has no token or more than fit.
    """
    if wrong := np.flatnonzero((lengths < 1) | (lengths > room)).tolist():
        raise ValueError(
            f"row {wrong[0]}: {lengths[wrong[0]]} tokens do not fit into sequences of {room}"
        )
    rows = np.argsort(-lengths, kind="stable")
    sizes, counts = np.unique(-lengths[rows], return_counts=True)
    open_sequences = _Sequences(len(rows), room)
    for size, count, end in zip(-sizes, counts, np.cumsum(counts), strict=True):
        open_sequences.place(rows[end - count : end], int(size))
    of_row = open_sequences.of_row
    return Packs(np.argsort(of_row, kind="stable"), np.cumsum(np.bincount(of_row)))


def fill(packs: Packs, lengths: NDArray[np.integer], room: int) -> float:
    """Share of the sequences' places that hold a token."""
    return float(lengths[packs.rows].sum() / (len(packs) * room))


class _Sequences:
    """Sequences under construction, by the room that they have left."""

    def __init__(self, rows: int, room: int) -> None:
        self.of_row = np.empty(rows, np.int64)
        self._room = room
        self._count = 0
        self._by_room: defaultdict[int, list[Numbers]] = defaultdict(list)
        self._some = np.zeros(room + 1, np.bool_)

    def place(self, rows: Numbers, size: int) -> None:
        """Give each of some rows of one size its sequence."""
        while len(rows):
            left, sequences = self._fullest(size) or self._new(len(rows), size)
            each = left // size
            whole, more = divmod(min(len(rows), len(sequences) * each), each)
            taken = whole * each + more
            self.of_row[rows[:taken]] = np.repeat(sequences, each)[:taken]
            rows = rows[taken:]
            self._leave(left - each * size, sequences[:whole])
            self._leave(left - more * size, sequences[whole : whole + (more > 0)])
            self._leave(left, sequences[whole + (more > 0) :])

    def _fullest(self, size: int) -> tuple[int, Numbers] | None:
        """The least room that takes a row, and the sequences that have it."""
        left = size + int(self._some[size:].argmax())
        if not self._some[left]:
            return None
        self._some[left] = False
        return left, np.concatenate(self._by_room.pop(left))

    def _new(self, rows: int, size: int) -> tuple[int, Numbers]:
        """Empty sequences for so many rows."""
        first = self._count
        self._count -= -rows // (self._room // size)
        return self._room, np.arange(first, self._count)

    def _leave(self, left: int, sequences: Numbers) -> None:
        if len(sequences):
            self._by_room[left].append(sequences)
            self._some[left] = True
