"""One column of prompts through NeMo data-designer, in its own environment."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import data_designer.config as dd
import pandas as pd
from data_designer.interface import DataDesigner
from workload import MODEL, Meter, read_jsonl


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    options = parser.parse_args()
    meter = Meter()
    prompts = pd.DataFrame(list(read_jsonl(options.folder / "prompts.jsonl")))
    loopback = dd.ModelProvider(name="loopback", endpoint=f"{options.url}/v1", api_key="none")
    model = dd.ModelConfig(
        alias="writer",
        model=MODEL,
        provider="loopback",
        skip_health_check=True,
        inference_parameters=dd.ChatCompletionInferenceParams(
            max_parallel_requests=options.in_flight, max_tokens=2048
        ),
    )
    config = dd.DataDesignerConfigBuilder(model_configs=[model])
    config.with_seed_dataset(dd.DataFrameSeedSource(df=prompts))
    config.add_column(
        dd.LLMTextColumnConfig(name="text", model_alias="writer", prompt="{{ prompt }}")
    )
    designer = DataDesigner(artifact_path=options.folder / "designs", model_providers=[loopback])
    designer.set_run_config(dd.RunConfig(disable_early_shutdown=True, otel_metrics_port=None))
    answers = designer.create(config, num_records=len(prompts)).load_dataset()
    rows = 0
    with (options.folder / "rows.jsonl").open("w", encoding="utf-8") as out:
        for index, text in zip(answers["index"], answers["text"], strict=True):
            row = {"index": int(index), "text": text}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            rows += bool(text)
    meter.report(rows)


if __name__ == "__main__":
    main()
