"""Vectors on disk by the hash of what they belong to, in shards that are whole or not there."""

from __future__ import annotations

import io
import logging
import os
import secrets
import tempfile
import zipfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.errors import UserError

Vectors = NDArray[np.float32]

_log = logging.getLogger(__name__)

_SHARD_ROWS = 4_096
_KEY_BYTES = 16


class VectorStore:
    """The shards of what one model has made, whose vectors are numbered through.

    Args:
        folder: Where the shards are, and none of another model.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[bytes, int] = {}
        self._keys: list[bytes] = []
        self._vectors: list[Vectors] = []
        self._dimensions: int | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._paths: list[Path] = []
        self._starts = [0]
        for path in sorted(folder.glob("[0-9]*.npz")):
            self._index(path)
        self._next = max((int(path.name[:8]) for path in folder.glob("[0-9]*")), default=-1) + 1

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def place(self, key: bytes) -> int:
        """Where a key's vector is, once all is stored."""
        return self._places[key]

    def _index(self, path: Path) -> None:
        """Take in a shard, or set it aside."""
        try:
            keys, vectors = _read(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            aside = path.with_name(f"{path.name}.damaged")
            path.replace(aside)
            _log.warning("%s is damaged (%s): set aside, what it held is made again", path, error)
            return
        self._check(vectors)
        for row, key in enumerate(keys):
            self._places.setdefault(key, self._starts[-1] + row)
        self._close(path, len(keys))

    def _close(self, path: Path, rows: int) -> None:
        self._paths.append(path)
        self._starts.append(self._starts[-1] + rows)

    def _check(self, vectors: Vectors) -> None:
        """Refuse vectors of another dimension than the rest."""
        if self._dimensions is None:
            self._dimensions = vectors.shape[1]
        if vectors.shape[1] != self._dimensions:
            raise UserError(
                f"a vector has {vectors.shape[1]} dimensions, those in {self._folder} "
                f"have {self._dimensions}: name the model anew or delete the folder"
            )

    def add(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Take in new vectors, and store a shard when there are enough."""
        found = np.asarray(vectors, np.float32)
        if found.ndim != 2 or len(found) != len(keys):
            raise UserError(
                f"a model returned an array of shape {found.shape} for {len(keys)} texts"
            )
        self._check(found)
        for key, vector in zip(keys, found, strict=True):
            self._places[key] = self._starts[-1] + len(self._keys)
            self._keys.append(key)
            self._vectors.append(vector)
            if len(self._keys) == _SHARD_ROWS:
                self.flush()

    def flush(self) -> None:
        """Store what is in memory only."""
        if not self._keys:
            return
        path, self._next = _write(self._folder, self._next, self._keys, np.stack(self._vectors))
        self._close(path, len(self._keys))
        self._keys, self._vectors = [], []

    def gather(self, places: NDArray[np.int64], folder: Path) -> Vectors:
        """Vectors at places, in a file that has no name any more."""
        if not len(places) or self._dimensions is None:
            return np.empty((0, 0), np.float32)
        with tempfile.TemporaryFile(dir=folder) as file:
            shape = len(places), self._dimensions
            gathered = np.memmap(file, np.float32, "w+", shape=shape)
        order = np.argsort(places, kind="stable")
        bounds = np.searchsorted(places[order], self._starts).tolist()
        for path, first, (start, end) in zip(
            self._paths, self._starts, pairwise(bounds), strict=False
        ):
            if start < end:
                rows = order[start:end]
                gathered[rows] = _read(path)[1][places[rows] - first]
        return gathered


def _read(path: Path) -> tuple[list[bytes], Vectors]:
    """Keys and vectors of a shard.

    Raises:
        ValueError: it holds something else.
    """
    with np.load(path, allow_pickle=False) as shard:
        keys, vectors = shard["keys"], shard["vectors"]
    fits = keys.ndim == vectors.ndim == 2 and len(keys) == len(vectors)
    if not fits or keys.shape[1] != _KEY_BYTES or vectors.dtype != np.float32:
        raise ValueError("not a shard of vectors")
    return [key.tobytes() for key in keys.astype(np.uint8, copy=False)], vectors


def _write(folder: Path, number: int, keys: Sequence[bytes], vectors: Vectors) -> tuple[Path, int]:
    """Store a shard as a whole or not at all, by a name that no other run takes.

    Returns:
        Where it is, and the number after its own.
    """
    packed = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), _KEY_BYTES)
    content = io.BytesIO()
    np.savez(content, keys=packed, vectors=vectors)
    path = folder / f"{number:08}-{secrets.token_hex(4)}.npz"
    temporary = path.with_name(f".{path.stem}.part")
    with temporary.open("wb") as file:
        file.write(content.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return path, number + 1
