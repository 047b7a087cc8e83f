"""What the run before has left behind, and people have edited since."""

from abc import abstractmethod
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

import polars as pl
from kedro.io import AbstractDataset, DatasetError, Version
from kedro_datasets._typing import JSONPreview, TablePreview

from kyara_kedro.datasets import previews
from kyara_kedro.datasets.files import JSONDataset
from kyara_kedro.datasets.models import ModelRefDataset
from kyara_kedro.datasets.table import TableDataset
from kyara_kedro.datasets.tag_map import TagMapDataset
from kyara_kedro.records import TAG_MAP, Record
from kyara_kedro.training.model_ref import ModelRef

T = TypeVar("T")
Entry = TypeVar("Entry", TableDataset, TagMapDataset, ModelRefDataset, JSONDataset)


class EarlierDataset(AbstractDataset[None, T], Generic[T, Entry]):
    """What an earlier run wrote, read beside the entry that this run writes; empty at first.

    Args:
        filepath: The file or address, the same as that of the entry that is written.
        credentials: Of the object store, from credentials.yml only.
        fs_args: Further settings of its fsspec file system.
        metadata: Free entries, such as kedro-viz's layer.

    Attributes:
        written: The entry that this run writes.
    """

    _entry: type[Entry]
    _newest: Version | None = None

    def __init__(
        self,
        *,
        filepath: str,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.written: Entry = self._entry(
            filepath=filepath,
            version=self._newest,
            credentials=credentials,
            fs_args=fs_args,
        )
        self._filepath = filepath
        self.metadata = metadata

    @abstractmethod
    def load(self) -> T:
        """Read what the last run that came to its end has written."""

    def save(self, data: None) -> None:
        """Refuse: the entry without 'earlier' is written."""
        raise DatasetError(f"{self._filepath} is written by the entry without 'earlier'")

    def _exists(self) -> bool:
        return True

    def _release(self) -> None:
        self.written.release()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}


class EarlierTableDataset(EarlierDataset[pl.DataFrame, TableDataset]):
    """A table of an earlier run.

    One of another shape, as an older version of this project may have written, counts as none.

    Args:
        filepath: The Parquet file or address, the same as that of the entry that is written.
        record: What the rows are, as ``kyara_kedro.records.REFERENCE``.
        credentials: Of the object store, from credentials.yml only.
        fs_args: Further settings of its fsspec file system.
        metadata: Free entries, such as kedro-viz's layer.
    """

    _entry = TableDataset

    def __init__(
        self,
        *,
        filepath: str,
        record: str,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            filepath=filepath, credentials=credentials, fs_args=fs_args, metadata=metadata
        )
        home, _, name = record.rpartition(".")
        self._record: Record = getattr(import_module(home), name)

    def load(self) -> pl.DataFrame:
        """Read the Parquet file."""
        known = self.written.exists() and self.written.schema() == self._record.schema
        return self.written.load() if known else self._record.frame()

    def preview(self) -> TablePreview:
        """The first rows, for kedro-viz."""
        rows = self.load().head()
        return previews.table(rows.columns, rows.rows())


class EarlierModelDataset(EarlierDataset[list[ModelRef], ModelRefDataset]):
    """The model of an earlier run, in a list that is empty at first."""

    _entry = ModelRefDataset
    _newest = Version(None, None)

    def load(self) -> list[ModelRef]:
        """Read the newest reference of a versioned entry."""
        return [self.written.load()] if self.written.exists() else []

    def preview(self) -> JSONPreview:
        """What is there, for kedro-viz."""
        return previews.document([model.to_dict() for model in self.load()])


class EarlierTagMapDataset(EarlierDataset[pl.DataFrame, TagMapDataset]):
    """The tag map of an earlier run, with what a person has edited since."""

    _entry = TagMapDataset

    def load(self) -> pl.DataFrame:
        """Read the CSV file.

        Raises:
            UserError: it was edited so that it is no map any more.
        """
        return self.written.load() if self.written.exists() else TAG_MAP.frame()

    def preview(self) -> TablePreview:
        """The first rows, for kedro-viz."""
        rows = self.load().head()
        return previews.table(rows.columns, rows.rows())


class EarlierJSONDataset(EarlierDataset[dict[str, Any], JSONDataset]):
    """An object that a hook keeps on this machine from run to run, empty at first."""

    _entry = JSONDataset

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self._filepath)

    def load(self) -> dict[str, Any]:
        """Read the JSON file."""
        return dict(self.written.load()) if self.written.exists() else {}

    def preview(self) -> JSONPreview:
        """What is there, for kedro-viz."""
        return previews.document(self.load())
