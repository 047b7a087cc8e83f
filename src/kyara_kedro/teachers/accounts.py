"""Accounts: what asking will cost, what it has cost, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kyara_kedro.teachers.base import Completion

_PROMPT_SPREAD = (0.6, 1.3)
"""What tokenizers make of a text, relative to the estimate by Gemma-2's."""
_LOW, _HIGH = 0.1, 0.9
"""Quantiles of the replies so far that a range of costs goes by."""


class Estimate(NamedTuple):
    """What asking some requests will take, before anything is sent.

    Attributes:
        requests: How many are asked.
        held: How many the ledger answers.
        calls: How many are sent at least.
        tokens: Fewest and most tokens to expect.
        cost: Least and greatest cost to expect.
        measured: Whether the replies' length is known from earlier ones; otherwise it ranges from
            nothing to the limit.
    """

    requests: int
    held: int
    calls: int
    tokens: tuple[int, int]
    cost: tuple[float, float]
    measured: bool

    @classmethod
    def of_all(cls, some: Sequence[Estimate]) -> Estimate:
        """What asking several teachers will take together."""
        return cls(
            requests=sum(one.requests for one in some),
            held=sum(one.held for one in some),
            calls=sum(one.calls for one in some),
            tokens=(sum(one.tokens[0] for one in some), sum(one.tokens[1] for one in some)),
            cost=(sum(one.cost[0] for one in some), sum(one.cost[1] for one in some)),
            measured=all(one.measured for one in some if one.calls),
        )

    def __str__(self) -> str:
        if not self.calls:
            return f"{self.requests:,} requests, all answered by the ledger"
        known = f", {self.held:,} in the ledger" if self.held else ""
        low, high = self.tokens
        guess = "" if self.measured else " (replies of unknown length)"
        price = f", cost {self.cost[0]:.4g} to {self.cost[1]:.4g}" if self.cost[1] else ""
        return (
            f"{self.requests:,} requests{known}: {self.calls:,} to send, {low:,} to {high:,} "
            f"tokens{price}{guess}"
        )


def prompt_range(tokens: int) -> tuple[int, int]:
    """Fewest and most tokens of prompts, by their estimate."""
    return round(tokens * _PROMPT_SPREAD[0]), round(tokens * _PROMPT_SPREAD[1])


def reply_range(lengths: Sequence[int], limit: int) -> tuple[int, int]:
    """Fewest and most tokens of a reply, by those of earlier replies.

    Args:
        lengths: Of earlier replies, sorted.
        limit: Longest that is allowed.
    """
    if not lengths:
        return 0, limit
    low, high = (lengths[min(len(lengths) - 1, int(q * len(lengths)))] for q in (_LOW, _HIGH))
    return min(low, limit), min(high, limit)


@dataclass
class Tally:
    """What came of the requests of one task.

    Attributes:
        statuses: Completions by status.
        faults: Completions that failed, by class of failure.
        cached: Completions that nothing was sent for.
        asked_again: Completions whose first reply was not in the task's form.
        attempts: Sends, retries and second askings included.
        prompt: Tokens of the prompts that were sent.
        from_cache: How many of them came from the server's prompt cache.
        completion: Tokens of the replies that were received.
        cost: In the currency of the teacher's prices.
        worth: As cost, with what the ledger's replies cost when they were paid for.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    asked_again: int = 0
    attempts: int = 0
    prompt: int = 0
    from_cache: int = 0
    completion: int = 0
    cost: float = 0.0
    worth: float = 0.0

    def add(self, completion: Completion) -> None:
        """Count one completion."""
        self.statuses[completion.status] += 1
        if completion.fault:
            self.faults[completion.fault] += 1
        self.cached += completion.cached
        self.asked_again += completion.asked_again
        self.attempts += completion.attempts
        if not completion.cached:
            self.prompt += completion.prompt_tokens
            self.from_cache += completion.cached_tokens
            self.completion += completion.completion_tokens
        self.cost += completion.cost
        self.worth += completion.worth

    @property
    def asked(self) -> int:
        """Completions in all."""
        return self.statuses.total()

    @property
    def tokens(self) -> int:
        """Of what was sent and received."""
        return self.prompt + self.completion

    def __sub__(self, before: Tally) -> Tally:
        """What has been added since an earlier state."""
        return Tally(
            **{
                one.name: getattr(self, one.name) - getattr(before, one.name)
                for one in fields(self)
            }
        )


class Account:
    """What a teacher was asked in this run, and what came of it; one tally a task."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}

    def add(self, completion: Completion) -> None:
        """Count one completion."""
        self.tallies.setdefault(completion.task, Tally()).add(completion)

    @property
    def cost(self) -> float:
        """Of all tasks."""
        return sum(tally.cost for tally in self.tallies.values())

    def copy(self) -> dict[str, Tally]:
        """The tallies as they are now."""
        return deepcopy(self.tallies)

    def since(self, before: Mapping[str, Tally]) -> dict[str, Tally]:
        """What has been added since an earlier state, for the tasks that anything was added to."""
        added = {task: tally - before.get(task, Tally()) for task, tally in self.tallies.items()}
        return {task: tally for task, tally in added.items() if tally.asked}
