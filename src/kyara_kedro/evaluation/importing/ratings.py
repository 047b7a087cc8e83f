"""Ratings as published files hold them: a number, and the judgement that it was read from."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import Row, field_of

logger = logging.getLogger(__name__)

UNKNOWN_JUDGE = "unknown"
"""The judge of rows that do not name theirs."""


def stored_ratings(
    rows: Sequence[tuple[int, Row]], path: Path, read: Callable[[str], float | None]
) -> list[float | None]:
    """The rating of each row: its ``score``, or else what its ``judgment`` says.

    Official tables are made of the stored scores, so these count; a warning tells of texts that say
    something else.

    Args:
        rows: Rows with their numbers, from 1 on.
        path: The file that they are from.
        read: Reads a judgement.

    Returns:
        One a row; None for a score below 0, which stands for a judgement without a rating.

    Raises:
        UserError: a row has neither, or its score is no number.
    """
    found, differing = [], []
    for number, row in rows:
        said = read(str(row["judgment"])) if "judgment" in row else None
        stored = row.get("score")
        if stored is None and "judgment" in row:
            found.append(said)
            continue
        rating = _rating(field_of(row, str(path), number, "score", "judgment"), path, number)
        found.append(rating)
        if "judgment" in row and said != rating:
            differing.append(number)
    if differing:
        logger.warning(
            "%s: %d of %d judgements, the first in row %d, say another rating than their score; "
            "the score counts",
            *(path, len(differing), len(found), differing[0]),
        )
    return found


def repeated(keys: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """The first part, an item's id, of each key; with ``#2``, ``#3``, ... where a key comes again.

    Answers that were rated repeatedly so count as often, as they do in the official tables.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    for key in keys:
        seen[key] += 1
        yield key[0] if seen[key] == 1 else f"{key[0]}#{seen[key]}"


def _rating(stored: object, path: Path, number: int) -> float | None:
    try:
        rating = math.nan if isinstance(stored, bool) else float(str(stored))
    except ValueError:
        rating = math.nan
    if not math.isfinite(rating):
        raise UserError(f"{path}, row {number}: score {stored!r:.40} is no number; correct it")
    return rating if rating >= 0 else None
