"""What each text of a file claims, as a number."""

from __future__ import annotations

import numpy as np
import xxhash
from numpy.typing import NDArray

from kyara_kedro.similarity.guards import claims_of
from kyara_kedro.similarity.shingles import chunks
from kyara_kedro.similarity.text_file import TextFile

_TEXTS_AT_ONCE = 2_048


class ClaimDigests:
    """Digests of what texts claim: equal where numbers, operators and negations are.

    Each text is read when its digest is asked for first.

    Args:
        texts: The texts.
        count: How many they are.
    """

    def __init__(self, texts: TextFile, count: int) -> None:
        self._texts = texts
        self._digests = np.zeros(count, np.uint64)

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Digests of some texts."""
        unread = np.unique(rows[self._digests[rows] == 0])
        for start in range(0, len(unread), _TEXTS_AT_ONCE):
            some = unread[start : start + _TEXTS_AT_ONCE]
            texts = self._texts.take(some)
            self._digests[some] = [
                xxhash.xxh3_64_intdigest(repr(claims).encode()) or 1
                for part in chunks(texts)
                for claims in claims_of(texts[part])
            ]
        return self._digests[rows]
