import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.tracking.registry import ModelRegistry, directory_fingerprint, experiment_id


def _model(folder: Path, weights: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(weights)
    (folder / "config.json").write_text("{}")
    return folder


def _walk(uri: str, folder: Path) -> None:
    """Register, promote, replace and roll back: the same on every kind of store."""
    registry = ModelRegistry(uri, "kyara", "kyara-evaluate")
    assert registry.resolve("champion") is None

    first = _model(folder / "one", "a")
    version = registry.register(first, None, {"stage": "dpo"})
    assert registry.register(first, None, {"verdict": "promote"}) == version
    registry.promote(version)
    champion = registry.resolve("champion")
    assert champion is not None
    assert (champion.version, champion.path) == (version, first.resolve())
    assert champion.tags["stage"] == "dpo" and champion.tags["verdict"] == "promote"
    assert champion.tags["fingerprint"] == directory_fingerprint(first)

    copy = _model(folder / "copy", "a")
    assert registry.register(copy, None, {}) == version
    second = registry.register(_model(folder / "two", "b"), None, {"stage": "dpo"})
    assert second != version
    registry.set_alias("candidate", second)
    registry.promote(second)
    again = ModelRegistry(uri, "kyara", "kyara-evaluate")
    assert [again.resolve(a).version for a in ("candidate", "champion")] == [second] * 2  # type: ignore[union-attr]
    former = again.resolve("former-champion")
    assert former is not None and former.version == version
    again.promote(version)
    rolled_back = again.resolve("champion")
    assert rolled_back is not None and rolled_back.path == first.resolve()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SQLite store; making its tables takes seconds, so it is made once."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def test_versions_and_aliases_on_sqlite(database: str, tmp_path: Path) -> None:
    _walk(database, tmp_path)


def test_mlflow_itself_finds_the_champions_folder(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    registry = ModelRegistry(database, "gemma-2.0", "kyara-evaluate")
    folder = _model(tmp_path / "2026-11-22T19.21.18.085Z", "c")
    registry.promote(registry.register(folder, None, {}))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    found = mlflow.artifacts.download_artifacts("models:/gemma-2.0@champion")
    assert Path(found).resolve() == folder.resolve()


def test_a_version_knows_the_run_that_made_it(database: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(database, database)
    experiment = experiment_id(client, {"experiment": "runs", "tracking_uri": database})
    run = client.create_run(experiment).info.run_id
    registry = ModelRegistry(database, "with-run", "runs")
    version = registry.register(_model(tmp_path / "model", "d"), run, {})
    assert client.get_model_version("with-run", str(version)).run_id == run


def test_artifacts_lie_beside_the_database_wherever_one_stands(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    client = MlflowClient(database, database)
    config = {"experiment": "placed", "tracking_uri": database}
    number = experiment_id(client, config)
    assert experiment_id(client, config) == number
    location = client.get_experiment(number).artifact_location
    folder = Path(database.removeprefix("sqlite:///")).parent
    assert location.startswith((folder / "mlartifacts").as_uri())
    chosen = config | {"experiment": "chosen", "artifact_location": "artifacts"}
    location = client.get_experiment(experiment_id(client, chosen)).artifact_location
    assert location.startswith((tmp_path / "artifacts").as_uri())


def test_a_champion_without_its_folder_is_an_error_with_the_way_out(
    database: str, tmp_path: Path
) -> None:
    registry = ModelRegistry(database, "gone", "kyara-evaluate")
    folder = _model(tmp_path / "model", "e")
    version = registry.register(folder, None, {})
    registry.promote(version)
    folder.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"gone@champion.*version 1.*is gone"):
        registry.resolve("champion")
    assert registry.register(tmp_path / "moved", None, {}) == version + 1


def test_an_empty_folder_is_no_model(database: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no files"):
        ModelRegistry(database, "empty", "kyara-evaluate").register(tmp_path, None, {})


def test_the_fingerprint_sees_names_and_contents(tmp_path: Path) -> None:
    one = directory_fingerprint(_model(tmp_path / "one", "a"))
    assert directory_fingerprint(_model(tmp_path / "two", "a")) == one
    assert directory_fingerprint(_model(tmp_path / "three", "b")) != one
    renamed = _model(tmp_path / "four", "a")
    (renamed / "config.json").rename(renamed / "other.json")
    assert directory_fingerprint(renamed) != one


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real MLflow server on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts")]
    environment = os.environ | {
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=log,
            stderr=log,
            cwd=tmp_path,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=2):
                    pass
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.end_to_end
def test_versions_and_aliases_on_a_server(server: str, tmp_path: Path) -> None:
    _walk(server, tmp_path / "models")
