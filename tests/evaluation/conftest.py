"""Small benchmarks and models whose answers are known."""

from collections.abc import Callable, Mapping

import polars as pl
import pytest

from kyara_kedro.content import content_id
from kyara_kedro.evaluation.benchmarks import Task, plain_questions
from kyara_kedro.records import BENCHMARK_QUESTION, MODEL_OUTPUT

OPEN = [
    ("玉山主峰的海拔是多少公尺？", "3,952 公尺"),
    ("日月潭位在哪一個縣？", "南投縣"),
    ("臺灣高鐵在哪一年通車？", "2007 年"),
    ("嘉南大圳的設計者是誰？", "八田與一"),
]
CHOICES = ["阿里山", "玉山", "雪山", "合歡山"]


@pytest.fixture
def questions() -> pl.DataFrame:
    """Four open and four multiple-choice questions of the benchmark ``sample``."""
    rows = [
        {"item_id": f"open-{i}", "kind": "open", "question": q, "choices": [], "answer": a}
        for i, (q, a) in enumerate(OPEN)
    ] + [
        {
            "item_id": f"choice-{i}",
            "kind": "choice",
            "question": f"臺灣最高的山是哪一座？（{i}）",
            "choices": CHOICES,
            "answer": "B" if i % 2 else "玉山",
        }
        for i in range(4)
    ]
    table = BENCHMARK_QUESTION.frame(
        {
            "id": content_id("question", row["item_id"]),
            "benchmark": "sample",
            "aliases": [],
            "stratum": "geography",
            "source": "test",
            "licence": "CC0-1.0",
            "language": "zh-Hant-TW",
            **row,
        }
        for row in rows
    )
    return plain_questions(BENCHMARK_QUESTION.validate(table))


@pytest.fixture
def answered() -> Callable[[Task, str, Mapping[str, str]], pl.DataFrame]:
    """Outputs of one model for a task, from item id to text."""

    def outputs(task: Task, model: str, texts: Mapping[str, str]) -> pl.DataFrame:
        table = MODEL_OUTPUT.frame(
            {
                "id": content_id(task.name, request.item_id, model),
                "benchmark": task.name,
                "item_id": request.item_id,
                "model": model,
                "messages": list(request.messages),
                "output": texts[request.item_id],
                "stopped": True,
                "tokens": len(texts[request.item_id]),
            }
            for request in task.requests()
            if request.item_id in texts
        )
        return MODEL_OUTPUT.validate(table)

    return outputs
