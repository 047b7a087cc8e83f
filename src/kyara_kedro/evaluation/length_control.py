"""AlpacaEval 2's length-controlled win rate (Dubois et al., COLM 2024, arXiv 2404.04475).

A logistic regression explains the judge's preferences by the difference in length, the difficulty
of the instruction and the model; its prediction for outputs of equal length is the score. Two
baselines that were made verbose and concise on purpose hold the effect of length in place. The rule
is that of alpaca_eval 0.6 (``metrics/glm_winrate.py``, ``length_controlled_v1``).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

STRENGTHS = np.logspace(-4, 4, 10)
"""Inverse strengths of the L1 penalty that cross-validation chooses from."""
_FOLDS = 5
_SEED = 123
_GAMED_WEIGHT = 0.1
"""Weight of a row of the gamed baselines: 0.2, shared by the two."""
_GAMED_SUMS = (-182.7110632, 412.9359527)
_LEAST = 1e-15


@dataclass(frozen=True, eq=False)
class Calibration:
    """What AlpacaEval knows beforehand of its 805 instructions.

    Attributes:
        source: ``official`` or ``recovered``.
        difficulty: Of each instruction, in the official order, shape [instructions].
        gamed: Rows of the verbose and concise baselines: tanh of the standardised difference in
            length, difficulty, and the judge's preference from 0 to 1; shape [rows, 3].
    """

    source: str
    difficulty: Floats
    gamed: Floats


class LengthControl(NamedTuple):
    """What came of length control.

    Attributes:
        predicted: Preference for the model if lengths were equal, 0 to 1, shape [outputs]; the
            score is their mean.
        influence: How far each judgement moves the score through the fit, times the number of
            outputs; the mean is 0.
        weights: Of the difference in length, the difficulty and the model.
        strength: Inverse strength of the penalty.
    """

    predicted: Floats
    influence: Floats
    weights: Floats
    strength: float


def control_length(
    preferred: ArrayLike,
    chars: ArrayLike,
    opponent_chars: ArrayLike,
    calibration: Calibration,
    *,
    strength: float | None = None,
) -> LengthControl:
    """Predict how a model would be preferred if its outputs were as long as its opponent's.

    Predictions follow from the instructions alone once the weights are known, so their spread says
    little about how sure the score is. ``predicted + influence`` has the same mean, and the spread
    that the score has when judgements are drawn anew and the weights fitted anew (the delta method,
    or infinitesimal jackknife: Efron, The Jackknife, the Bootstrap, 1982, chapter 6).

    As in alpaca_eval, the difficulty of an output is looked up by its place among the model's:
    where outputs are missing, those after them get their predecessors'.

    Args:
        preferred: Judge's preference for the model, 0 to 1, NaN where there is none; shape
            [outputs], in the official order.
        chars: Lengths of the model's outputs in characters.
        opponent_chars: Those of the baseline's.
        calibration: Difficulties and gamed baselines; at least as many as there are outputs.
        strength: Inverse strength of the penalty; cross-validated when None.

    Raises:
        ValueError: there are more outputs than difficulties.
    """
    target = np.asarray(preferred, dtype=np.float64)
    difficulty = calibration.difficulty[: len(target)]
    if len(difficulty) < len(target):
        raise ValueError(f"{len(target)} outputs, but difficulties of {len(difficulty)} only")
    longer = np.asarray(opponent_chars, dtype=np.float64) - np.asarray(chars, dtype=np.float64)
    spread = longer.std(ddof=1) if len(longer) > 1 else 0.0
    model = np.ones_like(target)
    length = np.tanh(longer / spread) if spread else np.zeros_like(target)
    known = ~np.isnan(target)
    gamed = calibration.gamed
    rows = np.concatenate(
        [
            np.column_stack([gamed[:, :2], np.zeros(len(gamed))]),
            np.column_stack([length, difficulty, model])[known],
        ]
    )
    share = np.concatenate([gamed[:, 2], target[known]])
    weight = np.concatenate([np.full(len(gamed), _GAMED_WEIGHT), model[known]])
    chosen = _cross_validated(rows, share, weight) if strength is None else strength
    weights = _fitted(rows, share, weight, chosen, np.random.RandomState(_SEED))
    even = np.column_stack([np.zeros_like(target), difficulty, model])
    influence = np.zeros_like(target)
    influence[known] = _influence(rows, share, weight, weights, even)[len(gamed) :]
    return LengthControl(_chance(even, weights), influence - influence.mean(), weights, chosen)


def _cross_validated(rows: Floats, share: Floats, weight: Floats) -> float:
    """The strength whose weighted log-likelihood of rows left out is the highest."""
    from sklearn.model_selection import GroupKFold

    twice = np.tile(np.arange(len(rows)), 2)
    likelihood = np.zeros(len(STRENGTHS))
    for train, test in GroupKFold(_FOLDS).split(twice, groups=twice):
        # both copies of a row are on one side; the first half of the places tells which
        inside, outside = (part[part < len(rows)] for part in (train, test))
        random = np.random.RandomState(_SEED)
        for i, strength in enumerate(STRENGTHS):
            weights = _fitted(rows[inside], share[inside], weight[inside], strength, random)
            chance = _chance(rows[outside], weights).clip(_LEAST, 1 - _LEAST)
            said = share[outside] * np.log(chance) + (1 - share[outside]) * np.log1p(-chance)
            likelihood[i] += np.mean(weight[outside] * said)
    return float(STRENGTHS[likelihood.argmax()])


def _fitted(
    rows: Floats, share: Floats, weight: Floats, strength: float, random: np.random.RandomState
) -> Floats:
    """Weights of an L1 logistic regression; a row counts as a win and as a loss, by its share."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=strength, l1_ratio=1, solver="liblinear", fit_intercept=False, random_state=random
    )
    model.fit(
        np.concatenate([rows, rows]),
        np.repeat([1, 0], len(rows)),
        sample_weight=np.concatenate([share * weight, (1 - share) * weight]),
    )
    return np.asarray(model.coef_[0])


def _influence(
    rows: Floats, share: Floats, weight: Floats, weights: Floats, even: Floats
) -> Floats:
    """How far each row moves the sum of the predictions for other rows, to first order.

    Weights that the penalty holds at 0 do not move.
    """
    active = weights != 0
    chance, predicted = _chance(rows, weights), _chance(even, weights)
    curvature = (rows[:, active].T * (weight * chance * (1 - chance))) @ rows[:, active]
    pull = (predicted * (1 - predicted)) @ even[:, active]
    step = np.linalg.lstsq(curvature, pull)[0]
    return np.asarray((share - chance) * (rows[:, active] @ step))


def _chance(rows: Floats, weights: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0.0, -(rows @ weights))))


@cache
def packaged_instructions() -> dict[str, int]:
    """Place of each official instruction, by the first 8 digits of its ``content_id``."""
    return {row["instruction"]: place for place, row in enumerate(_packaged())}


@cache
def recovered_calibration() -> Calibration:
    """The calibration that the package holds.

    The official one, ``df_gamed.csv``, may not be at hand. The difficulties were recovered from
    predictions and weights published in tatsu-lab/alpaca_eval (Apache-2.0), to 5e-8. The gamed rows
    enter the likelihood through the sums of preference times feature alone, and those were
    recovered from the stationarity equations of 56 published fits; the preferences given here are
    those of greatest entropy with these sums. What this cannot tell is the original choice of the
    penalty: scores are off by 0.15 points at most.
    """
    rows = _packaged()
    difficulty = np.array([float(row["difficulty"]) for row in rows])
    length = np.array([float(row[name]) for name in ("verbose", "concise") for row in rows])
    features = np.column_stack([length, np.tile(difficulty, 2)])
    return Calibration(
        "recovered",
        difficulty,
        np.column_stack([features, _chance(features, _of_greatest_entropy(features))]),
    )


def _of_greatest_entropy(features: Floats) -> Floats:
    """Weights of the logistic preferences whose sums with the features are the recovered ones."""
    weights = np.zeros(features.shape[1])
    for _ in range(20):
        chance = _chance(features, weights)
        curvature = (features * (chance * (1 - chance))[:, None]).T @ features
        weights += np.linalg.solve(curvature, _GAMED_SUMS - features.T @ chance)
    return weights


def _packaged() -> Sequence[dict[str, str]]:
    text = files("kyara_kedro.evaluation.benchmarks").joinpath("alpaca_eval_calibration.csv")
    return list(csv.DictReader(text.read_text("utf-8").splitlines()))
