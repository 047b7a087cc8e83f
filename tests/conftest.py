"""What all tests share: the project, a private copy of it, and the `kedro` command."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("DO_NOT_TRACK", "true")
ROOT = Path(__file__).parent.parent
KEDRO = Path(sys.executable).with_name("kedro")

Kedro = Callable[..., subprocess.CompletedProcess[str]]


def copy_project(target: Path) -> Path:
    """Copy what a clone would hold: code, configuration and inputs, but no results."""
    for name in ("src", "conf", "pyproject.toml", ".telemetry"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)
    (target / "data").mkdir()
    shutil.copytree(ROOT / "data" / "01_raw" / "sample", target / "data" / "01_raw" / "sample")
    return target


def run_kedro(
    project: Path, *arguments: str, timeout: float = 420
) -> subprocess.CompletedProcess[str]:
    """Run `kedro` in a project, without a terminal."""
    environment = os.environ | {"PYTHONPATH": str(project / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [str(KEDRO), *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A private copy of the project without results."""
    return copy_project(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A private copy in which `kedro run` has gone through all seven pipelines."""
    target = copy_project(tmp_path_factory.mktemp("finished"))
    done = run_kedro(target, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    yield target
