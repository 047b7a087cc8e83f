"""Retrieval quality on DRCD: 1,000 Traditional Chinese paragraphs, 3,524 questions by people."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import opencc
import polars as pl
import pytest

from kyara_kedro.knowledge.quality import retrieval_quality
from kyara_kedro.knowledge.store import KnowledgeOptions, KnowledgeStore

ROOT = Path(__file__).parents[2]
CORPORA = ROOT / os.environ.get("KYARA_CONFORMANCE_DATA", "../shared/data") / "corpora"
pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(
        not (CORPORA / "drcd_dev_questions.jsonl.gz").is_file(),
        reason=f"no DRCD in {CORPORA}; set KYARA_CONFORMANCE_DATA",
    ),
]


def read(name: str) -> list[dict[str, str]]:
    with gzip.open(CORPORA / f"drcd_dev_{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def passages() -> pl.DataFrame:
    return pl.DataFrame(read("paragraphs")).select(
        passage_id="doc_id",
        document_id="article_id",
        title="title",
        text="text",
        language=pl.lit("zh-Hant-TW"),
    )


@pytest.fixture(scope="module")
def store(
    passages: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KnowledgeStore]:
    with KnowledgeStore(KnowledgeOptions(path=tmp_path_factory.mktemp("base"))) as store:
        store.build(passages)
        yield store


@pytest.fixture(scope="module")
def questions() -> pl.DataFrame:
    return pl.DataFrame(read("questions")).select("query", "doc_id")


def test_recall(store: KnowledgeStore, questions: pl.DataFrame) -> None:
    own = [[name] for name in questions["doc_id"]]
    found = retrieval_quality(store, questions["query"].to_list(), own, 5)
    assert found == {
        "sparse_recall_at_1": pytest.approx(0.9532, abs=0.002),
        "sparse_recall_at_5": pytest.approx(0.9952, abs=0.002),
        "sparse_mrr_at_10": pytest.approx(0.9720, abs=0.002),
    }
    to_simplified = opencc.OpenCC("t2s").convert
    simplified = [to_simplified(question) for question in questions["query"]]
    lost = retrieval_quality(store, simplified, own, 5)["sparse_recall_at_1"]
    assert float(lost) >= float(found["sparse_recall_at_1"]) - 0.0005


def test_a_rebuild_and_another_index_find_the_same(
    store: KnowledgeStore, passages: pl.DataFrame, questions: pl.DataFrame, tmp_path: Path
) -> None:
    asked = questions["query"].to_list()
    expected = store.search(asked, 3)
    with KnowledgeStore(KnowledgeOptions(path=tmp_path)) as again:
        again.build(passages.sample(fraction=0.5, seed=1))
        again.build(passages.sample(fraction=1.0, shuffle=True, seed=2))
        assert again.search(asked, 3).equals(expected)
        again.build(passages[100:])
        again.build(passages)
        assert again.search(asked, 3).equals(expected)
    with KnowledgeStore(KnowledgeOptions(kind="local", path=Path(":memory:"))) as local:
        local.build(passages)
        assert local.search(asked, 3).equals(expected)
