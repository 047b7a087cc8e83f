"""Tables: written whole from frames, lazy frames and streams, with the same content."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from kedro.io import DatasetError

from kyara_kedro.datasets import TableDataset
from kyara_kedro.datasets import table as tables
from kyara_kedro.datasets.table import Frames, batches
from kyara_kedro.records import CONVERSATION

ROWS = [{"n": n, "text": f"第{n}號", "parts": [{"role": "user"}] * (n % 3)} for n in range(2_500)]
FRAME = pl.DataFrame(ROWS)


def dataset(folder: Path, **options: bool) -> TableDataset:
    return TableDataset(filepath=str(folder / "table.parquet"), **options)


def pieces(frame: pl.DataFrame, rows: int = 700) -> Iterator[pl.DataFrame]:
    return frame.iter_slices(rows)


@pytest.mark.parametrize(
    "data", [FRAME, FRAME.lazy(), Frames(lambda: pieces(FRAME)), [FRAME]], ids=type
)
def test_every_form_of_a_table_is_stored_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: object
) -> None:
    monkeypatch.setattr(tables, "_GROUP_ROWS", 1_000)
    dataset(tmp_path).save(data)
    assert dataset(tmp_path).load().equals(FRAME)
    assert dataset(tmp_path, lazy=True).load().collect().equals(FRAME)


def test_an_empty_table_keeps_its_schema(tmp_path: Path) -> None:
    empty = CONVERSATION.frame()
    for data in (empty, empty.lazy(), Frames(lambda: iter([empty]))):
        dataset(tmp_path).save(data)
        assert dataset(tmp_path).load().schema == CONVERSATION.schema


def test_the_same_stream_gives_the_same_bytes(tmp_path: Path) -> None:
    stored = []
    for _ in range(2):
        dataset(tmp_path).save(Frames(lambda: pieces(FRAME)))
        stored.append((tmp_path / "table.parquet").read_bytes())
    assert stored[0] == stored[1]


def test_a_stream_that_breaks_leaves_the_old_table(tmp_path: Path) -> None:
    def broken() -> Iterator[pl.DataFrame]:
        yield FRAME
        raise RuntimeError("no more")

    dataset(tmp_path).save(FRAME.head(1))
    with pytest.raises(DatasetError, match="no more"):
        dataset(tmp_path).save(Frames(broken))
    assert dataset(tmp_path).load().height == 1
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]


def test_a_stream_is_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_GROUP_ROWS", 1)
    with pytest.raises(DatasetError, match="frames of one table differ"):
        dataset(tmp_path).save(Frames(lambda: iter([FRAME, FRAME.drop("n")])))
    with pytest.raises(DatasetError, match="at least one frame"):
        dataset(tmp_path).save(Frames(lambda: iter([])))


def test_batches_are_small_and_in_order() -> None:
    found = list(batches(FRAME.lazy().filter(pl.col("n") % 2 == 0)))
    assert max(frame.height for frame in found) <= 1_000
    assert pl.concat(found).equals(FRAME.filter(pl.col("n") % 2 == 0))


def test_a_preview_shows_the_first_rows(tmp_path: Path) -> None:
    dataset(tmp_path).save(FRAME)
    shown = dataset(tmp_path).preview(3)
    assert shown["columns"] == ["n", "text", "parts"]
    assert shown["data"][1] == [1, "第1號", '[{"role": "user"}]']
