"""Exact copies: texts whose folded letters and digits are equal."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import xxhash
from numpy.typing import NDArray

from kyara_kedro.similarity.claims import ClaimDigests
from kyara_kedro.similarity.shingles import TokenTable

Rows = NDArray[np.int64]
Keys = NDArray[np.uint64]

_NO_LETTERS = bytes(16)


def letter_keys(table: TokenTable) -> Keys:
    """Digest (xxh3-128) of each text's letters and digits, zeros where there are none; [n, 2]."""
    data = memoryview(table.letters.astype("<u4").tobytes())
    bounds = (table.letter_offsets * 4).tolist()
    digests = [
        xxhash.xxh3_128_digest(data[start:end]) if end > start else _NO_LETTERS
        for start, end in pairwise(bounds)
    ]
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)


def group_copies(keys: Keys, labels: pl.Series, claimed: ClaimDigests) -> Rows:
    """Number the groups of texts that are copies of one another.

    Copies may differ in script, width, case, spacing and punctuation, but not in what
    :func:`~kyara_kedro.similarity.guards.claims` reads from them: 「3.5」 is no copy of 「35」, nor
    C of C++. Claims are read only where keys are equal.

    Args:
        keys: The letter keys of n texts, shape [n, 2].
        labels: Only texts of equal labels are compared.
        claimed: What the texts claim.

    Returns:
        A group number for each text; -1 for a text without letters or digits, which copies nothing.
    """
    frame = pl.DataFrame({"high": keys[:, 0], "low": keys[:, 1], "label": labels})
    lettered = keys.any(axis=1)
    shared = np.flatnonzero(lettered & frame.is_duplicated().to_numpy())
    claims = np.zeros(len(keys), np.uint64)
    claims[shared] = claimed(shared)
    groups = frame.with_columns(claims=claims).select(pl.struct(pl.all()).rank("dense"))
    return np.where(lettered, groups.to_series().to_numpy().astype(np.int64), -1)
