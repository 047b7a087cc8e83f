"""Folders of inputs: what is found, and what is said when there is nothing."""

import os
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


def test_endings_count_whatever_their_case(tmp_path: Path) -> None:
    (tmp_path / "ONE.MD").touch()
    (tmp_path / "two.JSONL.GZ").touch()
    assert [file.name for file in dataset(tmp_path).load()] == ["ONE.MD", "two.JSONL.GZ"]


def test_a_file_of_a_kind_that_is_not_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.html").touch()
    with pytest.raises(DatasetError, match=r"page\.html holds no \.md/\.jsonl file"):
        dataset(tmp_path / "page.html").load()


def test_a_file_is_read_once_though_both_folders_hold_it(tmp_path: Path) -> None:
    dropped = tmp_path / "dropped"
    dropped.mkdir()
    (dropped / "a.md").touch()
    assert [file.name for file in dataset(dropped, dropped).load()] == ["a.md"]
    assert [file.name for file in dataset(tmp_path, dropped).load()] == ["dropped/a.md"]
    assert [file.name for file in dataset(dropped / "a.md", dropped).load()] == ["a.md"]


def test_files_of_one_name_in_both_folders_are_told_apart(tmp_path: Path) -> None:
    own, dropped = tmp_path / "own", tmp_path / "dropped"
    for folder in (own, dropped):
        folder.mkdir()
        (folder / "a.md").write_text(folder.name)
    files = dataset(own, dropped).load()
    assert [file.path.read_text() for file in files] == ["own", "dropped"]
    assert [file.name for file in files] == ["a.md", "dropped:a.md"]


def test_a_name_in_another_encoding_becomes_text(tmp_path: Path) -> None:
    """Archives from older Chinese systems unpack to names in Big5."""
    try:
        (tmp_path / os.fsdecode("玉山.md".encode("big5"))).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (file,) = dataset(tmp_path).load()
    assert file.path.exists()
    assert file.name.encode()
    assert file.name.endswith(".md")
