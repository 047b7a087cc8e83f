"""A data set as it is uploaded: a folder with a card, its pictures and Parquet shards."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import xxhash
from kedro.io import AbstractDataset
from kedro_datasets._typing import TablePreview

from kyara_kedro.datasets import previews
from kyara_kedro.datasets.table import groups
from kyara_kedro.errors import UserError
from kyara_kedro.files import alive, flush
from kyara_kedro.reporting.charts import Figure
from kyara_kedro.reporting.publication import DATA_FILES
from kyara_kedro.storage import ObjectStore, is_url

_MADE = ("README.md", "images", "data")
_SHARD_BYTES = 512 << 20
"""Size of a shard in memory, that is before compression."""
_BLOCK = 4 << 20


class Publication(NamedTuple):
    """What is published.

    Attributes:
        card: The README, in Markdown with front matter.
        pictures: The pictures that the card shows in its folder ``images``, by name.
        rows: The rows, as frames of one schema that come one after another; at least one frame.
    """

    card: str
    pictures: Mapping[str, Figure]
    rows: Iterable[pl.DataFrame]


class PublicationDataset(AbstractDataset[Publication, str]):
    """A folder that `datasets.load_dataset` reads and the Hub shows; loads as its path or address.

    On a disk it is written beside the old one and takes its place when it is complete. A writer
    that is killed leaves the old folder, if need be under a name that the next one restores it
    from. What else people keep in the folder, such as a repository, moves into the new one.

    In an object store the shards go below a name made of their content, and the card that points
    there comes last: until then the old card points to the old shards.

    Args:
        filepath: The folder, or an address such as ``s3://bucket/dataset``.
        shard_bytes: Size from which on another shard begins, in memory.
        credentials: Of the object store, from credentials.yml only.
        fs_args: Further settings of its fsspec file system, such as ``endpoint_url``.
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(
        self,
        *,
        filepath: str,
        shard_bytes: int = _SHARD_BYTES,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._filepath = filepath.rstrip("/")
        self._store: ObjectStore | None = None
        if is_url(filepath):
            self._store = ObjectStore(self._filepath, {**(credentials or {}), **(fs_args or {})})
        self._shard_bytes = shard_bytes
        self.metadata = metadata

    def load(self) -> str:
        """Give the folder's path or address."""
        return self._filepath

    def save(self, data: Publication) -> None:
        """Replace the folder.

        Raises:
            UserError: the folder cannot be written, as on a full disk.
        """
        store = self._store
        place = store.folder() if store else _replaced(Path(self._filepath))
        try:
            with place as part:
                self._fill(part, data)
                if store:
                    _upload(part, data.card, store)
        except OSError as error:
            raise UserError(
                f"{self._filepath} cannot be written, what was there stays: {error}"
            ) from error

    def _fill(self, folder: Path, data: Publication) -> None:
        (folder / "README.md").write_text(data.card, encoding="utf-8")
        (folder / "images").mkdir()
        for name, figure in data.pictures.items():
            (folder / "images" / f"{name}.svg").write_text(figure.svg(), encoding="utf-8")
        _write_shards(folder / "data", data.rows, self._shard_bytes)

    def preview(self) -> TablePreview:
        """What lies in the folder, for kedro-viz."""
        return previews.folder(Path(self._filepath))

    def _exists(self) -> bool:
        if self._store:
            return self._store.exists(f"{self._store.path}/README.md")
        return Path(self._filepath, "README.md").exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}


def _upload(folder: Path, card: str, store: ObjectStore) -> None:
    """Upload shards and pictures, then the card that points to these shards, and clear the old."""
    shards = sorted((folder / "data").iterdir())
    state = xxhash.xxh3_64()
    for shard in shards:
        with shard.open("rb") as stream:
            while block := stream.read(_BLOCK):
                state.update(block)
    data = f"data/{state.hexdigest()}"
    for shard in shards:
        store.put(shard, f"{store.path}/{data}/{shard.name}")
    for picture in sorted((folder / "images").iterdir()):
        store.put(picture, f"{store.path}/images/{picture.name}")
    readme = folder / "README.md"
    readme.write_text(card.replace(DATA_FILES, DATA_FILES.replace("data", data)), encoding="utf-8")
    store.put(readme, f"{store.path}/README.md")
    known = store.glob(f"{store.path}/data/*/*.parquet")
    store.remove(path for path in known if f"/{data}/" not in path)


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of another one once it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    old = folder.with_name(f".{folder.name}.old")
    _settle(folder, old)
    for leftover in folder.parent.glob(f".{folder.name}.*.part"):
        if not alive(int(leftover.name.split(".")[-2])):
            shutil.rmtree(leftover)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    part.mkdir()
    try:
        yield part
        for path in sorted(part.rglob("*")):
            flush(path)
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
        flush(folder.parent)
        _settle(folder, old)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _settle(folder: Path, old: Path) -> None:
    """Put an old folder back where there is no new one; else move over what was not made here."""
    if not old.exists():
        return
    if not folder.exists():
        old.rename(folder)
        return
    for path in sorted(old.iterdir()):
        if path.name not in _MADE:
            path.rename(folder / path.name)
    shutil.rmtree(old)


def _write_shards(folder: Path, frames: Iterable[pl.DataFrame], shard_bytes: int) -> None:
    """Write frames as they come into Parquet files, and number these once they are all there."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    folder.mkdir()
    shards: list[Path] = []
    writer, size = None, 0
    try:
        for group in groups(frames):
            table = group.to_arrow(compat_level=pl.CompatLevel.oldest())
            table = table.cast(pyarrow.schema([(f.name, _plain(f.type)) for f in table.schema]))
            if writer is None or size >= shard_bytes:
                if writer is not None:
                    writer.close()
                shards.append(folder / f"{len(shards)}.part")
                writer, size = ParquetWriter(shards[-1], table.schema, compression="zstd"), 0
            writer.write_table(table)
            size += table.nbytes
    finally:
        if writer is not None:
            writer.close()
    for number, shard in enumerate(shards):
        shard.rename(folder / f"train-{number:05}-of-{len(shards):05}.parquet")


def _plain(dtype: Any) -> Any:
    """An Arrow type without the large offsets, which readers show as types of their own."""
    import pyarrow

    if pyarrow.types.is_large_string(dtype):
        return pyarrow.string()
    if pyarrow.types.is_large_list(dtype) or pyarrow.types.is_list(dtype):
        return pyarrow.list_(_plain(dtype.value_type))
    if pyarrow.types.is_struct(dtype):
        return pyarrow.struct([(field.name, _plain(field.type)) for field in dtype])
    return dtype
