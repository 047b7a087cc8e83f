"""Bradley-Terry strengths from duels, many tables at once, with bootstrap intervals.

P(i beats j) = sigmoid(s_i - s_j) (Bradley and Terry 1952); a tie is half a win for each. Without a
prior this is the maximum likelihood of a logistic regression on the differences of indicators. It
exists when every contestant can be reached from every other by wins (Ford 1957); where that is not
so, as for one who never lost, a prior keeps the strengths finite.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRIOR = 0.5
"""Weight of a tie with an average contestant, given to each where it is needed."""
_ROUNDS = 100
_LONGEST_STEP = 2.0
_EXACT = 1e-9
_CELLS_AT_ONCE = 4_000_000


class Ratings(NamedTuple):
    """Strengths of contestants, as log-odds with mean zero.

    Attributes:
        strength: Shape [contestants].
        low: Lower ends of the intervals.
        high: Upper ends.
        component: Which contestants are connected by duels; strengths of different components
            cannot be compared.
        regularised: Whether the prior was needed.
        resamples_regularised: Share of the resamples in which it was.
    """

    strength: Floats
    low: Floats
    high: Floats
    component: NDArray[np.int64]
    regularised: bool
    resamples_regularised: float


def sigmoid(x: Floats) -> Floats:
    """The logistic function, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def strengths(wins: Floats, prior: Floats | float, offset: Floats | float = 0.0) -> Floats:
    """Fit tables of wins by Newton's method.

    Args:
        wins: Shape [..., contestants, contestants]: wins of the row's contestant over the column's.
        prior: Weight of a tie with a contestant of strength 0 for each contestant; broadcast over
            the leading dimensions. Without one, a table has to be strongly connected.
        offset: What speaks for the row against the column apart from their strengths, in log-odds
            and antisymmetric; the same shape as ``wins``.

    Returns:
        Shape [..., contestants]; the mean is zero where there is no prior.
    """
    number = wins.shape[-1]
    tables = wins.reshape(-1, number, number)
    shift = np.broadcast_to(np.asarray(offset, dtype=np.float64), wins.shape).reshape(tables.shape)
    weight = np.broadcast_to(np.asarray(prior, dtype=np.float64), wins.shape[:-2]).reshape(-1)
    games = tables + tables.swapaxes(-1, -2)
    won = tables.sum(-1)
    found = np.zeros((len(tables), number))
    moving = np.arange(len(tables))
    diagonal = np.arange(number)
    for _ in range(_ROUNDS):
        now, share = found[moving], weight[moving, None]
        chance = sigmoid(now[:, :, None] - now[:, None, :] + shift[moving])
        own = sigmoid(now)
        slope = won[moving] - (games[moving] * chance).sum(-1) - share * (own - 0.5)
        bend = -games[moving] * chance * (1 - chance)
        bend[:, diagonal, diagonal] = share * own * (1 - own) - bend.sum(-1)
        bend += (share == 0)[:, :, None] / number  # or else all strengths could move together
        step = np.linalg.solve(bend, slope[:, :, None])[:, :, 0]
        longest = np.abs(step).max(-1, keepdims=True)
        found[moving] += step * np.minimum(1.0, _LONGEST_STEP / np.maximum(longest, _EXACT))
        moving = moving[longest[:, 0] > _EXACT]
        if not len(moving):
            break
    return found.reshape(wins.shape[:-1])


def strongly_connected(wins: Floats) -> NDArray[np.bool_]:
    """Whether each table's contestants are all reached from one another by wins.

    Args:
        wins: Shape [..., contestants, contestants].
    """
    number = wins.shape[-1]
    reached = (wins > 0) | np.eye(number, dtype=np.bool_)
    for _ in range(max(1, int(number).bit_length())):
        reached = np.matmul(reached.astype(np.float32), reached.astype(np.float32)) > 0
    return np.asarray(reached.all(axis=(-1, -2)))


def components(wins: Floats) -> NDArray[np.int64]:
    """Number of the component of duels that each contestant of one table belongs to, from 0 on."""
    met = (wins + wins.T > 0) | np.eye(len(wins), dtype=np.bool_)
    for _ in range(max(1, len(wins).bit_length())):
        met = np.matmul(met.astype(np.float32), met.astype(np.float32)) > 0
    first = met.argmax(axis=1)
    return np.unique(first, return_inverse=True)[1].astype(np.int64)


def bradley_terry(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    score: Floats,
    cluster: NDArray[np.int64],
    contestants: int,
    *,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
) -> Ratings:
    """Rate contestants, with percentile intervals of a bootstrap over clusters (prompts).

    Args:
        first: Number of the contestant shown first, one a verdict.
        second: Number of the other.
        score: 1 where the first won, 0 where the second did, 0.5 for a tie.
        cluster: Number of the prompt, from 0 on: verdicts on one prompt are drawn together.
        contestants: How many there are.
        resamples: Number of resamples.
        seed: Of the draws.
        confidence: Of the intervals.

    Returns:
        The strengths of all verdicts, and the intervals.
    """
    prompts = int(cluster.max(initial=-1)) + 1
    times = np.zeros((resamples, prompts), dtype=np.float32)
    draws = np.random.default_rng(seed)
    for number in range(resamples):
        times[number] = np.bincount(draws.integers(0, prompts, prompts), minlength=prompts)
    order = np.argsort(cluster, kind="stable")
    first, second, score, cluster = first[order], second[order], score[order], cluster[order]
    cells = contestants * contestants
    wins, drawn = np.zeros(cells), np.zeros((resamples, cells))
    size = max(1, _CELLS_AT_ONCE // cells)
    for start in range(0, prompts, size):
        part = slice(*np.searchsorted(cluster, [start, start + size]))
        number = min(size, prompts - start)
        base = (cluster[part] - start) * cells
        forward = base + first[part] * contestants + second[part]
        backward = base + second[part] * contestants + first[part]
        won = np.bincount(forward, score[part], number * cells)
        won += np.bincount(backward, 1 - score[part], number * cells)
        table = won.reshape(number, cells)
        wins += table.sum(axis=0)
        drawn += times[:, start : start + number].astype(np.float64) @ table
    shape = contestants, contestants
    strength, needed = _fitted(wins.reshape(1, *shape))
    of_draws, of_draws_needed = _fitted(drawn.reshape(-1, *shape))
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(of_draws, ends, axis=0) if resamples else (strength[0], strength[0])
    return Ratings(
        strength[0],
        low,
        high,
        components(wins.reshape(shape)),
        bool(needed[0]),
        float(of_draws_needed.mean()) if resamples else 0.0,
    )


def _fitted(wins: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Strengths of tables, with the prior for those that need it, and which do."""
    needed = ~strongly_connected(wins)
    size = max(1, _CELLS_AT_ONCE // wins.shape[-1] ** 2)
    parts = [
        strengths(wins[start : start + size], np.where(needed[start : start + size], PRIOR, 0.0))
        for start in range(0, len(wins), size)
    ]
    found = np.concatenate(parts) if parts else np.zeros(wins.shape[:-1])
    return found - found.mean(-1, keepdims=True), needed
