"""Real prose and real requests for the teachers' tests."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kyara_kedro.content import content_id
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.teachers.base import ChatRequest, Completion, ask
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.text.chunk import chunk

SAMPLE = Path(__file__).parents[2] / "data/01_raw/sample/documents"
LIBRARY = PromptLibrary()

Ask = Callable[..., Completion]


@pytest.fixture(scope="session")
def passages() -> list[dict[str, str]]:
    """Passages of the sample corpus, Traditional Chinese."""
    found = []
    for path in sorted((SAMPLE / "zh-TW").rglob("*.md")):
        title, _, body = path.read_text(encoding="utf-8").partition("\n")
        for span in chunk(body, 400):
            text = span.of(body)
            found.append(
                {
                    "passage_id": f"id_{content_id(path.stem, text)[:8]}",
                    "title": title.lstrip("# "),
                    "text": text,
                }
            )
    return found


@pytest.fixture(scope="session")
def english_passages() -> list[dict[str, str]]:
    """Documents of the sample corpus, English."""
    lines = (SAMPLE / "english.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        {
            "passage_id": f"id_{content_id(row['text'])[:8]}",
            "title": row["title"],
            "text": row["text"],
        }
        for row in map(json.loads, lines)
    ]


@pytest.fixture(scope="session")
def rules() -> Ask:
    """Ask the extractive teacher one thing."""
    teacher = ExtractiveTeacher()

    def one(task: str, language: str = "zh-TW", row_id: str = "row", **inputs: Any) -> Completion:
        sample = inputs.pop("sample", 0)
        request = ask(LIBRARY, row_id, task, language, sample=sample, **inputs)
        return next(teacher.map([request]))

    return one


def requests_for_queries(count: int, prefix: str = "茶") -> Iterator[ChatRequest]:
    """Requests for search queries, one for each number."""
    for number in range(count):
        yield ask(
            LIBRARY,
            f"row-{number}",
            "expand_query",
            "zh-TW",
            question=f"{prefix}{number}是什麼？",
            max_tokens=64,
        )


@pytest.fixture
def make_requests() -> Callable[..., Iterator[ChatRequest]]:
    """Requests for search queries, one for each number."""
    return requests_for_queries
