"""From a request to what a language model is sent: the body, its key, and what it may use up."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator

from kyara_kedro.content import Message
from kyara_kedro.options import Options
from kyara_kedro.teachers.base import ChatRequest, request_key
from kyara_kedro.teachers.ledger import Reservation
from kyara_kedro.teachers.tasks import TASKS

LOGGER = logging.getLogger(__name__)

_PER_MESSAGE = 16
"""Tokens that a chat template adds to a message, at most."""
_PER_PROMPT = 256
"""Tokens that a chat template adds of its own, at most: some have a system prompt built in."""
_RESERVED = frozenset(
    {
        "max_completion_tokens",
        "logprobs",
        "max_tokens",
        "messages",
        "model",
        "n",
        "prompt",
        "response_format",
        "service_tier",
        "stream",
        "temperature",
        "top_logprobs",
        "top_p",
    }
)
_REASONING = re.compile(r"(?:.*/)?(?:o\d|gpt-5)")

DialectName = Literal["openai", "openai-reasoning", "vllm", "sglang", "llama.cpp", "transformers"]


@dataclass(frozen=True)
class Dialect:
    """What a server or model wants to hear.

    Attributes:
        limit: How the longest completion is called.
        json_schema: Whether it enforces a JSON schema; others accept the field and ignore it.
        sampling: Whether temperature and nucleus mass may be set.
        logprobs: Whether it tells the log-probabilities of tokens.
    """

    limit: Literal["max_completion_tokens", "max_tokens"] = "max_tokens"
    json_schema: bool = True
    sampling: bool = True
    logprobs: bool = True


DIALECTS: Mapping[DialectName, Dialect] = {
    "openai": Dialect(limit="max_completion_tokens"),
    "openai-reasoning": Dialect(limit="max_completion_tokens", sampling=False, logprobs=False),
    "vllm": Dialect(),
    "sglang": Dialect(),
    "llama.cpp": Dialect(),
    "transformers": Dialect(json_schema=False, logprobs=False),
}


class Prices(Options):
    """Prices of a million tokens, in one currency.

    Attributes:
        prompt: Of prompts.
        cached: Of what the server had in its prompt cache; as ``prompt`` when None.
        completion: Of replies, a reasoning model's thoughts included.
    """

    prompt: float = Field(0.0, ge=0)
    cached: float | None = Field(None, ge=0)
    completion: float = Field(0.0, ge=0)

    def cost(self, prompt: int, completion: int, cached: int = 0) -> float:
        """The price of one call.

        Args:
            prompt: Tokens of the prompt.
            completion: Tokens of the reply.
            cached: How many of the prompt's tokens came from the server's cache.
        """
        less = self.prompt if self.cached is None else self.cached
        paid = (prompt - cached) * self.prompt + cached * less + completion * self.completion
        return paid / 1e6


class ModelOptions(Options):
    """Which model is asked, and how; shared by all ways to reach it.

    Attributes:
        model: The model's name as the server knows it.
        name: Name on the records; the model's when None.
        role: What it does in this project, for reports: writer, judge, contestant, ...
        licence_note: What may be done with the output.
        base_url: Root of the API, as ``https://host/v1``; without user, password or query.
        dialect: What the server wants to hear; guessed from address and model when None.
        structured_output: Whether a server that can is asked to enforce the reply's JSON schema.
        parameters: Further fields of the body, such as ``reasoning_effort``.
        service_tier: Tier of processing, such as ``flex``; no part of a request's key.
        prices: What tokens cost.
    """

    model: str = Field(min_length=1)
    name: str | None = None
    role: str = "teacher"
    licence_note: str = "see the terms of the model and of its provider"
    base_url: str = "https://api.openai.com/v1"
    dialect: DialectName | None = None
    structured_output: bool = True
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    service_tier: str | None = None
    prices: Prices = Prices()

    @field_validator("base_url")
    @classmethod
    def _without_secrets(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http or https address such as https://host/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "must hold no user, password or query, since addresses are logged; pass the key "
                "as a credential"
            )
        return url.rstrip("/")

    @field_validator("parameters")
    @classmethod
    def _says_nothing_twice(cls, parameters: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if taken := sorted(_RESERVED.intersection(parameters)):
            raise ValueError(f"must not set {', '.join(taken)}: requests and options do")
        return parameters

    @property
    def needs_key(self) -> bool:
        """Whether the address is OpenAI's own, which answers nobody without a key."""
        return urlsplit(self.base_url).hostname == "api.openai.com"

    @property
    def speaks(self) -> Dialect:
        """The dialect that is named, or that address and model suggest."""
        if self.dialect is not None:
            return DIALECTS[self.dialect]
        if not self.needs_key:
            return DIALECTS["vllm"]
        return DIALECTS["openai-reasoning" if _REASONING.match(self.model) else "openai"]


@dataclass(frozen=True, slots=True)
class Call:
    """One prompt as it is sent.

    Attributes:
        key: The request's key.
        request: What it is for.
        messages: The prompt; longer than the request's when it is asked again.
        path: Where it is sent, below the root of the API.
        body: The body of the HTTP request.
        tokens: What it will take by a cautious estimate.
        worst: What it may use up at most.
        again: How often it was asked before.
    """

    key: str
    request: ChatRequest
    messages: tuple[Message, ...]
    path: Literal["chat/completions", "completions"]
    body: Mapping[str, Any]
    tokens: int
    worst: Reservation
    again: int = 0


class Caller:
    """Makes calls for one model.

    Args:
        options: The model and its dialect.
        identity: What stands for the model in keys; its name when None.
    """

    def __init__(self, options: ModelOptions, identity: str | None = None) -> None:
        self.options = options
        self._dialect = options.speaks
        self._identity = identity or options.model
        self._bound = _PER_PROMPT + len(json.dumps(options.parameters).encode())

    def call(self, request: ChatRequest) -> Call:
        """Make the call of a request."""
        return self._make(request, request.messages, 0)

    def again(self, call: Call, *said: Message) -> Call:
        """Make the call that asks again, after what was said since."""
        one = self._make(call.request, (*call.messages, *said), call.again + 1)
        return replace(one, request=replace(call.request, priority=call.request.priority - 1))

    def _make(self, request: ChatRequest, messages: tuple[Message, ...], again: int) -> Call:
        options, dialect = self.options, self._dialect
        sampling: dict[str, Any] = {}
        if dialect.sampling:
            chosen = {"temperature": request.temperature, "top_p": request.top_p}
            sampling = {name: value for name, value in chosen.items() if value is not None}
        task = TASKS[request.task]
        schema = task.schema if options.structured_output and dialect.json_schema else None
        stop = {"stop": list(request.stop)} if request.stop else {}
        wanted = self._logprobs(request.top_logprobs)
        raw = {"prompt": request.raw} if request.raw else {}
        body: dict[str, Any] = {
            "model": options.model,
            **(raw or {"messages": list(messages)}),
            **options.parameters,
            **sampling,
            **stop,
            **wanted,
            "max_tokens" if raw else dialect.limit: request.max_tokens,
        }
        if options.service_tier is not None and not raw:
            body["service_tier"] = options.service_tier
        bound = self._bound + len(request.raw.encode())
        bound += sum(len(one["content"].encode()) + _PER_MESSAGE for one in messages)
        if schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": request.task, "schema": schema, "strict": True},
            }
            bound += len(task.written_schema)
        return Call(
            key=request_key(
                self._identity,
                messages,
                {
                    **options.parameters,
                    **sampling,
                    **stop,
                    **wanted,
                    **raw,
                    "max_tokens": request.max_tokens,
                },
                schema,
                request.sample,
                again,
            ),
            request=request,
            messages=messages,
            path="completions" if raw else "chat/completions",
            body=body,
            tokens=bound // 2 + request.max_tokens,
            worst=Reservation(
                bound + request.max_tokens,
                options.prices.cost(bound, request.max_tokens),
            ),
            again=again,
        )

    def _logprobs(self, number: int) -> dict[str, Any]:
        """The fields that ask for log-probabilities, where they are wanted and can be had."""
        if number and not self._dialect.logprobs:
            _say_that_there_are_none(self.options.model)
            return {}
        return {"logprobs": True, "top_logprobs": number} if number else {}


@cache
def _say_that_there_are_none(model: str) -> None:
    LOGGER.warning(
        "%s does not tell log-probabilities: its replies are read from their text alone", model
    )
