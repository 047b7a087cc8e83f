"""The floor under our client: ``client.post`` over aiohttp in a loop, nothing kept, nothing parsed.

``python benchmarks/bare_client.py --url http://127.0.0.1:8000 --rows 20000 --in-flight 256``
"""

from __future__ import annotations

import argparse
import asyncio

import aiohttp  # noqa: F401 - the transport's import is not part of the job
import httpx2
import openai
from workload import MODEL, Meter, prompt


async def ask_all(url: str, rows: int, in_flight: int) -> int:
    """Send every prompt once; returns the number of 200s."""
    answered = 0
    slots = asyncio.Semaphore(in_flight)
    client = openai.AsyncOpenAI(
        api_key="none",
        base_url=f"{url}/v1",
        max_retries=0,
        http_client=openai.DefaultAioHttpClient(),
    )

    async def ask(index: int) -> None:
        nonlocal answered
        messages = [{"role": "user", "content": prompt(index)}]
        body = {"model": MODEL, "messages": messages, "max_tokens": 2048}
        try:
            response = await client.post("/chat/completions", cast_to=httpx2.Response, body=body)
            answered += bool(response.content)
        finally:
            slots.release()

    async with client, asyncio.TaskGroup() as group:
        for index in range(rows):
            await slots.acquire()
            group.create_task(ask(index))
    return answered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    options = parser.parse_args()
    meter = Meter()
    meter.report(asyncio.run(ask_all(options.url, options.rows, options.in_flight)))


if __name__ == "__main__":
    main()
