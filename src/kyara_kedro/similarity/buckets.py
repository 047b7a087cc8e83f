"""From buckets of records that may be alike to pairs of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kyara_kedro.similarity.shingles import Hashes

Rows = NDArray[np.int64]
Packed = NDArray[np.uint64]
Test = Callable[[Rows, Rows], NDArray[np.bool_]]

CROWD = 64
"""Members of a bucket of which not every pair is looked at."""
COUNTERS = 1 << 22
_DIVISIONS = 16
_HALF = np.uint64(32)


def crowded(buckets: Rows) -> NDArray[np.bool_]:
    """Which entries are in a crowded bucket; equal buckets stand together."""
    sizes = np.diff(np.flatnonzero(np.diff(buckets, prepend=-1)), append=len(buckets))
    return np.repeat(sizes > CROWD, sizes)


def bucket_pairs(buckets: Rows, members: Rows, plausible: Test) -> Packed:
    """Pairs of members of one bucket that a test lets pass, packed, each once.

    Args:
        buckets: Bucket of each entry; equal buckets stand together.
        members: Record of each entry, below 2^32.
        plausible: Tells of pairs (one, other) which are worth a closer look.
    """
    found = [np.empty(0, np.uint64)]
    for distance in range(1, len(buckets)):
        same = buckets[distance:] == buckets[:-distance]
        if not same.any():
            break
        one, other = members[:-distance][same], members[distance:][same]
        kept = np.flatnonzero(one != other)
        kept = kept[plausible(one[kept], other[kept])]
        found.append(pack(one[kept], other[kept]))
    return distinct(np.concatenate(found))


def ascending(keys: Hashes) -> Hashes:
    """Keys in order, to be read only: polars, which sorts them in a third of numpy's time."""
    return pl.Series(keys).sort().to_numpy()


def distinct(keys: Hashes) -> Hashes:
    """Keys in order, each once."""
    ordered = ascending(keys)
    return ordered[np.diff(ordered, prepend=~ordered[:1]) > 0]


def divisions(parts: Iterable[tuple[Rows, Hashes]]) -> Iterator[tuple[Rows, Rows]]:
    """Group entries by their keys, a division of the keys after another so that sorting is cheap.

    Args:
        parts: Records and their keys.

    Yields:
        For each division the bucket and the record of each entry; equal buckets stand together.
    """
    held: list[list[tuple[NDArray[np.uint32], Hashes]]] = [[] for _ in range(_DIVISIONS)]
    for members, keys in parts:
        which = keys % np.uint64(_DIVISIONS)
        for number, entries in enumerate(held):
            chosen = which == number
            entries.append((members[chosen].astype(np.uint32), keys[chosen]))
    for entries in held:
        if not entries:
            continue
        members, keys = (np.concatenate(column) for column in zip(*entries, strict=True))
        entries.clear()
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        buckets = np.cumsum(np.diff(keys, prepend=keys[:1]) > 0, dtype=np.int64)
        yield buckets, members[order].astype(np.int64)


def pack(one: Rows, other: Rows) -> Packed:
    """Pairs as single numbers that order like (lower, higher)."""
    low, high = np.minimum(one, other), np.maximum(one, other)
    return low.astype(np.uint64) << _HALF | high.astype(np.uint64)


def unpack(pairs: Packed) -> tuple[Rows, Rows]:
    """The lower and the higher record of packed pairs."""
    return (pairs >> _HALF).astype(np.int64), pairs.astype(np.uint32).astype(np.int64)


def count(shingles: Hashes, counters: NDArray[np.uint32]) -> None:
    """Count n-grams; some share a counter."""
    np.add.at(counters, shingles % np.uint64(COUNTERS), np.uint32(1))


def rarest(
    owners: Rows, shingles: Hashes, counters: NDArray[np.uint32], threshold: float
) -> tuple[Rows, Hashes]:
    """The n-grams of each set that two sets of a similarity are sure to share one of.

    Two sets of Jaccard similarity t or more share an n-gram among the first
    size - ceil(t size) + 1 of each, in any one order of all n-grams; rarest first makes the groups
    that share one small (Chaudhuri, Ganti and Kaushik, "A Primitive Operator for Similarity Joins
    in Data Cleaning", ICDE 2006).

    Args:
        owners: The set of each n-gram; those of a set stand together.
        shingles: The n-grams of all sets, no n-gram twice in a set.
        counters: How often n-grams occur in all sets.
        threshold: The similarity t.

    Returns:
        Sets and n-grams, those that no other set has left out.
    """
    frequency = counters[shingles % np.uint64(COUNTERS)]
    order = np.lexsort((shingles, frequency, owners))
    owners, shingles, frequency = owners[order], shingles[order], frequency[order]
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    sizes = np.diff(starts, append=len(owners))
    prefix = sizes - np.ceil(threshold * sizes - 1e-9).astype(np.int64) + 1
    place = np.arange(len(owners)) - np.repeat(starts, sizes)
    chosen = (place < np.repeat(prefix, sizes)) & (frequency > 1)
    return owners[chosen], shingles[chosen]
