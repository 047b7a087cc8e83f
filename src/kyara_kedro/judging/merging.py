"""Pairs of several sources become one set without leaks, contradictions and copies, weighed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import floor
from typing import NamedTuple

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.judging.self_play import answer_key, prompt_key

CONTAMINATED, REJECTS_TRAINING = "contaminated", "rejects_training_answer"
DUPLICATE, CONFLICT = "exact_duplicate", "conflict"
UNWEIGHTED, BEYOND_WEIGHT = "source_without_weight", "beyond_weight"
_DROPPED = {"record_id": pl.String, "reason": pl.String, "detail": pl.String}


class Merged(NamedTuple):
    """What is left of all pairs, and the others.

    Attributes:
        pairs: A table of :data:`kyara_kedro.records.PREFERENCE`, ordered by id.
        drops: Columns record_id, reason and detail.
    """

    pairs: pl.DataFrame
    drops: pl.DataFrame


def merge(
    pooled: pl.DataFrame,
    leaked: Mapping[str, str],
    learned: pl.DataFrame,
    weights: Mapping[str, float] | None = None,
) -> Merged:
    """Merge the pairs of all sources; each that goes has the first reason that applies.

    contaminated: it holds a benchmark's question. rejects_training_answer: what it rejects is what
    the model was taught to answer to that prompt. exact_duplicate: the same prompt and sides, up to
    width, script and punctuation, as a pair that says more (rated before unrated, then the larger
    margin, then the smaller id). conflict: another pair prefers the sides the other way round; both
    go, for margins of different judges cannot be compared. source_without_weight and
    beyond_weight: see :func:`quotas`.

    Args:
        pooled: Tables of :data:`kyara_kedro.records.PREFERENCE` in one.
        leaked: What was found in pairs with a benchmark's question, by their ids.
        learned: The conversations that the model was trained on.
        weights: Weight of each source; None takes everything.
    """
    keyed = pooled.select("id", "source", "margin").with_columns(_keys(pooled)).sort("id")
    drops: list[pl.DataFrame] = []

    def drop(reason: str, which: pl.DataFrame) -> None:
        nonlocal keyed
        drops.append(which.select(record_id="id", reason=pl.lit(reason), detail="detail"))
        keyed = keyed.join(which.select("id"), on="id", how="anti", maintain_order="left")

    details = pl.DataFrame(
        {"id": list(leaked), "detail": list(leaked.values())},
        schema={"id": pl.String, "detail": pl.String},
    )
    drop(CONTAMINATED, keyed.select("id").join(details, on="id", maintain_order="left"))
    drop(
        REJECTS_TRAINING,
        keyed.join(
            _taught(learned),
            left_on=["prompt_key", "rejected_key"],
            right_on=["prompt_key", "answer_key"],
            maintain_order="left",
        ),
    )
    drop(DUPLICATE, _copies(keyed))
    drop(CONFLICT, _conflicts(keyed))
    if weights is not None:
        unnamed = keyed.filter(~pl.col("source").is_in(list(weights)))
        drop(UNWEIGHTED, unnamed.with_columns(detail=pl.col("source")))
        drop(BEYOND_WEIGHT, _beyond(keyed, weights))
    kept = pooled.join(keyed.select("id"), on="id", how="semi").sort("id")
    return Merged(kept, pl.concat([pl.DataFrame(schema=_DROPPED), *drops]))


def quotas(available: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, int]:
    """How many pairs of each source make the largest mix with these weights.

    The source that runs out first gives all it has. One without pairs does not count.

    Args:
        available: Pairs of each source.
        weights: Weight of each source, at least that of every available one.
    """
    exact = {name: Fraction(str(weights[name])) for name in sorted(available) if available[name]}
    if not exact:
        return {}
    most = min(available[name] / weight for name, weight in exact.items())
    return {name: floor(most * weight) for name, weight in exact.items()}


def _keys(pooled: pl.DataFrame) -> list[pl.Series]:
    """What makes prompts and sides the same, as short hashes."""
    rows = pooled.select("prompt", "prefix", "chosen", "rejected").iter_rows()
    keys = [
        (
            content_id(prompt_key(prompt), answer_key(prefix or "")),
            content_id(answer_key(chosen)),
            content_id(answer_key(rejected)),
        )
        for prompt, prefix, chosen, rejected in rows
    ]
    names = ("prompt_key", "chosen_key", "rejected_key")
    return [
        pl.Series(name, [key[number] for key in keys], pl.String)
        for number, name in enumerate(names)
    ]


def _taught(learned: pl.DataFrame) -> pl.DataFrame:
    """Prompts and answers that the model was trained on."""
    rows = [
        (
            content_id(prompt_key(messages[:-1]), answer_key("")),
            content_id(answer_key(messages[-1]["content"])),
            f"conversation {row_id}",
        )
        for row_id, messages in learned.select("id", "messages").iter_rows()
    ]
    columns = ("prompt_key", "answer_key", "detail")
    table = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")
    return table.unique(["prompt_key", "answer_key"], keep="first", maintain_order=True)


def _copies(keyed: pl.DataFrame) -> pl.DataFrame:
    """All but the best of pairs that say the same."""
    same = ("prompt_key", "chosen_key", "rejected_key")
    best = keyed.sort(
        pl.col("margin").is_null(), "margin", "id", descending=[False, True, False]
    ).with_columns(
        kept=pl.col("id").first().over(same), kept_source=pl.col("source").first().over(same)
    )
    return (
        best.filter(pl.col("id") != pl.col("kept"))
        .with_columns(detail=pl.format("of {} ({})", "kept", "kept_source"))
        .sort("id")
    )


def _conflicts(keyed: pl.DataFrame) -> pl.DataFrame:
    """Pairs whose sides another pair prefers the other way round."""
    turned = keyed.join(
        keyed.select(
            "prompt_key",
            chosen_key="rejected_key",
            rejected_key="chosen_key",
            other="id",
            other_source="source",
        ),
        on=["prompt_key", "chosen_key", "rejected_key"],
        maintain_order="left",
    )
    return turned.filter(pl.col("id") != pl.col("other")).with_columns(
        detail=pl.format("with {} ({})", "other", "other_source")
    )


def _beyond(keyed: pl.DataFrame, weights: Mapping[str, float]) -> pl.DataFrame:
    """What the weights leave no room for: the last of each source by a hash of the id.

    So a larger quota takes what a smaller one takes, and more.
    """
    counts = dict(keyed.group_by("source").len().sort("source").iter_rows())
    room = quotas(counts, weights)
    taken = pl.DataFrame(
        {"source": list(room), "taken": list(room.values())},
        schema={"source": pl.String, "taken": pl.Int64},
    )
    order = pl.Series("order", [content_id("mix", row_id) for row_id in keyed["id"]], pl.String)
    ranked = keyed.with_columns(order).sort("order", "id")
    ranked = ranked.with_columns(rank=pl.int_range(pl.len()).over("source"))
    return (
        ranked.join(taken, on="source", maintain_order="left")
        .filter(pl.col("rank") >= pl.col("taken"))
        .with_columns(detail=pl.format("{}: {} of them are taken", "source", "taken"))
        .sort("id")
    )


def by_source(
    pooled: pl.DataFrame, kept: pl.DataFrame, drops: pl.DataFrame
) -> dict[str, dict[str, int | dict[str, int]]]:
    """For each source the pairs that came in, those that are left, and the others by reason."""
    named = pooled.select(record_id="id", source="source")
    gone = drops.join(named, on="record_id").group_by("source", "reason").len()
    left = dict(kept.group_by("source").len().iter_rows())
    return {
        source: {
            "in": count,
            "out": left.get(source, 0),
            "dropped": _reasons(gone.filter(pl.col("source") == source)),
        }
        for source, count in named.group_by("source").len().sort("source").iter_rows()
    }


def _reasons(rows: pl.DataFrame) -> dict[str, int]:
    return dict(rows.select("reason", "len").sort("reason").iter_rows())


def margin_shares(pairs: pl.DataFrame) -> Sequence[float]:
    """Margins as shares of the largest of their source, for judges rate on different scales."""
    margin = pl.col("margin")
    rated = pairs.filter(margin.is_not_null()).sort("id")
    return rated.select(margin / margin.max().over("source")).to_series().to_list()
