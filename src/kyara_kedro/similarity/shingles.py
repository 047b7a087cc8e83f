"""Texts as arrays: folded letters, token hashes and n-gram hashes of many texts at once.

The tokens are those of :func:`kyara_kedro.text.fold.tokens`, found without a Python loop over
characters: one table over the code points in use folds them, and numpy finds where tokens begin.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.text.fold import fold, is_cjk

Hashes = NDArray[np.uint64]
Offsets = NDArray[np.int64]

SEPARATOR, WORD, IDEOGRAPH = 0, 1, 2
CHUNK_CHARACTERS = 4_000_000
_POINTS = 0x110000
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class TokenTable:
    """The tokens of n texts in flat arrays.

    Attributes:
        letters: Folded letters and digits of all texts, as code points.
        letter_offsets: n + 1 positions; text i owns ``letters[o[i]:o[i + 1]]``.
        hashes: One hash per token, in order.
        offsets: n + 1 positions; text i owns ``hashes[o[i]:o[i + 1]]``.
    """

    letters: NDArray[np.uint32]
    letter_offsets: Offsets
    hashes: Hashes
    offsets: Offsets

    @property
    def lengths(self) -> Offsets:
        """Number of tokens of each text."""
        return np.diff(self.offsets)

    def ngrams(self, n: int) -> tuple[Hashes, Offsets]:
        """Hash every run of n tokens inside a text.

        Returns:
            The hashes of all texts, flat, and the n + 1 offsets of the texts in them.
        """
        counts = np.maximum(self.lengths - n + 1, 0)
        offsets = _offsets(counts)
        runs = max(len(self.hashes) - n + 1, 0)
        grams = self.hashes[:runs].copy()
        for shift in range(1, n):
            grams *= _PRIME
            grams += self.hashes[shift : shift + runs]
        own = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1] - offsets[:-1], counts)
        return mix(grams[own]), offsets


def tokenise(texts: Sequence[str]) -> TokenTable:
    """Fold and tokenise texts.

    Texts in which folding is not one character to one (combining marks, ligatures) are folded in
    Python first; the rest goes through a table.
    """
    points, lengths = _code_points(texts)
    target, complex_points = _fold_table(points)
    owner_complex = _any_per_text(complex_points[points], lengths)
    if owner_complex.any():
        texts = [
            fold(text) if folded else text
            for text, folded in zip(texts, owner_complex.tolist(), strict=True)
        ]
        points, lengths = _code_points(texts)
        points = np.where(np.repeat(owner_complex, lengths), points, target[points])
    else:
        points = target[points]
    return _split(points, lengths)


def token_spans(text: str) -> list[tuple[str, int, int]]:
    """Tokens of a text with the start and end of the characters that each was folded from."""
    spans: list[tuple[str, int, int]] = []
    joins = False
    for start, end in _clusters(text):
        for character in fold(text[start:end]):
            is_word = character.isalnum() and not is_cjk(character)
            if is_word and joins:
                token, begin, _ = spans.pop()
                spans.append((token + character, begin, end))
            elif is_word or is_cjk(character):
                spans.append((character, start, end))
            joins = is_word
    return spans


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Characters with the marks that normalisation may join to them, as (start, end)."""
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or not any(map(_composes, fold(text[end]))):
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


def mix(values: Hashes) -> Hashes:
    """Scramble 64-bit values so that all bits depend on all others (splitmix64's finaliser)."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


@cache
def _kinds() -> NDArray[np.uint8]:
    """Kind of every code point: part of no token, of a word, or an ideograph."""
    kinds = np.fromiter((chr(point).isalnum() for point in range(_POINTS)), np.uint8, _POINTS)
    ideographs = [point for point in range(0x3400, 0x2FA20) if is_cjk(chr(point))]
    kinds[ideographs] = IDEOGRAPH
    return kinds


def _code_points(texts: Sequence[str]) -> tuple[NDArray[np.uint32], Offsets]:
    points = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    return points, np.fromiter(map(len, texts), np.int64, len(texts))


def _fold_table(points: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Fold of each code point in use, and which of them cannot be folded on their own."""
    seen = np.zeros(_POINTS, np.bool_)
    seen[points] = True
    kinds = _kinds()
    target = np.arange(_POINTS, dtype=np.uint32)
    complex_points = np.zeros(_POINTS, np.bool_)
    for point in np.flatnonzero(seen).tolist():
        folded = fold(chr(point))
        if _composes(chr(point)) or any(map(_composes, folded)):
            complex_points[point] = True
        elif len(folded) == 1:
            target[point] = ord(folded)
        elif all(kinds[ord(character)] == SEPARATOR for character in folded):
            target[point] = ord(" ")
        else:
            complex_points[point] = True
    return target, complex_points


def _composes(character: str) -> bool:
    """Whether normalisation may join a character to the one before it (marks, Hangul jamo)."""
    return unicodedata.category(character)[0] == "M" or "\u1100" <= character <= "\u11ff"


def _any_per_text(flags: NDArray[np.bool_], lengths: Offsets) -> NDArray[np.bool_]:
    total = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
    ends = np.cumsum(lengths)
    found: NDArray[np.bool_] = total[ends] > total[ends - lengths]
    return found


def _split(points: NDArray[np.uint32], lengths: Offsets) -> TokenTable:
    """Find tokens in folded code points and hash them."""
    kinds = _kinds()[points]
    first = np.zeros(len(points) + 1, np.bool_)
    first[_offsets(lengths)] = True
    begins = kinds == IDEOGRAPH
    begins |= (kinds == WORD) & (first[:-1] | (np.concatenate([[SEPARATOR], kinds[:-1]]) != WORD))

    is_letter = kinds != SEPARATOR
    letters = points[is_letter]
    letter_offsets = np.concatenate([[0], np.cumsum(is_letter)])[_offsets(lengths)]
    starts = np.flatnonzero(begins[is_letter])
    if not len(starts):
        return TokenTable(letters, letter_offsets, np.empty(0, np.uint64), letter_offsets)

    sizes = np.diff(starts, append=len(letters))
    weights = np.cumprod(np.full(sizes.max(), _PRIME, np.uint64))
    place = np.arange(len(letters)) - np.repeat(starts, sizes)
    terms = mix(letters.astype(np.uint64)) * weights[place]
    offsets = np.searchsorted(starts, letter_offsets)
    return TokenTable(letters, letter_offsets, mix(np.add.reduceat(terms, starts)), offsets)


def _offsets(counts: Offsets) -> Offsets:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
