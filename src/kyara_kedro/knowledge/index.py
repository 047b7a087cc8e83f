"""What every index behind the knowledge base can do, and the points that it holds."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from kyara_kedro.knowledge.bm25 import SparseVector

VECTOR = "bm25"
PAYLOAD = ("passage_id", "document_id", "title", "language")


class Point(NamedTuple):
    """A passage as an index stores it; `id` is a UUID of everything else in it."""

    id: str
    vector: SparseVector
    payload: dict[str, str]


class Hit(NamedTuple):
    """A passage that a query found."""

    passage_id: str
    score: float


class Index(Protocol):
    """A set of points that can be replaced and searched."""

    def ids(self) -> set[str]:
        """Ids of all points; empty when nothing was built yet."""

    def count(self) -> int:
        """Number of points."""

    def update(self, batches: Iterable[list[Point]], removed: Sequence[str]) -> None:
        """Add the points and remove the ids."""

    def search(self, queries: Sequence[SparseVector], limit: int) -> list[list[Hit]]:
        """Best hits of each query, in no particular order among equals."""

    def close(self) -> None:
        """Release files and connections."""
