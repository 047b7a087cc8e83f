"""Asking for N yields N: waves go on until the target, the budget or the source is exhausted."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any, Literal, TypeVar

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.pipelines.asking import Fault
from kyara_kedro.records import Record, drops

logger = logging.getLogger("kyara_kedro")
T = TypeVar("T")
Row = dict[str, Any]
Stop = Literal["target", "budget", "source"]

PIPELINE = "synthesize"
_GROWTH = 2
"""A wave is at most that many times as large as all before it; the first is one seed, as some seeds
yield a dozen rows."""
_LARGEST = 512
"""Seeds of the largest wave: what a wave asks and hears is in memory, and a budget that ends in the
middle of one leaves that much half done."""


@dataclass
class Basket:
    """What becomes of one kind of attempts: rows up to a target, and a drop for every other.

    Attributes:
        name: What the attempts are for.
        target: Rows wanted; None for all.
        open_ended: Whether rows beyond the target are welcome.
        rows: Accepted rows by id, in the order of the attempts.
        dropped: Record id, reason and detail of the others.
    """

    name: str
    target: int | None = None
    open_ended: bool = False
    rows: dict[str, Row] = field(default_factory=dict)
    dropped: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def missing(self) -> float:
        """Rows still wanted."""
        return inf if self.target is None else max(0, self.target - len(self.rows))

    @property
    def attempts(self) -> int:
        """How many attempts have come to an end."""
        return len(self.rows) + len(self.dropped)

    def drop(self, attempt: str, fault: Fault) -> None:
        """Note why an attempt came to nothing."""
        self.dropped.append((attempt, *fault))

    def put(self, attempt: str, row: Row) -> bool:
        """Accept a row unless it is there already or no more are wanted."""
        if row["id"] in self.rows:
            self.drop(attempt, ("repeated", f"same content as {row['id']}"))
        elif not self.missing and not self.open_ended:
            self.drop(attempt, ("beyond_target", f"{self.target} rows are there"))
        else:
            self.rows[row["id"]] = row
            return True
        return False

    def table(self, record: Record) -> pl.DataFrame:
        """The accepted rows."""
        return record.frame(self.rows.values())

    def flow(self) -> dict[str, Any]:
        """Counts for the balance of the pipeline."""
        reasons = Counter(reason for _, reason, _ in self.dropped)
        return {
            "in": self.attempts,
            "out": len(self.rows),
            "dropped": dict(sorted(reasons.items())),
        }


def drop_table(baskets: Sequence[Basket]) -> pl.DataFrame:
    """All drops of some baskets."""
    return drops(PIPELINE, (one for basket in baskets for one in basket.dropped))


def drawn_order(ids: Sequence[str], kind: str) -> list[str]:
    """A random order that new ids do not disturb: by the hash of each id alone."""
    return sorted(ids, key=lambda one: content_id("order", kind, one))


def gather(
    told: str,
    seeds: Sequence[T],
    baskets: Sequence[Basket],
    ask: Callable[[Sequence[T]], bool],
) -> tuple[Stop, Sequence[T]]:
    """Ask for seeds in waves until every basket is full, or the budget or the seeds are exhausted.

    The first wave is one seed; each later one is as large as what is missing demands at the yield
    that was measured so far, within bounds.

    Args:
        told: What the log calls it.
        seeds: What attempts begin with, in the order in which they are asked.
        baskets: What fills.
        ask: Takes a wave, fills the baskets, and says whether the budget sufficed.

    Returns:
        Why it ended, and the seeds that were not asked.
    """
    asked = 0
    why: Stop = "target"
    while any(basket.missing for basket in baskets):
        if asked == len(seeds):
            why = "source"
            break
        size = min(max(_wave(basket, asked) for basket in baskets), len(seeds) - asked)
        enough = ask(seeds[asked : asked + size])
        asked += size
        if not enough:
            why = "budget"
            break
    _tell(told, why, asked, len(seeds), baskets)
    return why, seeds[asked:]


def _wave(basket: Basket, asked: int) -> int:
    """Seeds to ask next for what a basket lacks."""
    if not basket.missing:
        return 0
    needed = basket.missing * asked / len(basket.rows) if basket.rows else inf
    return min(ceil(min(needed, _LARGEST)), max(1, _GROWTH * asked))


def _tell(told: str, why: str, asked: int, seeds: int, baskets: Sequence[Basket]) -> None:
    said = []
    for basket in baskets:
        closed = basket.target is not None and not basket.open_ended
        wanted = f" of {basket.target:,}" if closed else ""
        said.append(f"{len(basket.rows):,}{wanted} {basket.name}")
        reasons = Counter(reason for _, reason, _ in basket.dropped)
        if reasons:
            lost = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common(4))
            said[-1] += f" (dropped: {lost})"
    ended = {
        "target": "the targets are reached",
        "budget": "its share or the budget is exhausted",
        "source": "the source is exhausted",
    }[why]
    logger.info("%s: %s; %s after %s of %s seeds", told, "; ".join(said), ended, asked, seeds)
