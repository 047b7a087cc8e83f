"""Scorers: whatever says how good a conversation is, behind one interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Protocol

import polars as pl
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from kyara_kedro.checkpoints import Device
from kyara_kedro.options import Options
from kyara_kedro.quality import heuristics
from kyara_kedro.quality.heuristics import HeuristicsOptions
from kyara_kedro.records import ASPECTS

SCORED: Mapping[str, pl.DataType] = {
    "value": pl.Float64(),
    "reason": pl.String(),
    "detail": pl.String(),
    "aspects": ASPECTS,
}
"""What a scorer says of each conversation: its value, or the reason why there is none."""


class Scorer(Protocol):
    """Gives conversations a raw value, on a scale of its own.

    Attributes:
        name: Who it is, on every record.
    """

    name: str

    def prepare(self, frames: Iterable[pl.DataFrame]) -> None:
        """Do what is expensive, over a whole table.

        Args:
            frames: Frames of :data:`kyara_kedro.records.CONVERSATION`; they can be gone through
                several times, and are the same each time.
        """

    def score(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Give the values of the table that was prepared.

        Yields:
            For each frame one of :data:`SCORED`, row by row.
        """


class HeuristicsScorer:
    """The embedded rules, see :mod:`kyara_kedro.quality.heuristics`.

    Args:
        options: Weights of their aspects.
    """

    name = heuristics.SCORER

    def __init__(self, options: HeuristicsOptions) -> None:
        self._options = options

    def prepare(self, frames: Iterable[pl.DataFrame]) -> None:
        """Nothing: rules are cheap."""

    def score(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Score the table, frame by frame."""
        for frame in frames:
            scored = heuristics.score(frame, self._options)
            without = pl.when(pl.col("score").is_null())
            yield scored.select(
                value="score",
                reason=without.then(pl.lit("no_aspect")),
                detail=without.then(pl.lit("no aspect that has a weight applies")),
                aspects="aspects",
            )


class Weighted(Options):
    """What every scorer's settings have.

    Attributes:
        weight: How much it counts in the score; with 0 it is only reported.
    """

    weight: NonNegativeFloat = 1.0


class HeuristicsScorerOptions(Weighted, HeuristicsOptions):
    """The embedded rules.

    Attributes:
        kind: What tells them from the other scorers.
    """

    kind: Literal["heuristics"] = "heuristics"


class RewardOptions(Weighted):
    """A reward model.

    Attributes:
        kind: ``reward_model``: any sequence classifier of transformers; ``armorm``: ArmoRM.
        model: Its folder, or its name on the Hugging Face Hub.
        revision: Branch, tag or commit on the hub.
        label: Which of several labels the value is; the others are aspects.
        max_tokens: Longest conversation; null for what the model takes, but at most 4,096.
        too_long: A longer conversation is not scored (``skip``), or by its last rounds alone
            (``last_rounds``), if these are short enough.
        batch_tokens: Tokens that are scored at once, padding included; halved when the
            accelerator's memory is not enough.
        device: ``cpu`` (float32), ``cuda`` or ``cuda:N`` (bfloat16); ``auto`` takes an accelerator
            where there is one.
    """

    kind: Literal["reward_model", "armorm"]
    model: str
    revision: str | None = None
    label: str | None = None
    max_tokens: PositiveInt | None = None
    too_long: Literal["skip", "last_rounds"] = "skip"
    batch_tokens: PositiveInt = 16_384
    device: Device = "auto"


class JudgeOptions(Weighted):
    """The teacher in the role of the judge, with the rubric of the prompt rate_conversation.

    Attributes:
        kind: What tells it from the other scorers.
    """

    kind: Literal["judge"]


ScorerOptions = Annotated[
    HeuristicsScorerOptions | RewardOptions | JudgeOptions, Field(discriminator="kind")
]


def local_scorer(options: HeuristicsScorerOptions | RewardOptions, folder: Path) -> Scorer:
    """The scorer that some settings name, of those that ask nobody.

    Args:
        options: Its settings.
        folder: Where a reward model keeps its values.
    """
    if isinstance(options, HeuristicsScorerOptions):
        return HeuristicsScorer(options)
    from kyara_kedro.quality.rewards import RewardScorer

    return RewardScorer(options, folder)


class QualityOptions(Options):
    """Who scores conversations.

    Attributes:
        scorers: Their settings, by the names that aspects begin with.
    """

    scorers: Mapping[Annotated[str, Field(pattern=r"^\w+$")], ScorerOptions] = {
        "heuristics": HeuristicsScorerOptions()
    }

    @model_validator(mode="after")
    def _can_be_told_apart_and_count(self) -> QualityOptions:
        if not any(one.weight for one in self.scorers.values()):
            raise ValueError("give one of the scorers a weight above 0")
        for name in sorted(self.scorers.keys() & {"id", "language"}):
            raise ValueError(f"a scorer may not be called {name}, as a column is")
        return self


def side_by_side(
    frames: Iterable[pl.DataFrame], scorers: Mapping[str, Scorer]
) -> Iterator[pl.DataFrame]:
    """What several scorers say of the table that they are prepared for.

    Args:
        frames: The table.
        scorers: By the names that their aspects get in front.

    Yields:
        For each frame one of :data:`kyara_kedro.records.RAW_SCORES`.
    """
    running = [one.score(frames) for one in scorers.values()]
    for frame, *scored in zip(frames, *running, strict=True):
        columns = [
            one.select(
                pl.struct(
                    pl.lit(key).alias("scorer"),
                    pl.lit(scorer.name).alias("name"),
                    *("value", "reason", "detail"),
                ).alias(f"score {key}"),
                _prefixed(key).alias(f"aspects {key}"),
            )
            for (key, scorer), one in zip(scorers.items(), scored, strict=True)
        ]
        wide = pl.concat([frame.select("id", "language"), *columns], how="horizontal")
        yield wide.select(
            "id",
            "language",
            scores=pl.concat_list(f"score {key}" for key in scorers),
            aspects=pl.concat_list(f"aspects {key}" for key in scorers),
        )


def _prefixed(key: str) -> pl.Expr:
    part = pl.element().struct
    return pl.col("aspects").list.eval(
        pl.struct((pl.lit(f"{key}.") + part.field("aspect")).alias("aspect"), part.field("value"))
    )
