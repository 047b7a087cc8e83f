"""Folders of inputs: what is found, and what is said when there is nothing."""

from pathlib import Path

import pytest
from kedro.io import DatasetError

from kyara_kedro.datasets import SourceFilesDataset


def dataset(path: Path, extra: Path | None = None) -> SourceFilesDataset:
    return SourceFilesDataset(
        path=str(path),
        suffixes=[".md", ".jsonl"],
        extra={"path": str(extra)} if extra else None,
    )


def test_files_are_listed_in_a_stable_order_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/two.md", "one.jsonl.gz", "ignored.exe"):
        (tmp_path / name).touch()
    assert [file.name for file in dataset(tmp_path).load()] == ["b/two.md", "one.jsonl.gz"]
    assert [file.name for file in dataset(tmp_path / "b" / "two.md").load()] == ["two.md"]


def test_dropped_files_are_added(tmp_path: Path) -> None:
    own, dropped = tmp_path / "own", tmp_path / "dropped"
    own.mkdir()
    (own / "a.md").touch()
    assert len(dataset(own, dropped).load()) == 1
    dropped.mkdir()
    (dropped / "b.md").touch()
    assert [file.name for file in dataset(own, dropped).load()] == ["a.md", "b.md"]


def test_nothing_to_read_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no \.md/\.jsonl file; put some there"):
        dataset(tmp_path).load()
    with pytest.raises(DatasetError, match="does not exist; name a folder"):
        dataset(tmp_path / "nowhere").load()
