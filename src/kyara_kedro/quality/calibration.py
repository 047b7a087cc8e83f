"""One score from several scorers whose raw values are on different scales.

A reward model's values cannot be compared across languages, least of all those of a model that was
trained on English. What counts of them is the place among the conversations of the same language:
(rank - 1/2) / number, equal values sharing the mean of their ranks. So a language has the median
1/2 whatever its raw values are. A judge's grades are mapped linearly to [0, 1], where the
heuristics' values are already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.errors import UserError
from kyara_kedro.prompts.rubric import HIGHEST, LOWEST
from kyara_kedro.quality.scorers import JudgeOptions, RewardOptions, ScorerOptions

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Combined(NamedTuple):
    """Scores of a whole table, one row a conversation, in its order.

    Attributes:
        raw: Columns id, language, and one a scorer with its raw values.
        calibrated: One column a scorer, values in [0, 1].
        score: The weighted mean over the scorers that gave a value; null where none did.
    """

    raw: pl.DataFrame
    calibrated: pl.DataFrame
    score: pl.Series


def combine(raw_scores: pl.LazyFrame, scorers: Mapping[str, ScorerOptions]) -> Combined:
    """Calibrate the values of each scorer, and take their weighted mean.

    Args:
        raw_scores: A table of :data:`kyara_kedro.records.RAW_SCORES`.
        scorers: Settings of the scorers that made it.

    Raises:
        UserError: it was made by others.
    """
    names = pl.col("scores").list.eval(pl.element().struct.field("scorer")).list.join(" ")
    made_by = raw_scores.select(names).unique().collect().to_series().to_list()
    if made_by not in ([], [" ".join(scorers)]):
        raise UserError(
            f"raw_scores has values of {', '.join(made_by[0].split())}, but the scorers are "
            f"{', '.join(scorers)}: run the node score_conversations again"
        )
    raw = raw_scores.select(
        "id",
        "language",
        *(
            pl.col("scores").list.get(number).struct.field("value").alias(name)
            for number, name in enumerate(scorers)
        ),
    ).collect()
    calibrated = raw.select(_calibrated(name, options) for name, options in scorers.items())
    weights = {name: one.weight for name, one in scorers.items()}
    total = pl.sum_horizontal(
        pl.when(pl.col(name).is_not_null()).then(weight) for name, weight in weights.items()
    )
    mean = pl.sum_horizontal(pl.col(name) * weight for name, weight in weights.items()) / total
    score = calibrated.select(pl.when(total > 0).then(mean.clip(0.0, 1.0)).alias("score"))
    return Combined(raw, calibrated, score.to_series())


def _calibrated(name: str, options: ScorerOptions) -> pl.Expr:
    value = pl.col(name)
    if isinstance(options, RewardOptions):
        return ((value.rank("average") - 0.5) / value.count()).over("language")
    if isinstance(options, JudgeOptions):
        return (value - LOWEST) / (HIGHEST - LOWEST)
    return value


def quality_table(
    frames: Iterable[pl.DataFrame], combined: Combined, scorers: Mapping[str, ScorerOptions]
) -> Iterator[pl.DataFrame]:
    """Put scores, calibrated values and all parts side by side.

    Args:
        frames: The table of raw scores, in frames.
        combined: What :func:`combine` made of it.
        scorers: Their settings.

    Yields:
        For each frame one of :data:`kyara_kedro.records.QUALITY`. Its aspects are ``<scorer>``, the
        value that counts; ``<scorer>.raw`` where that is another one; and the scorer's own parts.
    """
    start = 0
    for frame in frames:
        here = slice(start, start + frame.height)
        start += frame.height
        parts = [_aspects(name, combined.calibrated[name][here]) for name in scorers]
        parts += [
            _aspects(f"{name}.raw", combined.raw[name][here])
            for name, options in scorers.items()
            if isinstance(options, RewardOptions | JudgeOptions)
        ]
        counts = [name for name, options in scorers.items() if options.weight]
        entry = pl.element().struct
        judged = entry.field("value").is_not_null() & entry.field("scorer").is_in(counts)
        yield (
            pl.concat([frame, *parts], how="horizontal").select(
                "id",
                combined.score[here],
                pl.concat_list(*(part.columns[0] for part in parts), "aspects")
                .list.filter(entry.field("value").is_not_null())
                .alias("aspects"),
                pl.col("scores")
                .list.filter(judged)
                .list.eval(entry.field("name"))
                .list.join(" + ")
                .alias("scorer"),
            )
        )


def _aspects(name: str, values: pl.Series) -> pl.DataFrame:
    pair = pl.struct(aspect=pl.lit(name), value=values)
    return pl.select(pl.concat_list(pair).alias(f"aspect {name}"))


def summarise(
    raw_scores: pl.LazyFrame, combined: Combined, scorers: Mapping[str, ScorerOptions]
) -> dict[str, Any]:
    """Count what was scored, and how the scorers agree.

    Returns:
        A mapping that JSON can hold: ``conversations`` (total, scored by all, by some, by none),
        for each of the ``scorers`` its name, weight, values, what it did not score by reason, and
        by language the number, mean and quantiles of its raw values; and ``agreement``, Spearman's
        rank correlation of the calibrated values of each two where both scored.
    """
    number = len(scorers)
    given = combined.raw.select(
        pl.sum_horizontal(pl.col(name).is_not_null() for name in scorers)
    ).to_series()
    total = combined.raw.height
    by_all, by_none = int((given == number).sum()), int(combined.score.is_null().sum())
    entry = raw_scores.select(pl.col("scores").explode(empty_as_null=False).struct.unnest())
    names = dict(entry.select("scorer", "name").unique().collect().iter_rows())
    reasons = entry.drop_nulls("reason").group_by("scorer", "reason").len().collect()
    return {
        "conversations": {
            "total": total,
            "scored_by_all": by_all,
            "scored_by_some": total - by_all - by_none,
            "scored_by_none": by_none,
        },
        "scorers": {
            name: {
                "name": names.get(name),
                "weight": options.weight,
                "values": int(combined.raw[name].count()),
                "without": dict(
                    sorted(reasons.filter(scorer=name).select("reason", "len").iter_rows())
                ),
                "languages": _spread(combined.raw, name),
            }
            for name, options in scorers.items()
        },
        "agreement": [_agreement(combined.calibrated, *two) for two in combinations(scorers, 2)],
    }


def _spread(raw: pl.DataFrame, name: str) -> dict[str, Any]:
    value = pl.col(name)
    rows = (
        raw.drop_nulls(name)
        .group_by("language")
        .agg(
            pl.len().alias("values"),
            value.mean().alias("mean"),
            *(value.quantile(q, "linear").alias(str(q)) for q in _QUANTILES),
        )
        .sort("language")
    )
    return {
        row.pop("language"): {"values": row.pop("values")}
        | {key: round(float(found), 6) for key, found in row.items()}
        for row in rows.iter_rows(named=True)
    }


def _agreement(values: pl.DataFrame, first: str, second: str) -> dict[str, Any]:
    both = values.select(first, second).drop_nulls()
    rho = both.select(pl.corr(first, second, method="spearman").fill_nan(None)).item()
    return {
        "scorers": [first, second],
        "conversations": both.height,
        "spearman": None if rho is None else round(float(rho), 6),
    }
