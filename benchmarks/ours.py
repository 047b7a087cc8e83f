"""Our teacher as a user runs it: requests from a generator, completions streamed to a JSONL file.

``python benchmarks/ours.py --url http://127.0.0.1:8000 --ledger ledger.db --rows 1000
--in-flight 64 --out rows.jsonl`` prints one line of JSON with what it took.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import aiohttp  # noqa: F401 - the transport's import is not part of the job
import openai  # noqa: F401
from workload import MODEL, Meter, prompt

from kyara_kedro.teachers.base import ChatRequest
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher


def request(row_id: str, text: str, max_tokens: int) -> ChatRequest:
    """One prompt as a request."""
    return ChatRequest(
        row_id=row_id,
        task="answer_question",
        inputs={},
        messages=({"role": "user", "content": text},),
        prompt_version="benchmark",
        language="zh-TW",
        max_tokens=max_tokens,
    )


def first_step(rows: int, edited: int | None, max_tokens: int) -> Iterator[ChatRequest]:
    """A request a row; the edited row's prompt differs from what it was."""
    for index in range(rows):
        text = prompt(index) + ("（已修訂）" if index == edited else "")
        yield request(f"row-{index}", text, max_tokens)


def options(arguments: argparse.Namespace) -> EndpointOptions:
    """The teacher's settings."""
    return EndpointOptions(
        model=MODEL,
        base_url=f"{arguments.url}/v1",
        dialect="vllm",
        limits={
            "in_flight": arguments.in_flight,
            "requests_per_minute": arguments.rpm,
            "tokens_per_minute": None,
            "timeout": arguments.timeout,
            "attempts": arguments.attempts,
            "backoff": 1.0,
        },
        prices={"prompt": arguments.price_prompt, "completion": arguments.price_completion},
        budget={
            "cost": arguments.budget_cost,
            "tokens": arguments.budget_tokens,
            "requests": arguments.budget_requests,
            "per": arguments.budget_per,
        },
    )


def stream(teacher: OpenAITeacher, requests: Iterable[ChatRequest], out: Path) -> Counter[str]:
    """Ask, and write each completion as it comes, one line at a time; returns the statuses."""
    statuses: Counter[str] = Counter()
    with out.open("w", buffering=1, encoding="utf-8") as lines:
        for completion in teacher.map(requests):
            statuses[completion.status] += 1
            row = {"row": completion.row_id, "status": completion.status, "text": completion.text}
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    return statuses


def second_step(answers: Path, max_tokens: int) -> Iterator[ChatRequest]:
    """A request that follows up on each answer of the first step."""
    with answers.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield request(row["row"], f"請把下面的回答改寫得更簡潔。\n{row['text']}", max_tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--max-tokens", type=int, default=2048)
    parser.add_argument("--start-at", type=float, default=0.0, help="by the clock of time.time()")
    parser.add_argument("--edited", type=int, help="index of a row whose prompt is changed")
    parser.add_argument("--steps", type=int, choices=(1, 2), default=1)
    parser.add_argument("--rpm", type=int)
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--attempts", type=int, default=8)
    parser.add_argument("--price-prompt", type=float, default=1.0)
    parser.add_argument("--price-completion", type=float, default=2.0)
    parser.add_argument("--budget-cost", type=float)
    parser.add_argument("--budget-tokens", type=int)
    parser.add_argument("--budget-requests", type=int)
    parser.add_argument("--budget-per", choices=("run", "ledger"), default="run")
    arguments = parser.parse_args()
    time.sleep(max(0.0, arguments.start_at - time.time()))
    meter = Meter()
    with Ledger(arguments.ledger) as ledger:
        teacher = OpenAITeacher(options(arguments), ledger)
        asked = first_step(arguments.rows, arguments.edited, arguments.max_tokens)
        statuses = stream(teacher, asked, arguments.out)
        if arguments.steps == 2:
            follow_up = second_step(arguments.out, arguments.max_tokens)
            statuses += stream(teacher, follow_up, arguments.out.with_suffix(".2.jsonl"))
    meter.report(statuses["ok"] + statuses["truncated"], statuses=dict(statuses))


if __name__ == "__main__":
    main()
