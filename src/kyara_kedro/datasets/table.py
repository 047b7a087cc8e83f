"""Parquet tables: atomic, streamed, versioned on request, previewed in kedro-viz."""

import json
from pathlib import Path
from typing import Any

import polars as pl
from kedro.io import Version
from kedro_datasets._typing import TablePreview

from kyara_kedro.datasets.atomic import AtomicDataset

_CELL = 160


class TableDataset(AtomicDataset[pl.DataFrame | pl.LazyFrame, pl.DataFrame | pl.LazyFrame]):
    """A table in one Parquet file.

    Eager frames are written as they are and lazy ones are streamed to the file, so a table may be
    larger than memory.

    Args:
        filepath: The Parquet file.
        lazy: Load as a lazy scan instead of a frame in memory.
        version: Set by the catalog for ``versioned: true``.
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(
        self,
        *,
        filepath: str,
        lazy: bool = False,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, version=version, metadata=metadata)
        self._lazy = lazy

    def write(self, path: Path, data: pl.DataFrame | pl.LazyFrame) -> None:
        """Write zstd-compressed Parquet."""
        if isinstance(data, pl.LazyFrame):
            data.sink_parquet(path, compression="zstd")
        else:
            data.write_parquet(path, compression="zstd")

    def read(self, path: Path) -> pl.DataFrame | pl.LazyFrame:
        """Scan the file, or read it into memory."""
        return pl.scan_parquet(path) if self._lazy else pl.read_parquet(path)

    def preview(self, nrows: int = 8) -> TablePreview:
        """Give the first rows with nested values as short JSON, for kedro-viz."""
        rows = pl.scan_parquet(Path(self._get_load_path())).head(nrows).collect()
        cells = [[_cell(value) for value in row] for row in rows.rows()]
        return TablePreview(
            {"index": list(range(len(cells))), "columns": rows.columns, "data": cells}
        )


def _cell(value: object) -> object:
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and len(value) > _CELL:
        return value[: _CELL - 1] + "…"
    return value
