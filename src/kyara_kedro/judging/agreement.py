"""How far two sets of verdicts agree: a judge's and people's, or two judges'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.judging.bootstrap import Interval, cluster_intervals

LABELS = ("A", "B", "C")


class Agreement(NamedTuple):
    """Agreement on one set of items; each figure with its bootstrap interval.

    Attributes:
        accuracy: Share of items with the same verdict.
        macro_f1: Mean of the labels' F1, over those that either side uses.
        kappa: Cohen's kappa: agreement beyond what both sides' habits give by chance.
        items: How many items there are.
        unread: Items without a verdict of the judge: they count as wrong.
    """

    accuracy: Interval
    macro_f1: Interval
    kappa: Interval
    items: int
    unread: int


def agreement(
    truth: Sequence[str],
    said: Sequence[str | None],
    clusters: Sequence[str] | None = None,
    *,
    resamples: int,
    seed: int,
) -> Agreement:
    """Compare verdicts, ``A``, ``B`` or ``C`` for a tie.

    Args:
        truth: What is right.
        said: What was said; None where no verdict could be read.
        clusters: Items of one cluster (question) are drawn together; None draws item by item.
        resamples: Resamples of the intervals.
        seed: Of the draws.

    Raises:
        ValueError: there are no items, or not as many on either side.
    """
    if not truth or len(truth) != len(said):
        raise ValueError(f"{len(truth)} true and {len(said)} given verdicts cannot be compared")
    number = {label: i for i, label in enumerate(LABELS)}
    side = len(LABELS) + 1
    cells = np.array(
        [number[t] * side + number.get(s or "", side - 1) for t, s in zip(truth, said, strict=True)]
    )
    one_hot = np.zeros((len(cells), side * side))
    one_hot[np.arange(len(cells)), cells] = 1
    names = [str(i) for i in range(len(cells))] if clusters is None else list(clusters)

    def figures(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return _figures(counts.reshape(-1, side, side))

    accuracy, macro_f1, kappa = cluster_intervals(
        one_hot, names, figures, resamples=resamples, seed=seed
    )
    unread = sum(one is None for one in said)
    return Agreement(accuracy, macro_f1, kappa, len(truth), unread)


def _figures(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Accuracy, macro F1 and kappa of confusion tables, shape [tables, 3]."""
    total = tables.sum((-1, -2))
    right = np.diagonal(tables, axis1=-2, axis2=-1)
    true, given = tables.sum(-1), tables.sum(-2)
    accuracy = right.sum(-1) / total
    used = (true + given) > 0
    f1 = np.divide(2 * right, true + given, out=np.zeros_like(right), where=used)
    labels = used[:, : len(LABELS)]
    macro = f1[:, : len(LABELS)].sum(-1) / labels.sum(-1)
    chance = (true * given).sum(-1) / total**2
    kappa = np.divide(accuracy - chance, 1 - chance, out=np.ones_like(chance), where=chance < 1)
    return np.stack([accuracy, macro, kappa], axis=-1)
