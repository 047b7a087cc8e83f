"""MinHash sketches: sets of n-grams as a few numbers that agree as often as the sets overlap."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.mixing import mix
from kyara_kedro.similarity.buckets import ascending
from kyara_kedro.similarity.shingles import Hashes, Offsets

Rows = NDArray[np.int64]
Values = NDArray[np.uint32]

BITMAP = 4
"""Words of a bitmap."""
_EMPTY = np.uint32(0xFFFFFFFF)
_HALF = np.uint64(32)
_BAND_RECALL = 0.9995
_COMMON_BITS = 20
_COMMON = np.uint64(64 - _COMMON_BITS)


def sketch(shingles: Hashes, offsets: Offsets, size: int) -> Values:
    """MinHash sketches by fast similarity sketching.

    Every pass throws each shingle of a set into one bin, and passes go on until no bin of the set
    is empty; then bin by bin collision is as unbiased and as concentrated as with independent hash
    functions, in time O(shingles + size log size) a set (Dahlgaard, Knudsen and Thorup, "Fast
    Similarity Sketching", FOCS 2017).

    Args:
        shingles: Hashes of all sets, flat and well mixed.
        offsets: Where each set begins, and the end; no set is empty.
        size: Bins of a sketch.

    Returns:
        Sketches, shape [sets, size].
    """
    counts = np.diff(offsets)
    values = np.full((len(counts), size), _EMPTY)
    bins = values.reshape(-1)
    own = np.repeat(np.arange(0, values.size, size, dtype=np.uint64), counts)
    open_sets = np.arange(len(counts))
    for turn in range(2 * size):
        hashes = _again(shingles, turn) if turn else shingles
        place = _bins(hashes, size) if turn < size else np.full_like(hashes, turn - size)
        place += own
        where, ranks = place.view(np.int64), hashes.astype(np.uint32)
        if turn:
            empty = np.flatnonzero(bins.take(where) == _EMPTY)
            where, ranks = where.take(empty), ranks.take(empty)
        np.minimum.at(bins, where, ranks)
        is_open = values.take(open_sets, axis=0).max(axis=1) == _EMPTY
        if not is_open.any():
            break
        still = np.flatnonzero(np.repeat(is_open, counts))
        own, shingles = own.take(still), shingles.take(still)
        counts, open_sets = counts[is_open], open_sets[is_open]
    return values


def _again(hashes: Hashes, turn: int) -> Hashes:
    """Other hashes of well mixed ones, for a turn above 0.

    Their factors are mixed too: those that follow from one another would tie the turns together,
    and the sketches of sets of a few n-grams would scatter.
    """
    other = hashes * (mix(np.array([turn], np.uint64)) | np.uint64(1))
    other ^= other >> _HALF
    return other


def _bins(hashes: Hashes, size: int) -> Hashes:
    """A bin for each hash, by its upper half."""
    bins = hashes >> _HALF
    bins *= np.uint64(size)
    bins >>= _HALF
    return bins


def bitmaps(shingles: Hashes, offsets: Offsets) -> NDArray[np.uint64]:
    """Sets as 256 bits, one of which each n-gram sets.

    Args:
        shingles: Hashes of all sets, flat and well mixed.
        offsets: Where each set begins, and the end.

    Returns:
        Bitmaps, shape [sets, 4].
    """
    bits = np.zeros((len(offsets) - 1, BITMAP), np.uint64)
    owner = np.repeat(np.arange(0, bits.size, BITMAP), np.diff(offsets))
    place = owner + (shingles >> np.uint64(6) & np.uint64(BITMAP - 1)).astype(np.int64)
    np.bitwise_or.at(bits.reshape(-1), place, np.uint64(1) << (shingles & np.uint64(63)))
    return bits


def band_length(threshold: float, size: int) -> int:
    """Longest band whose chance to find a pair at the threshold is still 99.95 %."""
    fitting = [
        length
        for length in range(1, size + 1)
        if 1 - (1 - threshold**length) ** (size // length) >= _BAND_RECALL
    ]
    return max(fitting, default=1)


def band_buckets(values: Values, rows: Rows, threshold: float) -> Iterator[tuple[Rows, Rows]]:
    """Group sketches that agree on a band of their values (Broder 1997; Indyk and Motwani 1998).

    The bands are as long as the recall of 99.95 % at the threshold allows, which keeps chance
    collisions few.

    Args:
        values: Sketches, shape [sets, size].
        rows: The sets that are grouped, in ascending order.
        threshold: Jaccard similarity from which pairs have to be found.

    Yields:
        For each band the bucket number and the place among `rows` of every set that shares its
        bucket, ordered by both.
    """
    size = values.shape[1]
    length = band_length(threshold, size)
    common = np.zeros(1 << _COMMON_BITS, np.bool_)
    for start in range(0, size - length + 1, length):
        keys = np.zeros(len(rows), np.uint64)
        for column in values[:, start : start + length].take(rows, axis=0).T:
            keys = mix(keys + column)
        # numbers are sorted much faster than places; few keys are there twice
        ordered = ascending(keys)
        twice = ordered[1:][ordered[1:] == ordered[:-1]] >> _COMMON
        common[twice] = True
        order = np.flatnonzero(common.take(keys >> _COMMON))
        common[twice] = False
        order = order[np.argsort(keys[order], kind="stable")]
        ordered = keys[order]
        same = ordered[1:] == ordered[:-1]
        shared = np.zeros(len(order), np.bool_)
        shared[1:] |= same
        shared[:-1] |= same
        bucket = np.cumsum(np.diff(ordered, prepend=ordered[:1]) > 0, dtype=np.int64)
        yield bucket[shared], order[shared]


def estimate(one: Values, other: Values) -> NDArray[np.float64]:
    """Share of equal values of pairs of sketches: their Jaccard similarity, more or less."""
    agreed: NDArray[np.float64] = (one == other).mean(axis=1)
    return agreed
