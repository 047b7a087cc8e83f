"""What all makers of preference pairs share, and pairs from self-play."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.records import PREFERENCE

SELF_PLAY = "self_play"
EQUAL_RESPONSES, NOT_GENERATED, TRUNCATED, BLANK = (
    "equal_responses",
    "not_generated",
    "truncated",
    "blank",
)


class Pairs(NamedTuple):
    """Preference pairs and the records that gave none.

    Attributes:
        pairs: A table of :data:`kyara_kedro.records.PREFERENCE`.
        drops: Columns record_id, reason and detail.
    """

    pairs: pl.DataFrame
    drops: pl.DataFrame


def self_play_pairs(
    conversations: pl.DataFrame, generations: pl.DataFrame, source: str = SELF_PLAY
) -> Pairs:
    """Pair the corpus' last answer with the model's own (SPIN, uclaml/SPIN).

    A truncated answer would teach nothing but its length; equal and blank ones nothing at all.

    Args:
        conversations: A table of :data:`kyara_kedro.records.CONVERSATION`.
        generations: Columns conversation_id, output and stopped (false: cut at the limit); one row
            a conversation.
        source: Name of the pairs' source.

    Returns:
        One pair for each conversation, or its drop: not_generated, blank, truncated or
        equal_responses.
    """
    outputs = {
        row_id: (output, stopped)
        for row_id, output, stopped in generations.select(
            "conversation_id", "output", "stopped"
        ).iter_rows()
    }
    pairs, refused = [], []
    for row in conversations.sort("id").iter_rows(named=True):
        output, stopped = outputs.get(row["id"], (None, False))
        *prompt, answer = row["messages"]
        if output is None:
            refused.append((row["id"], NOT_GENERATED, "no output"))
        elif not output.strip():
            refused.append((row["id"], BLANK, f"{len(output)} characters"))
        elif not stopped:
            refused.append((row["id"], TRUNCATED, f"{len(output)} characters"))
        elif output.strip() == answer["content"].strip():
            refused.append((row["id"], EQUAL_RESPONSES, "the model gives the corpus' answer"))
        else:
            pairs.append(
                pair_row(
                    prompt=prompt,
                    chosen=answer["content"],
                    rejected=output,
                    source=source,
                    judged_orders=0,
                    parents=[row["id"]],
                    licence=row["licence"],
                )
            )
    return Pairs(PREFERENCE.frame(pairs), dropped(refused))


def pair_row(**values: Any) -> dict[str, Any]:
    """Row of :data:`kyara_kedro.records.PREFERENCE`: what is not given is null."""
    row: dict[str, Any] = dict.fromkeys(PREFERENCE.columns) | {"kind": "conversation"} | values
    row["id"] = content_id("preference", row["prompt"], row["chosen"], row["rejected"])
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
