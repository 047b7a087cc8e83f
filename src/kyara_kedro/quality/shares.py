"""How many of each kind: shares in whole numbers, and the largest selection that holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

Counts = NDArray[np.int64]
_ALMOST = 1e-9


class Bounds(NamedTuple):
    """The most rows of each value of some columns, for one size of the selection.

    Attributes:
        most: Column to (value to rows); a value that is not named is not bounded.
        aims: Rows aimed at for each value of the column ``aim``.
    """

    most: Mapping[str, Mapping[str, int]]
    aims: Mapping[str, int]


def apportion(total: int, weights: Sequence[float], available: Sequence[int]) -> list[int]:
    """Share a number out by weights, in whole numbers, giving none more than it has.

    The largest remainders get what rounding leaves over (Hamilton's method); what one lacks goes
    to the others by the same rule, and to those without weight only when all others are full.

    Returns:
        One number each; their sum is ``total``, or all that is available where that is less.
    """
    have = np.asarray(available, np.int64)
    given = np.zeros(len(have), np.int64)
    while (rest := min(total, int(have.sum())) - int(given.sum())) > 0:
        open_ = have > given
        weight = np.where(open_, np.asarray(weights, np.float64), 0.0)
        if not weight.any():
            weight = open_.astype(np.float64)
        exact = rest * weight / weight.sum()
        parts = np.floor(exact + _ALMOST).astype(np.int64)
        first = np.argsort(-(exact - parts), kind="stable")[: rest - int(parts.sum())]
        parts[first] += 1
        given = np.minimum(given + parts, have)
    return [int(n) for n in given]


def most_of(share: float, size: int) -> int:
    """The most rows that are not more than a share of a selection."""
    return int(share * size + _ALMOST)


def largest_size(size: int, share: float, groups: Counts, unbounded: int, given: Counts) -> int:
    """The largest size whose share no group has to exceed.

    Args:
        size: The size wished for.
        share: Largest share of one group.
        groups: Rows of each group.
        unbounded: Rows of no group.
        given: Rows of each group that are taken in any case.
    """
    while True:
        room = np.minimum(groups, np.maximum(most_of(share, size), given))
        fits = int(room.sum()) + unbounded
        if fits >= size:
            return size
        size = fits


def allocate(cells: pl.DataFrame, size: int, bounds: Bounds) -> Counts:
    """How many rows of each cell to take so that as many as possible, at most ``size``, are taken.

    Of all ways to take as many, those with the fewest copies are looked at; of these, those
    nearest to the aims; and of these one that changes least of what was taken. Each is an integer
    program of as many variables as there are cells, whatever the number of rows.

    Args:
        cells: One row for each combination of values: the columns that ``bounds`` speaks about,
            ``aim``, ``copy`` (whether its rows resemble better ones), ``available``, ``given``
            (rows that are taken in any case) and ``taken`` (where the search starts).
        size: Most rows.
        bounds: Most rows of each value, and the aims.

    Returns:
        Rows to take of each cell.
    """
    from scipy.optimize import Bounds as Box
    from scipy.optimize import LinearConstraint, milp
    from scipy.sparse import csr_array, eye_array, hstack, vstack

    number = cells.height
    aims = list(bounds.aims)
    taken = cells["taken"].to_numpy()
    unit = eye_array(number)
    in_aim = np.array([(cells["aim"] == name).to_numpy() for name in aims]).reshape(-1, number)
    capped = [
        ((cells[column] == name).fill_null(False).to_numpy(), most)
        for column, names in bounds.most.items()
        for name, most in names.items()
    ]
    capped.append((np.ones(number, np.bool_), size))
    # variables: rows of each cell, distance from each aim, distance from what was taken
    caps = csr_array(np.array([rows for rows, _ in capped], np.float64))
    aim_rows = csr_array(in_aim.astype(np.float64))
    near = eye_array(len(aims))
    matrix = vstack(
        [
            hstack([caps, csr_array((len(capped), len(aims) + number))]),
            hstack([aim_rows, -near, csr_array((len(aims), number))]),
            hstack([-aim_rows, -near, csr_array((len(aims), number))]),
            hstack([unit, csr_array((number, len(aims))), -unit]),
            hstack([-unit, csr_array((number, len(aims))), -unit]),
        ]
    ).tocsr()
    goal = np.array([bounds.aims[name] for name in aims], np.float64)
    upper = np.concatenate([[most for _, most in capped], goal, -goal, taken, -taken])
    columns = np.zeros((4, matrix.shape[1]))
    columns[0, :number] = -1.0
    columns[1, :number] = cells["copy"].to_numpy()
    columns[2, number : number + len(aims)] = 1.0
    columns[3, number + len(aims) :] = 1.0
    box = Box(
        np.concatenate([cells["given"].to_numpy(), np.zeros(len(aims) + number)]),
        np.concatenate([cells["available"].to_numpy(), np.full(len(aims) + number, np.inf)]),
    )
    found = np.zeros(0)
    for wish in columns:
        result = milp(
            wish,
            integrality=np.ones(matrix.shape[1]),
            bounds=box,
            constraints=LinearConstraint(matrix, ub=upper),
        )
        found = np.round(result.x)
        matrix = vstack([matrix, csr_array(wish[None, :])]).tocsr()
        upper = np.append(upper, wish @ found)
    return found[:number].astype(np.int64)
