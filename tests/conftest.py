"""What all tests share: private copies of the project, one of them with everything in it, and
MLflow's tables."""

import shutil
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


@pytest.fixture(scope="session")
def mlflow_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store without anything in it; making its tables takes seconds."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture(scope="module")
def database(mlflow_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of an MLflow store of the module's own."""
    folder = tmp_path_factory.mktemp("mlflow")
    return f"sqlite:///{shutil.copy(mlflow_tables, folder)}"
