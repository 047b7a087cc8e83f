"""Where runs of tests are tracked: a SQLite file, or a server that can be killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kyara_kedro.tracking.store import answers
from kyara_kedro.tracking.target import Tracking


@pytest.fixture
def tracking(database: str, tmp_path: Path) -> Tracking:
    return Tracking(uri=database, experiment=tmp_path.name, spool=tmp_path / "spool")


class Server:
    """A real MLflow server on a free port of this machine.

    ``KYARA_MLFLOW_TABLES`` and ``KYARA_MLFLOW_FILES`` name another database, such as an empty one
    of PostgreSQL, and another place of artifacts, such as a bucket.
    """

    def __init__(self, folder: Path, tables: Path) -> None:
        self._folder = folder
        shutil.copy(tables, folder / "server.db")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, if it does not run, and wait until it answers."""
        if self._process:
            return
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self._port)]
        tables = os.environ.get("KYARA_MLFLOW_TABLES", f"sqlite:///{self._folder / 'server.db'}")
        files = os.environ.get("KYARA_MLFLOW_FILES", str(self._folder / "artifacts"))
        command += ["--backend-store-uri", tables, "--artifacts-destination", files]
        settings = {"DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=os.environ | settings,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
            )
        for _ in range(240):
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            if answers(self.uri):
                return
            time.sleep(0.25)
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        """Kill it as a failing machine would."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def server(mlflow_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"), mlflow_tables)
    try:
        yield made
    finally:
        made.kill()
