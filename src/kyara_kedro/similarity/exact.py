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


def letter_keys(table: TokenTable) -> pl.Series:
    """Digest (xxh3-128) of each text's letters and digits; null where there are none."""
    data = memoryview(table.letters.astype("<u4").tobytes())
    bounds = (table.letter_offsets * 4).tolist()
    digests = [
        xxhash.xxh3_128_digest(data[start:end]) if end > start else None
        for start, end in pairwise(bounds)
    ]
    return pl.Series(digests, dtype=pl.Binary)


def group_copies(keys: pl.Series, labels: pl.Series, claimed: ClaimDigests) -> Rows:
    """Number the groups of texts that are copies of one another.

    Copies may differ in script, width, case, spacing and punctuation, but not in what
    :func:`~kyara_kedro.similarity.guards.claims` reads from them: 「3.5」 is no copy of 「35」, nor
    C of C++. Claims are read only where keys are equal.

    Args:
        keys: The letter keys of n texts.
        labels: Only texts of equal labels are compared.
        claimed: What the texts claim.

    Returns:
        A group number for each text; -1 for a text without letters or digits, which copies nothing.
    """
    frame = pl.DataFrame({"key": keys, "label": labels})
    lettered = keys.is_not_null().to_numpy()
    shared = np.flatnonzero(lettered & frame.is_duplicated().to_numpy())
    claims = np.zeros(len(keys), np.uint64)
    claims[shared] = claimed(shared)
    groups = frame.select(pl.struct("key", "label", claims=pl.Series(claims)).rank("dense"))
    return np.where(lettered, groups.to_series().to_numpy().astype(np.int64), -1)
