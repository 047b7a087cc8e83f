"""What the run before has left behind, and people have edited since."""

from abc import abstractmethod
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

import polars as pl
from kedro.io import AbstractDataset, DatasetError, Version

from kyara_kedro.datasets.models import ModelRefDataset
from kyara_kedro.quality.tag_map import read_tag_map
from kyara_kedro.records import TAG_MAP, Record
from kyara_kedro.training.model_ref import ModelRef

T = TypeVar("T")


class EarlierDataset(AbstractDataset[None, T], Generic[T]):
    """What an earlier run wrote, read beside the entry that this run writes; empty at first.

    Args:
        filepath: The file, the same as that of the entry that is written.
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    @abstractmethod
    def load(self) -> T:
        """Read what the last run that came to its end has written."""

    def save(self, data: None) -> None:
        """Refuse: the entry without 'earlier' is written."""
        raise DatasetError(f"{self._path} is written by the entry '{self._path.stem}'")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}


class EarlierTableDataset(EarlierDataset[pl.DataFrame]):
    """A table of an earlier run.

    One of another shape, as an older version of this project may have written, counts as none.

    Args:
        filepath: The Parquet file, the same as that of the entry that is written.
        record: What the rows are, as ``kyara_kedro.records.REFERENCE``.
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(
        self, *, filepath: str, record: str, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        home, _, name = record.rpartition(".")
        self._record: Record = getattr(import_module(home), name)

    def load(self) -> pl.DataFrame:
        """Read the Parquet file."""
        if not self._path.exists() or pl.read_parquet_schema(self._path) != self._record.schema:
            return self._record.frame()
        return pl.read_parquet(self._path)


class EarlierModelDataset(EarlierDataset[list[ModelRef]]):
    """The model of an earlier run, in a list that is empty at first."""

    def load(self) -> list[ModelRef]:
        """Read the newest reference of a versioned entry."""
        written = ModelRefDataset(filepath=str(self._path), version=Version(None, None))
        return [written.load()] if written.exists() else []


class EarlierTagMapDataset(EarlierDataset[pl.DataFrame]):
    """The tag map of an earlier run, with what a person has edited since."""

    def load(self) -> pl.DataFrame:
        """Read the CSV file.

        Raises:
            UserError: it was edited so that it is no map any more.
        """
        if not self._path.exists():
            return TAG_MAP.frame()
        return read_tag_map(self._path.read_bytes(), str(self._path))
