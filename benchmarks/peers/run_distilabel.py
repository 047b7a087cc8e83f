"""One column of prompts through distilabel, in its own environment."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
from workload import MODEL, Meter, read_jsonl


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    options = parser.parse_args()
    meter = Meter()
    prompts = [
        {"index": row["index"], "instruction": row["prompt"]}
        for row in read_jsonl(options.folder / "prompts.jsonl")
    ]
    with Pipeline(name="benchmark", cache_dir=options.folder / "distilabel") as pipeline:
        load = LoadDataFromDicts(data=prompts, batch_size=options.in_flight)
        answer = TextGeneration(
            llm=OpenAILLM(
                model=MODEL,
                base_url=f"{options.url}/v1",
                api_key="none",
                generation_kwargs={"max_new_tokens": 2048},
            ),
            input_batch_size=options.in_flight,
        )
        load >> answer
    answers = pipeline.run(use_cache=False)
    rows = 0
    with (options.folder / "rows.jsonl").open("w", encoding="utf-8") as out:
        for row in answers["default"]["train"]:
            text = row["generation"]
            out.write(json.dumps({"index": row["index"], "text": text}, ensure_ascii=False) + "\n")
            rows += bool(text)
    meter.report(rows)


if __name__ == "__main__":
    main()
