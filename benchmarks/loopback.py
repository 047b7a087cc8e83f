"""An OpenAI-compatible chat server on the loopback interface, with faults, limits and accounts.

``python benchmarks/loopback.py --latency 0.05 --share-429 0.05`` prints ``{"url": ...}`` and serves
``POST /v1/chat/completions`` and ``GET /v1/models`` until it is killed; ``GET /stats`` tells what
it counted, ``POST /reset`` starts the counts, faults and limits afresh. It is a bare
``asyncio.Protocol`` of the standard library: a request costs it about as much as reading its JSON,
so it does not limit the clients that it measures.

What is counted is what a provider would bill: a request is *paid* once the server begins to answer
it, whether or not the answer arrives whole, or at all. Prompts are counted one token a character,
answers likewise, never more than the request allows. Which request meets which fault depends on the
seed and on the request's number alone.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any

RETRY_AFTER = 1
"""Seconds that every 429 asks to wait."""
BURST_SECONDS = 1.0
"""How much of its rate the token bucket holds when full."""
SENTENCE = "這是一段用來量測的繁體中文回答，內容固定而長度可以指定。"
FILLER = SENTENCE * 200
FAULTS = ("rate_limited", "server_error", "malformed", "truncated", "hung")


@dataclass(frozen=True)
class Behaviour:
    """How the server behaves; the options of its command line.

    Attributes:
        latency: Seconds from a request to its answer.
        answer: Characters of an answer, at most.
        answer_least: Characters of an answer, at least; between the two, lengths are uniform.
        share_429: Share of requests answered 429.
        share_500: Share of requests answered 500.
        share_malformed: Share of requests answered 200 with half a JSON document, and paid.
        share_truncated: Share whose body ends before its Content-Length, and paid.
        share_hung: Share that is never answered, and paid.
        rpm: Requests a minute that a token bucket lets through, else 429; 0 for no limit.
        concurrent: Requests answered at a time, else 429; 0 for no limit.
        outage_after: Requests after which the server goes down; 0 for never.
        outage_seconds: How long connections are then refused, open ones being cut.
        seed: Of faults and lengths.
    """

    latency: float = 0.0
    answer: int = 400
    answer_least: int = 400
    share_429: float = 0.0
    share_500: float = 0.0
    share_malformed: float = 0.0
    share_truncated: float = 0.0
    share_hung: float = 0.0
    rpm: float = 0.0
    concurrent: int = 0
    outage_after: int = 0
    outage_seconds: float = 0.0
    seed: int = 0


@dataclass
class Counts:
    """What the server saw since its last reset.

    Attributes:
        requests: Chat requests that arrived.
        paid: Those that were, or began to be, answered.
        paid_prompt_tokens: Tokens of their prompts.
        paid_completion_tokens: Tokens of their answers.
        rate_limited: Answers 429 by chance.
        over_rate: Answers 429 by the token bucket.
        over_concurrent: Answers 429 by the limit on requests in flight.
        server_error: Answers 500.
        malformed: Paid answers of half a JSON document.
        truncated: Paid answers cut on the way.
        hung: Paid answers that never came.
        most_in_flight: Most requests being answered at once.
        first: When the first request came, by the server's clock.
        last: When the last answer went out.
    """

    requests: int = 0
    paid: int = 0
    paid_prompt_tokens: int = 0
    paid_completion_tokens: int = 0
    rate_limited: int = 0
    over_rate: int = 0
    over_concurrent: int = 0
    server_error: int = 0
    malformed: int = 0
    truncated: int = 0
    hung: int = 0
    most_in_flight: int = 0
    first: float = 0.0
    last: float = 0.0


@dataclass
class State:
    """The server's account and limits."""

    behaviour: Behaviour
    go_down: Callable[[], None]
    counts: Counts = field(default_factory=Counts)
    prompts: set[int] = field(default_factory=set)
    in_flight: int = 0
    answers: int = 0
    allowance: float = 0.0
    refilled: float = 0.0
    started_cpu: float = 0.0

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start the counts, the draws and the bucket afresh."""
        self.counts = Counts()
        self.prompts = set()
        self.allowance = self.behaviour.rpm / 60 * BURST_SECONDS
        self.refilled = time.monotonic()
        self.started_cpu = time.process_time()

    def stats(self) -> dict[str, Any]:
        """The counts, distinct prompts paid, and the server's own CPU seconds."""
        cpu = time.process_time() - self.started_cpu
        return {**asdict(self.counts), "distinct_prompts": len(self.prompts), "cpu": cpu}

    def admit(self) -> str | None:
        """Which limit a request runs into, if any."""
        behaviour = self.behaviour
        if behaviour.rpm:
            now, rate = time.monotonic(), behaviour.rpm / 60
            self.allowance = min(
                rate * BURST_SECONDS, self.allowance + (now - self.refilled) * rate
            )
            self.refilled = now
            if self.allowance < 1:
                return "over_rate"
            self.allowance -= 1
        if behaviour.concurrent and self.in_flight >= behaviour.concurrent:
            return "over_concurrent"
        return None


def http(status: str, body: bytes, headers: str = "", length: int | None = None) -> bytes:
    """An HTTP response; ``length`` overrides the true Content-Length."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}"
    return (
        f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body
    )


def error(message: str) -> bytes:
    """OpenAI's error document."""
    return json.dumps({"error": {"message": message, "type": "loopback", "code": None}}).encode()


TOO_MANY = http("429 Too Many Requests", error("slow down"), f"Retry-After: {RETRY_AFTER}\r\n")
FAILED = http("500 Internal Server Error", error("out of order"))
MODELS = http("200 OK", b'{"object":"list","data":[{"id":"gpt-4o-mini","object":"model"}]}')


def completion(number: int, model: str, prompt_tokens: int, length: int, cut: bool) -> bytes:
    """A chat completion whose text begins with its number, so that no two are ever equal."""
    text = f"第{number}則回答：{FILLER[: max(length, 0)]}"[:length]
    return (
        f'{{"id":"chatcmpl-{number}","object":"chat.completion","created":{int(time.time())},'
        f'"model":"{model}","choices":[{{"index":0,"message":{{"role":"assistant",'
        f'"content":"{text}"}},"logprobs":null,"finish_reason":"{"length" if cut else "stop"}"}}],'
        f'"usage":{{"prompt_tokens":{prompt_tokens},"completion_tokens":{length},'
        f'"total_tokens":{prompt_tokens + length}}}}}'
    ).encode()


class Connection(asyncio.Protocol):
    """One client connection: keep-alive, one request at a time."""

    def __init__(self, state: State, open_ones: set[Connection]) -> None:
        self.state = state
        self.open_ones = open_ones
        self.buffer = b""
        self.needed = 0
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.open_ones.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open_ones.discard(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= self.needed:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end].lower()
            length = 0
            if (at := head.find(b"content-length:")) >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            self.needed = end + 4 + length
            if len(self.buffer) < self.needed:
                return
            body = self.buffer[end + 4 : self.needed]
            self.buffer, self.needed = self.buffer[self.needed :], 0
            self.handle(head, body)

    def handle(self, head: bytes, body: bytes) -> None:
        method, path = head.split(b" ", 2)[:2]
        if method == b"post" and path.endswith(b"/chat/completions"):
            self.chat(json.loads(body))
        elif path == b"/stats":
            self.transport.write(http("200 OK", json.dumps(self.state.stats()).encode()))
        elif path == b"/reset":
            self.state.reset()
            self.transport.write(http("200 OK", b"{}"))
        elif path.endswith(b"/models"):
            self.transport.write(MODELS)
        else:
            self.transport.write(http("404 Not Found", error(f"no {path.decode()} here")))

    def chat(self, body: dict[str, Any]) -> None:
        """Count a chat request, draw its fault, and answer after the latency."""
        state, behaviour, counts = self.state, self.state.behaviour, self.state.counts
        counts.requests += 1
        number = counts.requests
        counts.first = counts.first or time.monotonic()
        if number == behaviour.outage_after:
            state.go_down()
            return
        draws = random.Random(behaviour.seed * 1_000_003 + number)
        fault = draw_fault(behaviour, draws.random())
        if fault in ("rate_limited", "server_error"):
            setattr(counts, fault, getattr(counts, fault) + 1)
            refusal = TOO_MANY if fault == "rate_limited" else FAILED
            self.loop.call_later(behaviour.latency, self.send, refusal)
            return
        if limit := state.admit():
            setattr(counts, limit, getattr(counts, limit) + 1)
            self.transport.write(TOO_MANY)
            return
        prompt = "".join(text_of(message["content"]) for message in body["messages"])
        wished = draws.randint(behaviour.answer_least, behaviour.answer)
        allowed = body.get("max_completion_tokens") or body.get("max_tokens") or wished
        length = min(wished, allowed)
        counts.paid += 1
        counts.paid_prompt_tokens += len(prompt)
        counts.paid_completion_tokens += length
        state.prompts.add(hash(prompt))
        state.in_flight += 1
        state.answers += 1
        counts.most_in_flight = max(counts.most_in_flight, state.in_flight)
        if fault is not None:
            setattr(counts, fault, getattr(counts, fault) + 1)
        cut = length < wished
        document = completion(state.answers, body["model"], len(prompt), length, cut)
        self.loop.call_later(behaviour.latency, self.answer, document, fault)

    def answer(self, document: bytes, fault: str | None) -> None:
        self.state.in_flight -= 1
        if fault == "hung":
            return
        if fault == "malformed":
            document = document[: len(document) // 2]
        elif fault == "truncated":
            whole = len(document)
            self.send(http("200 OK", document[: whole // 2], length=whole))
            self.transport.close()
            return
        self.send(http("200 OK", document))

    def send(self, response: bytes) -> None:
        self.state.counts.last = time.monotonic()
        if not self.transport.is_closing():
            self.transport.write(response)


def text_of(content: str | list[dict[str, str]]) -> str:
    """A message's text, whether sent as a string or in parts."""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def draw_fault(behaviour: Behaviour, draw: float) -> str | None:
    """The fault of a draw from [0, 1)."""
    shares = (
        behaviour.share_429,
        behaviour.share_500,
        behaviour.share_malformed,
        behaviour.share_truncated,
        behaviour.share_hung,
    )
    for fault, share in zip(FAULTS, shares, strict=True):
        draw -= share
        if draw < 0:
            return fault
    return None


async def serve(behaviour: Behaviour, port: int) -> None:
    """Serve until killed; ``port`` 0 takes a free one."""
    loop = asyncio.get_running_loop()
    down = asyncio.Event()
    open_ones: set[Connection] = set()
    state = State(behaviour, down.set)
    listen = partial(
        loop.create_server,
        lambda: Connection(state, open_ones),
        "127.0.0.1",
        backlog=2048,
        reuse_address=True,
    )
    server = await listen(port=port)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}"}), flush=True)
    while True:
        await down.wait()
        down.clear()
        server.close()
        for connection in list(open_ones):
            connection.transport.abort()
        await asyncio.sleep(behaviour.outage_seconds)
        server = await listen(port=port)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    for option in fields(Behaviour):
        parser.add_argument(
            f"--{option.name.replace('_', '-')}", type=type(option.default), default=option.default
        )
    options = vars(parser.parse_args())
    port = options.pop("port")
    gc.freeze()
    asyncio.run(serve(Behaviour(**options), port))


if __name__ == "__main__":
    main()
