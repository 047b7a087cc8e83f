"""What the run before has left behind."""

from pathlib import Path
from typing import Any

import polars as pl
from kedro.io import AbstractDataset, DatasetError

from kyara_kedro.records import REFERENCE


class EarlierReferencesDataset(AbstractDataset[None, pl.DataFrame]):
    """The references of an earlier run, read beside the entry that this run writes; empty at first.

    A table of another shape, as an older version of this project may have written, counts as none.

    Args:
        filepath: The Parquet file, the same as that of the entry that is written.
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> pl.DataFrame:
        """Read the table of the last run that came to its end."""
        if not self._path.exists() or pl.read_parquet_schema(self._path) != REFERENCE.schema:
            return REFERENCE.frame()
        return pl.read_parquet(self._path)

    def save(self, data: None) -> None:
        """Refuse: the entry without 'earlier' is written."""
        raise DatasetError(f"{self._path} is written by the entry 'references'")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}
