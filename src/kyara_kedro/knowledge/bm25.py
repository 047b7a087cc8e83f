"""BM25 as sparse vectors that every index adds up to the same score, without a word segmenter.

A Chinese text is indexed by its characters and its pairs of neighbouring characters, other scripts
by words, all on folded text, so a Simplified question finds a Traditional passage. A passage's
vector carries the saturated term frequencies, a query's the inverse document frequencies (Robertson
and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009).

Both are rounded to multiples of powers of two, such that every product and every sum of a search is
a float32 without rounding. A score is then the same in every engine and in every order of addition.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, log, log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.knowledge.counts import TermCounts
from kyara_kedro.text import script
from kyara_kedro.text.fold import FoldedTexts, fold, fold_many

_LENGTH_STEP = 1.5
_PAIR = np.uint64(1 << 42)
_WORD = np.uint64(1 << 43)
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_NOTHING, _IN_WORD, _IDEOGRAPH = range(3)

_PASSAGE_BITS = 9
"""Of a passage's weight, so that half precision holds it too."""
_QUERY_BITS = 24 - _PASSAGE_BITS
"""Of a query's weights together: float32 has 24 bits for the sum of the products."""
_WORD_WEIGHT = 3
"""Of a word of letters or digits: as much as the three terms of two Chinese characters."""

_ASKING = (
    "請問|為什麼|為甚麼|什麼|甚麼|多少|如何|怎麼|怎樣|是否|為何|何時|何處|何地|何人|何者|誰"
    r"|哪(?!吒)[些個裡裏兒位種一]?|[嗎呢](?=\W|$)|幾(?=[個年月日次人位種歲條座名隻])"
)
"""Words that only ask. 哪吒 is a name, and 幾 alone is in 幾何, 呢 in 呢喃."""


class SparseVector(NamedTuple):
    """Weights of terms: unique indices in ascending order, and their values."""

    indices: NDArray[np.uint32]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class SparseEncoder:
    """Turn passages and queries into BM25 vectors.

    Attributes:
        average_length: Terms in an average passage, see :func:`average_length`.
        k1: How slowly repeated terms saturate.
        b: How much long passages are held back, 0 to 1.
    """

    average_length: float
    k1: float
    b: float

    @property
    def signature(self) -> str:
        """Everything beside the text that a passage's vector depends on."""
        return f"bm25 3 {self.average_length:.6g} {self.k1:g} {self.b:g}"

    def passages(self, texts: Sequence[str]) -> list[SparseVector]:
        """Vectors of passages: tf (k1 + 1) / (tf + k1 (1 - b + b length / average length))."""
        owners, terms, _ = _terms(fold_many(texts))
        keys = np.sort(owners.astype(np.uint64) << np.uint64(32) | terms)
        first = _first(keys)
        counts = np.diff(first, append=len(keys))
        owners, terms = (
            (keys[first] >> np.uint64(32)).astype(np.int64),
            keys[first].astype(np.uint32),
        )
        lengths = np.bincount(owners, counts, len(texts))[owners] / self.average_length
        weights = counts * (self.k1 + 1) / (counts + self.k1 * (1 - self.b + self.b * lengths))
        step = 2.0 ** (ceil(log2(self.k1 + 1)) - _PASSAGE_BITS)
        values = (np.maximum(np.rint(weights / step), 1) * step).astype(np.float32)
        ends = np.searchsorted(owners, np.arange(1, len(texts)))
        pairs = zip(np.split(terms, ends), np.split(values, ends), strict=True)
        return [SparseVector(*pair) for pair in pairs] if texts else []

    @staticmethod
    def queries(texts: Sequence[str], counts: TermCounts) -> list[SparseVector]:
        """Vectors of queries: log(1 + (N - n + 0.5) / (n + 0.5)) of each of their terms.

        N is the number of passages and n of those that hold the term. Words that only ask (什麼,
        誰) are left out, unless nothing else is there; so are terms that no passage has.
        """
        owners, terms, words = _counted(*_terms(fold_many([_told(text) for text in texts])))
        holding = counts.of(terms)
        weights = np.log1p((counts.passages - holding + 0.5) / (holding + 0.5))
        weights *= np.where(words > 0, _WORD_WEIGHT, 1)
        weights[holding == 0] = 0
        total = np.bincount(owners, weights, len(texts))
        step = 2.0 ** (np.ceil(np.log2(np.maximum(total, 1))) - _QUERY_BITS + 1)
        values = (np.rint(weights / step[owners]) * step[owners]).astype(np.float32)
        owners, terms, values = owners[values > 0], terms[values > 0], values[values > 0]
        ends = np.searchsorted(owners, np.arange(1, len(texts)))
        pairs = zip(np.split(terms, ends), np.split(values, ends), strict=True)
        return [SparseVector(*pair) for pair in pairs] if texts else []


def average_length(terms: int, passages: int) -> float:
    """Mean number of terms of a passage, rounded to a power of 1.5.

    The grid keeps the vectors of old passages valid when new ones move the mean a little, and costs
    nothing: on DRCD recall@1 moves by 0.1 points when the mean is off by a quarter.
    """
    mean = max(1.0, terms / max(1, passages))
    return float(_LENGTH_STEP ** round(log(mean, _LENGTH_STEP)))


def term_total(texts: Sequence[str]) -> int:
    """Number of terms in all texts together."""
    kinds = _kinds()[fold_many(texts).points]
    ideographs = kinds == _IDEOGRAPH
    starts = (kinds[1:] == _IN_WORD) & (kinds[:-1] != _IN_WORD)
    first = len(kinds) > 0 and kinds[0] == _IN_WORD
    return int(ideographs.sum() + (ideographs[1:] & ideographs[:-1]).sum() + starts.sum() + first)


def _told(query: str) -> str:
    """A folded query without the words that only ask."""
    folded = fold(query)
    told = _asking().sub("，", folded)
    return told if any(map(str.isalnum, told)) else folded


@cache
def _asking() -> re.Pattern[str]:
    return re.compile(fold(_ASKING.replace("\\W", "\0")).replace("\0", "\\W"))


def _terms(
    folded: FoldedTexts,
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.bool_]]:
    """Characters, pairs of neighbours and words of texts: their text, their hash, is it a word.

    Two terms share a hash once in 2^32; their counts are then added.
    """
    points = folded.points.astype(np.uint64)
    owners = np.repeat(np.arange(len(folded.lengths)), folded.lengths + 1)
    kinds = _kinds()[folded.points]
    ideographs = np.flatnonzero(kinds == _IDEOGRAPH)
    pairs = ideographs[:-1][np.diff(ideographs) == 1]
    starts, words = _words(points, np.flatnonzero(kinds == _IN_WORD))
    keys = np.concatenate(
        [points[ideographs], _PAIR | points[pairs] << np.uint64(21) | points[pairs + 1], words]
    )
    is_word = np.zeros(len(keys), np.bool_)
    is_word[len(keys) - len(words) :] = True
    hashes = (_mixed(keys) >> np.uint64(32)).astype(np.uint32)
    return owners[np.concatenate([ideographs, pairs, starts])], hashes, is_word


def _words(
    points: NDArray[np.uint64], places: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Where the runs of neighbouring places start, and a polynomial hash of each run."""
    if not len(places):
        return places, np.empty(0, np.uint64)
    first = np.flatnonzero(np.diff(places, prepend=-2) > 1)
    sizes = np.diff(first, append=len(places))
    powers = np.cumprod(np.full(sizes.max(), _PRIME, np.uint64))
    within = np.arange(len(places)) - np.repeat(first, sizes)
    return places[first], _WORD ^ np.add.reduceat(_mixed(points[places]) * powers[within], first)


def _counted(
    owners: NDArray[np.int64], terms: NDArray[np.uint32], words: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.int64]]:
    """Distinct terms of each text in ascending order, and how often each is a word."""
    keys = owners.astype(np.uint64) << np.uint64(32) | terms
    order = np.argsort(keys)
    first = _first(keys[order])
    counts = np.add.reduceat(words[order].astype(np.int64), first) if len(first) else first
    return owners[order[first]], terms[order[first]], counts


def _first(ordered: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where each value of an ordered array stands first."""
    return np.flatnonzero(np.diff(ordered, prepend=np.uint64(2**64 - 1)))


def _mixed(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit keys (finaliser of SplitMix64, Steele et al. 2014)."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)


@cache
def _kinds() -> NDArray[np.uint8]:
    """What each code point is in a text: nothing, part of a word, or a term by itself."""
    found = script.classes("".join(map(chr, range(0x110000))))
    kinds = np.where(found >= script.DIGIT, _IN_WORD, _NOTHING).astype(np.uint8)
    kinds[(found >= script.SHARED) | (found == script.KANA)] = _IDEOGRAPH
    return kinds
