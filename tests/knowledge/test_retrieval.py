"""Retrieval quality on DRCD: 1,000 Traditional Chinese paragraphs, 3,524 questions."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import opencc
import polars as pl
import pytest

from kyara_kedro.knowledge.store import KnowledgeOptions, KnowledgeStore

pytestmark = pytest.mark.conformance


def read(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture
def store(corpora: Path, tmp_path: Path) -> KnowledgeStore:
    passages = pl.DataFrame(read(corpora / "drcd_dev_paragraphs.jsonl.gz")).select(
        passage_id="doc_id",
        document_id="article_id",
        title="title",
        text="text",
        language=pl.lit("zh-Hant-TW"),
    )
    store = KnowledgeStore(KnowledgeOptions(path=tmp_path))
    store.build(passages)
    return store


def recall(found: pl.DataFrame, gold: Sequence[str], k: int) -> float:
    wanted = pl.DataFrame({"passage_id": gold}).with_row_index("query").cast({"query": pl.Int64})
    hits = wanted.join(found.filter(pl.col("rank") < k), on=["query", "passage_id"])
    return len(hits) / len(gold)


def test_recall(store: KnowledgeStore, corpora: Path) -> None:
    questions = read(corpora / "drcd_dev_questions.jsonl.gz")
    gold = [question["doc_id"] for question in questions]
    asked = [question["query"] for question in questions]
    to_simplified = opencc.OpenCC("t2s").convert
    with store:
        found = store.search(asked)
        simplified = store.search([to_simplified(question) for question in asked])
    assert recall(found, gold, 1) >= 0.94
    assert recall(found, gold, 5) >= 0.99
    assert recall(simplified, gold, 1) == pytest.approx(recall(found, gold, 1), abs=0.002)
