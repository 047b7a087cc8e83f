"""Near-duplicates by shared token n-grams: sketches find candidates, exact Jaccard decides.

Chinese characters and Latin words are the tokens, so unsegmented text works as it is. Short texts
are compared by 2-grams and longer ones by 3-grams: an edit of one token destroys n of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from kyara_kedro.options import Options
from kyara_kedro.similarity.guards import Claims, claims
from kyara_kedro.similarity.shingles import Hashes, Offsets, TokenTable, chunks, mix, tokenise

Rows = NDArray[np.int64]

SHORT_GRAM, LONG_GRAM = 2, 3
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
_SALT = 0xD6E8FEB86659FD93
_BAND_RECALL = 0.999
_SIGMAS = 5
_CROWD = 64
_COUNTERS = 1 << 22
_PAIRS_AT_ONCE = 4_096


class LexicalOptions(Options):
    """When two texts count as near-duplicates.

    Attributes:
        threshold: Smallest Jaccard similarity of the n-gram sets.
        short_tokens: A pair is compared by 2-grams when its shorter text has fewer tokens than
            this, else by 3-grams.
        minimum_tokens: Texts below this length are only compared exactly.
        sketch_size: Values in a MinHash sketch; 4 bytes each a text.
    """

    threshold: float = Field(0.7, gt=0, le=1)
    short_tokens: int = Field(60, ge=1)
    minimum_tokens: int = Field(12, ge=2)
    sketch_size: int = Field(128, ge=32, le=1024, multiple_of=2)


@dataclass
class Sketches:
    """MinHash sketches of the texts of one n-gram length.

    Attributes:
        rows: The texts that have a sketch.
        values: One sketch per row of ``rows``, shape [rows, sketch_size].
    """

    rows: Rows
    values: NDArray[np.uint32]

    def buckets(self, threshold: float) -> list[tuple[Rows, Rows]]:
        """Group texts that agree on a band of their sketches.

        The bands are as long as a recall of 99.9 % at the threshold allows, which keeps chance
        collisions few.

        Returns:
            For each band (bucket number, text) of every text that shares its bucket.
        """
        found = []
        length = band_length(threshold, self.values.shape[1])
        for start in range(0, self.values.shape[1] - length + 1, length):
            keys = np.zeros(len(self.rows), np.uint64)
            for column in range(start, start + length):
                keys = mix(keys + self.values[:, column])
            _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
            shared = counts[inverse] > 1
            found.append((inverse[shared].astype(np.int64), self.rows[shared]))
        return found


def band_length(threshold: float, size: int) -> int:
    """Longest band whose chance to find a pair at the threshold is still 99.9 %."""
    fitting = [
        length
        for length in range(1, size + 1)
        if 1 - (1 - threshold**length) ** (size // length) >= _BAND_RECALL
    ]
    return max(fitting, default=1)


def sketch(shingles: Hashes, offsets: Offsets, size: int) -> NDArray[np.uint32]:
    """MinHash sketches by fast similarity sketching.

    Every pass throws each shingle of a set into one bin, and passes go on until no bin of the set
    is empty; then bin by bin collision is as unbiased and as concentrated as with independent hash
    functions, in time O(shingles + size log size) a set (Dahlgaard, Knudsen and Thorup, "Fast
    Similarity Sketching", FOCS 2017).

    Args:
        shingles: Hashes of all sets, flat.
        offsets: Where each set begins, and the end; no set is empty.
        size: Bins of a sketch.

    Returns:
        Sketches, shape [sets, size].
    """
    sets = len(offsets) - 1
    values = np.full((sets, size), _EMPTY)
    owner = np.repeat(np.arange(sets), np.diff(offsets))
    for turn in range(2 * size):
        hashes = mix(shingles + np.uint64(turn * _SALT & 0xFFFFFFFFFFFFFFFF))
        bins = (
            (hashes >> np.uint64(32)) * np.uint64(size) >> np.uint64(32)
            if turn < size
            else np.full(len(hashes), turn - size, np.uint64)
        )
        ranked = np.uint64(turn) << np.uint64(32) | hashes & np.uint64(0xFFFFFFFF)
        np.minimum.at(values.reshape(-1), owner * size + bins.astype(np.int64), ranked)
        open_sets = (values == _EMPTY).any(axis=1)
        if not open_sets.any():
            break
        still = open_sets[owner]
        owner, shingles = owner[still], shingles[still]
    return (mix(values) >> np.uint64(32)).astype(np.uint32)


class LexicalIndex:
    """Sketches of a corpus, built chunk by chunk, and the exact check of candidate pairs.

    Only the sketches stay in memory; candidates are tokenised again when they are checked.
    """

    def __init__(self, texts: Sequence[str], options: LexicalOptions) -> None:
        self._texts = texts
        self._options = options
        self._lengths = np.zeros(len(texts), np.int64)
        self._parts: dict[int, list[Sketches]] = {SHORT_GRAM: [], LONG_GRAM: []}
        self._sketches: dict[int, Sketches] = {}
        self._claims: dict[int, Claims] = {}

    def add(self, start: int, table: TokenTable) -> None:
        """Sketch the texts of a chunk that begins at text number ``start``."""
        lengths = table.lengths
        self._lengths[start : start + len(lengths)] = lengths
        options = self._options
        usable = lengths >= options.minimum_tokens
        groups = {
            SHORT_GRAM: usable & (lengths * options.threshold < options.short_tokens),
            LONG_GRAM: usable & (lengths >= options.short_tokens),
        }
        for n, chosen in groups.items():
            shingles, offsets = table.ngrams(n)
            rows = np.flatnonzero(chosen)
            counts = np.diff(offsets)
            kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[rows])])
            values = sketch(
                shingles[np.repeat(chosen, counts)], kept.astype(np.int64), options.sketch_size
            )
            self._parts[n].append(Sketches(rows + start, values))

    def buckets(self) -> list[tuple[Rows, Rows]]:
        """Groups of texts that may be near-duplicates, as (bucket number, text) arrays.

        A crowded band bucket tells of a template, or of very many copies; its texts are joined by
        their rarest n-grams instead, which a template does not have.
        """
        found = []
        for n, parts in self._parts.items():
            sketches = Sketches(
                np.concatenate([part.rows for part in parts]),
                np.concatenate([part.values for part in parts]),
            )
            crowd = np.zeros(len(self._texts), np.bool_)
            for keys, rows in sketches.buckets(self._options.threshold):
                crowded = np.bincount(keys)[keys] > _CROWD if len(keys) else keys > 0
                crowd[rows[crowded]] = True
                found.append((keys[~crowded], rows[~crowded]))
            found.append(self._rare_buckets(n, np.flatnonzero(crowd)))
            self._sketches[n] = sketches
        self._parts.clear()
        return found

    def _rare_buckets(self, n: int, rows: Rows) -> tuple[Rows, Rows]:
        """Group texts that share one of their rarest n-grams (prefix filtering).

        Two sets of Jaccard similarity t or more share an n-gram among the first
        size - ceil(t size) + 1 of each, in any one order of all n-grams; rarest first makes the
        groups small (Chaudhuri, Ganti and Kaushik, ICDE 2006). No pair is missed.
        """
        counts = np.zeros(_COUNTERS, np.int64)
        for _, shingles in self._shingle_sets(n, rows):
            counts += np.bincount(shingles % np.uint64(_COUNTERS), minlength=_COUNTERS)
        keys, members = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for texts, shingles in self._shingle_sets(n, rows):
            frequency = counts[shingles % np.uint64(_COUNTERS)]
            order = np.lexsort((shingles, frequency, texts))
            owner, grams, frequency = texts[order], shingles[order], frequency[order]
            starts = np.flatnonzero(np.diff(owner, prepend=-1))
            sizes = np.diff(starts, append=len(owner))
            prefix = sizes - np.ceil(self._options.threshold * sizes - 1e-9).astype(np.int64) + 1
            place = np.arange(len(owner)) - np.repeat(starts, sizes)
            chosen = (place < np.repeat(prefix, sizes)) & (frequency > 1)
            keys.append(grams[chosen])
            members.append(owner[chosen])
        _, inverse = np.unique(np.concatenate(keys), return_inverse=True)
        return inverse.astype(np.int64), np.concatenate(members)

    def _shingle_sets(self, n: int, rows: Rows) -> Iterator[tuple[Rows, Hashes]]:
        """The distinct n-grams of texts as (text, n-gram) arrays, chunk by chunk."""
        texts = [self._texts[row] for row in rows.tolist()]
        for part in chunks(texts):
            shingles, offsets = tokenise(texts[part]).ngrams(n)
            owner = np.repeat(rows[part], np.diff(offsets))
            order = np.lexsort((shingles, owner))
            owner, shingles = owner[order], shingles[order]
            first = (np.diff(owner, prepend=-1) > 0) | (np.diff(shingles, prepend=shingles[:1]) > 0)
            yield owner[first], shingles[first]

    def similarity(self, left: Rows, right: Rows) -> NDArray[np.float64]:
        """Jaccard similarity of pairs of texts; 0 where the pair is no near-duplicate.

        A pair is none when it falls below the threshold or its claims differ. Where the sketches'
        estimate lies five standard errors below the threshold, the n-grams are not compared.
        The texts come from :meth:`buckets`, which must have been called.
        """
        found = np.zeros(len(left))
        for n in (SHORT_GRAM, LONG_GRAM):
            pairs = np.flatnonzero(self._grams(left, right) == n)
            pairs = pairs[self._promising(n, left[pairs], right[pairs])]
            for start in range(0, len(pairs), _PAIRS_AT_ONCE):
                part = pairs[start : start + _PAIRS_AT_ONCE]
                found[part] = self._jaccard(n, left[part], right[part])
        close = np.flatnonzero(found >= self._options.threshold)
        agree = [self._claim(left[pair]) == self._claim(right[pair]) for pair in close.tolist()]
        similar = np.zeros(len(left))
        similar[close[agree]] = found[close[agree]]
        return similar

    def _grams(self, left: Rows, right: Rows) -> Rows:
        shorter = np.minimum(self._lengths[left], self._lengths[right])
        return np.where(shorter < self._options.short_tokens, SHORT_GRAM, LONG_GRAM)

    def _promising(self, n: int, left: Rows, right: Rows) -> NDArray[np.bool_]:
        sketches, threshold = self._sketches[n], self._options.threshold
        size = self._options.sketch_size
        floor = size * (threshold - _SIGMAS * sqrt(threshold * (1 - threshold) / size))
        first, second = (np.searchsorted(sketches.rows, side) for side in (left, right))
        enough = np.zeros(len(left), np.bool_)
        for start in range(0, len(left), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            equal = sketches.values[first[part]] == sketches.values[second[part]]
            enough[part] = equal.sum(axis=1) >= floor
        return enough

    def _jaccard(self, n: int, left: Rows, right: Rows) -> NDArray[np.float64]:
        rows, place = np.unique(np.concatenate([left, right]), return_inverse=True)
        shingles, offsets = tokenise([self._texts[row] for row in rows.tolist()]).ngrams(n)
        sets = pl.Series(pl.from_arrow(pa.LargeListArray.from_arrays(offsets, shingles)))
        sets = sets.list.unique()
        sizes = sets.list.len().to_numpy().astype(np.float64)
        first, second = place[: len(left)], place[len(left) :]
        shared = (
            pl.DataFrame({"left": sets.gather(first), "right": sets.gather(second)})
            .select(pl.col("left").list.set_intersection("right").list.len())
            .to_series()
            .to_numpy()
        )
        jaccard: NDArray[np.float64] = shared / (sizes[first] + sizes[second] - shared)
        return jaccard

    def _claim(self, row: int) -> Claims:
        row = int(row)
        if row not in self._claims:
            self._claims[row] = claims(self._texts[row])
        return self._claims[row]
