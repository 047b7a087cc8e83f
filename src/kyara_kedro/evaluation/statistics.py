"""How sure a score is: intervals for one model, tests between two, correction for many.

Everything is computed from per-item values, resampled by question where a question was answered
more than once, and repeatable: a random procedure is always given its seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 10_000
CONFIDENCE = 0.95
Floats = NDArray[np.float64]
Layout = Sequence[Sequence[NDArray[np.int64]]]
"""Groups of strata, each stratum the places of its items: the mean of the groups' means of the
strata's means is taken. One group of one stratum is the plain mean."""

_DRAWS_AT_ONCE = 100_000
_FEW = 16
"""Different clusters up to which multinomial counts are drawn."""


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Estimate(NamedTuple):
    """A mean with its confidence interval."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """How much one model is above another, on the items that both answered.

    Attributes:
        difference: Mean of the paired differences.
        low: Lower end of its confidence interval.
        high: Upper end.
        p_value: Two-sided, for the hypothesis that there is no difference.
    """

    difference: float
    low: float
    high: float
    p_value: float


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Score interval of a proportion (Wilson, JASA 22, 1927).

    Raises:
        ValueError: there are no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} of {trials} is no proportion")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == trials else (centre + half) / scale
    return Interval(low, high)


def bootstrap_interval(
    values: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    weights: ArrayLike | None = None,
    layout: Layout | None = None,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Mean and percentile interval by the cluster bootstrap.

    Args:
        values: One number an item, shape [items].
        clusters: The cluster (question) of each item; whole clusters are drawn.
        weights: Of the items; without them all are equal.
        layout: Strata within which is drawn, see :data:`Layout`.
        seed: Seed of the draws.
        resamples: Number of resamples.
        confidence: Coverage of the interval.
    """
    numbers = np.asarray(values, dtype=np.float64)
    shares = np.ones_like(numbers) if weights is None else np.asarray(weights, dtype=np.float64)
    columns = np.stack([shares * numbers, shares], axis=1)
    observed, means = _bootstrap(columns, _mean, clusters, layout, seed, resamples)
    return Estimate(observed, *_percentiles(means, confidence))


def _mean(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _difference(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3])


def _percentiles(draws: Floats, confidence: float) -> Interval:
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _bootstrap(
    columns: Floats,
    figure: Callable[[Floats], Floats],
    clusters: Sequence[Hashable],
    layout: Layout | None,
    seed: int,
    resamples: int,
) -> tuple[float, Floats]:
    """A figure of sums over items, averaged over strata and groups, and how it varies."""
    codes: dict[Hashable, int] = {}
    of_item = np.array([codes.setdefault(cluster, len(codes)) for cluster in clusters])
    random = np.random.default_rng(seed)
    everything = [[np.arange(len(columns))]]
    observed, draws = [], []
    for strata in everything if layout is None else layout:
        sums = [_cluster_sums(columns[items], of_item[items]) for items in strata]
        observed.append(np.mean([figure(one.sum(axis=0)) for one in sums]))
        drawn = np.zeros(resamples)
        for one in sums:
            drawn += figure(_resampled(one, random, resamples))
        draws.append(drawn / len(sums))
    return float(np.mean(observed)), np.asarray(np.mean(draws, axis=0))


def _cluster_sums(columns: Floats, of_item: NDArray[np.int64]) -> Floats:
    """Sums of each cluster, shape [clusters, columns]."""
    _, code = np.unique(of_item, return_inverse=True)
    return np.stack([np.bincount(code, weights=column) for column in columns.T], axis=1)


def _resampled(sums: Floats, random: np.random.Generator, resamples: int) -> Floats:
    """Sums over clusters drawn with replacement, shape [resamples, columns].

    Where few different clusters occur, as with answers that are right or wrong, how often each is
    drawn comes from its multinomial distribution at once.
    """
    number = len(sums)
    kinds, counts = np.unique(sums, axis=0, return_counts=True)
    if len(kinds) <= _FEW:
        return np.asarray(random.multinomial(number, counts / number, size=resamples) @ kinds)
    drawn = np.tile(number * sums[0], (resamples, 1))
    columns = np.ascontiguousarray(sums.T)
    varying = [i for i, column in enumerate(columns) if (column != column[0]).any()]
    step = max(1, _DRAWS_AT_ONCE // number)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        chosen = random.integers(0, number, size=(rows, number))
        for i in varying:
            drawn[start : start + rows, i] = columns[i][chosen].sum(axis=1)
    return drawn


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided McNemar test (Psychometrika 12, 1947).

    Args:
        only_first: Items that only the first model got right.
        only_second: Items that only the second model got right.

    Returns:
        The p-value; 1 when the models never disagree.
    """
    disagreements = only_first + only_second
    fewer = min(only_first, only_second)
    tail = sum(math.comb(disagreements, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << disagreements))


def paired_binary(
    first: ArrayLike, second: ArrayLike, confidence: float = CONFIDENCE
) -> Difference:
    """Compare two models on the same items, each right (1) or wrong (0).

    The p-value is McNemar's; the interval is Bonett and Price's adjusted Wald interval (J. Educ.
    Behav. Stat. 37, 2012), which stays honest when few items differ: the bootstrap would then
    report a width of zero.
    """
    ours, theirs = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    items = len(ours)
    only_ours = int((ours & ~theirs).sum())
    only_theirs = int((~ours & theirs).sum())
    a, b = (only_ours + 1) / (items + 2), (only_theirs + 1) / (items + 2)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    half = z * math.sqrt((a + b - (a - b) ** 2) / (items + 2))
    return Difference(
        (only_ours - only_theirs) / items,
        max(-1.0, a - b - half),
        min(1.0, a - b + half),
        mcnemar(only_ours, only_theirs),
    )


def paired_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    weights: tuple[ArrayLike, ArrayLike] | None = None,
    layout: Layout | None = None,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Compare two models on the same items by the cluster bootstrap of their difference.

    The p-value counts resamples whose difference lies as far from the observed one as that lies
    from zero (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 16). Of k
    clusters it is never below 2^(1 - k), the least that an exact test by flipping signs can give:
    resamples of one or two questions that agree do not vary.

    Args:
        first: One number an item of the one model, shape [items].
        second: Of the other.
        clusters: The cluster (question) of each item.
        weights: Of the items, for each model; without them all are equal.
        layout: Strata within which is drawn, see :data:`Layout`.
        seed: Seed of the draws.
        resamples: Number of resamples.
        confidence: Coverage of the interval.
    """
    ours, theirs = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    one, other = (np.ones_like(ours),) * 2 if weights is None else map(np.asarray, weights)
    if np.array_equal(one, other):
        columns, figure = np.stack([one * (ours - theirs), one], axis=1), _mean
    else:
        columns = np.stack([one * ours, one, other * theirs, other], axis=1)
        figure = _difference
    observed, draws = _bootstrap(columns, figure, clusters, layout, seed, resamples)
    far = int((np.abs(draws - observed) >= abs(observed) - 1e-12).sum())
    least = 2.0 ** (1 - len(set(clusters)))
    p_value = max(least, (1 + far) / (1 + resamples))
    return Difference(observed, *_percentiles(draws, confidence), p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for being many (Holm, Scand. J. Stat. 6, 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted
