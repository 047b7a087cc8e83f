"""Parquet tables: atomic, streamed, versioned on request, previewed in kedro-viz."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
from kedro.io import Version
from kedro_datasets._typing import TablePreview

from kyara_kedro.datasets import previews
from kyara_kedro.datasets.atomic import AtomicDataset
from kyara_kedro.errors import UserError

_BATCH_ROWS = 256
_GROUP_BYTES = 4 << 20
"""Size of a row group before compression; reading a table holds some tens of them."""
_GROUP_ROWS = 1 << 17


class Frames:
    """A table larger than memory, as frames of one schema that are made one after another.

    Args:
        make: Begins the table anew; gives at least one frame, without rows if there are none.
    """

    def __init__(self, make: Callable[[], Iterator[pl.DataFrame]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[pl.DataFrame]:
        return self._make()


def batches(frame: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Frames of some rows of a lazy frame, in order; at least one."""
    schema = frame.collect_schema()
    found = iter(frame.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True))
    yield next(found, pl.DataFrame(schema=schema))
    yield from found


class TableDataset(AtomicDataset[Iterable[pl.DataFrame] | pl.DataFrame | pl.LazyFrame, Any]):
    """A table in one Parquet file.

    Eager frames are written as they are; lazy ones and `Frames` are streamed to the file, so a
    table may be larger than memory.

    Args:
        filepath: The Parquet file, or its address in an object store.
        lazy: Load as a lazy scan instead of a frame in memory.
        version: Set by the catalog for ``versioned: true``.
        credentials: Of the object store, from credentials.yml only.
        fs_args: Further settings of its fsspec file system, such as ``endpoint_url``.
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(
        self,
        *,
        filepath: str,
        lazy: bool = False,
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            filepath=filepath,
            version=version,
            credentials=credentials,
            fs_args=fs_args,
            metadata=metadata,
        )
        self.lazy = lazy

    def write(self, path: Path, data: Iterable[pl.DataFrame] | pl.DataFrame | pl.LazyFrame) -> None:
        """Write zstd-compressed Parquet.

        Raises:
            UserError: a stream without a frame, or with frames of several schemas.
        """
        if isinstance(data, pl.DataFrame):
            data.write_parquet(path, compression="zstd")
        else:
            _stream(path, batches(data) if isinstance(data, pl.LazyFrame) else data)

    def read(self, path: Path) -> pl.DataFrame | pl.LazyFrame:
        """Scan the file, or read it into memory."""
        return pl.scan_parquet(path) if self.lazy else pl.read_parquet(path)

    def scan(self) -> pl.LazyFrame:
        """The stored table, read in pieces whatever its entry says, and not validated."""
        return pl.scan_parquet(self.local())

    def schema(self) -> pl.Schema:
        """Columns of the stored table and their types, from the file's footer."""
        with self.opened() as stream:
            return pl.Schema(pl.read_parquet_schema(stream))

    def shape(self) -> tuple[int, int]:
        """Rows and columns of the stored table, from the file's footer."""
        import pyarrow.parquet

        with self.opened() as stream:
            rows = pyarrow.parquet.read_metadata(stream).num_rows
        return rows, len(self.schema())

    def preview(self, nrows: int = 8) -> TablePreview:
        """Give the first rows with nested values as short JSON, for kedro-viz."""
        rows = self._head(nrows)
        return previews.table(rows.columns, rows.rows())

    def _head(self, count: int) -> pl.DataFrame:
        """The first rows; no more of the file is read than they take."""
        from pyarrow.parquet import ParquetFile

        with self.opened() as stream, ParquetFile(stream) as file:
            first = next(file.iter_batches(batch_size=count), None)
            found = None if first is None else pl.from_arrow(first)
        return found if isinstance(found, pl.DataFrame) else pl.DataFrame(schema=self.schema())


def _stream(path: Path, frames: Iterable[pl.DataFrame]) -> None:
    """Write frames as they come, in row groups of some MB."""
    from pyarrow.parquet import ParquetWriter

    writer = None
    try:
        for group in groups(frames):
            table = group.to_arrow(compat_level=pl.CompatLevel.oldest())
            writer = writer or ParquetWriter(path, table.schema, compression="zstd")
            if table.schema != writer.schema:
                raise UserError(f"{path.name}: frames of one table differ: {table.schema}")
            writer.write_table(table)
    finally:
        if writer:
            writer.close()
    if not writer:
        raise UserError(f"{path.name}: a table needs at least one frame, be it empty")


def groups(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Put frames together into row groups of some MB."""
    held: list[pl.DataFrame] = []
    size, rows = 0.0, 0
    for frame in frames:
        held.append(frame)
        size += frame.estimated_size()
        rows += frame.height
        if size >= _GROUP_BYTES or rows >= _GROUP_ROWS:
            yield pl.concat(held)
            held, size, rows = [], 0.0, 0
    if held:
        yield pl.concat(held)
