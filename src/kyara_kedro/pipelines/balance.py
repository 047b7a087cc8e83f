"""Every record that enters a pipeline leaves it or is dropped for one recorded reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from kyara_kedro.records import DROP


class BalanceError(AssertionError):
    """Records were lost or counted twice: a fault of the pipeline, never of the input."""


@dataclass(frozen=True)
class Flow:
    """One kind of record on its way through a pipeline.

    Attributes:
        name: What flows.
        entered: How many came in.
        left: How many go on.
        drops: The others, in the shape of :data:`kyara_kedro.records.DROP`.
    """

    name: str
    entered: int
    left: int
    drops: pl.DataFrame

    def counts(self) -> dict[str, Any]:
        """Give the counts with the drops by reason.

        Raises:
            BalanceError: when in is not out plus drops.
        """
        if self.entered != self.left + self.drops.height:
            raise BalanceError(
                f"{self.name}: {self.entered} in, {self.left} out and {self.drops.height} dropped"
            )
        reasons = Counter(self.drops["reason"].to_list())
        return {
            "in": self.entered,
            "out": self.left,
            "dropped": dict(sorted(reasons.items())),
        }


def close(flows: Sequence[Flow]) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Merge the drops of a pipeline and check that its counts add up.

    Returns:
        The drop table and the counts by flow.

    Raises:
        BalanceError: when a flow does not add up.
    """
    summary = {flow.name: flow.counts() for flow in flows}
    return pl.concat([DROP.frame(), *(flow.drops for flow in flows)]), summary
