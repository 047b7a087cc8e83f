"""The complexity of InsTag (arXiv:2308.07074), and how the coverage of tags grows with a set."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

_POINTS = 200
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

Curve = list[tuple[float, float]]


class Coverage(NamedTuple):
    """Shares of the unique tags that the first rows cover, from one row to all.

    Attributes:
        ordered: In the order of the rows.
        random: Mean over all orders.
    """

    ordered: Curve
    random: Curve


def complexity(tags: pl.DataFrame) -> dict[str, float | int | None]:
    """How many tags queries have.

    Args:
        tags: A table of :data:`kyara_kedro.records.TAGS`.

    Returns:
        The mean, quantiles by their names (``p5`` to ``p95``), and ``untagged``, the queries
        that none of their tags is left of.
    """
    counts = tags["complexity"]
    return {
        "mean": _rounded(counts.mean()),
        **{f"p{round(100 * q)}": _rounded(counts.quantile(q, "linear")) for q in _QUANTILES},
        "untagged": int((counts == 0).sum()),
    }


def coverage(tags: pl.DataFrame) -> Coverage:
    """How many of the unique tags the first N rows cover, as N grows.

    Of a tag that n of M rows have, N rows in a random order miss all with the probability
    C(M - n, N) / C(M, N) (Hurlbert 1971), so the mean over all orders needs no dice.

    Args:
        tags: Column tags, in the order in which they are taken.
    """
    from scipy.special import gammaln

    rows = tags.height
    held = _occurrences(tags).group_by("tag").agg(first=pl.min("row") + 1, queries=pl.len())
    if held.is_empty():
        return Coverage([], [])
    firsts, queries = (np.sort(held[name].to_numpy()) for name in ("first", "queries"))
    sizes = np.unique(np.geomspace(1, rows, _POINTS).round().astype(np.int64))
    seen = np.searchsorted(firsts, sizes, side="right") / held.height

    def missed(size: int) -> float:
        few = queries[rows - queries >= size]
        logs = (
            gammaln(rows - few + 1)
            - gammaln(rows - few - size + 1)
            + gammaln(rows - size + 1)
            - gammaln(rows + 1)
        )
        return float(np.exp(logs).sum()) / held.height

    expected = np.array([1 - missed(size) for size in sizes.tolist()])
    return Coverage(_curve(sizes, seen), _curve(sizes, expected))


def _occurrences(tags: pl.DataFrame) -> pl.DataFrame:
    """Columns row and tag, one row an occurrence."""
    rows = tags.select(row=pl.int_range(pl.len()), tag="tags")
    return rows.explode("tag", empty_as_null=False).drop_nulls().unique()


def _curve(sizes: NDArray[np.int64], shares: NDArray[np.float64]) -> Curve:
    return list(zip(map(float, sizes.tolist()), shares.tolist(), strict=True))


def _rounded(value: object) -> float | None:
    return round(float(value), 4) if isinstance(value, int | float) else None
