"""Folders of files that people bring."""

import codecs
import json
import logging
import os
from collections import Counter
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import lru_cache
from glob import has_magic
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import TablePreview

from kyara_kedro.datasets import previews
from kyara_kedro.storage import is_url, place

logger = logging.getLogger("kyara_kedro")

COMPRESSIONS = ("gz", "bz2", "xz", "zst")
_NOT_COMPRESSED = ("parquet", "arrow")
_DESCRIPTIONS = frozenset(
    ("state.json", "dataset_info.json", "dataset_dict.json", "dataset_infos.json", "licence.spdx")
)
_PASSING = (".lock", ".incomplete", ".part")
_CARD_KEYS = frozenset(
    ("license", "dataset_info", "configs", "task_categories", "size_categories", "pretty_name")
)
_LARGEST_CARD = 1 << 22


@dataclass(frozen=True)
class SourceFile:
    """One file to read.

    Attributes:
        path: Where it is; an object in a store is a ``UPath``, which is used like a path.
        name: Its path below the folder it was found in, unique among the files of a source; part
            of the provenance of every row.
        licence: Licence of rows that name none: of the nearest ``licence.spdx``, data set card or
            ``dataset_info.json`` between the file and the folder it was found in.
        data_set: The data set it belongs to, where a card or a saved data set says so.
        encoding: Encoding of text without a byte order mark; UTF-8 by default.
    """

    path: Path
    name: str
    licence: str | None = None
    data_set: str | None = None
    encoding: str | None = None

    @property
    def remote(self) -> bool:
        """Whether it is an object in a store, which is read by ranges as a stream."""
        return is_url(str(self.path))

    @property
    def compression(self) -> str | None:
        """``gz``, ``bz2``, ``xz``, ``zst`` or None, by the name."""
        suffix = self.name.lower().rpartition(".")[2]
        return suffix if suffix in COMPRESSIONS else None

    @property
    def kind(self) -> str:
        """The ending in lower case, without that of a compression; empty where there is none."""
        return _plain(self.name.lower()).rpartition("/")[2].rpartition(".")[2]


class SourceFilesDataset(AbstractDataset[None, list[SourceFile]]):
    """The readable files of folders, with those of a further folder added when it has any.

    Hidden files and what caches leave behind are passed over; files of other kinds are counted in
    one line of the log.

    Args:
        path: A folder, a file or a pattern such as ``corpus/**/*.md``, or a list of those; each
            has to hold something to read. ``s3://bucket/corpus`` is a folder too.
        extra: A folder that people drop files into; it may be empty or missing.
        suffixes: Which files count, by their endings, or by a pattern for the whole name where an
            entry does not begin with a full stop. Compressed files count by the name inside.
        encoding: Encoding of text files that have no byte order mark, when it is not UTF-8.
        credentials: Of an object store, from credentials.yml only.
        fs_args: Further settings of its fsspec file system, such as ``endpoint_url``.
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(
        self,
        *,
        path: str | list[str],
        suffixes: list[str],
        extra: dict[str, str] | None = None,
        encoding: str | None = None,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if encoding:
            _check_encoding(encoding)
        self._paths = [path] if isinstance(path, str) else list(path)
        self._extra = extra["path"] if extra else None
        self._options = {**(credentials or {}), **(fs_args or {})}
        self._suffixes = tuple(suffixes)
        self._encoding = encoding
        self.metadata = metadata

    def load(self) -> list[SourceFile]:
        """List the files in a stable order.

        Raises:
            DatasetError: when a path does not exist, or holds nothing to read.
        """
        passed: Counter[str] = Counter()
        files: list[SourceFile] = []
        for path in self._paths:
            root, found = self._expanded(path)
            if not found:
                raise DatasetError(
                    f"{path} does not exist; name a folder of {self._kinds} files instead"
                )
            read = [file for one in found for file in self._files(one, root or one, passed)]
            if not read:
                raise DatasetError(
                    f"{path} holds no {self._kinds} file; put some there or name another folder"
                )
            files += _beside(files, read, root or self._place(path))
        if self._extra:
            folder = self._place(self._extra)
            files += _beside(files, self._files(folder, folder, passed), folder)
        if passed:
            kinds = ", ".join(f"{kind} {count}" for kind, count in passed.most_common())
            where = ", ".join(self._paths)
            logger.info("%s: skipped %d files of other kinds: %s", where, passed.total(), kinds)
        return files

    def save(self, data: None) -> None:
        """Refuse: sources are only read."""
        raise DatasetError(f"{', '.join(self._paths)} is an input and is never written")

    def preview(self) -> TablePreview:
        """The files that will be read, for kedro-viz."""
        files = self.load() if self._exists() else []
        rows = [
            (one.name, one.path.stat().st_size, one.licence, one.data_set)
            for one in files[: previews.ROWS]
        ]
        return previews.table([f"{len(files):,} files", "bytes", "licence", "data set"], rows)

    @property
    def _kinds(self) -> str:
        return "/".join(self._suffixes)

    def _files(self, path: Path, root: Path, passed: Counter[str]) -> list[SourceFile]:
        """The readable files of a folder, or the file; others are counted by their endings."""
        described = lru_cache(maxsize=None)(_described)
        root = path.parent if path.is_file() and path == root else root
        files = []
        for found in [path] if path.is_file() else sorted(path.rglob("*")):
            relative = PurePosixPath(found.relative_to(root).as_posix())
            if _is_hidden(relative) or not found.is_file() or _is_description(found):
                continue
            if not self._readable(found.name.lower()):
                passed[found.suffix.lower() or "(no ending)"] += 1
                continue
            notes = [described(root.joinpath(*folder.parts)) for folder in relative.parents]
            licence = next((note.licence for note in notes if note.licence), None)
            data_set = next((note.data_set for note in notes if note.data_set), None) or next(
                (note.part for note in notes if note.part), None
            )
            files.append(SourceFile(found, _text(relative), licence, data_set, self._encoding))
        return files

    def _place(self, path: str) -> Path:
        return place(path, self._options)

    def _expanded(self, path: str) -> tuple[Path | None, list[Path]]:
        """What a path or pattern names, and for a pattern the folder that it starts from."""
        if self._place(path).exists():
            return None, [self._place(path)]
        if not has_magic(path):
            return None, []
        above = "/".join(takewhile(lambda part: not has_magic(part), path.split("/")))
        fixed = self._place(above or ("/" if path.startswith("/") else "."))
        pattern = path.removeprefix(above).lstrip("/")
        return fixed, sorted(found for found in fixed.glob(pattern) if found.is_file())

    def _readable(self, name: str) -> bool:
        plain = _plain(name)
        if plain != name and plain.endswith(_NOT_COMPRESSED):
            return False
        return any(
            plain.endswith(suffix) if suffix.startswith(".") else fnmatch(plain, suffix)
            for suffix in self._suffixes
        )

    def _exists(self) -> bool:
        return all(self._expanded(path)[1] for path in self._paths)

    def _describe(self) -> dict[str, Any]:
        return {"path": ", ".join(self._paths), "suffixes": self._suffixes}


@dataclass(frozen=True)
class _Description:
    """What a folder says about the files below it."""

    licence: str | None = None
    data_set: str | None = None
    part: str | None = None


def _described(folder: Path) -> _Description:
    """Read a folder's licence note, data set card and saved data set's description."""
    note, card, info = folder / "licence.spdx", _card(folder / "README.md"), _info(folder)
    licence = note.read_text(encoding="utf-8").strip() if note.is_file() else None
    stated = card and (card.get("license_name") or card.get("license"))
    return _Description(
        licence or _one_licence(stated) or _one_licence(info.get("license")),
        _name(folder) if card or (folder / "dataset_dict.json").is_file() else None,
        _name(folder) if (folder / "state.json").is_file() else None,
    )


def _name(folder: Path) -> str:
    """A folder's name; for a revision in the Hub's cache that of its repository."""
    folder = folder.resolve()
    if folder.parent.name == "snapshots":
        return folder.parent.parent.name.rpartition("--")[2]
    return folder.name


def _one_licence(stated: Any) -> str | None:
    names = stated if isinstance(stated, list) else [stated]
    return ", ".join(name for name in names if isinstance(name, str) and name) or None


def _info(folder: Path) -> dict[str, Any]:
    """The description that `datasets` saves beside a data set."""
    file = folder / "dataset_info.json"
    try:
        found = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _card(file: Path) -> dict[str, Any] | None:
    """The YAML that opens a data set card; None for any other file."""
    if not file.is_file() or file.stat().st_size > _LARGEST_CARD:
        return None
    opening, _, rest = file.read_text("utf-8", errors="replace").lstrip("\ufeff").partition("\n")
    stated, fence, _ = rest.partition("\n---")
    if opening.strip() != "---" or not fence:
        return None
    try:
        found = yaml.safe_load(stated)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and _CARD_KEYS & set(found) else None


def _is_description(file: Path) -> bool:
    """Whether a file speaks about data instead of holding some."""
    name = file.name.lower()
    return (
        name in _DESCRIPTIONS
        or name.endswith(_PASSING)
        or (name.startswith("cache-") and name.endswith(".arrow"))
        or (name == "readme.md" and _card(file) is not None)
    )


def _is_hidden(relative: PurePosixPath | Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _beside(files: list[SourceFile], added: list[SourceFile], folder: Path) -> list[SourceFile]:
    """The added files that are not among the others, renamed where a name is taken."""
    paths = {file.path.resolve() for file in files}
    names = {file.name for file in files}
    new = []
    for file in added:
        if file.path.resolve() in paths:
            continue
        told = next(
            name
            for name in (file.name, f"{folder.name}:{file.name}", f"{folder}:{file.name}")
            if name not in names
        )
        new.append(replace(file, name=told))
    return new


def _plain(name: str) -> str:
    """A name without the ending of a compression."""
    plain, _, suffix = name.rpartition(".")
    return plain if suffix in COMPRESSIONS else name


def _check_encoding(encoding: str) -> None:
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise DatasetError(
            f"encoding '{encoding}' is not known; name one such as big5hkscs, gb18030 or utf-16"
        ) from error


def _text(path: PurePosixPath) -> str:
    """A path as text; bytes of a name in another encoding than UTF-8 become question marks."""
    return os.fsencode(path.as_posix()).decode(errors="replace")
