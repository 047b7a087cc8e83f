"""Folders of files that people bring."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError


@dataclass(frozen=True)
class SourceFile:
    """One file to read.

    Attributes:
        path: Where it is.
        name: Its path below the folder it was found in, unique among the files of a source; part
            of the provenance of every row.
        licence: Licence of rows that name none, from the nearest ``licence.spdx`` between the file
            and the folder it was found in.
    """

    path: Path
    name: str
    licence: str | None = None


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
            DatasetError: when the path does not exist, or holds nothing to read.
        """
        if not self._path.exists():
            raise DatasetError(
                f"{self._path} does not exist; name a folder of {self._kinds} files instead"
            )
        files = self._files(self._path)
        if self._extra:
            files += _beside(files, self._files(self._extra), self._extra)
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
            found = SourceFile(path, _text(Path(path.name)), _licence(path, path.parent))
            return [found] if self._readable(path) else []
        return [
            SourceFile(found, _text(found.relative_to(path)), _licence(found, path))
            for found in sorted(path.rglob("*"))
            if found.is_file() and self._readable(found)
        ]

    def _readable(self, path: Path) -> bool:
        name = path.name.lower()
        return name.removesuffix(".gz").endswith(self._suffixes) and name[-11:] != ".parquet.gz"

    def _exists(self) -> bool:
        return self._path.exists()

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path), "suffixes": self._suffixes}


def _beside(files: list[SourceFile], dropped: list[SourceFile], folder: Path) -> list[SourceFile]:
    """The dropped files that are not among the others, renamed where a name is taken."""
    paths = {file.path.resolve() for file in files}
    names = {file.name for file in files}
    return [
        replace(file, name=f"{folder.name}:{file.name}") if file.name in names else file
        for file in dropped
        if file.path.resolve() not in paths
    ]


def _licence(file: Path, root: Path) -> str | None:
    for folder in file.relative_to(root).parents:
        note = root / folder / "licence.spdx"
        if note.is_file():
            return note.read_text(encoding="utf-8").strip()
    return None


def _text(path: Path) -> str:
    """A path as text; bytes of a name in another encoding than UTF-8 become question marks."""
    return os.fsencode(path.as_posix()).decode(errors="replace")
