"""Files and folders that survive a kill: flushed, told from leftovers, replaced as a whole."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def stamp(path: Path) -> list[int]:
    """What tells one state of a file from another without reading it: size and time of change."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def flush(path: Path) -> None:
    """Wait until a file or a folder's list of names is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a temporary file beside the target that replaces it once it is complete.

    The file is flushed to the disk before the rename, so a full disk, an exception or a kill leaves
    the old version as it was. Leftovers of killed writers are cleared on the next write.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(target.parent, target.name)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        flush(part)
        part.replace(target)
        flush(target.parent)
    finally:
        part.unlink(missing_ok=True)


def clear_leftovers(folder: Path, name: str) -> None:
    """Remove what killed writers of a file left in a folder."""
    for leftover in folder.glob(f".{name}.*.part"):
        if not alive(int(leftover.name.split(".")[-2])):
            leftover.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(target: Path) -> Iterator[Path]:
    """Fill a folder completely or leave what was there.

    Leftovers of killed writers are cleared on the next write.

    Yields:
        An empty sibling of the folder to write into; after the block it takes its place.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f".{target.name}.*.*.part"):
        if not alive(int(leftover.name.split(".")[-3])):
            shutil.rmtree(leftover)
    prefix = f".{target.name}.{os.getpid()}."
    part, former = (
        Path(tempfile.mkdtemp(".part", prefix, target.parent)) for _ in ("part", "former")
    )
    try:
        yield part
        part.chmod(0o755)
        for path in part.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
            flush(path)
        flush(part)
        replaces = target.exists()
        if replaces:
            target.rename(former)
        try:
            part.rename(target)
        except BaseException:
            if replaces and not target.exists():
                former.rename(target)
            raise
        flush(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)
