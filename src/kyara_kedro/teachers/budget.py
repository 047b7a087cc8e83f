"""The budget: what a send may cost at worst is reserved before it goes out."""

from __future__ import annotations

import asyncio
from typing import Literal

from pydantic import Field

from kyara_kedro.options import Options
from kyara_kedro.teachers.ledger import NOTHING, Ledger, Reservation, Spent

_LOOK_AGAIN = 0.1
"""Seconds between two looks at what other runs have set aside."""


class BudgetOptions(Options):
    """Caps on what a teacher may use up; None is no cap.

    Attributes:
        cost: In the currency of the teacher's prices.
        tokens: Of prompts and replies.
        requests: Sends, retries included.
        per: ``run`` gives every run the whole budget; with ``ledger`` all runs on one ledger share
            it, at the same time too, and what was in flight when a run was killed counts as spent.
        when_spent: ``stop`` ends the run once all that is in flight is stored; ``go_on`` drops what
            could not be asked and goes on with the rest.
    """

    cost: float | None = Field(None, ge=0)
    tokens: int | None = Field(None, ge=0)
    requests: int | None = Field(None, ge=0)
    per: Literal["run", "ledger"] = "run"
    when_spent: Literal["stop", "go_on"] = "stop"

    @property
    def capped(self) -> bool:
        """Whether there is any cap."""
        return not (self.cost is None and self.tokens is None and self.requests is None)


class BudgetExhausted(Exception):
    """Another send is not allowed; the message says which cap is in the way.

    Attributes:
        fault: ``budget``, or ``share`` when only the portion of a strategy is used up.
    """

    def __init__(self, why: str, fault: Literal["budget", "share"] = "budget") -> None:
        super().__init__(why)
        self.fault = fault


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

    async def reserve(self, key: str, worst: Reservation) -> None:
        """Reserve one send, when need be after sends in flight have given back what they spared.

        Args:
            key: The request.
            worst: What it may use up.

        Raises:
            BudgetExhausted: there is no room and there will be none.
        """
        while why := self.lacks(worst):
            if not self._flying:
                raise BudgetExhausted(why)
            self._settled.clear()
            await self._settled.wait()
        self.take(worst)

    async def give_back(
        self, key: str, worst: Reservation, used: Reservation, *, sent: bool = True
    ) -> None:
        """Replace the reservation of a request by what was used."""
        self.settle(worst, used, sent=sent)

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
        return _lacking(self.options, self.spent, Spent(self._flying, *self._reserved), worst)


class SharedBudget:
    """Caps that hold for all runs on a ledger together, at the same time and after being killed.

    Every send is set aside in the ledger before it goes out, which takes a transaction each.

    Args:
        options: The caps.
        ledger: Where it is kept.
        teacher: Whose budget it is.
    """

    def __init__(self, options: BudgetOptions, ledger: Ledger, teacher: str) -> None:
        self.options = options
        self._ledger = ledger
        self._teacher = teacher

    @property
    def spent(self) -> Spent:
        """What all runs have used up."""
        return self._ledger.spent(self._teacher)

    async def reserve(self, key: str, worst: Reservation) -> None:
        """Set aside one send, when need be after others have given back what they spared.

        Args:
            key: The request, which has to be claimed.
            worst: What it may use up.

        Raises:
            BudgetExhausted: there is no room and there will be none.
            LedgerError: the ledger cannot be written.
        """

        def lacks(spent: Spent, aside: Spent) -> str:
            return _lacking(self.options, spent, aside, worst)

        while True:
            work = asyncio.ensure_future(
                asyncio.to_thread(self._ledger.pledge, self._teacher, key, worst, lacks)
            )
            try:
                pledge = await asyncio.shield(work)
            except asyncio.CancelledError:
                if not (await work).lacking:
                    await self.give_back(key, worst, Reservation(0, 0.0), sent=False)
                raise
            if not pledge.lacking:
                return
            if not pledge.waiting:
                raise BudgetExhausted(pledge.lacking)
            await asyncio.sleep(_LOOK_AGAIN)

    async def give_back(
        self, key: str, worst: Reservation, used: Reservation, *, sent: bool = True
    ) -> None:
        """End what is set aside for a request that cost nothing; what is put for it ends it too."""
        if not used.tokens:
            await asyncio.to_thread(lambda: self._ledger.unpledge(self._teacher, key, sent=sent))


class Portion:
    """A share of every cap of a budget: what is sent has to pass both.

    Its own part is reserved first, so that a portion that is used up costs the whole no look. Who
    holds a part of the portion alone waits only for sends in flight, which end by themselves: there
    is no circle to wait in. It belongs to one event loop.

    Args:
        whole: The budget, or a portion of it.
        share: Part of every cap, from 0 to 1.
        used: What was used of the portion before.
    """

    def __init__(self, whole: AnyBudget, share: float, used: Spent = NOTHING) -> None:
        self.whole = whole
        self.options: BudgetOptions = portioned(whole.options, share)
        self._own = Budget(self.options, used)
        self._share = share

    @property
    def spent(self) -> Spent:
        """What was used up through this portion."""
        return self._own.spent

    async def reserve(self, key: str, worst: Reservation) -> None:
        """Reserve one send in the portion and in the whole.

        Args:
            key: The request.
            worst: What it may use up.

        Raises:
            BudgetExhausted: there is no room in one of them and there will be none.
            LedgerError: the ledger cannot be written.
        """
        try:
            await self._own.reserve(key, worst)
        except BudgetExhausted as error:
            raise BudgetExhausted(of_share(str(error), self._share), "share") from None
        try:
            await self.whole.reserve(key, worst)
        except BaseException:
            self._own.settle(worst, Reservation(0, 0.0), sent=False)
            raise

    async def give_back(
        self, key: str, worst: Reservation, used: Reservation, *, sent: bool = True
    ) -> None:
        """Replace the reservation of a request by what was used."""
        self._own.settle(worst, used, sent=sent)
        await self.whole.give_back(key, worst, used, sent=sent)


AnyBudget = Budget | SharedBudget | Portion


def portioned(caps: BudgetOptions, share: float) -> BudgetOptions:
    """The caps of a share, rounded down; those that are None stay so."""
    return caps.model_copy(
        update={
            "cost": None if caps.cost is None else caps.cost * share,
            "tokens": None if caps.tokens is None else int(caps.tokens * share),
            "requests": None if caps.requests is None else int(caps.requests * share),
        }
    )


def of_share(why: str, share: float) -> str:
    """Say of a lacking cap that it is that of a portion."""
    return why.replace("of the budget", f"of the share of {share:.3g} of the budget", 1)


def _lacking(caps: BudgetOptions, spent: Spent, aside: Spent, worst: Reservation) -> str:
    """Which cap a send might pass, given what is spent and set aside; empty when there is room."""
    if caps.requests is not None and spent.requests + aside.requests >= caps.requests:
        return f"all {caps.requests:,} requests of the budget are used"
    tokens = spent.tokens + aside.tokens + worst.tokens
    if caps.tokens is not None and tokens > caps.tokens:
        return (
            f"{spent.tokens:,} of {caps.tokens:,} tokens of the budget are used, and the next "
            f"request may take {worst.tokens:,}"
        )
    cost = spent.cost + aside.cost + worst.cost
    if caps.cost is not None and cost > caps.cost:
        return (
            f"{spent.cost:.4f} of {caps.cost:.4f} of the budget is spent, and the next request "
            f"may cost {worst.cost:.4f}"
        )
    return ""
