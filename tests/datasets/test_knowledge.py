"""The knowledge base as a catalog entry."""

from pathlib import Path

import polars as pl
import pytest
from kedro.io import DataCatalog

from kyara_kedro.datasets.knowledge import KnowledgeBaseDataset
from kyara_kedro.errors import UserError
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


def entry(folder: Path, **more: object) -> dict[str, object]:
    return {
        "type": "kyara_kedro.datasets.KnowledgeBaseDataset",
        "filepath": str(folder / "base"),
        **more,
    }


def test_a_catalog_entry_is_saved_and_searched(tmp_path: Path) -> None:
    catalog = DataCatalog.from_config({"base": entry(tmp_path, kind="edge", options={"k1": 1.2})})
    assert not catalog.exists("base")
    table = passages("玉山是臺灣最高的山。", "濁水溪是臺灣最長的河。")
    catalog.save("base", table.iter_slices(1))
    assert catalog.exists("base")
    assert catalog.load("base").search(["最長的河"])["passage_id"].to_list() == [
        "id_00000001",
        "id_00000000",
    ]
    catalog.release("base")


def test_an_entry_describes_itself_without_credentials(tmp_path: Path) -> None:
    config = entry(
        tmp_path,
        kind="server",
        url="http://127.0.0.1:6333",
        credentials="server",
        options={"dense": {"model": "bge-m3", "base_url": "http://127.0.0.1:8080/v1"}},
    )
    keys = {"server": {"api_key": "hunter2", "embedding_api_key": "hunter3"}}
    catalog = DataCatalog.from_config({"base": config}, keys)
    said = repr(catalog.get("base"))
    assert "hunter" not in said
    assert "bge-m3" in said
    assert "http://127.0.0.1:6333" in said


def test_a_misspelt_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'denze'.*there are"):
        KnowledgeBaseDataset(filepath=str(tmp_path), options={"denze": {}})
    with pytest.raises(UserError, match="'url' goes with kind 'server'"):
        KnowledgeBaseDataset(filepath=str(tmp_path), kind="server")


def test_an_empty_table_empties_the_base(tmp_path: Path) -> None:
    dataset = KnowledgeBaseDataset(filepath=str(tmp_path / "base"))
    dataset.save(passages("玉山是臺灣最高的山。"))
    dataset.save(passages())
    assert dataset.load().count() == 0
    dataset.release()
