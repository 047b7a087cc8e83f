"""Folders of files that people bring."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError


@dataclass(frozen=True)
class SourceFile:
    """One file to read.

    Attributes:
        path: Where it is.
        name: Its path below the folder it was found in; part of the provenance of every row.
    """

    path: Path
    name: str


class SourceFilesDataset(AbstractDataset[None, list[SourceFile]]):
    """The readable files of a folder, with those of a second folder added when it has any.

    Args:
        path: A folder or a single file; it has to be there.
        extra: A folder that people drop files into; it may be empty or missing.
        suffixes: Which files count. Compressed files (``.gz``) count by the name inside.
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(
        self,
        *,
        path: str,
        suffixes: list[str],
        extra: dict[str, str] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._path = Path(path)
        self._extra = Path(extra["path"]) if extra else None
        self._suffixes = tuple(suffixes)
        self.metadata = metadata

    def load(self) -> list[SourceFile]:
        """List the files in a stable order.

        Raises:
            DatasetError: when the path does not exist, or there is nothing to read.
        """
        if not self._path.exists():
            raise DatasetError(
                f"{self._path} does not exist; name a folder of {self._kinds} files instead"
            )
        files = [*self._files(self._path), *(self._files(self._extra) if self._extra else [])]
        if not files:
            raise DatasetError(
                f"{self._path} holds no {self._kinds} file; put some there or name another folder"
            )
        return files

    def save(self, data: None) -> None:
        """Refuse: sources are only read."""
        raise DatasetError(f"{self._path} is an input and is never written")

    @property
    def _kinds(self) -> str:
        return "/".join(self._suffixes)

    def _files(self, path: Path) -> list[SourceFile]:
        if path.is_file():
            return [SourceFile(path, path.name)]
        return [
            SourceFile(found, found.relative_to(path).as_posix())
            for found in sorted(path.rglob("*"))
            if found.is_file() and found.name.removesuffix(".gz").endswith(self._suffixes)
        ]

    def _exists(self) -> bool:
        return self._path.exists()

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path), "suffixes": self._suffixes}
