"""One column of prompts through bespokelabs-curator, in its own environment."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bespokelabs import curator
from datasets import Dataset
from workload import MODEL, Meter, read_jsonl

UNLIMITED = 10_000_000_000


class Answers(curator.LLM):
    """The prompt in, the answer beside its index out."""

    def prompt(self, row: dict) -> str:
        return row["prompt"]

    def parse(self, row: dict, response: str) -> dict:
        return {"index": row["index"], "text": response}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    options = parser.parse_args()
    meter = Meter()
    model = Answers(
        model_name=MODEL,
        backend="openai",
        backend_params={
            "base_url": f"{options.url}/v1",
            "max_concurrent_requests": options.in_flight,
            "max_requests_per_minute": 10_000_000,
            "max_tokens_per_minute": UNLIMITED,
            "require_all_responses": False,
        },
    )
    prompts = Dataset.from_list(list(read_jsonl(options.folder / "prompts.jsonl")))
    answers = model(prompts, working_dir=str(options.folder / "curator"))
    rows = 0
    with (options.folder / "rows.jsonl").open("w", encoding="utf-8") as out:
        for row in answers.dataset:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            rows += bool(row["text"])
    meter.report(rows)


if __name__ == "__main__":
    main()
