"""Datasets in object stores: the same content, whole objects, copies of one state."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import polars as pl
import pytest
from kedro.io import DatasetError, Version

from kyara_kedro.datasets import (
    EarlierModelDataset,
    EarlierTableDataset,
    EarlierTagMapDataset,
    FigureDataset,
    FolderDataset,
    HTMLDataset,
    JSONDataset,
    KnowledgeBaseDataset,
    LedgerDataset,
    ModelRefDataset,
    ModelRegistryDataset,
    PublicationDataset,
    SourceFilesDataset,
    TableDataset,
    TagMapDataset,
    TeacherDataset,
)
from kyara_kedro.datasets.publication import Publication
from kyara_kedro.datasets.table import Frames
from kyara_kedro.errors import UserError
from kyara_kedro.records import DROP, TAG_MAP
from kyara_kedro.reporting.charts import bar_chart
from kyara_kedro.reporting.publication import DATA_FILES
from kyara_kedro.storage import ObjectStore
from kyara_kedro.training.model_ref import ModelRef

SERVER = os.environ.get("KYARA_S3_BUCKET")
"""A bucket of an S3 server, as s3://bucket; how to reach it is in the environment too."""
FRAME = pl.DataFrame({"id": ["a", "b"], "messages": [[{"role": "user", "content": "臺灣"}], []]})
FIGURE = bar_chart("長度", ["甲"], {"n": [1]})


@pytest.fixture(
    params=[
        "memory://kyara",
        pytest.param(
            SERVER, marks=pytest.mark.skipif(not SERVER, reason="KYARA_S3_BUCKET names no bucket")
        ),
    ],
    ids=["memory", "s3"],
)
def root(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty place in a store."""
    url = f"{request.param}/{uuid4().hex}"
    yield url
    fs, path = fsspec.core.url_to_fs(url)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def objects(root: str) -> list[str]:
    fs, path = fsspec.core.url_to_fs(root, use_listings_cache=False)
    return sorted(name.removeprefix(path).lstrip("/") for name in fs.find(path))


@pytest.mark.parametrize("data", [FRAME, FRAME.lazy(), Frames(lambda: iter([FRAME]))], ids=type)
def test_a_table_comes_back_as_it_was(root: str, data: Any) -> None:
    dataset = TableDataset(filepath=f"{root}/t.parquet")
    assert not dataset.exists()
    dataset.save(data)
    assert dataset.exists()
    other = TableDataset(filepath=f"{root}/t.parquet", lazy=True)
    assert other.load().collect().equals(FRAME)
    assert other.shape() == (2, 2)
    assert other.schema() == FRAME.schema
    assert other.preview(1)["data"] == [["a", '[{"role": "user", "content": "臺灣"}]']]
    assert objects(root) == ["t.parquet"]


def test_previews_of_empty_tables_have_their_columns(root: str) -> None:
    dataset = TableDataset(filepath=f"{root}/t.parquet")
    dataset.save(DROP.frame())
    assert dataset.preview()["columns"] == list(DROP.schema)


def test_documents_come_back_as_they_were(root: str) -> None:
    documents = {
        "x.json": (JSONDataset, {"城市": "臺北"}),
        "x.html": (HTMLDataset, "<p>臺北</p>"),
        "map.csv": (TagMapDataset, TAG_MAP.frame()),
        "plot.json": (FigureDataset, FIGURE),
    }
    for name, (kind, data) in documents.items():
        kind(filepath=f"{root}/{name}").save(data)
        loaded = kind(filepath=f"{root}/{name}").load()
        assert loaded.equals(data) if isinstance(data, pl.DataFrame) else loaded == data
        assert kind(filepath=f"{root}/{name}").preview()
    assert objects(root) == ["map.csv", "plot.json", "plot.svg", "x.html", "x.json"]


def test_versions_are_kept_and_the_newest_is_read(root: str) -> None:
    for year in (2000, 2001):
        version = Version(None, f"{year}-01-01T00.00.00.000Z")
        JSONDataset(filepath=f"{root}/x.json", version=version).save(year)
    newest = JSONDataset(filepath=f"{root}/x.json", version=Version(None, None))
    assert newest.load() == 2001
    assert len(newest.list_versions()) == 2
    pinned = Version("2000-01-01T00.00.00.000Z", None)
    assert JSONDataset(filepath=f"{root}/x.json", version=pinned).load() == 2000


def test_what_was_loaded_stays_while_another_run_replaces_it(root: str) -> None:
    reader = TableDataset(filepath=f"{root}/t.parquet", lazy=True)
    reader.save(FRAME)
    before = reader.load()
    TableDataset(filepath=f"{root}/t.parquet").save(FRAME.head(1))
    assert before.collect().equals(FRAME)
    assert reader.load().collect().height == 1


def test_a_table_may_be_made_from_the_object_that_it_replaces(root: str) -> None:
    dataset = TableDataset(filepath=f"{root}/t.parquet", lazy=True)
    dataset.save(FRAME)
    dataset.save(dataset.load().filter(pl.col("id") == "a"))
    assert dataset.load().collect()["id"].to_list() == ["a"]


def test_copies_are_made_once_and_go_with_the_release(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    TableDataset(filepath=f"{root}/t.parquet").save(FRAME)
    dataset = TableDataset(filepath=f"{root}/t.parquet")
    copy = dataset.local()
    assert dataset.local() == copy
    dataset.release()
    assert not copy.exists()
    assert dataset.load().equals(FRAME)


def test_a_failing_write_leaves_the_old_object(root: str) -> None:
    def broken() -> Iterator[pl.DataFrame]:
        yield FRAME
        raise OSError("no more")

    dataset = TableDataset(filepath=f"{root}/t.parquet")
    dataset.save(FRAME)
    with pytest.raises(DatasetError, match=f"{root}/t.parquet cannot be written.*no more"):
        dataset.save(Frames(broken))
    assert TableDataset(filepath=f"{root}/t.parquet").load().equals(FRAME)
    assert objects(root) == ["t.parquet"]


def test_a_damaged_object_is_named_with_what_to_do(root: str) -> None:
    with fsspec.open(f"{root}/x.json", "wb") as stream:
        stream.write(b"{")
    with pytest.raises(DatasetError, match=f"{root}/x.json is damaged.*run the pipeline"):
        JSONDataset(filepath=f"{root}/x.json").load()
    with pytest.raises(pl.exceptions.ComputeError):  # and not that it cannot be reached
        TableDataset(filepath=f"{root}/x.json").schema()


def test_a_dataset_travels_to_other_processes(root: str) -> None:
    dataset = TableDataset(filepath=f"{root}/t.parquet")
    dataset.save(FRAME)
    travelled = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert travelled.load().equals(FRAME)
    dataset.release()
    assert travelled.load().equals(FRAME)


def test_earlier_results_are_read_from_the_store(root: str, tmp_path: Path) -> None:
    record = "kyara_kedro.records.DROP"
    earlier = EarlierTableDataset(filepath=f"{root}/t.parquet", record=record)
    assert earlier.load().equals(DROP.frame())
    rows = DROP.frame([{"record_id": "a", "pipeline": "p", "reason": "r", "detail": "d"}])
    TableDataset(filepath=f"{root}/t.parquet").save(rows)
    assert earlier.load().equals(rows)
    TableDataset(filepath=f"{root}/t.parquet").save(FRAME)
    assert earlier.load().equals(DROP.frame()), "of another shape"
    assert EarlierTagMapDataset(filepath=f"{root}/map.csv").load().equals(TAG_MAP.frame())
    model = EarlierModelDataset(filepath=f"{root}/m.json")
    assert model.load() == []
    ref = ModelRef(str(tmp_path), "f", "dpo", "embedded")
    version = Version(None, "2000-01-01T00.00.00.000Z")
    ModelRefDataset(filepath=f"{root}/m.json", version=version).save(ref)
    assert model.load() == [ref]


def test_a_publication_is_replaced_by_its_card(root: str) -> None:
    dataset = PublicationDataset(filepath=f"{root}/set")
    assert not dataset.exists()
    for size in (1, 2):
        rows = pl.DataFrame({"n": range(size)})
        dataset.save(Publication(f"path: {DATA_FILES}", {"甲": FIGURE}, [rows]))
    assert dataset.exists()
    assert dataset.load() == f"{root}/set"
    card, shard, picture = objects(root)
    assert (card, picture) == ("set/README.md", "set/images/甲.svg")
    with fsspec.open(f"{root}/set/README.md", "rt", encoding="utf-8") as stream:
        pattern = stream.read().removeprefix("path: ")
    assert Path(shard.removeprefix("set/")).match(pattern)
    with fsspec.open(f"{root}/{shard}", "rb") as stream:
        assert pl.read_parquet(stream).height == 2


def test_sources_are_listed_as_on_a_disk(root: str, tmp_path: Path) -> None:
    pytest.importorskip("upath")
    files = {
        "licence.spdx": "CC0-1.0",
        "a.md": "甲",
        "law/b.md": "乙",
        "law/README.md": "---\nlicense: mit\n---\n",
        ".cache/c.md": "丙",
        "picture.png": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
        with fsspec.open(f"{root}/raw/{name}", "w", encoding="utf-8") as stream:
            stream.write(text)
    for pattern in ("", "/law", "/a.md", "/**/*.md"):
        here, there = (
            SourceFilesDataset(path=f"{place}{pattern}", suffixes=[".md"]).load()
            for place in (tmp_path, f"{root}/raw")
        )
        told = [(file.name, file.licence, file.data_set) for file in there]
        assert told == [(file.name, file.licence, file.data_set) for file in here]
        assert [file.path.read_text("utf-8") for file in there] == [
            file.path.read_text("utf-8") for file in here
        ]
    extra = {"path": f"{root}/raw/law"}
    both = SourceFilesDataset(path=str(tmp_path / "a.md"), extra=extra, suffixes=[".md"]).load()
    assert [file.name for file in both] == ["a.md", "b.md"]
    with pytest.raises(DatasetError, match="does not exist"):
        SourceFilesDataset(path=f"{root}/none", suffixes=[".md"]).load()


LOCAL: dict[str, Any] = {
    "a ledger": lambda url: LedgerDataset(filepath=url),
    "the embedded Qdrant": lambda url: KnowledgeBaseDataset(filepath=url),
    "MLflow's local store": lambda url: ModelRegistryDataset(
        filepath=url, tracking_uri=None, experiment="e", model="m"
    ),
    "a folder that nodes write into": lambda url: FolderDataset(filepath=url),
    "the ledger of teacher": lambda url: TeacherDataset(
        kind="openai", options={"model": "m", "base_url": "http://h"}, ledger={"path": url}
    )._make("teacher"),
}


@pytest.mark.parametrize("what", LOCAL)
def test_what_needs_a_disk_says_so(what: str) -> None:
    with pytest.raises(UserError, match=rf"^s3://bucket/x: {what}.* needs a disk; name a folder"):
        LOCAL[what]("s3://bucket/x")


def test_an_unknown_store_is_told_before_anything_is_read() -> None:
    with pytest.raises(UserError, match="no object store; known are s3"):
        TableDataset(filepath="ftp://host/t.parquet")


def test_credentials_and_settings_reach_the_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    memory = fsspec.filesystem("memory")

    def noted(protocol: str, **options: object) -> object:
        given.append((protocol, options))
        return memory

    monkeypatch.setattr(fsspec, "filesystem", noted)
    credentials, settings = {"key": "k", "secret": "s"}, {"endpoint_url": "http://127.0.0.1:9000"}
    entry = {"filepath": "s3://bucket/x", "credentials": credentials, "fs_args": settings}
    for kind in (TableDataset, JSONDataset, EarlierTagMapDataset, PublicationDataset):
        given.clear()
        kind(**entry)
        assert given
        for protocol, options in given:
            assert protocol == "s3"
            assert options == {"use_listings_cache": False, **credentials, **settings}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **options: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(UserError, match=r"pip install 'kyara-kedro\[s3\]'"):
        TableDataset(filepath="s3://bucket/t.parquet")


def test_an_error_of_the_store_names_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = TableDataset(filepath="memory://kyara/t.parquet")
    dataset.save(FRAME)

    def down(*args: object, **options: object) -> None:
        raise RuntimeError("connection refused")

    kind = type(fsspec.filesystem("memory"))
    for name in ("info", "put_file", "get_file", "ukey"):
        monkeypatch.setattr(kind, name, down)
    for failing in (dataset.exists, dataset.load, lambda: dataset.save(FRAME)):
        with pytest.raises(DatasetError, match=r"memory://kyara/t\.parquet cannot.*refused"):
            failing()


def test_a_full_disk_of_copies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    TableDataset(filepath="memory://kyara/t.parquet").save(FRAME)

    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "get_file", full)
    with pytest.raises(DatasetError, match=r"has no room in .*: let TMPDIR name a larger disk"):
        TableDataset(filepath="memory://kyara/t.parquet").load()


def test_copies_of_the_dead_are_cleared(tmp_path: Path) -> None:
    dead = int(subprocess.check_output([sys.executable, "-c", "import os; print(os.getpid())"]))
    for maker in (dead, os.getppid(), "somebody"):
        (tmp_path / f"kyara-kedro.{maker}.x").mkdir()
    script = """
from kyara_kedro.storage import ObjectStore
with ObjectStore("memory://kyara/t").written("/kyara/t") as part:
    part.write_text("1")
    print(part)
"""
    told = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(told.stdout.strip()).is_relative_to(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"kyara-kedro.{os.getppid()}.x", "kyara-kedro.somebody.x"}


def test_a_copy_is_never_of_two_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that is replaced during the download is downloaded again."""
    fs = fsspec.filesystem("memory", use_listings_cache=False)
    fs.pipe("/kyara/two", b"old")
    fetch = type(fs).get_file
    fetched = []

    def replaced(self: Any, path: str, local: str, **options: Any) -> None:
        fetch(self, path, local, **options)
        if not fetched:
            fs.pipe("/kyara/two", b"new!")
        fetched.append(path)

    monkeypatch.setattr(type(fs), "get_file", replaced)
    assert ObjectStore("memory://kyara/two").copy("/kyara/two").read_bytes() == b"new!"
    assert len(fetched) == 2


@pytest.mark.faults
@pytest.mark.skipif(not SERVER, reason="KYARA_S3_BUCKET names no bucket")
def test_a_kill_during_an_upload_leaves_the_old_object(tmp_path: Path) -> None:
    """The writer is killed when some parts of a large upload have arrived."""
    url = f"{SERVER}/{uuid4().hex}/t.parquet"
    TableDataset(filepath=url).save(pl.DataFrame({"id": ["good"]}))
    script = f"""
import sys
from pathlib import Path
import s3fs
from kyara_kedro.datasets import TableDataset
class Large(TableDataset):
    def write(self, path, data):
        with path.open("wb") as stream:
            stream.truncate(120 << 20)
sent = s3fs.S3FileSystem._call_s3
async def telling(self, method, *args, **options):
    found = await sent(self, method, *args, **options)
    if method == "upload_part":
        Path({str(tmp_path / "part")!r}).touch()
        import time; time.sleep(60)
    return found
s3fs.S3FileSystem._call_s3 = telling
Large(filepath={url!r}).save(None or __import__("polars").DataFrame())
"""
    writer = subprocess.Popen([sys.executable, "-c", script])
    while not (tmp_path / "part").exists():
        assert writer.poll() is None
        time.sleep(0.01)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert TableDataset(filepath=url).load()["id"].to_list() == ["good"]
    TableDataset(filepath=url).save(pl.DataFrame({"id": ["next"]}))
    assert TableDataset(filepath=url).load()["id"].to_list() == ["next"]
