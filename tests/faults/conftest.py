"""Runs that can be disturbed, over a corpus that takes seconds."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import KEDRO, ROOT, copy_project


def small_project(target: Path) -> Path:
    """A private copy of the project whose sample holds eight documents."""
    copy_project(target)
    documents = target / "data" / "01_raw" / "sample" / "documents"
    shutil.rmtree(documents)
    shutil.copytree(ROOT / documents.relative_to(target) / "zh-TW" / "geography", documents)
    for path in sorted(documents.iterdir())[8:]:
        path.unlink()
    return target


def start_kedro(project: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `kedro` in a project without waiting for it."""
    return subprocess.Popen(
        [str(KEDRO), *arguments],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project / "src"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(there: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something is there; the process must not end before."""
    limit = time.monotonic() + 60
    while not there():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < limit
        time.sleep(0.0005)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small private copy of the project."""
    return small_project(tmp_path)
