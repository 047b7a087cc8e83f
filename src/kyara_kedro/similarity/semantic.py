"""All pairs of vectors whose cosine reaches a threshold: as exact as brute force, and much faster.

Three bounds, none of which can lose a pair:

- **Few dimensions.** A unit vector x is replaced by u, its first principal components and, as a
  last coordinate, the length of what they leave out. By Cauchy and Schwarz u.v >= x.y.
- **Low precision.** The u are rounded where that is fast: on a CPU to whole numbers of a byte,
  turned by a random rotation first so that no coordinate is long, on a GPU to bfloat16. With e the
  largest error of a rounded vector, a product is off by at most 2e + e^2, which is taken from the
  threshold.
- **Whole blocks.** Rows are sorted by cluster and by angle to its centre. Angles obey the triangle
  inequality, so two rows whose angles to one centre differ by more than the threshold's are apart.

What is left is computed again in double precision (SemDeDup, arXiv:2303.09540, compares within
clusters only and so misses pairs across them).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, cached_property
from itertools import pairwise
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
_HEIGHTS, _WIDTHS = 16, 128
"""Heights and widths of tiles are multiples of these: torch keeps a program for each shape."""
_CHUNK = 4_096
_TILE, _DEVICE_TILE = (64, 4_096), (8_192, 32_768)
"""Rows and columns that are multiplied at once, on a CPU so that the products stay in its cache."""
_DIMENSIONS = (64, 96, 128, 160, 192, 256, 384, 512)
_PAIR_COST = 350
"""Nanoseconds of a candidate pair."""
_COSTS = {
    "single": (0.2, 0.025, 0.0),
    "bytes": (0.2, 0.012, 0.025),
    "device": (0.001, 3e-6, 0.005),
}
"""By kernel: nanoseconds of a product as such, and for each dimension of its codes; and about what
rounding takes from the threshold. Those of a device are its makers' figures for memory and
arithmetic."""
_PRUNED_FROM = 30_000
_ROWS_A_CLUSTER, _CLUSTERS = 200, 512
_LEFT = 0.3
"""Share of the products that pruning leaves, about."""
_ROUNDS = 3
_STEPS = 255 / np.pi
"""Angles are kept as one byte."""
_TURNS, _ABOVE = 32_760, 1.0001
"""Steps of a cosine, and what makes the least one positive: their places have 16 bits."""
_BYTE, _FIXED = 127, 32_000
"""Largest code of a byte, and what stands for 1 where codes wait in 16 bits."""
_UNIT = 2.0**-24
"""Largest relative error of one operation in single precision."""
_SQUARES = 1e-5
"""More than the squared length of a projection of a unit vector is off by in single precision."""
_PAIRS_AT_ONCE = 8_192
_DENSE = 4
"""Pairs of a column from which on it is multiplied with a whole group of rows."""
_MEASURED = 256
_SHORTEST, _LONGEST = 1e-30, 1e30
"""Lengths between which single precision can divide by them."""


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
    order = np.argsort(left * len(vectors) + right)
    return Found(Pairs(left[order], right[order], similarity[order]), recall)


def _inspected(vectors: Vectors) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Length and digest of each vector."""
    lengths, digests = np.empty(len(vectors)), np.empty(len(vectors), np.uint64)
    for start in range(0, len(vectors), _CHUNK):
        part = np.ascontiguousarray(vectors[start : start + _CHUNK], np.float32) + np.float32(0)
        end = start + len(part)
        lengths[start:end] = np.sqrt(np.einsum("ij,ij->i", part, part, dtype=np.float64))
        finite = np.isfinite(lengths[start:end])
        if not finite.all():
            row = start + int(np.flatnonzero(~finite)[0])
            raise UserError(f"vector {row} holds a value that is not finite: encode its text again")
        digests[start:end] = [xxhash.xxh3_64_intdigest(row.data) for row in part]
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

    def store(self, start: int, codes: Vectors) -> None:
        """Take in the codes of the rows from one on."""

    def sort(self, order: Rows) -> None:
        """Put all rows in their final order."""

    def reaching(self, rows: slice, columns: Rows, bound: float) -> tuple[Rows, Rows]:
        """Places of the products of some rows and some columns that reach a bound.

        They are ordered by column.
        """


class _NumpyKernel:
    """Products in single precision."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._codes = np.empty(shape, np.float32)
        self.slack = 2 * _rounding(shape[1])
        self._room = _Room(np.float32, np.float32, shape[1])

    def store(self, start: int, codes: Vectors) -> None:
        self._codes[start : start + len(codes)] = codes

    def sort(self, order: Rows) -> None:
        self._codes = self._codes[order]

    def reaching(self, rows: slice, columns: Rows, bound: float) -> tuple[Rows, Rows]:
        wide, tall = self._room.gather(self._codes, columns, len(columns)), self._codes[rows]
        products = self._room.products(len(wide), len(tall))
        np.matmul(wide, tall.T, out=products)
        return self._room.reaching(products, bound)


class _ByteKernel:
    """Products of whole numbers of a byte, of a CPU that sums those in hardware."""

    def __init__(self, shape: tuple[int, int]) -> None:
        import torch

        self._torch = torch
        # products are summed by four; torch 2.13 errs where codes have one dimension
        self._fixed = np.zeros((shape[0], _padded(shape[1], 4)), np.int16)
        self._room = _Room(np.int8, np.int32, self._fixed.shape[1])

    def store(self, start: int, codes: Vectors) -> None:
        self._fixed[start : start + len(codes), : codes.shape[1]] = np.rint(codes * _FIXED)

    def sort(self, order: Rows) -> None:
        dimensions = self._fixed.shape[1]
        longest = max(int(self._fixed.max(initial=1)), -int(self._fixed.min(initial=-1)))
        self._codes = np.empty(self._fixed.shape, np.int8)
        farthest = 0.0
        for start in range(0, len(order), _CHUNK):
            exact = self._fixed[order[start : start + _CHUNK]] * np.float32(_BYTE / longest)
            low = np.rint(exact)
            farthest = max(farthest, float(np.linalg.norm(exact - low, axis=1).max()))
            self._codes[start : start + _CHUNK] = low
        self._fixed = self._fixed[:0]
        self._scale = _BYTE * _FIXED / longest
        # each of 16 bits is off by half a step too
        error = farthest / self._scale + dimensions**0.5 * 0.5 / _FIXED
        self.slack = 2 * error * (1 + _SQUARES) + error**2 + 2 * _rounding(dimensions)

    def reaching(self, rows: slice, columns: Rows, bound: float) -> tuple[Rows, Rows]:
        height, width = rows.stop - rows.start, len(columns)
        tall = self._codes[rows.start : rows.start + _padded(height, _HEIGHTS)]
        wide = self._room.gather(self._codes, columns, _padded(width, _WIDTHS))
        products = self._room.products(len(wide), len(tall))
        one, other, out = map(self._torch.from_numpy, (wide, tall, products))
        self._torch._int_mm(one, other.T, out=out)
        row, column = self._room.reaching(products[:width], int(bound * self._scale**2))
        inside = row < height
        return row[inside], column[inside]


@cache
def _multiplies_bytes() -> bool:
    """Whether torch is there and this CPU has instructions for sums of products of bytes."""
    try:
        import torch
    except ImportError:
        return False
    supported: Any = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    return bool(supported()) and hasattr(torch, "_int_mm")


def _padded(count: int, multiple: int) -> int:
    """A count rounded up to a multiple."""
    return -(-count // multiple) * multiple


class _DeviceKernel:
    """Products in bfloat16, on a GPU.

    Tiles are large there, and few of their columns hold a candidate: those are looked at alone.
    """

    def __init__(self, shape: tuple[int, int], device: str) -> None:
        import torch

        self._torch, self._device = torch, device
        self._bits = np.empty(shape, np.int16)
        self.slack = self._rounding = 2 * _rounding(shape[1])
        # else parts of a sum might be rounded on their own
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False

    def store(self, start: int, codes: Vectors) -> None:
        exact = self._torch.from_numpy(codes)
        low = exact.to(self._torch.bfloat16)
        error = float((exact - low.float()).norm(dim=1).max())
        self.slack = max(self.slack, 2 * error * (1 + _SQUARES) + error**2 + self._rounding)
        self._bits[start : start + len(codes)] = low.view(self._torch.int16).numpy()

    def sort(self, order: Rows) -> None:
        bits, self._bits = self._bits[order], self._bits[:0]
        self._on_device = self._torch.from_numpy(bits).to(self._device).view(self._torch.bfloat16)

    def reaching(self, rows: slice, columns: Rows, bound: float) -> tuple[Rows, Rows]:
        codes, least = self._on_device, self._least(bound)
        chosen = self._torch.from_numpy(columns).to(codes.device)
        bits = (codes[chosen] @ codes[rows].T).view(self._torch.int16)
        some = (bits.amax(dim=1) >= least).nonzero().flatten()
        column, row = (bits[some] >= least).nonzero(as_tuple=True)
        return row.cpu().numpy(), some[column].cpu().numpy()

    def _least(self, bound: float) -> int:
        """The bits of a bound in bfloat16, which order positive numbers as their values do.

        Rounding keeps order, so a product that reaches the bound before it is rounded does so
        after, when the bound is rounded too.
        """
        low = self._torch.tensor(bound, dtype=self._torch.bfloat16)
        bits = int(low.view(self._torch.int16))
        return bits if bits > 0 else int(np.iinfo(np.int16).min)


class _Room:
    """Memory for a tile, used again and again: fresh pages cost more than the products."""

    def __init__(self, kind: type[np.generic], products: type[np.generic], dimensions: int) -> None:
        tall, wide = _padded(_TILE[0], _HEIGHTS), _padded(_TILE[1], _WIDTHS)
        self._wide = np.zeros((wide, dimensions), kind)
        self._products = np.empty(wide * tall, products)
        self._reached = np.empty(wide * tall, np.bool_)

    def gather(self, codes: NDArray[Any], columns: Rows, count: int) -> NDArray[Any]:
        """Codes of some columns, and of any others up to a count; shape [count, dimensions]."""
        if columns[-1] - columns[0] == len(columns) - 1 and columns[0] + count <= len(codes):
            return codes[columns[0] : columns[0] + count]
        codes.take(columns, axis=0, out=self._wide[: len(columns)], mode="clip")
        return self._wide[:count]

    def products(self, columns: int, rows: int) -> NDArray[Any]:
        """Room for products; shape [columns, rows]."""
        return self._products[: columns * rows].reshape(columns, rows)

    def reaching(self, products: NDArray[Any], least: float) -> tuple[Rows, Rows]:
        """Row and column of the products that are at least a number."""
        size, octets = products.size, -(-products.size // 8)
        self._reached[size : 8 * octets] = False
        flat = products.reshape(-1)
        np.greater_equal(flat, products.dtype.type(least), out=self._reached[:size])
        # few are reached: most stretches of eight are passed over as one number
        every = self._reached[: 8 * octets]
        some = np.flatnonzero(every.view(np.uint64) != 0)
        place = np.flatnonzero(every.reshape(-1, 8)[some])
        column, row = np.divmod(8 * some[place >> 3] + (place & 7), products.shape[1])
        return row, column


def _rounding(dimensions: int) -> float:
    """More than a product of unit vectors is off by in single precision, in whatever order."""
    return (dimensions + 16) * _UNIT + 2 * _SQUARES * _UNIT


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
        self._close = _rounding(vectors.shape[1])
        rng = np.random.default_rng(0)
        sample = self._units(np.sort(rng.permutation(rows)[:_SAMPLE]))
        self._pruned = len(rows) > _PRUNED_FROM and self._device == "cpu"
        share = _LEFT if self._pruned else 1
        kind = "device" if self._device == "cuda" else "bytes" if _multiplies_bytes() else "single"
        base, cost, slack = _COSTS[kind]
        coding = _coding(sample, threshold - slack, share * base, share * cost)
        clustered = self._pruned or options.mode == "approximate"
        count = min(_CLUSTERS, max(1, len(rows) // _ROWS_A_CLUSTER)) if clustered else 1
        self._centres = _centres(sample, count, rng)
        self._kernel = _kernel((len(rows), len(coding.rest)), self._device)
        self._angles = np.empty((len(self._centres), len(rows)), np.uint8)
        own, nearest = np.empty(len(rows), np.int64), np.empty(len(rows), np.uint8)
        for start in range(0, len(rows), _CHUNK):
            part = self._units(rows[start : start + _CHUNK])
            self._kernel.store(start, coding(part))
            angles, place = _angles(part, self._centres), slice(start, start + len(part))
            own[place], nearest[place] = angles.argmin(axis=1), angles.min(axis=1)
            self._angles[:, place] = angles.T
        # by cluster and by angle to its centre
        order = np.lexsort((nearest, own))
        self._kernel.sort(order)
        self._rows, self._own, self._nearest = rows[order], own[order], nearest[order]
        for each in self._angles:
            each[:] = each[order]
        self._begins = np.searchsorted(self._own, np.arange(len(self._centres) + 1))

    def pairs(self) -> Pairs:
        """Pairs of rows that reach the threshold, in no order."""
        tall, wide = _DEVICE_TILE if self._device == "cuda" else _TILE
        # many small arrays kept among large ones passing by would scatter the memory
        found = bytearray(), bytearray(), bytearray()
        groups = _groups(self._own, tall)
        for start, end in tqdm(groups, "semantic pairs", unit="group", disable=None, leave=False):
            for pairs in self._pairs_of(start, end, wide):
                for kept, part in zip(found, pairs, strict=True):
                    kept.extend(part.tobytes())
        left, right = (np.frombuffer(part, np.int64) for part in found[:2])
        return Pairs(left, right, np.frombuffer(found[2], np.float64))

    def _pairs_of(self, start: int, end: int, wide: int) -> Iterator[Pairs]:
        """Pairs of a group with itself and the rows after it."""
        bound = self._threshold - self._kernel.slack
        columns = self._columns(start, end)
        units = self._units(self._rows[start:end])
        rows, others, held = [], [], 0
        for place in range(0, len(columns), wide):
            some = columns[place : place + wide]
            row, column = self._kernel.reaching(slice(start, end), some, bound)
            other = some[column]
            later = row + start < other
            rows.append(row[later])
            others.append(other[later])
            held += len(rows[-1])
            if held < _PAIRS_AT_ONCE and place + wide < len(columns):
                continue
            row, other = np.concatenate(rows), np.concatenate(others)
            rows, others, held = [], [], 0
            for part in range(0, len(row), _PAIRS_AT_ONCE):
                size = slice(part, part + _PAIRS_AT_ONCE)
                yield self._checked(start, units, row[size], other[size])

    def _checked(self, start: int, units: Vectors, row: Rows, other: Rows) -> Pairs:
        """The candidates that are pairs: rows of a group, and others in order."""
        used, inverse, counts = _runs(other)
        found = np.empty(len(row), np.float32)
        dense = counts >= _DENSE
        crowded = dense[inverse]
        if dense.any():
            products = self._units(self._rows[used[dense]]) @ units.T
            found[crowded] = products[np.cumsum(dense)[inverse[crowded]] - 1, row[crowded]]
        apart = np.flatnonzero(~crowded)
        others = self._units(self._rows[other[apart]])
        found[apart] = np.einsum("ij,ij->i", units[row[apart]], others)
        likely = np.flatnonzero(found >= self._threshold - self._close)
        one, two = self._rows[row[likely] + start], self._rows[other[likely]]
        cosines = found[likely].astype(np.float64)
        unsure = np.flatnonzero(cosines <= self._threshold + self._close)
        cosines[unsure] = self._cosines(one[unsure], two[unsure])
        sure = cosines >= self._threshold
        one, two = one[sure], two[sure]
        return Pairs(np.minimum(one, two), np.maximum(one, two), np.minimum(cosines[sure], 1))

    def _columns(self, start: int, end: int) -> Rows:
        """Rows from a group on that a row of it may be like."""
        centre = self._own[start]
        kept = np.ones(len(self._own) - start, np.bool_)
        sizes = np.diff(np.maximum(self._begins, start))
        if self._pruned:
            low, span = self._reached(start, end)
            # differences of bytes wrap, so that one comparison tests both ends
            kept = self._nearest[start:] - np.repeat(low, sizes) <= np.repeat(span, sizes)
            kept &= self._angles[centre, start:] - low[centre] <= span[centre]
        if self._options.mode == "approximate":
            kept &= np.repeat(self._near[centre], sizes)
        return start + np.flatnonzero(kept)

    def _reached(self, start: int, end: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Least angle to each centre that a row like one of a group may have, and their span.

        A cosine is off by less than 3.3e-5 when it is looked up, which is 0.0082 where angles
        change most, at 0, or 0.7 steps; each byte loses up to one more, always the same way.
        Two bytes therefore differ by less than two steps more than the angles, which are whole
        numbers: by one more than the angles' difference rounded up.
        """
        reach = int(np.ceil(np.arccos(self._threshold) * _STEPS)) + 1
        group = self._angles[:, start:end]
        low = np.maximum(group.min(axis=1).astype(np.int64) - reach, 0)
        high = np.minimum(group.max(axis=1).astype(np.int64) + reach, 255)
        return low.astype(np.uint8), (high - low).astype(np.uint8)

    @cached_property
    def _near(self) -> NDArray[np.bool_]:
        """Which clusters are near each other, seen from either."""
        products = self._centres @ self._centres.T
        order = np.argsort(-products, axis=1)[:, : self._options.probes]
        near = np.zeros(products.shape, np.bool_)
        np.put_along_axis(near, order, True, axis=1)
        return near | near.T

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
            one, other = np.nonzero(units @ self._units(rows).T >= self._threshold - self._close)
            one, other = picked[one], rows[other]
            close = (self._cosines(one, other) >= self._threshold) & (one != other)
            keys = one[close] * len(self._vectors) + other[close]
            truth += len(keys)
            hits += int(np.isin(keys, known).sum())
        return hits / truth if truth else 1.0

    def _units(self, rows: Rows) -> Vectors:
        """Unit vectors of rows."""
        lengths = self._lengths[rows, None]
        units: Vectors
        if lengths.size and (lengths.min() < _SHORTEST or lengths.max() > _LONGEST):
            units = (self._vectors[rows] / lengths).astype(np.float32)
        else:
            units = self._vectors[rows].astype(np.float32, copy=False)
            units /= lengths.astype(np.float32)
        return units

    def _cosines(self, one: Rows, other: Rows) -> NDArray[np.float64]:
        """Cosines of pairs of rows, in double precision."""
        cosines = np.empty(len(one))
        for start in range(0, len(one), _CHUNK):
            part = slice(start, start + _CHUNK)
            a, b = (self._vectors[rows[part]].astype(np.float64) for rows in (one, other))
            scale = self._lengths[one[part]] * self._lengths[other[part]]
            cosines[part] = np.einsum("ij,ij->i", a, b) / scale
        return cosines


def _kernel(shape: tuple[int, int], device: str) -> _Kernel:
    if device != "cpu":
        return _DeviceKernel(shape, device)
    return _ByteKernel(shape) if _multiplies_bytes() else _NumpyKernel(shape)


def _runs(values: Rows) -> tuple[Rows, Rows, Rows]:
    """Distinct values of a sorted array, the place of each element among them, and their counts."""
    changed = np.ones(len(values), np.bool_)
    changed[1:] = values[1:] != values[:-1]
    starts = np.flatnonzero(changed)
    return values[starts], np.cumsum(changed) - 1, np.diff(starts, append=len(values))


class _Coding(NamedTuple):
    """How unit vectors become codes of few dimensions.

    Attributes:
        axes: Axes of the vectors as columns; shape [dimensions, dimensions of codes].
        rest: Direction in which the length stands that the axes leave out.
    """

    axes: Vectors
    rest: Vectors

    @classmethod
    def along(cls, axes: Vectors) -> _Coding:
        """Codes along some axes, in a random rotation that leaves few coordinates long."""
        count = axes.shape[1] + 1
        turn = np.linalg.qr(np.random.default_rng(0).normal(size=(count, count)))[0]
        return cls((axes @ turn[:-1]).astype(np.float32), turn[-1].astype(np.float32))

    def __call__(self, units: Vectors) -> Vectors:
        """Codes of unit vectors."""
        codes = units @ self.axes
        # a length that came out too short would lose pairs
        squares = np.maximum(1 - np.einsum("ij,ij->i", codes, codes), 0) + _SQUARES
        codes += np.sqrt(squares)[:, None] * self.rest
        return codes


def _coding(sample: Vectors, threshold: float, base: float, cost: float) -> _Coding:
    """As many principal axes of a sample as make the search of its pairs cheapest.

    More axes make products dearer, and candidates that are none fewer.
    """
    _, axes = np.linalg.eigh((sample.T @ sample).astype(np.float64))
    axes = axes[:, ::-1]
    some = sample[:: max(1, len(sample) // 1_200)]
    costs = {}
    for count in (*(count for count in _DIMENSIONS if count < axes.shape[1]), axes.shape[1]):
        code = _Coding.along(axes[:, : count - 1])(some)
        rate = (code @ code.T >= threshold).mean() if len(some) else 0.0
        costs[count] = base + cost * count + _PAIR_COST * rate
    return _Coding.along(axes[:, : min(costs, key=costs.__getitem__) - 1])


def _centres(sample: Vectors, count: int, rng: np.random.Generator) -> Vectors:
    """Centres, of unit length, of spherical k-means (Dhillon and Modha 2001)."""
    from scipy.sparse import csr_array

    centres = sample[np.sort(rng.permutation(len(sample))[:count])].copy()
    ones = np.ones(len(sample), np.float32)
    parts = [sample[start : start + _CHUNK] for start in range(0, len(sample), _CHUNK)]
    for _ in range(_ROUNDS if count > 1 else 0):
        nearest = np.concatenate([(part @ centres.T).argmax(axis=1) for part in parts])
        members = csr_array((ones, (nearest, np.arange(len(sample)))), (len(centres), len(sample)))
        sums = members @ sample
        lengths = np.linalg.norm(sums, axis=1)
        moved = lengths > 0
        centres[moved] = sums[moved] / lengths[moved, None]
    return centres


def _angles(units: Vectors, centres: Vectors) -> NDArray[np.uint8]:
    """Angles of unit vectors to centres, in steps of a 255th of a half turn."""
    cosines = units @ centres.T
    # one that rounding made less than -1 has its place too
    cosines += np.float32(_ABOVE)
    cosines *= np.float32(_TURNS)
    angles: NDArray[np.uint8] = _half_turn().take(cosines.astype(np.uint16))
    return angles


@cache
def _half_turn() -> NDArray[np.uint8]:
    """The angle of each cosine, of which there are some 65,500."""
    cosines = np.arange(1 << 16) / _TURNS - _ABOVE
    return (np.arccos(np.clip(cosines, -1, 1)) * _STEPS).astype(np.uint8)


def _groups(own: NDArray[np.int64], size: int) -> list[tuple[int, int]]:
    """Cut sorted rows into groups of one cluster, about equal and at most a size."""
    bounds = [0, *(np.flatnonzero(np.diff(own)) + 1).tolist(), len(own)]
    groups = []
    for begin, end in pairwise(bounds):
        parts = -(-(end - begin) // size)
        cuts = [begin + (end - begin) * part // parts for part in range(parts + 1)] if parts else []
        groups += list(pairwise(cuts))
    return groups
