"""What every index behind the knowledge base can do, and the points that it holds."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from kyara_kedro.errors import UserError
from kyara_kedro.knowledge.bm25 import SparseVector
from kyara_kedro.knowledge.counts import TermCounter, TermCounts

SPARSE, DENSE = "bm25", "dense"
PAYLOAD = ("passage_id", "document_id", "title", "language")
FILTERED = ("document_id", "language")
"""Payload fields that a search can be narrowed by."""
PAGE = 1_000
"""Points read at a time."""
_FUSED_DIGITS = 7  # of a fused score; float32 holds no more


class Model(NamedTuple):
    """The encoder of the dense vectors."""

    name: str
    size: int


class Manifest(NamedTuple):
    """What an index holds vectors of.

    Attributes:
        weights: `SparseEncoder.signature` of the sparse vectors.
        model: Encoder of the dense vectors, None without any.
    """

    weights: str
    model: Model | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"weights": self.weights, "model": self.model and self.model._asdict()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Manifest":
        """From plain values."""
        model = values["model"]
        return cls(values["weights"], Model(**model) if model else None)


class Point(NamedTuple):
    """A passage as an index stores it; `id` is a 64-bit hash of its text and payload."""

    id: int
    sparse: SparseVector
    payload: dict[str, str]
    dense: list[float] | None = None

    @classmethod
    def stored(cls, record: Any) -> Self:
        """The point that a record of Qdrant holds, embedded or of a server."""
        sparse = record.vector[SPARSE]
        indices, values = np.array(sparse.indices, np.uint32), np.array(sparse.values, np.float32)
        return cls(
            record.id, SparseVector(indices, values), record.payload, record.vector.get(DENSE)
        )


class Query(NamedTuple):
    """What is searched for: by terms, by meaning when `dense` is there, or by both."""

    sparse: SparseVector
    dense: list[float] | None = None


class Side(NamedTuple):
    """One of the lists that are fused: a named vector, what to search in it, and its weight."""

    using: str
    vector: SparseVector | list[float]
    weight: float


class Fusion(NamedTuple):
    """Reciprocal rank fusion as Qdrant does it: 1 / (position / weight + k - 1), position from 1.

    Attributes:
        k: Qdrant's constant; the k = 60 of Cormack et al. 2009 is 61 here.
        weights: Of the sparse and of the dense list.
        candidates: Length of each list.
    """

    k: int = 61
    weights: tuple[float, float] = (1.0, 1.0)
    candidates: int = 100

    def sides(self, query: Query) -> list[Side]:
        """The lists to fuse for a query with a dense vector; a query without terms has but one."""
        sides = [Side(DENSE, query.dense or [], self.weights[1])]
        if len(query.sparse.indices):
            sides.insert(0, Side(SPARSE, query.sparse, self.weights[0]))
        return sides


class Narrow(NamedTuple):
    """Which passages a search may return.

    Attributes:
        language: Only of this language.
        exclude: Not of these documents.
    """

    language: str | None = None
    exclude: Sequence[str] = ()


class Hit(NamedTuple):
    """A passage that a query found; hits in ascending order are in the order of results.

    Attributes:
        low: Its score, negated.
        passage_id: Its id.
    """

    low: float
    passage_id: str


@dataclass(frozen=True)
class Change:
    """How an index has to change.

    Attributes:
        manifest: Of the new state.
        batches: Points to add, or to put in the place of those with the same id.
        removed: Ids of points to take away.
        renewed: Whether `batches` holds all points of the new state.
    """

    manifest: Manifest
    batches: Iterable[list[Point]]
    removed: Sequence[int]
    renewed: bool


class Index(Protocol):
    """A set of points that can be replaced and searched."""

    name: str
    """Where it lies, for messages."""

    def manifest(self) -> Manifest | None:
        """What the index holds vectors of, None when nothing was built yet."""

    def counts(self) -> TermCounts:
        """Document frequencies of its terms."""

    def ids(self) -> set[int]:
        """Ids of all points; empty when nothing was built yet."""

    def count(self) -> int:
        """Number of points."""

    def points(self, ids: Sequence[int] | None = None) -> Iterator[list[Point]]:
        """Points with their vectors, in pages: all, or those with the ids."""

    def update(self, change: Change) -> None:
        """Bring the index to a new state."""

    def search(
        self, queries: Sequence[Query], limit: int, fusion: Fusion, narrow: Narrow
    ) -> list[list[Hit]]:
        """Best hits of each query, best first, which of several equals come last is open."""

    def close(self) -> None:
        """Release files and connections."""


def counted(change: Change, counter: TermCounter) -> Iterator[list[Point]]:
    """The batches of a change, counted in as they pass."""
    for batch in change.batches:
        counter.add([point.sparse.indices for point in batch])
        yield batch


def count_out(index: Index, change: Change) -> TermCounter:
    """A counter of what stays of an index when a change begins."""
    if change.renewed:
        return TermCounter(TermCounts())
    counter = TermCounter(index.counts())
    for page in index.points(change.removed):
        counter.add([point.sparse.indices for point in page], sign=-1)
    return counter


def best(
    fetch: Callable[[Sequence[Query], int], list[list[Hit]]], queries: Sequence[Query], limit: int
) -> list[list[Hit]]:
    """Search for the best hits in one order: score descending, then passage id.

    More is fetched for as long as the last hit that was fetched equals the last that is wanted, so
    that no index decides which of several equals is left out.
    """
    found: list[list[Hit]] = [[] for _ in queries]
    waiting = [n for n, query in enumerate(queries) if len(query.sparse.indices) or query.dense]
    depth = limit + 1
    while waiting:
        cut = []
        for number, hits in zip(waiting, fetch([queries[n] for n in waiting], depth), strict=True):
            if len(hits) == depth and hits[-1].low == hits[limit - 1].low < 0:
                cut.append(number)
            else:
                found[number] = [hit for hit in sorted(hits)[:limit] if hit.low < 0]
        waiting, depth = cut, depth * 8
    return found


def fused(score: float) -> float:
    """A fused score without the digits that depend on the index."""
    return round(score, _FUSED_DIGITS)


def check_model(index: Index, wanted: Model | None) -> None:
    """Refuse to write vectors of one model beside those of another.

    Raises:
        UserError: the knowledge base was built with another model.
    """
    manifest = index.manifest()
    if manifest is not None and manifest.model != wanted:
        raise UserError(
            f"{index.name} was built with {_named(manifest.model)}, and {_named(wanted)} is "
            "configured: configure that again, or remove the knowledge base (or name another place)"
            " and run ingest"
        )


def _named(model: Model | None) -> str:
    if model is None:
        return "no dense model"
    return f"the dense model '{model.name}' of {model.size} dimensions"
