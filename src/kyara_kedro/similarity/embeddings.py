"""Vectors of texts, kept on disk by what was encoded, so that nothing is encoded twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray
from tqdm import tqdm

from kyara_kedro.vector_store import Vectors, VectorStore

_BATCH = 256
"""Texts that an encoder is given at once."""


class Encoder(Protocol):
    """Turns texts into vectors."""

    @property
    def identity(self) -> str:
        """What the vectors depend on: model, dimensions, prefix; never a key or an address."""

    def passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts; shape [texts, dimensions]."""


def embed(frames: Iterable[Sequence[str]], encoder: Encoder, folder: Path) -> Vectors:
    """Look up or make the vectors of texts.

    New vectors are stored a shard at a time, so that a run that is killed resumes at the last one.
    Memory holds a key and a place for each distinct text, but no vectors.

    Args:
        frames: Texts, some at a time.
        encoder: Encodes those that are not stored yet, each once.
        folder: Where vectors are stored, in a subfolder for each encoder.

    Returns:
        A file mapped into memory, shape [texts, dimensions], in the order of the texts; it has no
        name in the folder any more and is gone when it is let go. Without texts, shape [0, 0].

    Raises:
        UserError: the encoder returns vectors of another shape than it should.
    """
    store = _store(encoder, folder)
    places = [np.empty(0, np.int64)]
    try:
        for texts in tqdm(frames, "embedding", unit="frame", disable=None, leave=False):
            places.append(_places(texts, encoder, store))
    finally:
        store.flush()
    return store.gather(np.concatenate(places), folder)


def fill(frames: Iterable[Sequence[str]], encoder: Encoder, folder: Path) -> int:
    """Make the vectors of texts that are not stored yet, for :func:`embed` to find.

    Several processes may do so at once, each with texts of its own.

    Args:
        frames: Texts, some at a time.
        encoder: Encodes them.
        folder: Where vectors are stored.

    Returns:
        How many texts there are.
    """
    store = _store(encoder, folder)
    try:
        return sum(
            len(_places(texts, encoder, store))
            for texts in tqdm(frames, "embedding", unit="frame", disable=None, leave=False)
        )
    finally:
        store.flush()


def _store(encoder: Encoder, folder: Path) -> VectorStore:
    return VectorStore(folder / xxhash.xxh3_64_hexdigest(encoder.identity.encode()))


def _places(texts: Sequence[str], encoder: Encoder, store: VectorStore) -> NDArray[np.int64]:
    """Where the vectors of texts are, after those that were missing are encoded."""
    keys = [xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass")) for text in texts]
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in store}
    wanted = list(missing)
    for start in range(0, len(wanted), _BATCH):
        some = wanted[start : start + _BATCH]
        store.add(some, encoder.passages([missing[key] for key in some]))
    return np.fromiter(map(store.place, keys), np.int64, len(keys))
