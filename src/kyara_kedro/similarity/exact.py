"""Exact copies: texts whose folded letters and digits are equal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl
import xxhash
from numpy.typing import NDArray

from kyara_kedro.similarity.guards import claims
from kyara_kedro.similarity.shingles import TokenTable, chunks, tokenise


def exact_groups(texts: Sequence[str]) -> NDArray[np.int64]:
    """Number the groups of texts that are copies of one another.

    Copies may differ in script, width, case, spacing and punctuation, but not in what
    :func:`~kyara_kedro.similarity.guards.claims` reads from them: 「3.5」 is no copy of 「35」, nor
    C of C++.

    Returns:
        A group number for each text; -1 for a text without letters or digits, which copies nothing.
    """
    keys: list[bytes | None] = []
    for part in chunks(texts):
        keys.extend(letter_keys(tokenise(texts[part])))
    return group_copies(texts, keys)


def letter_keys(table: TokenTable) -> list[bytes | None]:
    """Digest (xxh3-128) of each text's letters and digits; None where there are none."""
    data = memoryview(table.letters.astype("<u4").tobytes())
    bounds = (table.letter_offsets * 4).tolist()
    return [
        xxhash.xxh3_128_digest(data[start:end]) if end > start else None
        for start, end in pairwise(bounds)
    ]


def group_copies(texts: Sequence[str], keys: Sequence[bytes | None]) -> NDArray[np.int64]:
    """Group texts of equal key and equal claims, reading claims only where keys collide."""
    frame = pl.DataFrame({"key": pl.Series(keys, dtype=pl.Binary)}).with_row_index("row")
    shared = frame.filter(pl.col("key").is_not_null() & pl.col("key").is_duplicated())
    read = shared.with_columns(
        claims=pl.Series([repr(claims(texts[row])) for row in shared["row"]], dtype=pl.String)
    )
    groups = (
        frame.join(read.select("row", "claims"), on="row", how="left")
        .sort("row")
        .select(pl.struct("key", "claims").rank("dense").cast(pl.Int64).alias("group"), "key")
    )
    return (
        groups.select(pl.when(pl.col("key").is_null()).then(-1).otherwise(pl.col("group")))
        .to_series()
        .to_numpy()
    )
