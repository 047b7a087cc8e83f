"""What all tests share: a private copy of the project, and one in which everything has run."""

from pathlib import Path

import pytest

from support import copy_project, run_kedro


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A private copy of the project without results."""
    return copy_project(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private copy in which `kedro run` has gone through all seven pipelines."""
    target = copy_project(tmp_path_factory.mktemp("finished"))
    done = run_kedro(target, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    return target
