"""Which products of many vectors reach a bound: the inner loop of the semantic search.

Nearly all time goes to writing products and reading them again, so they are made tile by tile in a
room that stays in the processor's cache, and looked at twice: the largest of each run of 64, then
the runs that hold one that counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]

RUN = 64
"""Columns are asked for in multiples of this."""
UNIT = 2.0**-23
"""Twice the rounding error of single precision."""
_ON_CPU, _ON_DEVICE = (512, 1_024), (16_384, 16_384)
_PAIRS_AT_ONCE = 1 << 16


class Kernel(Protocol):
    """Multiplies codes, which are vectors of about unit length.

    Attributes:
        tile: Most rows and columns of one call.
        slack: A product may be given this much too small.
    """

    tile: tuple[int, int]
    slack: float

    def put(self, start: int, codes: Vectors) -> None:
        """Set the codes from a row on."""

    def reaching(self, rows: slice, columns: Rows, bound: float) -> tuple[Rows, Rows]:
        """Products of some rows and some columns that may reach a positive bound.

        Returns:
            For each its row and its place among the columns.
        """


class SingleKernel:
    """Products in single precision, by NumPy."""

    tile = _ON_CPU

    def __init__(self, rows: int, dimensions: int) -> None:
        self.slack = dimensions * UNIT
        self._codes = np.empty((rows, dimensions), np.float32)
        self._wide = np.empty((self.tile[1], dimensions), np.float32)
        self._room = np.empty(self.tile[0] * self.tile[1], np.float32)

    def put(self, start: int, codes: Vectors) -> None:
        """Set the codes from a row on."""
        self._codes[start : start + len(codes)] = codes

    def reaching(self, rows: slice, columns: Rows, bound: float) -> tuple[Rows, Rows]:
        """Products of some rows and some columns that may reach a positive bound."""
        wide, tall = self._wide[: len(columns)], self._codes[rows]
        np.take(self._codes, columns, axis=0, out=wide, mode="clip")
        room = self._room[: len(wide) * len(tall)].reshape(len(wide), len(tall))
        runs = np.matmul(wide, tall.T, out=room).reshape(-1, RUN, len(tall))
        least = np.float32(bound - self.slack)
        run, row = np.nonzero(runs.max(axis=1) >= least)
        hit, place = np.nonzero(runs[run, :, row] >= least)
        return rows.start + row[hit], run[hit] * RUN + place


class HalfKernel:
    """Products in bfloat16, by torch: on a GPU, or on a CPU that has them in hardware.

    Args:
        rows: Number of codes.
        dimensions: Of each code.
        device: Of torch.
        vectors: What the codes stand for, of unit length and on the device. With them, products
            count only where those of the vectors reach the bound.
    """

    def __init__(self, rows: int, dimensions: int, device: str, vectors: Any = None) -> None:
        import torch

        self._torch = torch
        self.tile = _ON_CPU if device == "cpu" else _ON_DEVICE
        self.slack = 0.0
        self._codes = torch.empty((rows, dimensions), dtype=torch.bfloat16, device=device)
        size = min(self.tile[0], rows) * min(self.tile[1], rows + RUN)
        self._room = torch.empty(size, dtype=torch.bfloat16, device=device)
        self._vectors = vectors

    def put(self, start: int, codes: Vectors) -> None:
        """Set the codes from a row on.

        With e the largest error of a rounded code, a product is off by at most 2e + e^2, and by
        what adding up in single precision may lose.
        """
        exact = self._torch.from_numpy(codes)
        rounded = exact.bfloat16()
        error = float((exact - rounded.float()).norm(dim=1).max())
        self.slack = max(self.slack, 2 * error + error**2 + codes.shape[1] * UNIT)
        self._codes[start : start + len(codes)] = rounded

    def reaching(self, rows: slice, columns: Rows, bound: float) -> tuple[Rows, Rows]:
        """Products of some rows and some columns that may reach a positive bound."""
        torch = self._torch
        chosen = torch.from_numpy(columns).to(self._codes.device)
        wide, tall = self._codes[chosen], self._codes[rows]
        room = self._room[: len(wide) * len(tall)].view(len(wide), len(tall))
        torch.mm(wide, tall.T, out=room)
        # positive numbers of bfloat16 are in the order of their bits, which compare far quicker;
        # one step less forgives a library that does not round to the nearest
        runs = room.view(torch.int16).view(-1, RUN, len(tall))
        least = int(torch.tensor(bound - self.slack).bfloat16().view(torch.int16)) - 1
        run, row = (runs.amax(dim=1) >= least).nonzero(as_tuple=True)
        hit, place = (runs[run, :, row] >= least).nonzero(as_tuple=True)
        row, place = rows.start + row[hit], run[hit] * RUN + place
        if self._vectors is not None:
            close = self._close(row, chosen[place], bound)
            row, place = row[close], place[close]
        return row.cpu().numpy(), place.cpu().numpy()

    def _close(self, one: Any, other: Any, bound: float) -> Any:
        """Which pairs of vectors may reach a bound."""
        least = bound - self._vectors.shape[1] * UNIT
        pairs = zip(one.split(_PAIRS_AT_ONCE), other.split(_PAIRS_AT_ONCE), strict=True)
        found = [(self._vectors[a] * self._vectors[b]).sum(dim=1) >= least for a, b in pairs]
        return self._torch.cat(found)


@cache
def half_is_faster() -> bool:
    """Whether torch multiplies bfloat16 on this CPU quicker than NumPy single precision.

    Few CPUs have it in hardware, and without it takes ten times as long. Which kernel is used
    changes no result.
    """
    try:
        import torch
    except ImportError:
        return False
    single = np.ones((1_024, 64), np.float32)
    half = torch.ones((1_024, 64), dtype=torch.bfloat16)
    return _seconds(lambda: half @ half.T) < _seconds(lambda: single @ single.T)


def _seconds(work: Callable[[], object]) -> float:
    """Shortest time of a few that something takes."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
