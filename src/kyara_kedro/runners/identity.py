"""What a data set holds: hashed when it is a file, as configured when it is somebody to ask."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from pathlib import Path
from typing import Any, TypedDict

import xxhash
from kedro.io import AbstractDataset

from kyara_kedro.content import content_id
from kyara_kedro.datasets.atomic import AtomicDataset
from kyara_kedro.datasets.earlier import EarlierDataset, EarlierJSONDataset
from kyara_kedro.datasets.encoder import EncoderDataset
from kyara_kedro.datasets.knowledge import KnowledgeBaseDataset
from kyara_kedro.datasets.models import RefDataset
from kyara_kedro.datasets.publication import PublicationDataset
from kyara_kedro.datasets.sources import SourceFilesDataset
from kyara_kedro.datasets.teachers import TeacherDataset
from kyara_kedro.files import stamp as file_stamp
from kyara_kedro.runners.memory import Shelf
from kyara_kedro.storage import place
from kyara_kedro.training.model_ref import REF_FILE
from kyara_kedro.training.tokens import STORE_FILE

NOTHING = "not there"
"""Stands for the content of a data set where there is none."""
_UNLIKE = (KnowledgeBaseDataset, PublicationDataset)
"""Folders that no two runs write alike."""
_CHUNK = 1 << 20
_NAMES = ("path", "run_id")
_ABOUT = (REF_FILE, STORE_FILE)
_WEIGHTS = ".safetensors"
Part = str | Path


class Hashed(TypedDict):
    """A file's hash, and the size and time of change with which it was found."""

    stamp: list[int]
    hash: str


class Contents:
    """Hashes of files; each is read once as long as its size and time of change stay the same.

    Args:
        shelf: Keeps hashes from run to run.
    """

    def __init__(self, shelf: Shelf[Hashed]) -> None:
        self._shelf = shelf

    def hash(self, path: Path) -> str:
        """Hash of a file's bytes (xxh3-128)."""
        key = str(path.absolute())
        stamp = file_stamp(path)
        known = self._shelf.get(key)
        if known is None or known["stamp"] != stamp:
            state = xxhash.xxh3_128()
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    state.update(chunk)
            known = Hashed(stamp=stamp, hash=state.hexdigest())
            self._shelf.put(key, known)
        return known["hash"]

    def save(self) -> None:
        """Keep what is known for the next run."""
        self._shelf.save()


def identity(dataset: AbstractDataset[Any, Any], contents: Contents) -> str | None:
    """What a data set holds, as a hash; for folders that no two runs write alike, their stamp.

    Returns:
        None for what is no reason to run a node again: caches, ledgers, stores that nodes write
        into, what an earlier run has left.

    Raises:
        OSError: it is not there.
        DatasetError: likewise.
    """
    parts = _parts(dataset)
    if parts is None or isinstance(dataset, _UNLIKE):
        return stamp(dataset)
    return content_id([contents.hash(part) if isinstance(part, Path) else part for part in parts])


def stamp(dataset: AbstractDataset[Any, Any]) -> str | None:
    """Tells, without reading them, whether the files of a data set are those that were stored.

    Returns:
        None for what has no files.

    Raises:
        OSError: it is not there.
        DatasetError: likewise.
    """
    parts = _parts(dataset)
    if parts is None:
        return None
    return content_id(
        [[str(part), *file_stamp(part)] if isinstance(part, Path) else part for part in parts]
    )


def earlier_state(dataset: AbstractDataset[Any, Any], contents: Contents) -> str | None:
    """What an earlier run has left, for the manifest; None for other data sets.

    It is no reason to run a node again, but what comes out may follow from it.
    """
    if not isinstance(dataset, EarlierDataset) or isinstance(dataset, EarlierJSONDataset):
        return None
    return identity(dataset.written, contents) if dataset.written.exists() else NOTHING


@singledispatch
def _parts(dataset: object) -> Iterator[Part] | None:
    """The files that hold what is stored, and words that it depends on; None where it has none."""
    return None


@_parts.register
def _(dataset: AtomicDataset) -> Iterator[Part]:  # type: ignore[type-arg]
    yield dataset.stored()


@_parts.register
def _(dataset: RefDataset) -> Iterator[Part]:  # type: ignore[type-arg]
    """What determined the directory, its weights, and the sizes of its other files.

    The directory's name and the tracking run that made it do not matter.
    """
    ref = dataset.load()
    yield content_id({key: told for key, told in ref.to_dict().items() if key not in _NAMES})
    directory = Path(ref.path)
    for path in sorted(directory.rglob("*")) if directory.is_dir() else ():
        if path.suffix == _WEIGHTS:
            yield path
        elif path.is_file() and path.name not in _ABOUT:
            yield f"{path.relative_to(directory)} {path.stat().st_size}"


@_parts.register
def _(dataset: SourceFilesDataset) -> Iterator[Part]:
    for file in dataset.load():
        yield content_id(file.name, file.licence, file.data_set, file.encoding)
        yield content_id(*file_stamp(file.path)) if file.remote else file.path


@_parts.register
def _(dataset: PublicationDataset) -> Iterator[Part]:
    folder = place(dataset.load())
    for path in (folder / "README.md", *sorted((folder / "data").glob("*.parquet"))):
        yield f"{path.name} {content_id(*file_stamp(path))}"


@_parts.register
def _(dataset: KnowledgeBaseDataset) -> Iterator[Part]:
    yield content_id(dataset.configured())
    if head := dataset.stored():
        yield head


@_parts.register(TeacherDataset)
@_parts.register(EncoderDataset)
def _(dataset: TeacherDataset | EncoderDataset) -> Iterator[Part]:
    yield content_id(dataset.configured())
