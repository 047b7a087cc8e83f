"""What all teachers with a language model behind them share: calls, ledger, account, estimate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import Field

from kyara_kedro.content import batched
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.teachers.accounts import Estimate, prompt_range, reply_range
from kyara_kedro.teachers.admission import Limits
from kyara_kedro.teachers.base import ChatRequest, Completion, Teacher
from kyara_kedro.teachers.budget import BudgetOptions
from kyara_kedro.teachers.calls import Call, Caller, ModelOptions
from kyara_kedro.teachers.families import family_of
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.replies import Failure, Got, complaint, completed

PAGE = 128
"""Requests that are looked up in the ledger at once."""


class EndpointOptions(ModelOptions):
    """Settings of a model behind an endpoint, the same whether it is asked, batched or replayed.

    Attributes:
        limits: What the endpoint bears.
        budget: What may be spent.
        poll: Seconds between two looks at a batch.
    """

    limits: Limits = Limits()
    budget: BudgetOptions = BudgetOptions()
    poll: float = Field(30.0, gt=0)


class LanguageModel(Teacher):
    """A teacher with a language model behind it, and every reply in a ledger.

    Args:
        options: The model, and how it is asked.
        ledger: Where replies are kept and looked up.
        library: Templates; only the one that asks again is used here.
        identity: What stands for the model in keys; its name when None.
    """

    kind = "llm"

    def __init__(
        self,
        options: ModelOptions,
        ledger: Ledger,
        library: PromptLibrary | None = None,
        identity: str | None = None,
    ) -> None:
        super().__init__()
        self.name = options.name or options.model
        self.role = options.role
        self.licence_note = options.licence_note
        self.family = family_of(options.model)
        self._prices = options.prices
        self.ledger = ledger
        self._library = library or PromptLibrary()
        self.caller = Caller(options, identity)

    def estimate(self, requests: Iterable[ChatRequest]) -> Estimate:
        """What asking will take, by the ledger, the prompts and the length of earlier replies."""
        asked = held = 0
        new: dict[str, tuple[tuple[str, int], int]] = {}
        for page in batched(requests, PAGE):
            calls = [self.caller.call(request) for request in page]
            there = self.ledger.get_many(call.key for call in calls)
            asked += len(page)
            held += sum(call.key in there for call in calls)
            new |= {call.key: _size(call) for call in calls if call.key not in there}
        prompts: Counter[tuple[str, int]] = Counter()
        counts: Counter[tuple[str, int]] = Counter()
        for group, length in new.values():
            counts[group] += 1
            prompts[group] += length
        tokens, cost, measured = [0, 0], [0.0, 0.0], True
        for (task, limit), count in counts.items():
            lengths = self.ledger.completion_lengths(self.name, task)
            measured &= bool(lengths)
            sent, received = prompt_range(prompts[task, limit]), reply_range(lengths, limit)
            for end in (0, 1):
                tokens[end] += sent[end] + count * received[end]
                cost[end] += self._prices.cost(sent[end], count * received[end])
        return Estimate(
            requests=asked,
            held=held,
            calls=len(new),
            tokens=(tokens[0], tokens[1]),
            cost=(cost[0], cost[1]),
            measured=measured,
        )

    def outcome(self, call: Call, outcome: Got | Failure) -> Completion:
        """What came of a call, with a look at what the model wrote."""
        return completed(call, outcome, self.name)

    def again(self, call: Call, first: Completion) -> Call | None:
        """The call that asks again; None where a reply is good, the second one or no answer.

        Nor is anybody asked again who gave several verdicts, or continued a text.
        """
        if first.status != "invalid" or first.fault == "several" or call.again or call.request.raw:
            return None
        return self.caller.again(call, *complaint(self._library, call.request, first))


def _size(call: Call) -> tuple[tuple[str, int], int]:
    """Task and longest reply of a call, and its prompt's tokens by estimate."""
    from kyara_kedro.text.length import estimate_tokens

    said = (call.request.raw, *(message["content"] for message in call.messages))
    prompt = sum(map(estimate_tokens, said))
    return (call.request.task, call.request.max_tokens), prompt
