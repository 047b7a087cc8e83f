"""What all makers of preference pairs share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.records import PREFERENCE

EQUAL_RESPONSES = "equal_responses"


class Pairs(NamedTuple):
    """Preference pairs and the records that gave none.

    Attributes:
        pairs: A table of :data:`kyara_kedro.records.PREFERENCE`.
        drops: Columns record_id, reason and detail.
    """

    pairs: pl.DataFrame
    drops: pl.DataFrame


def pair_row(**values: Any) -> dict[str, Any]:
    """Row of :data:`kyara_kedro.records.PREFERENCE`: what is not given is null."""
    row: dict[str, Any] = dict.fromkeys(PREFERENCE.columns) | {"kind": "conversation"} | values
    row["id"] = content_id(
        "preference", row["source"], row["prompt"], row["chosen"], row["rejected"]
    )
    return row


def licences(names: Iterable[str]) -> str:
    """SPDX expression of several licences that hold at once."""
    return " AND ".join(sorted(set(names)))


def dropped(rows: Sequence[tuple[str, str, str]]) -> pl.DataFrame:
    """Records that gave no pair: columns record_id, reason and detail."""
    return pl.DataFrame(
        rows,
        schema={"record_id": pl.String, "reason": pl.String, "detail": pl.String},
        orient="row",
    )
