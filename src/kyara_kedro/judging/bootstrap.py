"""Intervals of any figures that follow from sums over items, by resampling whole clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A figure with its percentile interval; all are NaN where there is no case."""

    value: float
    low: float
    high: float


def cluster_intervals(
    items: Floats,
    clusters: Sequence[str],
    figures: Callable[[Floats], Floats],
    *,
    resamples: int,
    seed: int,
) -> list[Interval]:
    """Resample clusters with replacement and see how the figures vary.

    Args:
        items: What is summed, shape [items, sums]; one item at least.
        clusters: The cluster (prompt) of each item.
        figures: From sums of shape [resamples, sums] to figures of shape [resamples, figures].
        resamples: How many.
        seed: Of the draws.

    Returns:
        One interval a figure.
    """
    codes: dict[str, int] = {}
    of_item = np.array([codes.setdefault(cluster, len(codes)) for cluster in clusters], np.int64)
    number = len(codes)
    sums = np.stack([np.bincount(of_item, column, number) for column in items.T], axis=1)
    observed = figures(sums.sum(axis=0, keepdims=True))[0]
    draws = np.random.default_rng(seed)
    drawn = np.empty((resamples, items.shape[1]))
    for row in range(resamples):
        times = np.bincount(draws.integers(0, number, number), minlength=number)
        drawn[row] = times @ sums
    ends = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    varied = figures(drawn)
    varied[:, np.isnan(observed)] = 0.0
    low, high = np.nanquantile(varied, ends, axis=0)
    return [
        Interval(float(value), float(low[i]), float(high[i]))
        if not np.isnan(value)
        else Interval(np.nan, np.nan, np.nan)
        for i, value in enumerate(observed)
    ]
