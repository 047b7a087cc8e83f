"""A failed or killed save leaves the last good version whole."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from kedro.io import DatasetError, Version

from kyara_kedro.datasets import JSONDataset, TableDataset
from kyara_kedro.files import written_whole


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": ["a"], "messages": [[{"role": "user", "content": "臺灣"}]]})
    dataset = TableDataset(filepath=str(tmp_path / "t.parquet"))
    assert not dataset.exists()
    dataset.save(frame)
    assert dataset.exists()
    assert dataset.load().equals(frame)
    lazy = TableDataset(filepath=str(tmp_path / "t.parquet"), lazy=True)
    assert lazy.load().collect().equals(frame)


def test_a_lazy_table_may_be_made_from_the_file_that_it_replaces(tmp_path: Path) -> None:
    dataset = TableDataset(filepath=str(tmp_path / "t.parquet"), lazy=True)
    dataset.save(pl.DataFrame({"id": ["a", "b"]}))
    dataset.save(dataset.load().filter(pl.col("id") == "a"))
    assert dataset.load().collect()["id"].to_list() == ["a"]


def test_previews_shorten_cells(tmp_path: Path) -> None:
    dataset = TableDataset(filepath=str(tmp_path / "t.parquet"))
    dataset.save(pl.DataFrame({"id": ["a"] * 20, "text": ["字" * 500] * 20, "n": [[1, 2]] * 20}))
    preview = dataset.preview(nrows=3)
    assert preview["columns"] == ["id", "text", "n"]
    assert len(preview["data"]) == 3
    assert preview["data"][0] == ["a", "字" * 159 + "…", "[1, 2]"]


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    dataset = JSONDataset(filepath=str(tmp_path / "x.json"))
    dataset.save({"城市": "臺北"})
    assert "臺北" in (tmp_path / "x.json").read_text(encoding="utf-8")
    with pytest.raises(DatasetError):
        dataset.save({"bad": object()})
    assert dataset.load() == {"城市": "臺北"}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_leftovers_of_the_dead_are_cleared_and_those_of_the_living_stay(tmp_path: Path) -> None:
    dead = subprocess.check_output([sys.executable, "-c", "import os; print(os.getpid())"])
    gone = tmp_path / f".t.json.{int(dead)}.part"
    busy = tmp_path / f".t.json.{os.getppid()}.part"
    gone.touch()
    busy.touch()
    with written_whole(tmp_path / "t.json") as part:
        part.write_text("1")
    assert not gone.exists()
    assert busy.exists()


@pytest.mark.faults
def test_a_full_disk_leaves_the_old_version(tmp_path: Path) -> None:
    """Writes beyond a file size limit fail in the middle, as they do on a full disk."""
    script = """
import resource, signal, sys
import polars as pl
from kyara_kedro.datasets import TableDataset
from kedro.io import DatasetError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
dataset = TableDataset(filepath=sys.argv[1])
dataset.save(pl.DataFrame({"id": ["good"]}))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
import numpy as np
try:
    dataset.save(pl.DataFrame({"id": np.random.default_rng(0).random(1_000_000)}))
except DatasetError as error:
    print("refused", error)
"""
    target = tmp_path / "t.parquet"
    done = subprocess.run(
        [sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=True
    )
    assert "refused" in done.stdout
    assert pl.read_parquet(target)["id"].to_list() == ["good"]
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


@pytest.mark.faults
@pytest.mark.parametrize("versioned", [False, True])
def test_a_kill_in_mid_save_leaves_the_last_good_version(tmp_path: Path, versioned: bool) -> None:
    version = Version(None, "2000-01-01T00.00.00.000Z") if versioned else None
    target = tmp_path / "t.parquet"
    TableDataset(filepath=str(target), version=version).save(pl.DataFrame({"id": ["good"]}))
    script = f"""
import sys, time
from pathlib import Path
from kedro.io import Version
from kyara_kedro.datasets import TableDataset
class Slow(TableDataset):
    def write(self, path, data):
        path.write_bytes(b"PAR1 half a file")
        Path({str(tmp_path / "started")!r}).touch()
        time.sleep(60)
version = Version(None, "2001-01-01T00.00.00.000Z") if {versioned} else None
Slow(filepath={str(target)!r}, version=version).save(None or __import__("polars").DataFrame())
"""
    writer = subprocess.Popen([sys.executable, "-c", script])
    while not (tmp_path / "started").exists():
        assert writer.poll() is None
        time.sleep(0.01)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    again = TableDataset(filepath=str(target), version=Version(None, None) if versioned else None)
    assert again.load()["id"].to_list() == ["good"]
    newer = Version(None, "2002-01-01T00.00.00.000Z") if versioned else None
    TableDataset(filepath=str(target), version=newer).save(pl.DataFrame({"id": ["next"]}))
    again = TableDataset(filepath=str(target), version=Version(None, None) if versioned else None)
    assert again.load()["id"].to_list() == ["next"]
    assert list(tmp_path.rglob("*.part")) == []


@pytest.mark.parametrize("data", [b"", b"PAR1 half a file", b"PAR1" * 9])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, data: bytes) -> None:
    for name, kind in (("t.parquet", TableDataset), ("x.json", JSONDataset)):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(DatasetError, match="run the pipeline that makes it again") as error:
            kind(filepath=str(path)).load()
        assert str(path) in str(error.value)
