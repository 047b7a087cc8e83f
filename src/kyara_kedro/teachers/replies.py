"""From what a language model sent back to a completion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from kyara_kedro.content import Message, well_formed
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.teachers.base import ChatRequest, Completion, Status, unanswered
from kyara_kedro.teachers.calls import Call, ModelOptions
from kyara_kedro.teachers.ledger import Reservation, StoredReply, Waste, now
from kyara_kedro.teachers.tasks import (
    TASKS,
    Reply,
    ReplyError,
    TopLogprobs,
    read_reply,
    tag_form,
)
from kyara_kedro.text.thoughts import breaks_off_in_thoughts, without_thoughts

_LONGEST = 4 * 2**20
"""Bytes of a body beyond which it cannot be the answer to a prompt."""
_MOST_TOKENS = 10**9
_MALFORMED = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What a body of another form than a chat completion causes."""
_BROKEN_OFF = frozenset({"abort", "error"})
"""Reasons of servers that gave up in the middle; vLLM and SGLang say ``abort``."""
_UNUSABLE: Mapping[str, tuple[Status, str, str]] = {
    "length": ("truncated", "length", "the reply was cut at the token limit"),
    "content_filter": ("filtered", "filter", "the server's content filter withheld the reply"),
    "refusal": ("rejected", "refusal", "the model declined"),
}


class Got(NamedTuple):
    """A reply that is in the ledger, and what it took to get it.

    Attributes:
        reply: What the ledger holds.
        attempts: Times that something was sent for it; 0 when somebody else has paid.
        wasted: Cost of the attempts before the last.
    """

    reply: StoredReply
    attempts: int = 1
    wasted: float = 0.0


class Failure(NamedTuple):
    """Why there is no reply to a call.

    Attributes:
        status: What becomes of the request.
        fault: Class of the failure.
        why: The failure in a line.
        attempts: Times that something was sent.
        wasted: Cost of the attempts.
    """

    status: Status
    fault: str
    why: str
    attempts: int = 0
    wasted: float = 0.0


def read_body(content: bytes, call: Call, options: ModelOptions, latency: float) -> StoredReply:
    """Read the envelope of a reply; what the model wrote is looked at later.

    A server that does not tell the usage is taken to have used all that was reserved.

    Args:
        content: The HTTP body.
        call: What it answers.
        options: Name and prices of the model.
        latency: Seconds until it was there.

    Raises:
        ReplyError: the body is not a whole completion.
    """
    if len(content) > _LONGEST:
        raise ReplyError("body", f"the body has {len(content):,} bytes")
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        message = {"content": choice["text"]} if call.request.raw else choice["message"]
        refusal = message.get("refusal")
        text = message.get("content") or refusal or ""
        finish = "refusal" if refusal else str(choice.get("finish_reason") or "stop")
        if not isinstance(text, str):
            text = "".join(part.get("text", "") for part in text)
        used = _usage(body.get("usage"))
        served_by = str(body.get("model") or "")
    except _MALFORMED as error:
        raise ReplyError("body", f"the body is not a completion ({type(error).__name__})") from None
    if finish in _BROKEN_OFF:
        raise ReplyError("finish", f"the server broke the reply off ({finish})")
    prompt, cached, completion = used or (
        call.worst.tokens - call.request.max_tokens,
        0,
        call.request.max_tokens,
    )
    return StoredReply(
        request_id=call.key,
        teacher=options.name or options.model,
        task=call.request.task,
        prompt_version=call.request.prompt_version,
        text=well_formed(text),
        finish_reason=well_formed(finish),
        served_by=well_formed(served_by),
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=completion,
        cost=options.prices.cost(prompt, completion, cached),
        latency=latency,
        received_at=now(),
        top_logprobs=_top_logprobs(choice.get("logprobs")),
    )


def _top_logprobs(told: Any) -> str:
    """What a chat completion tells of its tokens, as JSON; empty when it tells nothing readable."""
    try:
        places = [
            {str(one["token"]): float(one["logprob"]) for one in place["top_logprobs"]}
            for place in told["content"]
        ]
    except _MALFORMED:
        return ""
    return json.dumps(places) if any(places) else ""


def _usage(usage: Any) -> tuple[int, int, int] | None:
    """Tokens of the prompt, those of it from the server's cache, and of the reply."""
    if not usage or usage.get("prompt_tokens") is None or usage.get("completion_tokens") is None:
        return None
    details = usage.get("prompt_tokens_details") or {}
    prompt, completion = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
    if not (0 <= prompt <= _MOST_TOKENS and 0 <= completion <= _MOST_TOKENS):
        raise ValueError("usage")
    cached = min(prompt, max(0, int(details.get("cached_tokens") or 0)))
    return prompt, cached, completion


def used_by(content: bytes, call: Call, options: ModelOptions) -> Reservation:
    """What an unusable body cost: what it says itself, or all that was reserved."""
    try:
        used = _usage(json.loads(content)["usage"])
    except _MALFORMED:
        used = None
    if used is None:
        return call.worst
    prompt, cached, completion = used
    return Reservation(prompt + completion, options.prices.cost(prompt, completion, cached))


def wasted(call: Call, teacher: str, reason: str, used: Reservation, body: bytes = b"") -> Waste:
    """What a call took without giving a usable reply, for the ledger."""
    return Waste(
        request_id=call.key,
        teacher=teacher,
        task=call.request.task,
        reason=reason,
        body=body,
        tokens=used.tokens,
        cost=used.cost,
        received_at=now(),
    )


def completed(call: Call, outcome: Got | Failure, teacher: str) -> Completion:
    """What came of a call, with a look at what the model wrote.

    Args:
        call: What was asked.
        outcome: The reply, or why there is none.
        teacher: Name on the records.
    """
    if isinstance(outcome, Failure):
        return replace(
            unanswered(call.request, teacher, "llm", call.key),
            status=outcome.status,
            fault=outcome.fault,
            error=outcome.why,
            attempts=outcome.attempts,
            cost=outcome.wasted,
            worth=outcome.wasted,
        )
    reply, attempts, lost = outcome
    cached = not attempts
    text = without_thoughts(reply.text)
    parsed: Reply | None = None
    status: Status = "ok"
    fault = why = ""
    top_logprobs: TopLogprobs = tuple(json.loads(reply.top_logprobs or "[]"))
    if reply.finish_reason in _UNUSABLE and not _is_all_it_takes(call, reply):
        status, fault, why = _UNUSABLE[reply.finish_reason]
    else:
        try:
            if not TASKS[call.request.task].verbatim:
                _check_form(reply, text)
            parsed = read_reply(call.request.task, text, top_logprobs)
        except ReplyError as error:
            status, fault, why = "invalid", error.fault, str(error)
    return Completion(
        row_id=call.request.row_id,
        task=call.request.task,
        text=text,
        parsed=parsed,
        status=status,
        teacher=teacher,
        teacher_kind="llm",
        prompt_version=call.request.prompt_version,
        key=call.key,
        cached=cached,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        cost=lost if cached else reply.cost + lost,
        latency=reply.latency,
        attempts=attempts,
        fault=fault,
        error=why,
        sample=call.request.sample,
        received_at=reply.received_at,
        top_logprobs=top_logprobs,
        cached_tokens=reply.cached_tokens,
        worth=reply.cost + lost,
    )


def _is_all_it_takes(call: Call, reply: StoredReply) -> bool:
    """Whether a reply that was cut at the token limit had only one token to give."""
    shape = TASKS[call.request.task].reply
    return reply.finish_reason == "length" and shape is not None and shape.one_token


def _check_form(reply: StoredReply, text: str) -> None:
    """See that a reply says something, and to its end.

    Raises:
        ReplyError: it calls tools, or breaks off in thoughts.
    """
    if not text and reply.finish_reason in ("tool_calls", "function_call"):
        raise ReplyError("tool_calls", "it calls tools instead of answering")
    if text and breaks_off_in_thoughts(reply.text):
        raise ReplyError("form", "it ends in thoughts that have no end")


def summed(first: Completion, second: Completion) -> Completion:
    """What came of asking twice: the second reply, with what both have used up."""
    before = (0, 0) if first.cached else (first.prompt_tokens, first.completion_tokens)
    if second.status == "deferred":
        why = f"{second.error}; the first reply was of no use: {first.error}"
        return replace(first, status="deferred", fault=second.fault, error=why, asked_again=True)
    return replace(
        second,
        cached=first.cached and second.cached,
        prompt_tokens=before[0] + second.prompt_tokens,
        completion_tokens=before[1] + second.completion_tokens,
        cost=first.cost + second.cost,
        latency=first.latency + second.latency,
        attempts=first.attempts + second.attempts,
        cached_tokens=(0 if first.cached else first.cached_tokens) + second.cached_tokens,
        worth=first.worth + second.worth,
        asked_again=True,
    )


def complaint(library: PromptLibrary, request: ChatRequest, first: Completion) -> list[Message]:
    """What is said to a model whose reply was not in the task's form.

    Args:
        library: Holds the template ``reask``.
        request: What was asked.
        first: What came of it.
    """
    shape = TASKS[request.task].reply
    tags = tag_form(shape) if shape is not None and first.fault == "not_json" else ""
    again = library.render("reask", request.language, error=first.error, tags=tags)
    return [Message(role="assistant", content=first.text or "…"), *again.messages]
