"""Texts on disk, written once in order and read back by number."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class TextFile:
    """A temporary file of texts, so that a search needs memory for the texts in hand only.

    It lies in the folder that ``TMPDIR`` names and is gone with the object, or with the process.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the object
        self._bounds = [np.zeros(1, np.int64)]

    def append(self, texts: Sequence[str]) -> None:
        """Add texts after those that are there."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        self._file.write(b"".join(encoded))
        sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
        if len(sizes):
            self._bounds.append(np.cumsum(sizes) + self._bounds[-1][-1])

    def take(self, rows: NDArray[np.int64]) -> list[str]:
        """Read the texts of the given numbers."""
        self._file.flush()
        self._bounds = [np.concatenate(self._bounds)]
        starts, ends = self._bounds[0][rows].tolist(), self._bounds[0][rows + 1].tolist()
        number = self._file.fileno()
        return [
            os.pread(number, end - start, start).decode("utf-8", "surrogatepass")
            for start, end in zip(starts, ends, strict=True)
        ]
