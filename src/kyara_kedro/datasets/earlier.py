"""What the run before has left behind, and people have edited since."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

import polars as pl
from kedro.io import AbstractDataset, DatasetError

from kyara_kedro.quality.tag_map import read_tag_map
from kyara_kedro.records import REFERENCE, TAG_MAP


class EarlierDataset(AbstractDataset[None, pl.DataFrame]):
    """A table of an earlier run, read beside the entry that this run writes; empty at first.

    Args:
        filepath: The file, the same as that of the entry that is written.
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    @abstractmethod
    def load(self) -> pl.DataFrame:
        """Read the table of the last run that came to its end."""

    def save(self, data: None) -> None:
        """Refuse: the entry without 'earlier' is written."""
        raise DatasetError(f"{self._path} is written by the entry '{self._path.stem}'")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}


class EarlierReferencesDataset(EarlierDataset):
    """The references of an earlier run.

    A table of another shape, as an older version of this project may have written, counts as none.
    """

    def load(self) -> pl.DataFrame:
        """Read the Parquet file."""
        if not self._path.exists() or pl.read_parquet_schema(self._path) != REFERENCE.schema:
            return REFERENCE.frame()
        return pl.read_parquet(self._path)


class EarlierTagMapDataset(EarlierDataset):
    """The tag map of an earlier run, with what a person has edited since."""

    def load(self) -> pl.DataFrame:
        """Read the CSV file.

        Raises:
            UserError: it was edited so that it is no map any more.
        """
        if not self._path.exists():
            return TAG_MAP.frame()
        return read_tag_map(self._path.read_bytes(), str(self._path))
