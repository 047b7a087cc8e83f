"""What judges give to length alone, over a whole run.

As in length-controlled AlpacaEval (Dubois et al. 2024, arXiv:2404.04475), the log-odds of a verdict
are the difference of the contestants' strengths, a constant for the place, and a weight times the
squashed difference of the answers' lengths. The weight says what length does within the answers of
the same contestants: where one of them always writes more, more and better cannot be told apart,
and it gets what is left of either.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kyara_kedro.judging.bradley_terry import sigmoid
from kyara_kedro.records import FIRST_WON

_RIDGE = 0.002
"""Precision of the prior on all weights: keeps a judge that is always right about length finite."""
_ROUNDS, _EXACT = 50, 1e-8


class LengthEffect(NamedTuple):
    """What length does to a verdict.

    Attributes:
        weight: Log-odds that the longer of two answers gains when the difference is large.
        scale: Standard deviation of the differences of length, in characters.
    """

    weight: float
    scale: float


def lengthened(difference: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Differences of length, squashed to [-1, 1] (tanh of the difference over its scale)."""
    return np.tanh(difference / scale) if scale else np.zeros_like(difference)


def length_effect(verdicts: pl.DataFrame) -> LengthEffect:
    """Fit what length does to the verdicts of a run, by penalised logistic regression.

    Args:
        verdicts: A table of :data:`kyara_kedro.records.VERDICT`; a tie is half a win for each.
    """
    said = verdicts.filter(pl.col("verdict").is_not_null())
    if said.is_empty():
        return LengthEffect(0.0, 0.0)
    names = pl.concat([said["first_contestant"], said["second_contestant"]]).unique().sort()
    number = {name: i for i, name in enumerate(names)}
    difference = (said["first_chars"] - said["second_chars"]).cast(pl.Float64).to_numpy()
    scale = float(difference.std())
    design = np.zeros((said.height, len(names) + 2))
    rows = np.arange(said.height)
    for column, sign in (("first_contestant", 1.0), ("second_contestant", -1.0)):
        at = said[column].replace_strict(number, return_dtype=pl.Int64).to_numpy()
        design[rows, at] += sign
    design[:, -2], design[:, -1] = 1.0, lengthened(difference, scale)
    won = said.select(FIRST_WON).to_series().to_numpy()
    weights = np.zeros(design.shape[1])
    for _ in range(_ROUNDS):
        chance = sigmoid(design @ weights)
        slope = design.T @ (won - chance) - _RIDGE * weights
        bend = (design.T * (chance * (1 - chance))) @ design + _RIDGE * np.eye(len(weights))
        step = np.linalg.solve(bend, slope)
        weights += step * min(1.0, 2.0 / max(float(np.abs(step).max()), _EXACT))
        if np.abs(step).max() < _EXACT:
            break
    return LengthEffect(float(weights[-1]), scale)
