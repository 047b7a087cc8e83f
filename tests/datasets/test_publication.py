"""A published folder is one that others can load."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from kedro.io import DatasetError

from kyara_kedro.datasets import PublicationDataset
from kyara_kedro.datasets.publication import Publication
from kyara_kedro.quality.selection import select
from kyara_kedro.records import CONVERSATION, DROP, QUALITY, TAG_MAP, TAGS
from kyara_kedro.reporting.charts import bar_chart
from kyara_kedro.reporting.dataset_card import dataset_card, dataset_summary
from kyara_kedro.reporting.publication import PUBLISHED, published_rows

FIGURE = bar_chart("長度", ["甲"], {"n": [1]})


def corpus(size: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    ids = [f"{n:032x}" for n in range(size)]
    conversations = CONVERSATION.frame(
        {
            "id": name,
            "messages": [
                {"role": "system", "content": "用繁體中文回答。"},
                {"role": "user", "content": f"第 {name} 題？"},
                {"role": "assistant", "content": "答案 🙂\n第二行"},
            ],
            "source": "知識",
            "language": "zh-Hant-TW",
            "rounds": 1,
            "tokens": 12,
            "teacher": None if int(name, 16) % 2 else "t",
            "prompt_version": None,
            "parents": ["d"],
            "passage_ids": [],
            "calls": [],
            "licence": "CC0-1.0",
        }
        for name in ids
    )
    tags = TAGS.frame(
        {"id": name, "raw_tags": [], "tags": ["地理"], "complexity": 1, "tagger": "t"}
        for name in ids
    )
    quality = QUALITY.frame(
        {"id": name, "score": 0.5, "aspects": [], "scorer": "s"} for name in ids
    )
    return conversations, tags, quality


def publication(size: int, frames: int = 1) -> Publication:
    conversations, tags, quality = corpus(size)
    report = select(conversations, tags, quality).report
    summary = dataset_summary(conversations, tags, TAG_MAP.frame(), quality, DROP.frame(), report)
    rows = published_rows(conversations.lazy(), tags, quality).collect()
    parts = [rows[n::frames] for n in range(frames)]
    return Publication(dataset_card(summary), {"top_tags": FIGURE}, parts)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`load_dataset` without a network, with a cache of its own."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    return lambda folder: datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))


def test_load_dataset_gives_the_rows_and_the_features(
    tmp_path: Path, load: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from datasets import List, Value

    folder = tmp_path / "set"
    PublicationDataset(filepath=str(folder)).save(publication(5))
    loaded = load(folder)
    assert "dataset_info" not in caplog.text, "the front matter is understood"
    assert [*loaded] == ["train"]
    rows = loaded["train"]
    assert rows.num_rows == 5
    assert rows.features["messages"] == List({"role": Value("string"), "content": Value("string")})
    assert rows.features["tags"] == List(Value("string"))
    assert rows.features["quality"] == Value("float64")
    conversations, tags, quality = corpus(5)
    wanted = published_rows(conversations.lazy(), tags, quality).collect()
    assert rows.to_list() == wanted.to_dicts()


def test_shards_are_bounded_and_numbered(tmp_path: Path, load: Any) -> None:
    folder = tmp_path / "set"
    dataset = PublicationDataset(filepath=str(folder), shard_bytes=1)
    data = publication(2000, frames=1)
    many = [pl.concat([data.rows[0]] * 20)] * 3
    dataset.save(data._replace(rows=many, card="# none"))
    assert files(folder) == [
        "README.md",
        *(f"data/train-{n:05}-of-00003.parquet" for n in range(3)),
        "images/top_tags.svg",
    ]
    assert load(folder)["train"].num_rows == 120_000


def test_an_empty_corpus_is_published_too(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    PublicationDataset(filepath=str(folder)).save(publication(0))
    rows = pl.read_parquet(folder / "data/train-00000-of-00001.parquet")
    assert rows.schema == PUBLISHED
    assert rows.is_empty()


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    dataset = PublicationDataset(filepath=str(folder))
    dataset.save(publication(3))
    before = {name: (folder / name).read_bytes() for name in files(folder)}

    def broken() -> Iterator[pl.DataFrame]:
        yield from publication(2).rows
        raise OSError("No space left on device")

    with pytest.raises(DatasetError, match="what was there stays: No space left"):
        dataset.save(publication(2)._replace(rows=broken()))
    assert {name: (folder / name).read_bytes() for name in files(folder)} == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_the_next_run_restores_and_clears_what_a_kill_left(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    dataset = PublicationDataset(filepath=str(folder))
    dataset.save(publication(3))
    folder.rename(tmp_path / ".set.old")
    (tmp_path / ".set.4194305.part").mkdir()

    def broken() -> Iterator[pl.DataFrame]:
        raise ValueError
        yield

    with pytest.raises(DatasetError):
        dataset.save(publication(2)._replace(rows=broken()))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    dataset.save(publication(2))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert pl.read_parquet(folder / "data/*.parquet").height == 2


def test_what_people_keep_in_the_folder_stays(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    dataset = PublicationDataset(filepath=str(folder))
    dataset.save(publication(3))
    (folder / ".git").mkdir()
    (folder / ".git/config").write_text("[core]")
    (folder / "LICENSE").write_text("CC0")
    (folder / "images/old.svg").write_text("<svg/>")
    dataset.save(publication(2))
    assert (folder / ".git/config").read_text() == "[core]"
    assert (folder / "LICENSE").read_text() == "CC0"
    assert not (folder / "images/old.svg").exists()
    assert pl.read_parquet(folder / "data/*.parquet").height == 2
    # killed after the new folder took the place of the old one, before the rest was moved
    shutil.copytree(folder, tmp_path / ".set.old")
    shutil.rmtree(folder / ".git")
    (folder / "LICENSE").unlink()
    dataset.save(publication(1))
    assert (folder / ".git/config").read_text() == "[core]"
    assert (folder / "LICENSE").read_text() == "CC0"
    assert pl.read_parquet(folder / "data/*.parquet").height == 1
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_killed_export_leaves_the_old_folder_whole(tmp_path: Path, load: Any) -> None:
    folder = tmp_path / "set"
    PublicationDataset(filepath=str(folder)).save(publication(4))
    script = (
        "import os, signal, sys\n"
        "from kyara_kedro.datasets import PublicationDataset\n"
        "from tests.datasets.test_publication import publication\n"
        "data = publication(9)\n"
        "def rows():\n"
        "    yield data.rows[0]\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "PublicationDataset(filepath=sys.argv[1]).save(data._replace(rows=rows()))\n"
    )
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert len([*tmp_path.glob(".set.*.part")]) == 1
    assert load(folder)["train"].num_rows == 4
    PublicationDataset(filepath=str(folder)).save(publication(9))
    assert not [*tmp_path.glob(".set.*")]
