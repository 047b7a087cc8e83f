"""All pairs of vectors whose cosine reaches a threshold: as exact as brute force, and much faster.

Three bounds, none of which can lose a pair:

- **Few dimensions.** A unit vector x is replaced by u, its first principal components and, as a
  last coordinate, the length of what they leave out. By Cauchy and Schwarz u.v >= x.y.
- **Low precision.** The u are rounded to bfloat16 where that is fast. With e the largest error of
  a rounded vector, a product is off by at most 2e + e^2, which is taken from the threshold.
- **Whole blocks.** Rows are sorted by cluster and by angle to its centre. Angles obey the triangle
  inequality, so two rows whose angles to one centre differ by more than the threshold's are apart.

What is left is computed again in double precision (SemDeDup, arXiv:2303.09540, compares within
clusters only and so misses pairs across them).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray
from pydantic import Field
from tqdm import tqdm

from kyara_kedro.errors import UserError
from kyara_kedro.options import Options
from kyara_kedro.similarity.pairs import Pairs

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]

_SAMPLE = 20_000
_CHUNK = 8_192
_TILE, _DEVICE_TILE = (512, 1_024), (8_192, 32_768)
"""Rows and columns that are multiplied at once, on a CPU so that the products stay in its cache."""
_DIMENSIONS = (64, 128, 256)
_PAIR_COST, _BASE_COST, _LOW_COST, _SINGLE_COST = 600, 0.3, 0.0009, 0.012
"""Nanoseconds of a candidate pair, and of a product: as such, and a dimension in either precision.
Only their ratios matter."""
_PRUNED_FROM = 30_000
_ROWS_A_CLUSTER, _CLUSTERS = 700, 512
_ROUNDS = 6
_STEPS = 255 / np.pi
"""Angles are kept as one byte."""
_TURNS = 32_767
_SINGLE = 1e-5
"""More than single precision is off by in a product of unit vectors."""
_PAIRS_AT_ONCE = 16_384
_MEASURED = 256


class SemanticSearchOptions(Options):
    """How pairs are looked for.

    Attributes:
        mode: ``exact``, or ``approximate`` for tables for which exact takes too long: rows are
            compared with those of the clusters nearest to their own alone.
        probes: Clusters that a cluster is compared with in approximate mode.
        device: Where the products are computed: ``cuda``, ``cpu``, or ``auto`` for a GPU where
            there is one.
    """

    mode: Literal["exact", "approximate"] = "exact"
    probes: int = Field(16, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"


_DEFAULT = SemanticSearchOptions()


class Found(NamedTuple):
    """The result of a search.

    Attributes:
        pairs: Pairs of rows, ordered by both; of rows with equal vectors only the first is
            compared with others, and paired with each of the rest.
        recall: Share of the pairs of a sample of rows that were found; 1 of an exact search.
    """

    pairs: Pairs
    recall: float


def similar_pairs(
    vectors: Vectors, threshold: float, options: SemanticSearchOptions = _DEFAULT
) -> Found:
    """Find the pairs of vectors whose cosine is at least a threshold.

    Args:
        vectors: Shape [rows, dimensions]; they need no unit length, and may lie in a file
            (``np.memmap``). A vector of zeros is like nothing.
        threshold: Smallest cosine, in (0, 1].
        options: How they are looked for.

    Raises:
        UserError: a vector holds a value that is not finite, or CUDA is asked for and not there.
    """
    lengths, digests = _inspected(vectors)
    first, copies = _equal(digests, lengths)
    rows = np.flatnonzero(first & (lengths > 0))
    near = _Search(vectors, lengths, rows, threshold, options)
    found = near.pairs()
    recall = near.recall(found) if options.mode == "approximate" else 1.0
    left = np.concatenate([found.left, copies[0]])
    right = np.concatenate([found.right, copies[1]])
    similarity = np.concatenate([found.similarity, np.ones(len(copies[0]))])
    order = np.lexsort((right, left))
    return Found(Pairs(left[order], right[order], similarity[order]), recall)


def _inspected(vectors: Vectors) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Length and digest of each vector."""
    lengths, digests = np.empty(len(vectors)), np.empty(len(vectors), np.uint64)
    for start in range(0, len(vectors), _CHUNK):
        part = np.ascontiguousarray(vectors[start : start + _CHUNK], np.float32)
        finite = np.isfinite(part).all(axis=1)
        if not finite.all():
            row = start + int(np.flatnonzero(~finite)[0])
            raise UserError(f"vector {row} holds a value that is not finite: encode its text again")
        lengths[start : start + len(part)] = np.linalg.norm(part.astype(np.float64), axis=1)
        digests[start : start + len(part)] = [xxhash.xxh3_64_intdigest(row.data) for row in part]
    return lengths, digests


def _equal(
    digests: NDArray[np.uint64], lengths: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], tuple[Rows, Rows]]:
    """Which rows are the first of their vector, and the others with their first."""
    _, firsts, inverse = np.unique(digests, return_index=True, return_inverse=True)
    leaders = firsts[inverse]
    first = leaders == np.arange(len(digests))
    others = np.flatnonzero(~first & (lengths > 0))
    return first, (leaders[others], others)


class _Kernel(Protocol):
    """Multiplies codes, and tells which products reach a bound."""

    slack: float

    def reaching(self, rows: slice, columns: Rows, bound: float) -> tuple[Rows, Rows]:
        """Places of the products of some rows and some columns that reach a bound."""


class _NumpyKernel:
    """Products in single precision."""

    slack = 2e-5

    def __init__(self, codes: Vectors) -> None:
        self._codes = codes

    def reaching(self, rows: slice, columns: Rows, bound: float) -> tuple[Rows, Rows]:
        return _reaching(self._codes.take(columns, axis=0) @ self._codes[rows].T, bound)


class _TorchKernel:
    """Products in bfloat16, of a CPU that has it in hardware or of a GPU."""

    def __init__(self, codes: Vectors, device: str) -> None:
        import torch

        self._torch = torch
        self.slack = 0.0
        self._bits = np.empty(codes.shape, np.int16)
        for start in range(0, len(codes), _CHUNK):
            exact = torch.from_numpy(codes[start : start + _CHUNK])
            low = exact.to(torch.bfloat16)
            error = float((exact - low.float()).norm(dim=1).max())
            # a product is rounded to 8 bits as well: by half a unit in the last place below 1
            self.slack = max(self.slack, 2 * error + error**2 + 2.0**-9 + 2e-5)
            self._bits[start : start + _CHUNK] = low.view(torch.int16).numpy()
        self._on_device = torch.from_numpy(self._bits).to(device) if device != "cpu" else None
        self._room = torch.empty(_TILE[0] * _TILE[1], dtype=torch.bfloat16)

    def reaching(self, rows: slice, columns: Rows, bound: float) -> tuple[Rows, Rows]:
        torch = self._torch
        # positive numbers of bfloat16 are ordered like their bits, which are quicker to compare
        least = int(torch.tensor(bound, dtype=torch.bfloat16).view(torch.int16)) - 1
        if self._on_device is None:
            wide, tall = (
                torch.from_numpy(part).view(torch.bfloat16)
                for part in (self._bits.take(columns, axis=0), self._bits[rows])
            )
            room = self._room[: len(wide) * len(tall)].view(len(wide), len(tall))
            torch.mm(wide, tall.T, out=room)
            return _reaching(room.view(torch.int16).numpy(), least)
        chosen = torch.from_numpy(columns).to(self._on_device.device)
        wide, tall = (
            part.view(torch.bfloat16) for part in (self._on_device[chosen], self._on_device[rows])
        )
        bits = (wide @ tall.T).view(torch.int16)
        some = (bits.amax(dim=1) >= least).nonzero().flatten()
        column, row = (bits[some] >= least).nonzero(as_tuple=True)
        return row.cpu().numpy(), some[column].cpu().numpy()


def _reaching(products: NDArray[Any], least: float) -> tuple[Rows, Rows]:
    """Column and row of the products that are at least a number; shape [rows, columns]."""
    some = np.flatnonzero(products.max(axis=1, initial=-1) >= least)
    place = np.flatnonzero(products[some] >= least)
    row, column = np.divmod(place, products.shape[1])
    return column, some[row]


@cache
def _has_bfloat16() -> bool:
    """Whether torch is there and this CPU multiplies bfloat16 quicker than single precision."""
    try:
        import torch
    except ImportError:
        return False
    supported: Any = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(supported())


def _device(wanted: str) -> str:
    if wanted == "cpu":
        return "cpu"
    try:
        import torch

        found = torch.cuda.is_available()
    except ImportError:
        found = False
    if wanted == "cuda" and not found:
        raise UserError("dedup.semantic.search.device: there is no CUDA device; set it to cpu")
    return "cuda" if found else "cpu"


class _Search:
    """The rows of a search, as codes sorted by cluster and by angle to its centre."""

    def __init__(
        self,
        vectors: Vectors,
        lengths: NDArray[np.float64],
        rows: Rows,
        threshold: float,
        options: SemanticSearchOptions,
    ) -> None:
        self._vectors, self._lengths = vectors, lengths
        self._threshold, self._options = threshold, options
        self._device = _device(options.device)
        rng = np.random.default_rng(0)
        sample = self._units(np.sort(rng.permutation(rows)[:_SAMPLE]))
        low = self._device == "cuda" or _has_bfloat16()
        basis = _basis(sample, threshold, _LOW_COST if low else _SINGLE_COST)
        self._pruned = len(rows) > _PRUNED_FROM and self._device == "cpu"
        clustered = self._pruned or options.mode == "approximate"
        count = min(_CLUSTERS, max(1, len(rows) // _ROWS_A_CLUSTER)) if clustered else 1
        self._centres = _centres(sample, count, rng)
        codes = np.empty((len(rows), basis.shape[1] + 1), np.float32)
        angles = np.empty((len(rows), count), np.uint8)
        for start in range(0, len(rows), _CHUNK):
            part = self._units(rows[start : start + _CHUNK])
            codes[start : start + len(part)] = _code(part, basis)
            angles[start : start + len(part)] = _angles(part, self._centres)
        own = angles.argmin(axis=1)
        order = np.lexsort((angles[np.arange(len(rows)), own], own))
        self._rows, self._own, self._angles = rows[order], own[order], angles[order]
        self._nearest = self._angles[np.arange(len(rows)), self._own]
        codes = codes[order]
        self._kernel: _Kernel = _TorchKernel(codes, self._device) if low else _NumpyKernel(codes)

    def pairs(self) -> Pairs:
        """Pairs of rows that reach the threshold, in no order."""
        tall, wide = _DEVICE_TILE if self._device == "cuda" else _TILE
        bound = self._threshold - self._kernel.slack
        left, right, similarity = [], [], []
        groups = _groups(self._own, tall)
        for start, end in tqdm(groups, "semantic pairs", unit="group", disable=None, leave=False):
            columns = self._columns(start, end)
            for place in range(0, len(columns), wide):
                some = columns[place : place + wide]
                row, column = self._kernel.reaching(slice(start, end), some, bound)
                one, other = row + start, some[column]
                one, other = one[one < other], other[one < other]
                found = self._cosines(self._rows[one], self._rows[other])
                close = found >= self._threshold
                one, other = self._rows[one[close]], self._rows[other[close]]
                left.append(np.minimum(one, other))
                right.append(np.maximum(one, other))
                similarity.append(np.minimum(found[close], 1.0))
        return Pairs(
            np.concatenate([np.empty(0, np.int64), *left]),
            np.concatenate([np.empty(0, np.int64), *right]),
            np.concatenate([np.empty(0), *similarity]),
        )

    def _columns(self, start: int, end: int) -> Rows:
        """Rows from a group on that a row of it may be like."""
        own, nearest = self._own[start:], self._nearest[start:].astype(np.int16)
        centre = own[0]
        kept = np.ones(len(own), np.bool_)
        if self._pruned:
            # two bytes of angles may be off by two steps together
            reach = int(np.ceil(np.arccos(self._threshold) * _STEPS)) + 2
            group = self._angles[start:end].astype(np.int16)
            low, high = group.min(axis=0) - reach, group.max(axis=0) + reach
            kept = (nearest >= low[own]) & (nearest <= high[own])
            to_centre = self._angles[start:, centre].astype(np.int16)
            kept &= (to_centre >= low[centre]) & (to_centre <= high[centre])
        if self._options.mode == "approximate":
            kept &= self._near(centre)[own]
        return start + np.flatnonzero(kept)

    def _near(self, centre: int) -> NDArray[np.bool_]:
        """Which clusters are near one, or have it near them."""
        products = self._centres @ self._centres.T
        order = np.argsort(-products, axis=1)[:, : self._options.probes]
        near = np.zeros(products.shape, np.bool_)
        np.put_along_axis(near, order, True, axis=1)
        near |= near.T
        return near[centre]

    def recall(self, found: Pairs) -> float:
        """Share of the pairs of some rows that were found, by comparing these with all others."""
        picked = np.sort(np.random.default_rng(1).permutation(self._rows)[:_MEASURED])
        units = self._units(picked)
        truth = hits = 0
        known = np.unique(
            np.concatenate(
                [
                    found.left * len(self._vectors) + found.right,
                    found.right * len(self._vectors) + found.left,
                ]
            )
        )
        for start in range(0, len(self._rows), _CHUNK):
            rows = self._rows[start : start + _CHUNK]
            one, other = np.nonzero(units @ self._units(rows).T >= self._threshold - _SINGLE)
            one, other = picked[one], rows[other]
            close = (self._cosines(one, other) >= self._threshold) & (one != other)
            keys = one[close] * len(self._vectors) + other[close]
            truth += len(keys)
            hits += int(np.isin(keys, known).sum())
        return hits / truth if truth else 1.0

    def _units(self, rows: Rows) -> Vectors:
        units: Vectors = self._vectors[rows] / self._lengths[rows, None].astype(np.float32)
        return units

    def _cosines(self, one: Rows, other: Rows) -> NDArray[np.float64]:
        """Cosines of pairs of rows, in double precision where single might not tell."""
        cosines = np.empty(len(one))
        for start in range(0, len(one), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            a, b = self._vectors[one[part]], self._vectors[other[part]]
            scale = self._lengths[one[part]] * self._lengths[other[part]]
            found = np.einsum("ij,ij->i", a, b).astype(np.float64) / scale
            close = np.flatnonzero(np.abs(found - self._threshold) < _SINGLE)
            exact = np.einsum("ij,ij->i", a[close].astype(np.float64), b[close].astype(np.float64))
            found[close] = exact / scale[close]
            cosines[part] = found
        return cosines


def _basis(sample: Vectors, threshold: float, cost: float) -> Vectors:
    """As many principal axes of a sample, as columns, as make the search of its pairs cheapest.

    More axes make products dearer, and candidates that are none fewer.
    """
    _, axes = np.linalg.eigh(sample.T.astype(np.float64) @ sample.astype(np.float64))
    axes = np.ascontiguousarray(axes[:, ::-1], np.float32)
    some = sample[:: max(1, len(sample) // 2_000)]
    costs = {}
    for count in (*(count for count in _DIMENSIONS if count < axes.shape[1]), axes.shape[1]):
        code = _code(some, axes[:, : count - 1])
        rate = (code @ code.T >= threshold - 0.005).mean() if len(some) else 0.0
        costs[count] = _BASE_COST + cost * count + _PAIR_COST * rate
    return axes[:, : min(costs, key=costs.__getitem__) - 1]


def _code(units: Vectors, basis: Vectors) -> Vectors:
    """Components of unit vectors along a basis, and the length of what it leaves out."""
    inside = units @ basis
    rest = np.sqrt(np.maximum(1 - np.einsum("ij,ij->i", inside, inside), 0))
    return np.column_stack([inside, rest])


def _centres(sample: Vectors, count: int, rng: np.random.Generator) -> Vectors:
    """Centres of spherical k-means (Dhillon and Modha 2001)."""
    centres = sample[np.sort(rng.permutation(len(sample))[:count])].copy()
    for _ in range(_ROUNDS if count > 1 else 0):
        nearest = (sample @ centres.T).argmax(axis=1)
        order = np.argsort(nearest, kind="stable")
        used, starts = np.unique(nearest[order], return_index=True)
        sums = np.zeros_like(centres)
        sums[used] = np.add.reduceat(sample[order], starts)
        lengths = np.linalg.norm(sums, axis=1)
        moved = lengths > 0
        centres[moved] = sums[moved] / lengths[moved, None]
    return centres


def _angles(units: Vectors, centres: Vectors) -> NDArray[np.uint8]:
    """Angles of unit vectors to centres, in steps of a 255th of a half turn."""
    places = np.clip((units @ centres.T + 1) * np.float32(_TURNS), 0, 2 * _TURNS)
    return _half_turn().take(places.astype(np.uint16))


@cache
def _half_turn() -> NDArray[np.uint8]:
    """The angle of each cosine, of which there are 65,535."""
    cosines = np.linspace(-1, 1, 2 * _TURNS + 1)
    return (np.arccos(cosines) * _STEPS).astype(np.uint8)


def _groups(own: NDArray[np.int64], size: int) -> list[tuple[int, int]]:
    """Cut sorted rows into groups of one cluster and at most a size."""
    bounds = [0, *(np.flatnonzero(np.diff(own)) + 1).tolist(), len(own)]
    return [
        (start, min(start + size, end))
        for begin, end in zip(bounds[:-1], bounds[1:], strict=True)
        for start in range(begin, end, size)
    ]
