"""Which rows of a conversation or preference table a stage trains on."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.training.chat import (
    PreferencePair,
    check_messages,
    check_pair,
    encode,
    encode_pair,
    pair_length,
)
from kyara_kedro.training.loading import load_tokenizer
from kyara_kedro.training.model_ref import ModelRef


class Selection(NamedTuple):
    """The rows to train on and, for every other one, (record id, reason, detail)."""

    rows: pl.DataFrame
    drops: list[tuple[str, str, str]]


def select_rows(
    conversations: pl.DataFrame,
    start: ModelRef,
    max_length: int,
    mix: Mapping[str, float] | None = None,
    max_rows: int | None = None,
) -> Selection:
    """Choose rows, keeping those with the same first parent together.

    Families of rows that share their first parent (rephrasings of one question) come in the order
    of a hash of it, so neither the order of the table nor its sources show. Shares and the cap
    take or leave whole families; a larger share takes what a smaller one takes, and more.

    Args:
        conversations: A table of ``records.CONVERSATION``.
        start: The model to be trained, whose tokenizer measures the rows.
        max_length: Longest row in tokens.
        mix: The share in (0, 1] of each source's families; a source that is not named is left
            out. None takes everything.
        max_rows: Most rows to keep; a family that no longer fits is passed over.

    Returns:
        The chosen rows, family by family, and the drops.
    """
    tokenizer = load_tokenizer(start)
    families = [content_id(parents[0]) for parents in conversations["parents"].to_list()]
    drops: list[tuple[str, str, str]] = []
    fitting: list[bool] = []
    columns = (conversations[name].to_list() for name in ("id", "source", "messages"))
    for family, record_id, source, messages in zip(families, *columns, strict=True):
        share = 1.0 if mix is None else mix.get(source, 0.0)
        if share == 0.0:
            drop = ("source_not_in_mix", source)
        elif _position(family) >= share:
            drop = ("beyond_share", f"{source}: {share:g}")
        elif reason := check_messages(messages):
            drop = (reason, "")
        elif (tokens := len(encode(tokenizer, messages).input_ids)) > max_length:
            drop = ("over_max_length", f"{tokens} tokens, max_length is {max_length}")
        else:
            fitting.append(True)
            continue
        fitting.append(False)
        drops.append((record_id, *drop))
    rows = (
        conversations.with_columns(pl.Series("family", families, pl.String))
        .filter(pl.Series(fitting, dtype=pl.Boolean))
        .sort("family", "id")
    )
    if max_rows is not None:
        taken = rows["family"].is_in(_families_within(rows, max_rows))
        capped = rows.filter(~taken)["id"]
        drops.extend(
            (record_id, "over_max_rows", f"max_rows is {max_rows}") for record_id in capped
        )
        rows = rows.filter(taken)
    return Selection(rows.drop("family"), drops)


def _position(family: str) -> float:
    """Where a family's hash lies in [0, 1)."""
    return int(family[:8], 16) / 2**32


def _families_within(rows: pl.DataFrame, room: int) -> list[str]:
    """The families, in their order, that fit into ``room`` rows as a whole."""
    taken = []
    for family, size in rows.group_by("family", maintain_order=True).len().iter_rows():
        if size <= room:
            taken.append(family)
            room -= size
    return taken


def select_pairs(
    preferences: pl.DataFrame,
    start: ModelRef,
    max_length: int,
    sources: Collection[str] | None = None,
) -> Selection:
    """Choose preference pairs, in the order of their ids.

    Args:
        preferences: A table of ``records.PREFERENCE``.
        start: The model to be trained, whose tokenizer measures the pairs.
        max_length: Longest prompt with an answer in tokens.
        sources: The sources to take; None takes everything.
    """
    tokenizer = load_tokenizer(start)
    kept: list[str] = []
    drops: list[tuple[str, str, str]] = []
    ordered = preferences.sort("id")
    for row in ordered.iter_rows(named=True):
        pair = pair_of(row)
        if sources is not None and row["source"] not in sources:
            drops.append((row["id"], "source_not_in_mix", row["source"]))
        elif reason := check_pair(pair):
            drops.append((row["id"], reason, ""))
        elif (tokens := pair_length(encode_pair(tokenizer, pair))) > max_length:
            detail = f"{tokens} tokens, max_length is {max_length}"
            drops.append((row["id"], "over_max_length", detail))
        else:
            kept.append(row["id"])
    return Selection(ordered.filter(pl.col("id").is_in(kept)), drops)


def pair_of(row: Mapping[str, Any]) -> PreferencePair:
    """What training needs of a row of ``records.PREFERENCE``."""
    return PreferencePair(
        prompt=row["prompt"], chosen=row["chosen"], rejected=row["rejected"], prefix=row["prefix"]
    )
