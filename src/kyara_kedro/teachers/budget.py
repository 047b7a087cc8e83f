"""The budget: what a send may cost at worst is reserved before it goes out."""

from __future__ import annotations

import asyncio
from typing import Literal

from pydantic import Field

from kyara_kedro.options import Options
from kyara_kedro.teachers.ledger import NOTHING, Reservation, Spent


class BudgetOptions(Options):
    """Caps on what a teacher may use up; None is no cap.

    Attributes:
        cost: In the currency of the teacher's prices.
        tokens: Of prompts and replies.
        requests: Sends, retries included.
        per: ``run`` gives every run the whole budget; ``ledger`` counts what the ledger holds of
            earlier runs as well, so that the caps hold for the project.
        when_spent: ``stop`` ends the run once all that is in flight is stored; ``go_on`` drops what
            could not be asked and goes on with the rest.
    """

    cost: float | None = Field(None, ge=0)
    tokens: int | None = Field(None, ge=0)
    requests: int | None = Field(None, ge=0)
    per: Literal["run", "ledger"] = "run"
    when_spent: Literal["stop", "go_on"] = "stop"


class BudgetExhausted(Exception):
    """The budget does not allow another send; the message says which cap is in the way."""


class Budget:
    """Caps that are never passed: used plus reserved stays below each of them.

    It belongs to one event loop.

    Args:
        options: The caps.
        spent: What was used up before.
    """

    def __init__(self, options: BudgetOptions, spent: Spent = NOTHING) -> None:
        self.options = options
        self.spent = spent
        self._reserved = Reservation(0, 0.0)
        self._flying = 0
        self._settled = asyncio.Event()

    async def reserve(self, worst: Reservation) -> None:
        """Reserve one send, when need be after sends in flight have given back what they spared.

        Raises:
            BudgetExhausted: there is no room and there will be none.
        """
        while why := self.lacks(worst):
            if not self._flying:
                raise BudgetExhausted(why)
            self._settled.clear()
            await self._settled.wait()
        self.take(worst)

    def take(self, worst: Reservation) -> None:
        """Reserve one send, whether or not there is room for it."""
        self._flying += 1
        self._reserved = Reservation(
            self._reserved.tokens + worst.tokens, self._reserved.cost + worst.cost
        )

    def settle(self, reserved: Reservation, used: Reservation, *, sent: bool = True) -> None:
        """Replace a reservation by what was used."""
        self._flying -= 1
        left = (
            Reservation(
                self._reserved.tokens - reserved.tokens, self._reserved.cost - reserved.cost
            )
            if self._flying
            else Reservation(0, 0.0)
        )
        self._reserved = left
        self.spent = Spent(
            self.spent.requests + sent,
            self.spent.tokens + used.tokens,
            self.spent.cost + used.cost,
        )
        self._settled.set()

    def lacks(self, worst: Reservation) -> str:
        """Which cap the send might pass; empty when there is room."""
        caps, spent = self.options, self.spent
        if caps.requests is not None and spent.requests + self._flying >= caps.requests:
            return f"all {caps.requests:,} requests of the budget are used"
        tokens = spent.tokens + self._reserved.tokens + worst.tokens
        if caps.tokens is not None and tokens > caps.tokens:
            return (
                f"{spent.tokens:,} of {caps.tokens:,} tokens of the budget are used, and the next "
                f"request may take {worst.tokens:,}"
            )
        cost = spent.cost + self._reserved.cost + worst.cost
        if caps.cost is not None and cost > caps.cost:
            return (
                f"{spent.cost:.4f} of {caps.cost:.4f} of the budget is spent, and the next request "
                f"may cost {worst.cost:.4f}"
            )
        return ""
