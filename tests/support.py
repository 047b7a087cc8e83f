"""Private copies of the project, the `kedro` command in them, and a limit for hostile inputs."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("DO_NOT_TRACK", "true")
ROOT = Path(__file__).parent.parent
KEDRO = Path(sys.executable).with_name("kedro")


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
    project: Path, *arguments: str, timeout: float = 900
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


@contextmanager
def bounded_time() -> Iterator[None]:
    """What happens inside takes less than a minute of CPU time.

    What grows with the square of a megabyte needs hours, and what grows with its length needs
    seconds on the slowest machine; how many seconds is for `benchmarks/` to say.
    """
    started = time.process_time()
    yield
    assert time.process_time() - started < 60
