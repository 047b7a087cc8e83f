"""Folders of inputs: what is found, and what is said when there is nothing."""

import os
from pathlib import Path

import pytest
from kedro.io import DatasetError

from kyara_kedro.datasets import SourceFilesDataset
from kyara_kedro.datasets.sources import SourceFile


def dataset(path: Path | str, extra: Path | None = None) -> SourceFilesDataset:
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


def test_a_pattern_or_a_list_of_paths_is_read_in_its_order(tmp_path: Path) -> None:
    for name in ("b/a.md", "b/c/d.md", "a/a.md", "a/skipped.md/inner.md", "b/e.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    paths = [f"{tmp_path}/**/a.md", f"{tmp_path}/b", f"{tmp_path}/b/c/d.md"]
    found = SourceFilesDataset(path=paths, suffixes=[".md"])
    assert [file.name for file in found.load()] == ["a/a.md", "b/a.md", "c/d.md"]
    assert [file.name for file in dataset(f"{tmp_path}/b/*.j*").load()] == ["e.jsonl"]
    with pytest.raises(DatasetError, match=r"\*\.pdf does not exist"):
        dataset(f"{tmp_path}/*.pdf").load()


def test_a_named_folder_needs_something_to_read_whatever_was_dropped(tmp_path: Path) -> None:
    own, dropped = tmp_path / "own", tmp_path / "dropped"
    own.mkdir()
    dropped.mkdir()
    (dropped / "b.md").touch()
    with pytest.raises(DatasetError, match="own holds no"):
        dataset(own, dropped).load()


def test_files_of_other_kinds_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.md", "b.pdf", "c.PDF", "d.docx", "LICENSE", ".hidden.md", ".git/e.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("a.parquet.lock", "cache-12.arrow", "licence.spdx", "state.json"):
        (tmp_path / name).touch()
    with caplog.at_level("INFO", "kyara_kedro"):
        assert [file.name for file in dataset(tmp_path).load()] == ["a.md"]
    (line,) = caplog.messages
    assert line == (f"{tmp_path}: skipped 4 files of other kinds: .pdf 2, (no ending) 1, .docx 1")


@pytest.mark.parametrize(
    ("name", "compression", "kind"),
    [
        ("a/b.jsonl", None, "jsonl"),
        ("a/b.JSONL.GZ", "gz", "jsonl"),
        ("a.b/zhwiki.xml.bz2", "bz2", "xml"),
        ("AA/wiki_00.xz", "xz", "wiki_00"),
        ("text/AA/wiki_00", None, "wiki_00"),
    ],
)
def test_a_name_tells_format_and_compression(
    tmp_path: Path, name: str, compression: str | None, kind: str
) -> None:
    file = SourceFile(tmp_path / "x", name)
    assert (file.compression, file.kind) == (compression, kind)


def test_an_entry_without_a_full_stop_is_a_pattern(tmp_path: Path) -> None:
    for name in ("wiki_00", "wiki_01.bz2", "awiki_00", "wiki_00.pdf"):
        (tmp_path / name).touch()
    found = SourceFilesDataset(path=str(tmp_path), suffixes=["wiki_[0-9][0-9]"]).load()
    assert [file.name for file in found] == ["wiki_00", "wiki_01.bz2"]


def test_licences_come_from_the_nearest_note_or_card(tmp_path: Path) -> None:
    card = "---\nlicense: {}\nsize_categories: [n<1K]\n---\n# Card\n"
    files = {
        "licence.spdx": "CC0-1.0\n",
        "plain/a.jsonl": "",
        "card/README.md": card.format("apache-2.0"),
        "card/data/a.jsonl": "",
        "noted/README.md": card.format("apache-2.0"),
        "noted/licence.spdx": "MIT",
        "noted/a.jsonl": "",
        "several/README.md": card.format("[mit, odc-by]"),
        "several/a.jsonl": "",
        "info/dataset_info.json": '{"license": "cc-by-4.0"}',
        "info/a.jsonl": "",
        "told/README.md": "# 說明\n\n這是一份文件。",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text, "utf-8")
    found = {file.name: (file.licence, file.data_set) for file in dataset(tmp_path).load()}
    assert found == {
        "plain/a.jsonl": ("CC0-1.0", None),
        "card/data/a.jsonl": ("apache-2.0", "card"),
        "noted/a.jsonl": ("MIT", "noted"),
        "several/a.jsonl": ("mit, odc-by", "several"),
        "info/a.jsonl": ("cc-by-4.0", None),
        "told/README.md": ("CC0-1.0", None),
    }


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="encoding 'big6' is not known"):
        SourceFilesDataset(path=str(tmp_path), suffixes=[".md"], encoding="big6")
