"""Contestants by strength, from verdicts."""

from __future__ import annotations

import numpy as np
import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.judging.bradley_terry import Ratings, bradley_terry
from kyara_kedro.records import CONTESTANT_RATING, FIRST_WON


def rated(verdicts: pl.DataFrame, *, resamples: int, seed: int) -> tuple[Ratings, list[str]]:
    """Fit Bradley and Terry's model to verdicts, each order for itself.

    Returns:
        The ratings, and the contestants' names in their order.
    """
    said = verdicts.filter(pl.col("verdict").is_not_null())
    columns = [verdicts["first_contestant"], verdicts["second_contestant"]]
    names = pl.concat(columns).unique().sort().to_list()
    number = {name: i for i, name in enumerate(names)}
    first, second = (
        said[f"{side}_contestant"]
        .replace_strict(number, return_dtype=pl.Int64)
        .to_numpy()
        .astype(np.int64)
        for side in ("first", "second")
    )
    prompt = said["prompt_id"].rank("dense").cast(pl.Int64).to_numpy().astype(np.int64) - 1
    score = said.select(FIRST_WON).to_series().to_numpy()
    found = bradley_terry(first, second, score, prompt, len(names), resamples=resamples, seed=seed)
    return found, names


def contestant_ratings(
    candidates: pl.DataFrame, verdicts: pl.DataFrame, *, resamples: int, seed: int
) -> pl.DataFrame:
    """Rate all contestants that were judged.

    Args:
        candidates: A table of :data:`kyara_kedro.records.CANDIDATE`.
        verdicts: A table of :data:`kyara_kedro.records.VERDICT`.
        resamples: Resamples of the intervals, over prompts.
        seed: Of the draws.

    Returns:
        A table of :data:`kyara_kedro.records.CONTESTANT_RATING`, the strongest first: strength is
        in log-odds with mean zero, win_rate the share of its verdicts that it won, a tie being
        half.
    """
    if verdicts.is_empty():
        return CONTESTANT_RATING.frame()
    found, names = rated(verdicts, resamples=resamples, seed=seed)
    answers = dict(candidates.group_by("contestant").len().iter_rows())
    family = dict(candidates.select("contestant", "family").unique().iter_rows())
    won = pl.concat(
        [
            verdicts.select(contestant="first_contestant", won=FIRST_WON),
            verdicts.select(contestant="second_contestant", won=1.0 - FIRST_WON),
        ]
    ).drop_nulls()
    rates = {
        name: (share, count)
        for name, share, count in won.group_by("contestant")
        .agg(pl.col("won").mean(), pl.len())
        .iter_rows()
    }
    rows = [
        {
            "id": content_id("rating", name),
            "contestant": name,
            "family": family.get(name, ""),
            "answers": answers.get(name, 0),
            "verdicts": rates.get(name, (0.5, 0))[1],
            "win_rate": rates.get(name, (0.5, 0))[0],
            "strength": float(found.strength[i]),
            "low": float(found.low[i]),
            "high": float(found.high[i]),
            "component": int(found.component[i]),
            "regularised": found.regularised,
        }
        for i, name in enumerate(names)
    ]
    return CONTESTANT_RATING.frame(
        sorted(rows, key=lambda row: (-row["strength"], row["contestant"]))
    )
