"""Exact copies: texts whose folded letters and digits are equal."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import xxhash
from numpy.typing import NDArray

from kyara_kedro.similarity.guards import claims_of
from kyara_kedro.similarity.shingles import TokenTable, chunks
from kyara_kedro.similarity.text_file import TextFile

Rows = NDArray[np.int64]

_READ_AT_ONCE = 1_000


def letter_keys(table: TokenTable) -> pl.Series:
    """Digest (xxh3-128) of each text's letters and digits; null where there are none."""
    data = memoryview(table.letters.astype("<u4").tobytes())
    bounds = (table.letter_offsets * 4).tolist()
    digests = [
        xxhash.xxh3_128_digest(data[start:end]) if end > start else None
        for start, end in pairwise(bounds)
    ]
    return pl.Series(digests, dtype=pl.Binary)


def group_copies(texts: TextFile, keys: pl.Series, labels: pl.Series) -> Rows:
    """Number the groups of texts that are copies of one another.

    Copies may differ in script, width, case, spacing and punctuation, but not in what
    :func:`~kyara_kedro.similarity.guards.claims` reads from them: 「3.5」 is no copy of 「35」, nor
    C of C++. Claims are read only where keys are equal.

    Args:
        texts: The texts, n of them.
        keys: Their letter keys.
        labels: Only texts of equal labels are compared.

    Returns:
        A group number for each text; -1 for a text without letters or digits, which copies nothing.
    """
    frame = pl.DataFrame({"key": keys, "label": labels}).with_row_index("row")
    shared = frame.filter(
        pl.col("key").is_not_null() & pl.struct("key", "label").is_duplicated()
    ).select("row")
    rows = shared["row"].to_numpy().astype(np.int64)
    read: list[str] = []
    for start in range(0, len(rows), _READ_AT_ONCE):
        some = texts.take(rows[start : start + _READ_AT_ONCE])
        read.extend(repr(claim) for part in chunks(some) for claim in claims_of(some[part]))
    groups = (
        frame.join(
            shared.with_columns(claims=pl.Series(read, dtype=pl.String)), on="row", how="left"
        )
        .sort("row")
        .select(pl.struct("key", "label", "claims").rank("dense").cast(pl.Int64).alias("group"))
        .with_columns(keys.alias("key"))
    )
    return (
        groups.select(pl.when(pl.col("key").is_null()).then(-1).otherwise(pl.col("group")))
        .to_series()
        .to_numpy()
    )
