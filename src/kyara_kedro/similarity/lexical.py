"""Near-duplicates by shared token n-grams: candidates are found cheaply, exact Jaccard decides.

Chinese characters and Latin words are the tokens, so unsegmented text works as it is. Short texts
are compared by 2-grams and longer ones by 3-grams: an edit of one token destroys n of them. In
brief texts a slip destroys too many, so there a letter may be added, dropped or swapped with the
next. To exchange one is no slip: 左 for 右 asks another question.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import sqrt
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from kyara_kedro.mixing import mix
from kyara_kedro.options import Options
from kyara_kedro.shards import WHOLE, Shard
from kyara_kedro.similarity.buckets import (
    COUNTERS,
    Packed,
    Test,
    bucket_pairs,
    count,
    crowded,
    distinct,
    divisions,
    pack,
    rarest,
    unpack,
)
from kyara_kedro.similarity.claims import ClaimDigests
from kyara_kedro.similarity.exact import group_copies, letter_keys
from kyara_kedro.similarity.pairs import Pairs, pair_table
from kyara_kedro.similarity.resolve import rank, remove_followers
from kyara_kedro.similarity.shingles import (
    CHUNK_CHARACTERS,
    Hashes,
    chunks,
    shortened,
    tokenise,
    with_total,
)
from kyara_kedro.similarity.sketches import (
    BITMAP,
    Values,
    band_buckets,
    bitmaps,
    estimate,
    sketch,
)
from kyara_kedro.similarity.text_file import TextFile
from kyara_kedro.text.fold import match_key

Rows = NDArray[np.int64]

SHORT_GRAM, LONG_GRAM = 2, 3
_BRIEF = 20
_SIGMAS = 5
_PAIRS_AT_ONCE, _TOKENS_AT_ONCE = 4_096, 500_000
_TEXTS_AT_ONCE = 2_048
_SKETCHED_AT_ONCE = 5 * CHUNK_CHARACTERS
MANY_SHORT = 250_000
"""Short texts from which on sketches cost less than groups that share a rare n-gram and grow with
the number of texts."""
_ONE, _OWNER = np.uint64(1), np.uint64(44)
"""Bits of an n-gram's hash beside the number of its owner; two texts of 1,000 tokens each share
them by chance once in ten million pairs."""
_BESIDE_OWNER, _BELOW_OWNER = np.uint64(64) - _OWNER, (_ONE << _OWNER) - _ONE
_BESIDE_PAIR = _BESIDE_OWNER + _ONE


class LexicalOptions(Options):
    """When two texts count as near-duplicates.

    Attributes:
        threshold: Smallest Jaccard similarity of the n-gram sets of near-duplicates.
        floor: Pairs are looked for, and kept, from this similarity on, so that the threshold can be
            chosen anew without another search.
        short_tokens: A pair is compared by 2-grams when its shorter text has fewer tokens than
            this, else by 3-grams.
        minimum_tokens: Texts below this length are not compared by n-grams.
        slip_tokens: From this length up to 20 tokens a letter that is added, dropped or swapped
            with the next makes two texts similar by the share of their other letters.
        sketch_size: Values in a MinHash sketch of a longer text; 4 bytes each.
    """

    threshold: float = Field(0.7, gt=0, le=1)
    floor: float = Field(0.6, gt=0, le=1)
    short_tokens: int = Field(60, ge=1)
    minimum_tokens: int = Field(12, ge=2)
    slip_tokens: int = Field(9, ge=2)
    sketch_size: int = Field(128, ge=32, le=1024, multiple_of=2)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.floor > self.threshold:
            raise ValueError(f"floor {self.floor} is above the threshold {self.threshold}")
        return self


def find_pairs(
    frames: Iterable[pl.DataFrame], options: LexicalOptions, shard: Shard = WHOLE
) -> pl.DataFrame:
    """Find copies and near-duplicates in a stream of texts.

    Args:
        frames: Frames with columns id, text, quality (null or NaN: worse than any number) and label
            (only texts of equal labels are compared); at least one frame.
        options: When two texts are near-duplicates.
        shard: Which of the candidates are compared; :func:`join_pairs` puts together what all
            shards have found.

    Returns:
        A table of :data:`kyara_kedro.records.SIMILAR_PAIR`, the better text of each pair first.
        Copies are paired with the best of their group, and near-duplicates are looked for among the
        best ones alone.
    """
    search = LexicalSearch(options)
    columns = []
    for frame in frames:
        search.add(frame["text"].to_list())
        columns.append(frame.select("id", "quality", "label"))
    table = pl.concat(columns)
    return search.pairs(table["id"], table["quality"], table["label"], shard)


def join_pairs(frames: Iterable[pl.DataFrame], parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Put together what the shards of a search have found.

    Args:
        frames: As :func:`find_pairs` takes them.
        parts: Its results, of every shard one.

    Returns:
        The table that it gives of all candidates.
    """
    columns = [
        frame.select("id", "quality", characters=pl.col("text").str.len_chars().cast(pl.Int64))
        for frame in frames
    ]
    table = pl.concat(columns)
    ranks = rank(table["id"], table["quality"], table["characters"].to_numpy())
    places = pl.DataFrame({"place": table["id"], "rank": ranks})
    return (
        pl.concat(parts)
        .unique("id")
        .join(places.rename({"rank": "first"}), left_on="first_id", right_on="place")
        .join(places.rename({"rank": "second"}), left_on="second_id", right_on="place")
        .sort("method", "first", "second")
        .drop("first", "second")
    )


class LexicalSearch:
    """Copies and near-duplicates among texts that are given piece by piece.

    Letter keys, bitmaps and sketches stay in memory, 16, 32 and (for longer texts) 512 bytes a
    text; the texts wait in a file and are tokenised again where they are candidates.
    """

    def __init__(self, options: LexicalOptions) -> None:
        self._options = options
        self._texts = TextFile()
        self._keys = [np.empty((0, 2), np.uint64)]
        self._tokens = [np.empty(0, np.int64)]
        self._characters = [np.empty(0, np.int64)]
        self._sketches = np.empty((1 << 10, options.sketch_size), np.uint32)
        self._sketched = 0
        self._bitmaps = [np.empty((0, BITMAP), np.uint64)]
        self._short_counts = np.zeros(COUNTERS, np.uint32)

    def add(self, texts: Sequence[str]) -> None:
        """Take in the next texts."""
        self._texts.append(texts)
        self._characters.append(np.fromiter(map(len, texts), np.int64, len(texts)))
        for some in chunks(texts, _SKETCHED_AT_ONCE):
            parts = [self._take_in(texts[some][part]) for part in chunks(texts[some])]
            shingles, sizes = (np.concatenate(column) for column in zip(*parts, strict=True))
            offsets = with_total(sizes[sizes > 0])
            self._keep(sketch(shingles, offsets, self._options.sketch_size))

    def _take_in(self, texts: Sequence[str]) -> tuple[Hashes, Rows]:
        """Take in some texts; what is to be sketched, n-grams and their number, is given back."""
        table = tokenise(texts)
        self._keys.append(letter_keys(table))
        self._tokens.append(table.lengths)
        grams, offsets = table.ngrams(SHORT_GRAM, self._is_short(table.lengths))
        count(grams >> _BESIDE_OWNER, self._short_counts)
        self._bitmaps.append(bitmaps(grams, offsets))
        grams, offsets = table.ngrams(LONG_GRAM, self._is_long(table.lengths))
        return grams, np.diff(offsets)

    def pairs(
        self, ids: pl.Series, quality: pl.Series, labels: pl.Series, shard: Shard = WHOLE
    ) -> pl.DataFrame:
        """Find the pairs, given what else :func:`find_pairs` knows of the texts."""
        tokens = np.concatenate(self._tokens)
        ranks = rank(ids, quality, np.concatenate(self._characters))
        claimed = ClaimDigests(self._texts, len(tokens))
        copies = _copies(group_copies(np.concatenate(self._keys), labels, claimed), ranks)
        distinct = np.ones(len(tokens), np.bool_)
        distinct[copies.right] = False
        comparison = _Comparison(
            self._texts,
            self._options,
            tokens,
            labels.rank("dense").to_numpy(),
            ranks,
            self._sketches,
            np.flatnonzero(self._is_long(tokens)),
            np.concatenate(self._bitmaps),
            claimed,
            shard,
        )
        near = comparison.pairs(
            distinct & self._is_long(tokens),
            distinct & self._is_short(tokens),
            distinct & (tokens >= self._options.slip_tokens) & (tokens <= _BRIEF),
            self._short_counts,
        )
        return pl.concat(
            [pair_table("exact", ids, ranks, copies), pair_table("lexical", ids, ranks, near)]
        )

    def _keep(self, sketches: Values) -> None:
        """Put sketches behind the others, in an array that grows where it lies."""
        start, self._sketched = self._sketched, self._sketched + len(sketches)
        if self._sketched > len(self._sketches):
            room = self._sketched * 5 // 4
            self._sketches.resize((room, self._options.sketch_size), refcheck=False)
        self._sketches[start : self._sketched] = sketches

    def _is_long(self, tokens: Rows) -> NDArray[np.bool_]:
        return tokens >= max(self._options.short_tokens, self._options.minimum_tokens)

    def _is_short(self, tokens: Rows) -> NDArray[np.bool_]:
        """Texts of which one below `short_tokens` may be a near-duplicate."""
        within = tokens * self._options.floor < self._options.short_tokens
        return within & (tokens >= self._options.minimum_tokens)


def _copies(groups: Rows, ranks: Rows) -> Pairs:
    """Pairs of the best text of each group of copies and each other one of it."""
    order = np.lexsort((ranks, groups))
    order = order[groups[order] >= 0]
    first = np.diff(groups[order], prepend=-1) > 0
    best = order[np.flatnonzero(first)[np.cumsum(first) - 1]]
    return Pairs(best[~first], order[~first], np.ones(int((~first).sum())))


class _Comparison:
    """Candidate pairs of texts and what decides about them."""

    def __init__(
        self,
        texts: TextFile,
        options: LexicalOptions,
        tokens: Rows,
        labels: Rows,
        ranks: Rows,
        sketches: Values,
        sketched: Rows,
        bitmaps: NDArray[np.uint64],
        claimed: ClaimDigests,
        shard: Shard,
    ) -> None:
        self._shard = shard
        self._texts = texts
        self._options = options
        self._tokens = tokens
        self._labels = labels
        self._ranks = ranks
        self._sketches = sketches
        self._bitmaps = bitmaps
        self._place = np.zeros(len(tokens), np.int64)
        self._place[sketched] = np.arange(len(sketched))
        self._claimed = claimed
        self._plausible = {SHORT_GRAM: self._overlapping, LONG_GRAM: self._promising}

    def pairs(
        self,
        long: NDArray[np.bool_],
        short: NDArray[np.bool_],
        brief: NDArray[np.bool_],
        counts: NDArray[np.uint32],
    ) -> Pairs:
        """Pairs of near-duplicates, of the candidates in the shard.

        Long texts, and very many short ones, are candidates when they agree on a band of their
        sketches. A crowded bucket of a band tells of a template, or of very many copies; its texts,
        and short ones if they are not so many, are joined by their rarest n-grams instead, which a
        template does not have. What is crowded still are copies of one text: each is compared with
        the best ones only.
        """
        rows = np.flatnonzero(long)
        pairs = list(self._banded(LONG_GRAM, rows, self._sketches, self._place[rows]))
        rows = np.flatnonzero(short)
        if len(rows) > MANY_SHORT:
            pairs += self._banded(SHORT_GRAM, rows, self._sketched(rows), np.arange(len(rows)))
        else:
            pairs += self._joined(SHORT_GRAM, rows, counts)
        slips = self._shortened(np.flatnonzero(brief))
        pairs += self._sharing(slips, lambda left, right: self._labels[left] == self._labels[right])
        return _distinct(pairs)

    def _banded(self, n: int, rows: Rows, sketches: Values, places: Rows) -> Iterator[Pairs]:
        """Near-duplicates among texts that agree on a band of their sketches."""
        plausible = self._mine(self._plausible[n])
        crowd, found = np.zeros(len(rows), np.bool_), [np.empty(0, np.uint64)]
        for buckets, members in band_buckets(sketches, places, self._options.floor):
            many = crowded(buckets)
            crowd[members[many]] = True
            found.append(bucket_pairs(buckets[~many], rows[members[~many]], plausible))
        yield self._compared(distinct(np.concatenate(found)))
        counts = np.zeros(COUNTERS, np.uint32)
        for _, shingles in self._sets(n, rows[crowd]):
            count(shingles, counts)
        yield from self._joined(n, rows[crowd], counts)

    def _joined(self, n: int, rows: Rows, counts: NDArray[np.uint32]) -> Iterator[Pairs]:
        """Near-duplicates among texts that share one of their rarest n-grams."""
        grams = (rarest(*part, counts, self._options.floor) for part in self._sets(n, rows))
        return self._sharing(grams, self._plausible[n])

    def _sketched(self, rows: Rows) -> Values:
        """Sketches of the 2-grams of texts."""
        sketches = np.empty((len(rows), self._options.sketch_size), np.uint32)
        start = 0
        for some, grams, offsets in self._grams(SHORT_GRAM, rows):
            sketches[start : start + len(some)] = sketch(grams, offsets, sketches.shape[1])
            start += len(some)
        return sketches

    def _sharing(self, parts: Iterable[tuple[Rows, Hashes]], plausible: Test) -> Iterator[Pairs]:
        """Near-duplicates among texts that share a key, given as (texts, keys)."""
        for number, (buckets, members) in enumerate(divisions(parts)):
            many = crowded(buckets)
            mine = self._mine(plausible)
            yield self._compared(bucket_pairs(buckets[~many], members[~many], mine))
            if number % self._shard.total == self._shard.number - 1:
                yield self._followers(buckets[many], members[many], plausible)

    def _mine(self, plausible: Test) -> Test:
        """A test that pairs of other shards do not pass."""
        if self._shard == WHOLE:
            return plausible

        def test(left: Rows, right: Rows) -> NDArray[np.bool_]:
            share = mix(pack(left, right)) % np.uint64(self._shard.total)
            mine: NDArray[np.bool_] = share == self._shard.number - 1
            mine[mine] = plausible(left[mine], right[mine])
            return mine

        return test

    def _followers(self, buckets: Rows, members: Rows, plausible: Test) -> Pairs:
        """Pairs of the best texts of crowded buckets and what follows them."""
        by_rank = np.argsort(self._ranks)

        def similarity(kept: Rows, candidate: Rows) -> NDArray[np.float64]:
            likely = np.flatnonzero(plausible(by_rank[kept], by_rank[candidate]))
            found = np.zeros(len(kept))
            found[likely] = self._similarity(by_rank[kept[likely]], by_rank[candidate[likely]])
            return np.where(found >= self._options.threshold, found, 0.0)

        followers = remove_followers(buckets, self._ranks[members], similarity)
        return Pairs(by_rank[followers.kept], by_rank[followers.removed], followers.similarity)

    def _promising(self, left: Rows, right: Rows) -> NDArray[np.bool_]:
        """Whether the sketches of long texts agree about as often as they should.

        Five standard errors below the floor are too few.
        """
        floor, size = self._options.floor, self._options.sketch_size
        least = floor - _SIGMAS * sqrt(floor * (1 - floor) / size)
        kept = np.zeros(len(left), np.bool_)
        for start in range(0, len(left), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            values = (self._sketches[self._place[side[part]]] for side in (left, right))
            kept[part] = estimate(*values) >= least
        return kept

    def _overlapping(self, left: Rows, right: Rows) -> NDArray[np.bool_]:
        """Whether texts, one of them short, may share as many 2-grams as they should.

        Each bit in which their bitmaps differ stands for an n-gram that only one of them has.
        """
        floor, tokens = self._options.floor, self._tokens
        grams = tokens[left] + tokens[right] - 2 * (SHORT_GRAM - 1)
        apart = np.bitwise_count(self._bitmaps[left] ^ self._bitmaps[right]).sum(axis=1)
        one_short = np.minimum(tokens[left], tokens[right]) < self._options.short_tokens
        enough: NDArray[np.bool_] = apart <= grams * (1 - floor) / (1 + floor) + 1e-9
        return enough & one_short

    def _compared(self, pairs: Packed) -> Pairs:
        """Those of packed pairs that are near-duplicates."""
        left, right = unpack(pairs)
        similarity = self._similarity(left, right)
        found = similarity > 0
        return Pairs(left[found], right[found], similarity[found])

    def _similarity(self, left: Rows, right: Rows) -> NDArray[np.float64]:
        """Similarity of pairs of texts; 0 where the pair is no near-duplicate.

        A pair is none when it falls below the floor, or its labels or claims differ.
        """
        found = np.zeros(len(left))
        shorter = np.minimum(self._tokens[left], self._tokens[right])
        alike = self._labels[left] == self._labels[right]
        compared = alike & (shorter >= self._options.minimum_tokens)
        for n, meant in (
            (SHORT_GRAM, shorter < self._options.short_tokens),
            (LONG_GRAM, shorter >= self._options.short_tokens),
        ):
            pairs = np.flatnonzero(meant & compared)
            tokens = np.cumsum(self._tokens[left[pairs]] + self._tokens[right[pairs]])
            cuts = np.flatnonzero(np.diff(tokens // _TOKENS_AT_ONCE)) + 1
            for part in np.split(pairs, cuts) if len(pairs) else ():
                found[part] = self._jaccard(n, left[part], right[part])
        brief = alike & (shorter >= self._options.slip_tokens) & (shorter < _BRIEF)
        slips = np.flatnonzero(brief & (found < self._options.threshold))
        found[slips] = np.maximum(found[slips], self._one_slip(left[slips], right[slips]))
        close = np.flatnonzero(found >= self._options.floor)
        agree = self._claimed(left[close]) == self._claimed(right[close])
        similar = np.zeros(len(left))
        similar[close[agree]] = found[close[agree]]
        return similar

    def _jaccard(self, n: int, left: Rows, right: Rows) -> NDArray[np.float64]:
        """Similarity of the n-gram sets of pairs of texts.

        One sort brings each pair's n-grams together, those of both texts side by side.
        """
        rows, place = np.unique(np.concatenate([left, right]), return_inverse=True)
        parts = list(self._grams(n, rows))
        grams = np.concatenate([part[1] for part in parts]) >> _BESIDE_PAIR
        sizes = np.concatenate([np.diff(part[2]) for part in parts])
        bounds = with_total(sizes)
        keys = []
        for which, side in enumerate(place.reshape(2, -1)):
            counts = sizes[side]
            pair = np.repeat(np.arange(len(side), dtype=np.uint64) << _OWNER, counts)
            ends = np.cumsum(counts)
            own = np.arange(ends[-1]) + np.repeat(bounds[side] - (ends - counts), counts)
            keys.append(pair | grams.take(own) << _ONE | np.uint64(which))
        every = distinct(np.concatenate(keys))
        pair = (every >> _OWNER).astype(np.int64)
        both = every[1:] ^ every[:-1] == 1
        common = np.bincount(pair[1:][both], minlength=len(left))
        jaccard: NDArray[np.float64] = common / (np.bincount(pair, minlength=len(left)) - common)
        return jaccard

    def _one_slip(self, left: Rows, right: Rows) -> NDArray[np.float64]:
        """Share of equal letters of texts that are one slip apart, 0 for the others."""
        rows, place = np.unique(np.concatenate([left, right]), return_inverse=True)
        letters = [match_key(text) for text in self._texts.take(rows)]
        return np.array(
            [
                one_slip(letters[one], letters[other])
                for one, other in place.reshape(2, -1).T.tolist()
            ]
        )

    def _shortened(self, rows: Rows) -> Iterator[tuple[Rows, Hashes]]:
        for start in range(0, len(rows), _TEXTS_AT_ONCE):
            wanted = rows[start : start + _TEXTS_AT_ONCE]
            owners, keys = shortened(tokenise(self._texts.take(wanted)))
            yield wanted[owners], keys

    def _grams(self, n: int, rows: Rows) -> Iterator[tuple[Rows, Hashes, Rows]]:
        """Some texts at a time, their n-grams, and n + 1 offsets of the texts in these."""
        for start in range(0, len(rows), _TEXTS_AT_ONCE):
            wanted = rows[start : start + _TEXTS_AT_ONCE]
            texts = self._texts.take(wanted)
            for part in chunks(texts):
                yield wanted[part], *tokenise(texts[part]).ngrams(n)

    def _sets(self, n: int, rows: Rows) -> Iterator[tuple[Rows, Hashes]]:
        """The distinct n-grams of texts as (text, n-gram) arrays, ordered, some texts at a time."""
        for wanted, grams, offsets in self._grams(n, rows):
            owners = np.arange(len(wanted), dtype=np.uint64) << _OWNER
            keys = distinct(np.repeat(owners, np.diff(offsets)) | grams >> _BESIDE_OWNER)
            yield wanted[(keys >> _OWNER).astype(np.int64)], keys & _BELOW_OWNER


def one_slip(one: str, other: str) -> float:
    """Share of equal letters of texts that are a slip apart; 0 for others and for equal ones.

    A slip adds or drops a letter, or swaps two neighbours.
    """
    shorter = min(len(one), len(other))
    start = next((n for n in range(shorter) if one[n] != other[n]), shorter)
    end = next((n for n in range(shorter - start) if one[-1 - n] != other[-1 - n]), shorter - start)
    rest = one[start : len(one) - end], other[start : len(other) - end]
    swapped = len(rest[0]) == 2 and rest[0] == rest[1][::-1]
    added = sorted(map(len, rest)) == [0, 1]
    return 1 - 1 / max(len(one), len(other)) if added or swapped else 0.0


def _distinct(parts: Sequence[Pairs]) -> Pairs:
    """All pairs, each once, the lower row left."""
    left, right, similarity = (np.concatenate(column) for column in zip(*parts, strict=True))
    packed, first = np.unique(pack(left, right), return_index=True)
    return Pairs(*unpack(packed), similarity[first])
