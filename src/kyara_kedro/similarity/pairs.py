"""Pairs of records that are alike, as parallel arrays and as a table."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kyara_kedro.content import content_id
from kyara_kedro.records import SIMILAR_PAIR

Rows = NDArray[np.int64]


class Pairs(NamedTuple):
    """Pairs of rows of one table, each pair once.

    Attributes:
        left: One row of each pair; the lower one, where nothing else is said.
        right: The other row.
        similarity: How alike the two are, in (0, 1].
    """

    left: Rows
    right: Rows
    similarity: NDArray[np.float64]


def connected(left: Rows, right: Rows, count: int) -> NDArray[np.int32]:
    """Number of the connected component of each of ``count`` rows, where pairs are edges."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.ones(len(left), np.bool_), (left, right)
    graph = coo_array(edges, shape=(count, count))
    labels: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return labels


def pair_table(method: str, ids: pl.Series, ranks: Rows, pairs: Pairs) -> pl.DataFrame:
    """Name the records of pairs, the better one of each first.

    Args:
        method: How they were found.
        ids: Ids of the rows.
        ranks: Their places in the order of quality, 0 the best.
        pairs: Pairs of rows.

    Returns:
        A table of :data:`kyara_kedro.records.SIMILAR_PAIR`, ordered by rank.
    """
    swap = ranks[pairs.left] > ranks[pairs.right]
    first = np.where(swap, pairs.right, pairs.left)
    second = np.where(swap, pairs.left, pairs.right)
    order = np.lexsort((ranks[second], ranks[first]))
    names = ids.gather(first[order]), ids.gather(second[order])
    return pl.DataFrame(
        {
            "id": [content_id(method, *pair) for pair in zip(*names, strict=True)],
            "first_id": names[0],
            "second_id": names[1],
            "method": pl.repeat(method, len(order), dtype=pl.String, eager=True),
            "similarity": pairs.similarity[order],
        },
        schema=SIMILAR_PAIR.schema,
    )
