"""How far two sets of verdicts or ratings agree: a judge's and people's, or two judges'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kyara_kedro.judging.bootstrap import Floats, Interval, cluster_intervals

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

    def figures(counts: Floats) -> Floats:
        return _figures(counts.reshape(-1, side, side))

    accuracy, macro_f1, kappa = cluster_intervals(
        one_hot, _clusters(clusters, truth), figures, resamples=resamples, seed=seed
    )
    unread = sum(one is None for one in said)
    return Agreement(accuracy, macro_f1, kappa, len(truth), unread)


def _figures(tables: Floats) -> Floats:
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


class RatingAgreement(NamedTuple):
    """Agreement of two raters of the same things; each figure with its bootstrap interval.

    The correlations, for which the raters' scales may differ, are of the items that have both
    ratings, and NaN where a rater gave all of them the same.

    Attributes:
        pearson: Product-moment correlation.
        spearman: Correlation of the ranks, equal ratings sharing theirs.
        kendall: Tau-b: how much oftener two items are in the same order than in the other one.
        unread: Share of items without a rating of the judge.
    """

    pearson: Interval
    spearman: Interval
    kendall: Interval
    unread: Interval


def rating_agreement(
    truth: Sequence[float],
    said: Sequence[float | None],
    clusters: Sequence[str] | None = None,
    *,
    resamples: int,
    seed: int,
) -> RatingAgreement:
    """Compare ratings, such as a judge's with people's.

    Args:
        truth: What is right.
        said: What was said; None where no rating could be read.
        clusters: Items of one cluster (question) are drawn together; None draws item by item.
        resamples: Resamples of the intervals.
        seed: Of the draws.

    Raises:
        ValueError: there are no items, or not as many on either side.
    """
    if not truth or len(truth) != len(said):
        raise ValueError(f"{len(truth)} true and {len(said)} given ratings cannot be compared")
    pairs = [None if s is None else (t, s) for t, s in zip(truth, said, strict=True)]
    kinds = sorted({pair for pair in pairs if pair})
    column = {pair: i for i, pair in enumerate([*kinds, None])}
    one_hot = np.zeros((len(pairs), len(column)))
    one_hot[np.arange(len(pairs)), [column[pair] for pair in pairs]] = 1
    true, given = np.array(kinds, dtype=np.float64).reshape(-1, 2).T

    def figures(counts: Floats) -> Floats:
        return _rating_figures(counts, true, given)

    return RatingAgreement._make(
        cluster_intervals(
            one_hot, _clusters(clusters, truth), figures, resamples=resamples, seed=seed
        )
    )


def _rating_figures(counts: Floats, true: Floats, given: Floats) -> Floats:
    """The figures of :class:`RatingAgreement`, shape [tables, 4].

    Args:
        counts: How often each pair of ratings occurs, and last how often there is none, shape
            [tables, pairs + 1].
        true: One rating of each pair.
        given: The other one.
    """
    weights = counts[:, :-1]
    one, other = (np.sign(values[:, None] - values) for values in (true, given))
    concordant, untied, untied_other = (
        ((weights @ signs) * weights).sum(1) for signs in (one * other, one**2, other**2)
    )
    return np.stack(
        [
            _correlation(weights, true, given),
            _correlation(weights, _ranks(weights, one), _ranks(weights, other)),
            _divided(concordant, np.sqrt(untied * untied_other)),
            counts[:, -1] / counts.sum(1),
        ],
        axis=-1,
    )


def _correlation(weights: Floats, one: Floats, other: Floats) -> Floats:
    """Weighted correlation along the last axis; NaN where a side is constant."""
    number = weights.sum(1, keepdims=True)
    first, second = (
        values - _divided((weights * values).sum(1, keepdims=True), number)
        for values in (one, other)
    )
    variances = (weights * first**2).sum(1) * (weights * second**2).sum(1)
    return _divided((weights * first * second).sum(1), np.sqrt(variances))


def _ranks(weights: Floats, signs: Floats) -> Floats:
    """Ranks but for a constant: twice of them is what lies below minus what lies above."""
    return np.asarray(weights @ signs.T)


def _divided(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 1e-9)


def _clusters(clusters: Sequence[str] | None, items: Sequence[object]) -> list[str]:
    """The cluster of each item; without any, each is one."""
    return [str(i) for i in range(len(items))] if clusters is None else list(clusters)
