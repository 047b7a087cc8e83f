"""Document frequencies: in how many passages each term stands.

They are kept on our side and not left to Qdrant's IDF modifier, which counts deleted passages until
its optimiser has run, so that scores depend on what the knowledge base holds and on nothing else.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_PENDING = 1 << 24
"""Terms that wait to be merged, at most: a quarter of a gigabyte."""


@dataclass(frozen=True)
class TermCounts:
    """In how many of the passages each term stands.

    Attributes:
        passages: Number of passages.
        terms: Terms in ascending order.
        holding: For each term, passages that hold it.
    """

    passages: int = 0
    terms: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    holding: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))

    def of(self, terms: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Passages that hold each of some terms, 0 for a term that no passage has."""
        if not len(self.terms):
            return np.zeros(len(terms), np.int64)
        places = np.searchsorted(self.terms, terms).clip(max=len(self.terms) - 1)
        return np.where(self.terms[places] == terms, self.holding[places], 0).astype(np.int64)

    def to_bytes(self) -> bytes:
        """Pack the counts: steps between terms, then counts, compressed."""
        steps = np.diff(self.terms, prepend=np.uint32(0))
        head = np.array([self.passages], "<u8").tobytes()
        body = np.concatenate([steps, self.holding]).astype("<u4").tobytes()
        return zlib.compress(head + body, 1)

    @classmethod
    def from_bytes(cls, packed: bytes) -> "TermCounts":
        """Unpack what `to_bytes` packed."""
        raw = zlib.decompress(packed)
        steps, holding = np.frombuffer(raw, "<u4", offset=8).reshape(2, -1)
        return cls(int(np.frombuffer(raw, "<u8", 1)[0]), np.cumsum(steps, dtype=np.uint32), holding)


class TermCounter:
    """Adds passages to counts and takes them away."""

    def __init__(self, start: TermCounts) -> None:
        """Count on from what is already there."""
        self._passages = start.passages
        self._terms = [start.terms]
        self._changes = [start.holding.astype(np.int64)]
        self._pending = 0

    def add(self, vectors: Iterable[NDArray[np.uint32]], sign: int = 1) -> None:
        """Count passages in, or out when `sign` is -1.

        Args:
            vectors: The distinct terms of each passage.
            sign: 1 or -1.
        """
        found = list(vectors)
        terms, counts = np.unique(np.concatenate([*found, self._terms[0][:0]]), return_counts=True)
        self._passages += sign * len(found)
        self._terms.append(terms)
        self._changes.append(sign * counts)
        self._pending += len(terms)
        if self._pending > _PENDING:
            self._merge()

    def counts(self) -> TermCounts:
        """What is counted so far."""
        self._merge()
        return TermCounts(self._passages, self._terms[0], self._changes[0].astype(np.uint32))

    def _merge(self) -> None:
        terms, places = np.unique(np.concatenate(self._terms), return_inverse=True)
        changes = np.concatenate(self._changes)
        holding = np.bincount(places, changes, len(terms)).astype(np.int64)
        self._terms, self._changes = [terms[holding > 0]], [holding[holding > 0]]
        self._pending = 0
