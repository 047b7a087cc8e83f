"""Files that are written whole or not at all."""

import os
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

from kedro.io import AbstractVersionedDataset, Version
from polars.exceptions import PolarsError

from kyara_kedro.errors import UserError
from kyara_kedro.files import alive, flush

Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a temporary file beside the target that replaces it once it is complete.

    The file is flushed to the disk before the rename, so a full disk, an exception or a kill leaves
    the old version as it was. Leftovers of killed writers are cleared on the next write.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent, target.name)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        flush(part)
        part.replace(target)
        flush(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _sweep(folder: Path, name: str) -> None:
    """Remove what killed writers of a file left in a folder."""
    for leftover in folder.glob(f".{name}.*.part"):
        if not alive(int(leftover.name.split(".")[-2])):
            leftover.unlink(missing_ok=True)


class AtomicDataset(AbstractVersionedDataset[Saved, Loaded], Generic[Saved, Loaded]):
    """Base of the project's file datasets: local, optionally versioned, atomic.

    Subclasses say how one file is written and read.
    """

    def __init__(
        self,
        *,
        filepath: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

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
        target = Path(self._get_save_path())
        if self._version:
            for version in Path(self._filepath).glob("*/"):
                _sweep(version, target.name)
        try:
            with written_whole(target) as part:
                self.write(part, data)
        except (OSError, PolarsError) as error:
            raise UserError(f"{target} cannot be written, what was there stays: {error}") from error

    def load(self) -> Loaded:
        """Read the file, or its newest version.

        Raises:
            UserError: the file is not what was written.
        """
        path = Path(self._get_load_path())
        try:
            return self.read(path)
        except (ValueError, PolarsError) as error:
            raise UserError(
                f"{path} is damaged ({error}): run the pipeline that makes it again"
            ) from error

    def _exists(self) -> bool:
        return Path(self._get_load_path()).exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
