"""Who stays: the leader rule.

A record is removed when it duplicates a record that is KEPT. Comparing with removed records too
lets chains of near-copies eat records that resemble nothing kept, and removing connected components
does the same at scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kyara_kedro.content import content_id
from kyara_kedro.records import DUPLICATE, METHODS
from kyara_kedro.similarity.pairs import connected

Rows = NDArray[np.int64]


class Removals(NamedTuple):
    """Records that go.

    Attributes:
        removed: The records.
        kept: The kept record that each one duplicates.
        similarity: How similar the two are, in (0, 1].
    """

    removed: Rows
    kept: Rows
    similarity: NDArray[np.float64]


def rank(ids: pl.Series, quality: pl.Series, characters: Rows) -> Rows:
    """Place of each record in the order of quality, then length, then id; 0 is the best."""
    table = pl.DataFrame({"quality": quality, "characters": characters, "id": ids})
    order = table.with_row_index("row").sort(
        pl.col("quality").fill_nan(None),
        "characters",
        "id",
        descending=[True, True, False],
        nulls_last=True,
    )["row"]
    ranks = np.empty(len(order), np.int64)
    ranks[order.to_numpy()] = np.arange(len(order))
    return ranks


def remove_followers(
    buckets: Rows, members: Rows, similarity: Callable[[Rows, Rows], NDArray[np.float64]]
) -> Removals:
    """Apply the leader rule to groups of records that may be duplicates, comparing few of them.

    Records are numbered by rank, 0 the best. In each round the records that lead every bucket they
    are still in are certain to stay; they are compared with the other members of their buckets,
    take their duplicates out and leave. A bucket of m copies so costs m comparisons, not m^2.

    Args:
        buckets: Bucket of each entry.
        members: Record of each entry.
        similarity: Similarity of pairs (kept, candidate), 0 where they are no duplicates.
    """
    order = np.lexsort((members, buckets))
    buckets, members = buckets[order], members[order]
    records = int(members.max()) + 1 if len(members) else 0
    active = np.ones(records, np.bool_)
    found = [_nothing()]
    while True:
        left = active[members]
        buckets, members = buckets[left], members[left]
        sizes = np.diff(np.flatnonzero(np.diff(buckets, prepend=-1)), append=len(buckets))
        crowded = np.repeat(sizes > 1, sizes)
        buckets, members = buckets[crowded], members[crowded]
        if not len(members):
            break
        sizes = sizes[sizes > 1]
        heads = members[np.cumsum(sizes) - sizes]
        leads = np.bincount(heads, minlength=records) == np.bincount(members, minlength=records)
        head = np.repeat(heads, sizes)
        compared = leads[head] & (head != members)
        removed, kept = np.divmod(np.unique(members[compared] * records + head[compared]), records)
        nearest = _nearest(Removals(removed, kept, similarity(kept, removed)))
        found.append(nearest)
        active[heads[leads[heads]]] = False
        active[nearest.removed] = False
    return Removals(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _nothing() -> Removals:
    return Removals(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def _nearest(pairs: Removals) -> Removals:
    """Of each record's duplicates keep the most similar, the better ranked of equals."""
    order = np.lexsort((pairs.kept, -pairs.similarity, pairs.removed))
    order = order[pairs.similarity[order] > 0]
    first = order[np.diff(pairs.removed[order], prepend=-1) > 0]
    return Removals(pairs.removed[first], pairs.kept[first], pairs.similarity[first])


def resolve(pairs: pl.DataFrame, thresholds: Mapping[str, float]) -> pl.DataFrame:
    """Choose who stays among records that are alike.

    From the best record on, each one stays unless it is alike to a better one that stays. So no
    group loses all its members, and whoever goes has a record that stands for it: the most similar
    of those that stay, a copy before a lexical and that before a semantic neighbour. A copy of a
    record that goes points to the record that stands for that one.

    Args:
        pairs: A table of :data:`kyara_kedro.records.SIMILAR_PAIR`; the first of each pair is the
            better one. Copies are paired with the best of their group, and with nothing else.
        thresholds: Smallest similarity that counts, by method; 1 for methods that are not named.

    Returns:
        A table of :data:`kyara_kedro.records.DUPLICATE`, one row for each removed record, ordered
        by id.
    """
    counted = pairs.filter(
        pl.col("similarity")
        >= pl.col("method").replace_strict(dict(thresholds), default=1.0, return_dtype=pl.Float64)
    )
    copies = counted.filter(pl.col("method") == "exact").select(
        removed_id="second_id", kept_id="first_id", method="method", similarity="similarity"
    )
    nearby = counted.filter(pl.col("method") != "exact")
    names = pl.concat([nearby["first_id"], nearby["second_id"]]).unique().sort()
    number = pl.DataFrame({"name": names, "number": np.arange(len(names))})
    edges = (
        nearby.join(number.rename({"name": "first_id", "number": "first"}), on="first_id")
        .join(number.rename({"name": "second_id", "number": "second"}), on="second_id")
        .with_columns(step=pl.col("method").replace_strict(METHODS, range(len(METHODS))))
    )
    kept = _leaders(edges["first"].to_numpy(), edges["second"].to_numpy(), len(names))
    followers = (
        edges.filter(pl.Series(kept[edges["first"].to_numpy()], dtype=pl.Boolean))
        .sort("second", "step", pl.col("similarity").neg(), "first")
        .unique("second", keep="first", maintain_order=True)
        .select(
            removed_id="second_id", kept_id="first_id", method="method", similarity="similarity"
        )
    )
    replaced = followers.rename({"removed_id": "kept_id", "kept_id": "final"})
    moved = copies.join(replaced, on="kept_id", how="left", suffix="_of_it").select(
        "removed_id",
        kept_id=pl.coalesce("final", "kept_id"),
        method=pl.coalesce("method_of_it", "method"),
        similarity=pl.coalesce("similarity_of_it", "similarity"),
    )
    found = pl.concat([followers, moved])
    found = found.join(_groups(counted, found), on="removed_id").sort("removed_id")
    ids = [
        content_id("duplicate", *ends) for ends in found.select("removed_id", "kept_id").iter_rows()
    ]
    return found.select(pl.Series("id", ids, dtype=pl.String), *list(DUPLICATE.columns)[1:])


def _leaders(better: Rows, worse: Rows, records: int) -> NDArray[np.bool_]:
    """Which records stay, given all pairs of a better and a worse record that are alike.

    In each round the records without a better neighbour that is still undecided are certain.

    Raises:
        ValueError: the pairs are in no order.
    """
    kept = np.ones(records, np.bool_)
    while len(better):
        waiting = np.zeros(records, np.bool_)
        waiting[worse] = True
        certain = ~waiting[better]
        if not certain.any():
            raise ValueError("the pairs go in a circle: each record is worse than another of them")
        kept[worse[certain]] = False
        open_pairs = kept[better] & kept[worse]
        better, worse = better[open_pairs], worse[open_pairs]
    return kept


def _groups(pairs: pl.DataFrame, removals: pl.DataFrame) -> pl.DataFrame:
    """Name the group of each removed record: everything that pairs connect, by its first kept id.

    Returns:
        Columns removed_id and group_id.
    """
    names = pl.concat([pairs["first_id"], pairs["second_id"]]).unique().sort()
    left, right = (
        names.search_sorted(pairs[side]).to_numpy() for side in ("first_id", "second_id")
    )
    component = connected(left, right, len(names))
    members = pl.DataFrame({"name": names, "component": component})
    stays = members.join(removals, left_on="name", right_on="removed_id", how="anti")
    return (
        members.join(stays.group_by("component").agg(group_id=pl.col("name").min()), on="component")
        .rename({"name": "removed_id"})
        .select("removed_id", "group_id")
    )
