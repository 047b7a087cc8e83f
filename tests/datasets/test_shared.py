"""What the nodes of one run share: the open knowledge base."""

from pathlib import Path

import polars as pl
import pytest

from kyara_kedro.datasets.knowledge import KnowledgeBaseDataset
from kyara_kedro.records import PASSAGE


def passages(*texts: str) -> pl.DataFrame:
    return PASSAGE.frame(
        {
            "id": f"{number:032x}",
            "passage_id": f"id_{number:08x}",
            "document_id": "d",
            "title": "t",
            "text": text,
            "start": 0,
            "end": len(text),
            "language": "zh-Hant-TW",
            "licence": "CC0-1.0",
        }
        for number, text in enumerate(texts)
    )


@pytest.mark.parametrize("kind", ["edge", "local"])
def test_the_nodes_of_a_run_share_one_open_knowledge_base(tmp_path: Path, kind: str) -> None:
    dataset = KnowledgeBaseDataset(filepath=str(tmp_path / "base"), kind=kind)  # type: ignore[arg-type]
    dataset.save(passages("玉山是臺灣最高的山。"))
    store = dataset.load()
    assert dataset.load() is store
    assert store.search(["玉山"])["passage_id"].to_list() == ["id_00000000"]
    dataset.save(passages("玉山是臺灣最高的山。", "濁水溪是臺灣最長的河。"))
    assert dataset.load().count() == 2
    dataset.release()
    other = KnowledgeBaseDataset(filepath=str(tmp_path / "base"), kind=kind)  # type: ignore[arg-type]
    assert other.load().count() == 2
    other.release()
