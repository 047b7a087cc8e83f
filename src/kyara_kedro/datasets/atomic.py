"""Files that are written whole or not at all."""

import os
from abc import abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Generic, TypeVar

from kedro.io import AbstractVersionedDataset, Version
from polars.exceptions import PolarsError

from kyara_kedro.errors import UserError
from kyara_kedro.files import clear_leftovers, written_whole
from kyara_kedro.storage import ObjectStore, is_url

Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


class AtomicDataset(AbstractVersionedDataset[Saved, Loaded], Generic[Saved, Loaded]):
    """Base of the project's file datasets: on a disk or in an object store, versioned or not.

    Subclasses say how one file is written and read. What is saved replaces what was there in one
    step: a file by its rename, an object when its upload is complete.

    Args:
        filepath: The file, or an address such as ``s3://bucket/table.parquet``.
        version: Set by the catalog for ``versioned: true``.
        credentials: Of the object store, from credentials.yml only.
        fs_args: Further settings of its fsspec file system, such as ``endpoint_url``.
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(
        self,
        *,
        filepath: str,
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.metadata = metadata
        self._store: ObjectStore | None = None
        if is_url(filepath):
            store = ObjectStore(filepath, {**(credentials or {}), **(fs_args or {})})
            super().__init__(PurePosixPath(store.path), version, store.exists, store.glob)
            self._store = store
        else:
            super().__init__(PurePosixPath(filepath), version)

    @abstractmethod
    def write(self, path: Path, data: Saved) -> None:
        """Write the data to a file that does not exist yet."""

    @abstractmethod
    def read(self, path: Path) -> Loaded:
        """Read a whole file."""

    def save(self, data: Saved) -> None:
        """Replace the file, or add a version, in one step.

        Raises:
            UserError: the file cannot be written, as on a full disk.
        """
        target = self._get_save_path()
        if self._version and not self._store:
            for version in Path(self._filepath).glob("*/"):
                clear_leftovers(version, target.name)
        try:
            with self.written(target) as part:
                self.write(part, data)
        except (OSError, PolarsError) as error:
            raise UserError(
                f"{self.place(target)} cannot be written, what was there stays: {error}"
            ) from error

    def load(self) -> Loaded:
        """Read the file, or its newest version.

        Raises:
            UserError: the file is not what was written.
        """
        path = self.local()
        try:
            return self.read(path)
        except (ValueError, PolarsError) as error:
            place = self.place(self._get_load_path())
            raise UserError(
                f"{place} is damaged ({error}): run the pipeline that makes it again"
            ) from error

    def local(self) -> Path:
        """The stored file on a disk: itself, or a copy of the object, kept until the release."""
        path = self._get_load_path()
        return self._store.copy(str(path)) if self._store else Path(path)

    def stored(self) -> Path | str:
        """The stored file where it lies on a disk; of an object, what tells its present state."""
        path = self._get_load_path()
        return self._store.state(str(path)) if self._store else Path(path)

    def opened(self) -> AbstractContextManager[IO[bytes]]:
        """The stored file, to read parts of it where it lies."""
        path = self._get_load_path()
        return self._store.opened(str(path)) if self._store else Path(path).open("rb")

    def size(self) -> int:
        """Bytes of the stored file, or of its newest version."""
        with self.opened() as file:
            return file.seek(0, os.SEEK_END)

    def written(self, target: PurePosixPath) -> AbstractContextManager[Path]:
        """Give a file that becomes the target once it is complete."""
        return self._store.written(str(target)) if self._store else written_whole(Path(target))

    def place(self, path: PurePosixPath) -> str:
        """How a person finds a file: its path, or its address."""
        return self._store.url(str(path)) if self._store else str(path)

    def _exists(self) -> bool:
        return bool(self._exists_function(str(self._get_load_path())))

    def _release(self) -> None:
        super()._release()
        if self._store:
            self._store.release()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self.place(self._filepath), "version": self._version}
