"""Verdicts as numbers."""

import polars as pl

FIRST_WON = pl.col("verdict").replace_strict(
    {"A": 1.0, "C": 0.5, "B": 0.0}, default=None, return_dtype=pl.Float64
)
"""1 where the answer shown first won, 0 where the other did, 0.5 for a tie, else null."""
