"""Who stays: the leader rule, and duplicates of a table of texts found by it.

A record is removed when it duplicates a record that is KEPT. Comparing with removed records too
lets chains of near-copies eat records that resemble nothing kept, and removing connected components
does the same at scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kyara_kedro.content import content_id
from kyara_kedro.records import DUPLICATE
from kyara_kedro.similarity.exact import group_copies, letter_keys
from kyara_kedro.similarity.lexical import LexicalIndex, LexicalOptions
from kyara_kedro.similarity.shingles import chunks, tokenise

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Removals:
    """Records that go, in order of rank.

    Attributes:
        removed: The records.
        kept: The kept record that each one duplicates.
        similarity: How similar the two are, in (0, 1].
    """

    removed: Rows
    kept: Rows
    similarity: NDArray[np.float64]

    def take(self, rows: Rows) -> Removals:
        """The removals at the given positions."""
        return Removals(self.removed[rows], self.kept[rows], self.similarity[rows])


_DEFAULT = LexicalOptions()


def remove_followers(
    buckets: Rows, members: Rows, similarity: Callable[[Rows, Rows], NDArray[np.float64]]
) -> Removals:
    """Apply the leader rule to groups of records that may be duplicates.

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
    found: list[Removals] = []
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
    return _join(found)


def _nearest(pairs: Removals) -> Removals:
    """Of each record's duplicates keep the most similar, the better ranked of equals."""
    order = np.lexsort((pairs.kept, -pairs.similarity, pairs.removed))
    order = order[pairs.similarity[order] > 0]
    first = np.diff(pairs.removed[order], prepend=-1) > 0
    return pairs.take(order[first])


def _join(parts: list[Removals]) -> Removals:
    if not parts:
        return Removals(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    whole = Removals(
        np.concatenate([part.removed for part in parts]),
        np.concatenate([part.kept for part in parts]),
        np.concatenate([part.similarity for part in parts]),
    )
    return whole.take(np.argsort(whole.removed))


def rank(texts: pl.DataFrame) -> pl.DataFrame:
    """Sort texts as the leader rule wants them: by quality, then length, then id."""
    return texts.sort(
        pl.col("quality").fill_nan(None),
        pl.col("text").str.len_chars(),
        "id",
        descending=[True, True, False],
        nulls_last=True,
    )


def find_duplicates(texts: pl.DataFrame, options: LexicalOptions = _DEFAULT) -> pl.DataFrame:
    """Find exact copies and lexical near-duplicates in one pass of the leader rule.

    Args:
        texts: Columns id, text and quality (null or NaN: worse than any number).
        options: When two texts are near-duplicates.

    Returns:
        A table of :data:`kyara_kedro.records.DUPLICATE`, one row for each removed record.
    """
    if texts.is_empty():
        return DUPLICATE.frame()
    ranked = rank(texts)
    contents = ranked["text"].to_list()
    index = LexicalIndex(contents, options)
    keys: list[bytes | None] = []
    for part in chunks(contents):
        table = tokenise(contents[part])
        keys.extend(letter_keys(table))
        index.add(part.start, table)
    copies = group_copies(contents, keys)

    def similarity(kept: Rows, candidate: Rows) -> NDArray[np.float64]:
        copy = (copies[kept] == copies[candidate]) & (copies[kept] >= 0)
        scores: NDArray[np.float64] = copy.astype(np.float64)
        scores[~copy] = index.similarity(kept[~copy], candidate[~copy])
        return scores

    rows = np.flatnonzero(copies >= 0)
    removals = remove_followers(*_number([(copies[rows], rows), *index.buckets()]), similarity)
    ids = ranked["id"].to_list()
    method = np.where(copies[removals.removed] == copies[removals.kept], "exact", "lexical")
    return DUPLICATE.frame(
        {
            "id": content_id("duplicate", ids[removed], ids[kept]),
            "removed_id": ids[removed],
            "kept_id": ids[kept],
            "method": method,
            "similarity": score,
        }
        for removed, kept, method, score in zip(
            removals.removed.tolist(),
            removals.kept.tolist(),
            method.tolist(),
            removals.similarity.tolist(),
            strict=True,
        )
    )


def _number(families: list[tuple[Rows, Rows]]) -> tuple[Rows, Rows]:
    """Join families of buckets so that no two share a number."""
    buckets, members, used = [], [], 0
    for bucket, member in families:
        buckets.append(bucket + used)
        members.append(member)
        used += int(bucket.max()) + 1 if len(bucket) else 0
    return np.concatenate(buckets), np.concatenate(members)
