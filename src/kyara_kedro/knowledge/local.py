"""The index in qdrant-client's local mode, searched in this process.

Local mode keeps the points; for a sparse query it would walk all of them in Python. Here they are
matrices, built when the first query comes, and searched exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.knowledge.bm25 import SparseVector
from kyara_kedro.knowledge.client import ServerIndex
from kyara_kedro.knowledge.index import (
    Change,
    Fusion,
    Hit,
    Narrow,
    Query,
    best,
    fused,
)


@dataclass(frozen=True)
class _Matrices:
    """All points, in the order of their passage ids.

    Attributes:
        names: Passage ids.
        documents: Document ids.
        languages: Languages.
        terms: Terms in ascending order.
        sparse: scipy CSR array of shape [terms, passages].
        dense: Shape [passages, dimensions], or None.
    """

    names: list[str]
    documents: NDArray[np.str_]
    languages: NDArray[np.str_]
    terms: NDArray[np.uint32]
    sparse: Any
    dense: NDArray[np.float32] | None


class LocalIndex(ServerIndex):
    """Points in a local collection, in a folder or in memory."""

    _matrices: _Matrices | None = None

    def update(self, change: Change) -> None:
        """Add points, then remove those that are gone."""
        super().update(change)
        self._matrices = None

    def search(
        self, queries: Sequence[Query], limit: int, fusion: Fusion, narrow: Narrow
    ) -> list[list[Hit]]:
        """Best hits of each query."""
        if self._matrices is None:
            self._matrices = _read(self)
        matrices = self._matrices
        allowed = np.ones(len(matrices.names), np.bool_)
        if narrow.language is not None:
            allowed &= matrices.languages == narrow.language
        if narrow.exclude:
            allowed &= ~np.isin(matrices.documents, list(narrow.exclude))
        lists = fusion._replace(candidates=max(fusion.candidates, limit))

        def fetch(some: Sequence[Query], depth: int) -> list[list[Hit]]:
            sparse = _sparse_lists(matrices, allowed, some, max(depth, lists.candidates))
            return [
                _named(matrices, *ranked, depth)
                if query.dense is None
                else _fused(matrices, allowed, query, lists, ranked[0], depth)
                for query, ranked in zip(some, sparse, strict=True)
            ]

        return best(fetch, queries, limit)

    def _index_payload(self) -> None:
        """Local mode has no payload indexes."""


def _read(index: LocalIndex) -> _Matrices:
    from scipy.sparse import csr_array

    points = sorted(
        (point for page in index.points() for point in page), key=lambda p: p.payload["passage_id"]
    )
    sizes = [len(point.sparse.indices) for point in points]
    indices = np.concatenate([np.empty(0, np.uint32), *(p.sparse.indices for p in points)])
    values = np.concatenate([np.empty(0, np.float32), *(p.sparse.values for p in points)])
    terms, columns = np.unique(indices, return_inverse=True)
    rows = np.repeat(np.arange(len(points)), sizes)
    dense = [point.dense for point in points if point.dense is not None]
    return _Matrices(
        [point.payload["passage_id"] for point in points],
        np.array([point.payload["document_id"] for point in points], np.str_),
        np.array([point.payload["language"] for point in points], np.str_),
        terms,
        csr_array((values, (columns, rows)), (len(terms), len(points))),
        np.array(dense, np.float32) if dense else None,
    )


Ranked = tuple[NDArray[np.int64], NDArray[np.float64]]


def _sparse_lists(
    matrices: _Matrices, allowed: NDArray[np.bool_], queries: Sequence[Query], depth: int
) -> list[Ranked]:
    """Rows and scores of the best passages by terms."""
    from scipy.sparse import csr_array

    vectors = [query.sparse for query in queries]
    ends = np.cumsum([0, *(len(vector.indices) for vector in vectors)])
    indices = np.concatenate([vector.indices for vector in vectors])
    values = np.concatenate([vector.values for vector in vectors])
    if not len(matrices.terms):
        return [(np.empty(0, np.int64), np.empty(0))] * len(queries)
    columns = np.searchsorted(matrices.terms, indices).clip(max=len(matrices.terms) - 1)
    values = np.where(matrices.terms[columns] == indices, values, np.float32(0))
    scores = csr_array((values, columns, ends), (len(queries), len(matrices.terms)))
    found = scores @ matrices.sparse
    lists = []
    for start, end in zip(found.indptr[:-1], found.indptr[1:], strict=True):
        rows, weights = found.indices[start:end], found.data[start:end]
        seen = allowed[rows] & (weights > 0)
        lists.append(_top(rows[seen], weights[seen], depth))
    return lists


def _top(rows: NDArray[Any], scores: NDArray[Any], depth: int) -> Ranked:
    """The best rows, equal scores in the order of the rows."""
    if len(rows) > depth:
        least = np.partition(scores, -depth)[-depth]
        rows, scores = rows[scores >= least], scores[scores >= least]
    order = np.lexsort((rows, -scores))[:depth]
    return rows[order].astype(np.int64), scores[order].astype(np.float64)


def _fused(
    matrices: _Matrices,
    allowed: NDArray[np.bool_],
    query: Query,
    fusion: Fusion,
    by_terms: NDArray[np.int64],
    depth: int,
) -> list[Hit]:
    """Hits of a query by both lists, see `Fusion`."""
    scores = np.zeros(len(matrices.names))
    for side in fusion.sides(query):
        if isinstance(side.vector, SparseVector):
            rows = by_terms[: fusion.candidates]
        elif matrices.dense is not None:
            own = np.flatnonzero(allowed)
            near = matrices.dense[own] @ np.array(side.vector, np.float32)
            rows = _top(own, near, fusion.candidates)[0]
        places = np.arange(1, len(rows) + 1)
        scores[rows] += 1 / (places / side.weight + fusion.k - 1)
    rows, found = _top(*((kept := np.flatnonzero(scores)), scores[kept]), depth)
    return [hit._replace(low=-fused(-hit.low)) for hit in _named(matrices, rows, found, depth)]


def _named(
    matrices: _Matrices, rows: NDArray[np.int64], scores: NDArray[np.float64], depth: int
) -> list[Hit]:
    names = map(matrices.names.__getitem__, rows[:depth].tolist())
    return list(map(Hit, (-scores[:depth]).tolist(), names))
