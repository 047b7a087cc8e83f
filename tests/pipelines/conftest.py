"""A small corpus, carried through the nodes as a run would carry it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kyara_kedro.datasets.sources import SourceFile

Sources = Callable[..., list[SourceFile]]


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """Write files, given by name, and list them as a source folder does."""

    def write(**files: str | bytes) -> list[SourceFile]:
        found = []
        for name, data in files.items():
            path = tmp_path / name.replace("__", ".")
            path.write_bytes(data.encode() if isinstance(data, str) else data)
            found.append(SourceFile(path, path.name))
        return found

    return write
