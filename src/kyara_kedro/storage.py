"""Object stores such as S3, through fsspec: objects are put whole and read as local copies.

An object appears when its upload is complete, so a writer that fails or is killed leaves the old
one. A copy belongs to one state of its object: a table that is scanned several times stays the same
table while another run replaces it.
"""

import atexit
import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from kyara_kedro.errors import UserError
from kyara_kedro.files import alive

PACKAGES = {
    "s3": "kyara-kedro[s3]",
    "s3a": "kyara-kedro[s3]",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "memory": "fsspec",
}
"""The object stores by their protocols, and what has to be installed for them."""
_SCRATCH = "kyara-kedro."


def is_url(filepath: str) -> bool:
    """Whether a path is the address of an object instead of a place on a disk."""
    return "://" in filepath


def on_disk(filepath: str, what: str) -> Path:
    """The path of something that is written in place.

    Raises:
        UserError: it is an address of an object store.
    """
    if is_url(filepath):
        raise UserError(
            f"{filepath}: {what} needs a disk; name a folder of this machine or of a mounted "
            "volume ('disk' in conf/base/globals.yml, see docs/scale-out.md)"
        )
    return Path(filepath)


def place(path: str, options: Mapping[str, Any] | None = None) -> Path:
    """A path on a disk, or for an address a ``UPath``, which walks and reads objects alike.

    Args:
        path: A path or an address.
        options: Settings of the store, as of `ObjectStore`.

    Raises:
        UserError: as of `ObjectStore`.
    """
    if not is_url(path):
        return Path(path)
    from upath import UPath

    ObjectStore(path, options)
    found: Any = UPath(path, **(options or {}))
    found.fs.invalidate_cache()
    return cast(Path, found)


class ObjectStore:
    """The objects of one store, with local copies of those that are read.

    Args:
        url: Address of an object, or of what objects lie below.
        options: Settings of the fsspec file system, such as ``key``, ``secret``, ``endpoint_url``.
            What is not given here is looked up where the store's own tools do: environment,
            profile, role of the machine.

    Attributes:
        path: The address without its protocol.

    Raises:
        UserError: the protocol is none of `PACKAGES`, or its package is not installed.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self._protocol = url.partition("://")[0]
        self._options = dict(options or {})
        self._copies: dict[str, tuple[str, Path]] = {}
        if self._protocol not in PACKAGES:
            raise UserError(f"{url}: no object store; known are {', '.join(PACKAGES)}")
        try:
            self.path = str(self._files._strip_protocol(url))
        except ImportError as error:
            package = PACKAGES[self._protocol]
            raise UserError(f"{url} needs: pip install '{package}'") from error

    @property
    def _files(self) -> Any:
        """The file system, which fsspec keeps; asked for each time, for none outlives a fork."""
        import fsspec

        return fsspec.filesystem(self._protocol, use_listings_cache=False, **self._options)

    def url(self, path: str) -> str:
        """The address of an object."""
        return f"{self._protocol}://{path.lstrip('/')}"

    def exists(self, path: str) -> bool:
        """Whether there is an object."""
        with self._told(path):
            try:
                return bool(self._files.info(path)["type"] == "file")
            except FileNotFoundError:
                return False

    def state(self, path: str) -> str:
        """What tells one state of an object from another: of S3 a hash of its content.

        Raises:
            FileNotFoundError: there is no such object.
        """
        with self._told(path):
            return str(self._files.info(path).get("ETag") or self._files.ukey(path))

    def glob(self, pattern: str) -> list[str]:
        """The paths of the objects that a pattern names."""
        with self._told(pattern):
            return list(self._files.glob(pattern))

    def sizes(self, pattern: str) -> dict[str, int]:
        """The objects that a pattern names, with their sizes in bytes."""
        with self._told(pattern):
            found = self._files.glob(pattern, detail=True)
        return {path: info["size"] for path, info in found.items() if info["type"] == "file"}

    @contextmanager
    def opened(self, path: str) -> Iterator[IO[bytes]]:
        """Read an object where it is, by ranges.

        Raises:
            FileNotFoundError: there is no such object.
        """
        with self._told(path):
            opened = self._files.open(path, "rb")
        with opened as stream:
            yield stream

    @contextmanager
    def written(self, path: str) -> Iterator[Path]:
        """Give a local file that becomes the object once it is complete, and its copy."""
        local = _empty_folder() / PurePosixPath(path).name
        try:
            yield local
            self.put(local, path)
            with self._told(path):
                self._copies[path] = (self._files.ukey(path), local)
        except BaseException:
            shutil.rmtree(local.parent, ignore_errors=True)
            raise

    def put(self, local: Path, path: str) -> None:
        """Upload a file."""
        with self._told(path):
            self._files.put_file(str(local), path)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove objects."""
        for path in paths:
            with self._told(path):
                self._files.rm_file(path)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Give an empty folder on a disk, to make something in that is uploaded."""
        folder = _empty_folder()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def copy(self, path: str) -> Path:
        """A local copy of the object as it is now, made once for each state of the object.

        Raises:
            FileNotFoundError: there is no such object.
        """
        known, local = self._copies.get(path, ("", Path()))
        with self._told(path):
            state = self._files.ukey(path)
            while state != known or not local.exists():
                local = _empty_folder() / PurePosixPath(path).name
                self._files.get_file(path, str(local))
                known, state = state, self._files.ukey(path)  # parts of two states are no copy
        self._copies[path] = (known, local)
        return local

    def release(self) -> None:
        """Remove the local copies."""
        for _, local in self._copies.values():
            shutil.rmtree(local.parent, ignore_errors=True)
        self._copies.clear()

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        """Every store has errors of its own; they become one that names the object."""
        try:
            yield
        except (FileNotFoundError, UserError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                folder = tempfile.gettempdir()
                raise UserError(
                    f"{self.url(path)} has no room in {folder}: let TMPDIR name a larger disk"
                ) from error
            raise UserError(f"{self.url(path)} cannot be reached: {error}") from error


def _empty_folder() -> Path:
    return Path(tempfile.mkdtemp(dir=_scratch(os.getpid())))


@cache
def _scratch(pid: int) -> Path:
    """This process's folder for copies, below ``TMPDIR``; those of killed processes are removed."""
    for leftover in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*.*"):
        maker = leftover.name.split(".")[1]
        if maker.isdecimal() and not alive(int(maker)):
            shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{pid}."))
    atexit.register(_remove, pid, folder)
    return folder


def _remove(pid: int, folder: Path) -> None:
    if os.getpid() == pid:  # a fork leaves the folder to the process that made it
        shutil.rmtree(folder, ignore_errors=True)
