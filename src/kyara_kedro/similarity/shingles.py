"""Texts as arrays: folded letters, token hashes and n-gram hashes of many texts at once.

The tokens are those of :func:`kyara_kedro.text.fold.tokens`, found without a Python loop over
characters: one table over all code points folds them and says where tokens begin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.mixing import mix
from kyara_kedro.text.fold import (
    INTRICATE,
    code_points,
    composes,
    fold,
    fold_stretches,
    fold_table,
    is_cjk,
    spliced,
)

Hashes = NDArray[np.uint64]
Offsets = NDArray[np.int64]

CHUNK_CHARACTERS = 100_000
"""Characters that are looked at together: as many as a core's cache holds with what is made of
them."""
_POINTS, _SUPPLEMENTS = 0x110000, 0x20000
_SELECTORS = range(0xFE00, 0xFE10)
"""Marks that choose a glyph and join to nothing."""
_PRIME = 0x9E3779B97F4A7C15
_IDEOGRAPH = np.uint32(1 << 30)
_LETTER = _IDEOGRAPH - np.uint32(1)


@dataclass(frozen=True)
class TokenTable:
    """The tokens of n texts in flat arrays.

    Attributes:
        folded: Folded letters and digits of all texts, as code points, 0 where others stand.
        starts: n + 1 positions; text i owns ``folded[s[i]:s[i + 1]]``.
        hashes: One hash per token, in order.
        offsets: n + 1 positions; text i owns ``hashes[o[i]:o[i + 1]]``.
    """

    folded: NDArray[np.uint32]
    starts: Offsets
    hashes: Hashes
    offsets: Offsets

    @cached_property
    def letters(self) -> NDArray[np.uint32]:
        """Folded letters and digits of all texts, one after the other."""
        return self.folded.take(self._places)

    @cached_property
    def letter_offsets(self) -> Offsets:
        """n + 1 positions; text i owns ``letters[o[i]:o[i + 1]]``."""
        return np.searchsorted(self._places, self.starts)

    @cached_property
    def _places(self) -> Offsets:
        return np.flatnonzero(self.folded > 0)

    @property
    def lengths(self) -> Offsets:
        """Number of tokens of each text."""
        return np.diff(self.offsets)

    def ngrams(self, n: int, chosen: NDArray[np.bool_] | None = None) -> tuple[Hashes, Offsets]:
        """Hash every run of n tokens inside a text.

        Args:
            n: Tokens of a run.
            chosen: Which texts are asked for; the others have no runs.

        Returns:
            The hashes of all texts, flat, and the n + 1 offsets of the texts in them.
        """
        counts = np.maximum(self.lengths - n + 1, 0)
        if chosen is not None:
            counts *= chosen
        offsets = with_total(counts)
        runs = max(len(self.hashes) - n + 1, 0)
        grams = self.hashes[:runs].copy()
        for shift in range(1, n):
            grams *= np.uint64(_PRIME)
            grams += self.hashes[shift : shift + runs]
        own = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1] - offsets[:-1], counts)
        return mix(grams.take(own)), offsets


def tokenise(texts: Sequence[str]) -> TokenTable:
    """Fold and tokenise texts."""
    tables = _tables()
    points, starts = code_points(texts)
    letters = tables.folded.take(points)
    if letters.max(initial=0) >= INTRICATE:
        bounds, stretches = fold_stretches(points, letters >= INTRICATE)
        ready = [tables.ready.take(stretch) for stretch in stretches]
        letters, starts = spliced(letters, starts, bounds, ready)
    begins = np.flatnonzero(_begins(letters))
    words = np.flatnonzero(letters.take(begins) < _IDEOGRAPH)
    letters &= _LETTER
    hashes = tables.alone.take(letters.take(begins))
    hashes[words] = _run_hashes(letters, np.append(begins, len(letters)), words)
    return TokenTable(letters, starts, hashes, np.searchsorted(begins, starts))


def _begins(letters: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which of classified letters begin a token."""
    in_word = letters - np.uint32(1) < _LETTER
    begins = letters >= _IDEOGRAPH
    begins |= in_word
    begins[1:] &= ~(in_word[1:] & in_word[:-1])
    return begins


def _run_hashes(letters: NDArray[np.uint32], bounds: Offsets, chosen: Offsets) -> Hashes:
    """Hashes of some of the runs of letters between bounds, given by their numbers."""
    sums, inverses = _running_sums(letters)
    starts = bounds.take(chosen)
    runs = sums.take(bounds.take(chosen + 1))
    runs -= sums.take(starts)
    runs *= inverses.take(starts)
    return mix(runs)


def shortened(table: TokenTable) -> tuple[Offsets, Hashes]:
    """Hash the letters of texts as they are and with each letter left out in turn.

    Two texts share a hash if they differ in one letter, or in the order of two neighbours (the
    deletion neighbourhood of Mor and Fraenkel, "A hash code method for detecting and correcting
    spelling errors", 1982).

    Returns:
        The text of each hash, and the hashes.
    """
    starts, ends = table.letter_offsets[:-1], table.letter_offsets[1:]
    sums, inverses = _running_sums(table.letters)
    counts = ends - starts
    owners = np.repeat(np.arange(len(counts)), counts)
    places = np.arange(len(owners))
    before, after = sums[places] - sums[starts][owners], sums[ends][owners] - sums[places + 1]
    whole = (sums[ends] - sums[starts]) * inverses[starts]
    without = (before + after * inverses[1]) * inverses[starts][owners]
    return np.concatenate([np.arange(len(counts)), owners]), mix(np.concatenate([whole, without]))


def _running_sums(letters: NDArray[np.uint32]) -> tuple[Hashes, Hashes]:
    """Sums of the hashes of all letters before each place, each times the power of its place.

    Where there is no letter nothing is added.

    The polynomial hash of a run of letters is the difference of two of them times the inverse power
    of its first place: powers of an odd number have inverses modulo 2^64.

    Returns:
        The sums, one more than letters, and the inverse powers.
    """
    powers, inverses = _powers(2 << len(letters).bit_length())
    sums = np.zeros(len(letters) + 1, np.uint64)
    hashes = _tables().hashes.take(letters)
    hashes *= powers[: len(letters)]
    np.cumsum(hashes, out=sums[1:])
    return sums, inverses


def token_spans(text: str) -> Offsets:
    """Start and end of the characters that each token was folded from; shape [tokens, 2]."""
    points, starts = code_points([text])
    folded = fold_table().take(points)
    spans = np.arange(len(points))[:, None] + np.arange(2)
    if folded.max() >= INTRICATE:
        bounds, stretches = fold_stretches(points, folded >= INTRICATE)
        folded, _ = spliced(folded, starts, bounds, stretches)
        spans, _ = spliced(
            spans,
            starts,
            bounds,
            [_origins(text, *pair) for pair in bounds.reshape(-1, 2).tolist()],
        )
    letters = _tables().ready.take(folded)
    begins = _begins(letters)
    ends = letters > 0
    ends[:-1] &= begins[1:] | (letters[1:] == 0)
    return np.column_stack([spans[begins, 0], spans[ends, 1]])


def _origins(text: str, start: int, end: int) -> Offsets:
    """Where the characters stand of which each folded one of a stretch was made."""
    clusters = [(start + a, start + b) for a, b in _clusters(text[start:end])]
    sizes = [len(fold(text[a:b])) for a, b in clusters]
    return np.repeat(np.array(clusters), sizes, axis=0)


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Characters with the marks that normalisation may join to them, as (start, end)."""
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or not any(map(composes, text[end] + fold(text[end]))):
            yield start, end
            start = end


def chunks(texts: Sequence[str], characters: int = CHUNK_CHARACTERS) -> Iterator[slice]:
    """Cut texts into slices of about the given number of characters, at least one text each."""
    start, held = 0, 0
    for number, text in enumerate(texts):
        if held and held + len(text) > characters:
            yield slice(start, number)
            start, held = number, 0
        held += len(text)
    if start < len(texts):
        yield slice(start, len(texts))


def with_total(counts: Offsets) -> Offsets:
    """Positions at which runs of the given lengths begin, and the end of the last."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


class _Tables(NamedTuple):
    """What is known of every code point.

    Attributes:
        folded: The letter that it folds to, 0 for what separates tokens; marked when it is an
            ideograph, or intricate.
        ready: The same of what is folded already.
        hashes: A random number for each letter.
        alone: The hash of each letter as a token.
    """

    folded: NDArray[np.uint32]
    ready: NDArray[np.uint32]
    hashes: Hashes
    alone: Hashes


@cache
def _tables() -> _Tables:
    ready = np.arange(_POINTS, dtype=np.uint32)
    ready[~np.fromiter((chr(point).isalnum() for point in range(_POINTS)), np.bool_, _POINTS)] = 0
    ideographs = [point for point in range(0x3400, 0x2FA20) if is_cjk(chr(point))]
    ready[ideographs] = np.array(ideographs, np.uint32) | _IDEOGRAPH
    points = fold_table()
    intricate = points >= INTRICATE
    folded = np.where(intricate, INTRICATE, ready.take(points, mode="clip"))
    for point in np.flatnonzero(intricate[:_SUPPLEMENTS]).tolist():
        if not any(ready[ord(letter)] or composes(letter) for letter in fold(chr(point))):
            folded[point] = 0
    folded[_SELECTORS] = 0
    hashes = mix(np.arange(1, _POINTS + 1, dtype=np.uint64))
    hashes[0] = 0
    return _Tables(folded, ready, hashes, mix(hashes))


@cache
def _powers(count: int) -> tuple[Hashes, Hashes]:
    """The first powers of the hash's base and of its inverse, modulo 2^64."""
    both = []
    for base in (_PRIME, pow(_PRIME, -1, 1 << 64)):
        powers = np.full(count, base, np.uint64)
        powers[0] = 1
        both.append(np.cumprod(powers))
    return both[0], both[1]
