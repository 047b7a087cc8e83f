"""Which contestants answer which prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.content import content_id
from kyara_kedro.mixing import mix


def assignment(prompts: Sequence[str], contestants: Sequence[str], each: int) -> NDArray[np.bool_]:
    """Draw some of the contestants for every prompt.

    Every pair of prompt and contestant has a time that follows from their names, and the earliest
    contestants have the prompt (rendezvous hashing, Thaler and Ravishankar 1998). So a prompt's
    contestants do not depend on the other prompts, and one that joins takes over its own share
    alone. Then the shares, which differ by chance, are made equal: whoever has most gives prompts
    to whoever has least, those first in which their times are nearest.

    Args:
        prompts: Ids, distinct.
        contestants: Names, distinct.
        each: Contestants for a prompt; more than there are is all of them.

    Returns:
        Shape [prompts, contestants]; the shares of two contestants differ by one prompt at most.
    """
    number = len(contestants)
    if each >= number:
        return np.ones((len(prompts), number), dtype=np.bool_)
    times = mix(_seeds("prompt", prompts)[:, None] ^ _seeds("contestant", contestants)[None, :])
    has = np.zeros(times.shape, dtype=np.bool_)
    np.put_along_axis(has, np.argsort(times, axis=1, kind="stable")[:, :each], values=True, axis=1)
    late = times.astype(np.float64)
    while True:
        shares = has.sum(axis=0)
        most, least = int(shares.argmax()), int(shares.argmin())
        surplus = int(shares[most] - shares[least]) // 2
        if not surplus:
            return has
        rows = np.flatnonzero(has[:, most] & ~has[:, least])
        near = np.argsort(late[rows, least] - late[rows, most], kind="stable")
        given = rows[near[:surplus]]
        has[given, most], has[given, least] = False, True


def _seeds(kind: str, names: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([int(content_id(kind, name)[:16], 16) for name in names], dtype=np.uint64)
