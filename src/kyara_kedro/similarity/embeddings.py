"""Vectors of texts that are made once and kept.

Vectors lie in a folder of shards, found by the text and by what else they depend on. A shard is
written whole or not at all, so a run that is killed goes on where it was, and an endpoint is paid
again for the texts of one unfinished shard at most.
"""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray
from tqdm import tqdm

from kyara_kedro.errors import UserError

Keys = NDArray[np.bytes_]
Vectors = NDArray[np.float32]

logger = logging.getLogger("kyara_kedro")

_SHARD = 4_096
_KEY = np.dtype("S16")


class Encoder(Protocol):
    """Makes vectors of texts.

    Attributes:
        identity: What the vectors depend on beside the texts.
    """

    identity: str

    def passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts, shape [texts, dimensions]."""


def embed(parts: Iterable[Sequence[str]], encoder: Encoder, folder: Path) -> Vectors:
    """Give the vector of each text, encoding only those that no earlier call has encoded.

    Args:
        parts: The texts, some at a time.
        encoder: Makes the vectors.
        folder: Where they are kept; nobody else writes there meanwhile.

    Returns:
        Vectors in the order of the texts, shape [texts, dimensions], as a map of a file that the
        next call replaces; without texts shape [0, 0].

    Raises:
        UserError: the encoder sends vectors of another dimension than before.
    """
    store = _Store(folder / xxhash.xxh3_64_hexdigest(encoder.identity.encode()), encoder)
    keys = [np.empty(0, _KEY)]
    for texts in tqdm(parts, "embeddings", unit="part", disable=None, leave=False):
        digests = [xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass")) for text in texts]
        store.learn(digests, texts)
        keys.append(np.frombuffer(b"".join(digests), _KEY))
    store.close()
    return store.vectors(np.concatenate(keys))


class _Store:
    """The shards of one encoder."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._encoder = folder, encoder
        self._dimensions: int | None = None
        self._known: set[bytes] = set()
        self._waiting: dict[bytes, str] = {}
        for keys, vectors in self._shards():
            self._check(vectors)
            self._known.update(row.tobytes() for row in keys.view(np.uint8).reshape(-1, 16))

    def learn(self, digests: Sequence[bytes], texts: Sequence[str]) -> None:
        """Encode the texts that are new, a shard of them at a time."""
        for digest, text in zip(digests, texts, strict=True):
            if digest not in self._known:
                self._known.add(digest)
                self._waiting[digest] = text
                if len(self._waiting) == _SHARD:
                    self.close()

    def close(self) -> None:
        """Encode what waits, and write it as a shard."""
        if not self._waiting:
            return
        vectors = np.ascontiguousarray(
            self._encoder.passages(list(self._waiting.values())), np.float32
        )
        self._check(vectors)
        keys = np.frombuffer(b"".join(self._waiting), _KEY)
        number = max((int(path.stem) for path in self._files()), default=-1) + 1
        _write(self._folder / f"{number:06}.npz", keys, vectors)
        self._waiting.clear()

    def vectors(self, keys: Keys) -> Vectors:
        """Gather vectors by their keys in a file of the folder, a shard at a time."""
        if not len(keys):
            return np.empty((0, 0), np.float32)
        target = self._folder / "vectors.npy"
        target.unlink(missing_ok=True)
        shape = (len(keys), self._dimensions or 0)
        found = np.lib.format.open_memmap(target, mode="w+", dtype=np.float32, shape=shape)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for held, vectors in self._shards():
            first = np.searchsorted(ordered, held, side="left")
            last = np.searchsorted(ordered, held, side="right")
            source = np.repeat(np.arange(len(held)), last - first)
            within = np.arange(len(source)) - np.repeat(
                np.cumsum(last - first) - (last - first), last - first
            )
            found[order[first[source] + within]] = vectors[source]
        return found

    def _check(self, vectors: Vectors) -> None:
        self._dimensions = self._dimensions or vectors.shape[1]
        if vectors.shape[1] != self._dimensions:
            raise UserError(
                f"the text encoder sends vectors of {vectors.shape[1]} dimensions, those in "
                f"{self._folder} have {self._dimensions}: remove the folder, or go back to the "
                "encoder that it was made with"
            )

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.npz"))

    def _shards(self) -> Iterator[tuple[Keys, Vectors]]:
        """Keys and vectors of each shard; one that is damaged is set aside."""
        for path in self._files():
            try:
                with np.load(path, allow_pickle=False) as shard:
                    keys, vectors = shard["keys"], shard["vectors"]
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                aside = path.with_suffix(".damaged")
                path.replace(aside)
                logger.warning("%s is damaged (%s): its texts are encoded again", aside, error)
                continue
            yield np.ascontiguousarray(keys).view(_KEY).reshape(-1), vectors


def _write(target: Path, keys: Keys, vectors: Vectors) -> None:
    """Write a shard whole or not at all."""
    part = target.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, keys=keys.view(np.uint8).reshape(-1, 16), vectors=vectors)
        file.flush()
        os.fsync(file.fileno())
    part.replace(target)
