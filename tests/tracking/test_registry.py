"""Versions of the trained model: found again, aliased, and loaded by MLflow itself."""

from pathlib import Path

import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.tracking.registry import ModelRegistry, directory_fingerprint
from kyara_kedro.tracking.run import TrackedRun
from kyara_kedro.tracking.store import experiment_id
from kyara_kedro.tracking.target import Tracking

from .models import model, walk


def test_versions_and_aliases_on_sqlite(database: str, tmp_path: Path) -> None:
    walk(database, tmp_path)


def test_a_version_knows_the_run_that_made_it(tracking: Tracking, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    TrackedRun(tracking, "dpo", {}).end("FINISHED")
    registry = ModelRegistry(tracking.uri, "with-run", tracking.experiment)
    version = registry.nominate(model(tmp_path / "model", "d"), tracking.key, {})
    client = MlflowClient(tracking.uri, tracking.uri)
    run_id = client.get_model_version("with-run", str(version)).run_id
    assert client.get_run(run_id).info.run_name == "dpo"
    unknown = registry.nominate(model(tmp_path / "other", "e"), "0" * 32, {})
    assert not client.get_model_version("with-run", str(unknown)).run_id


def test_artifacts_lie_beside_the_database_wherever_one_stands(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    client = MlflowClient(database, database)
    number = experiment_id(client, database, "placed")
    assert experiment_id(client, database, "placed") == number
    location = client.get_experiment(number).artifact_location
    folder = Path(database.removeprefix("sqlite:///")).parent
    assert location.startswith((folder / "mlartifacts").as_uri())
    number = experiment_id(client, database, "chosen", "artifacts")
    location = client.get_experiment(number).artifact_location
    assert location.startswith((tmp_path / "artifacts").as_uri())


def test_a_champion_without_its_folder_is_an_error_with_the_way_out(
    database: str, tmp_path: Path
) -> None:
    registry = ModelRegistry(database, "gone", "kyara-evaluate")
    folder = model(tmp_path / "model", "e")
    version = registry.nominate(folder, None, {})
    registry.promote(version, by="gate", reason="better")
    folder.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"gone@champion.*version 1.*is gone"):
        registry.resolve("champion")
    (listed,) = registry.versions()
    assert (listed.number, listed.aliases) == (version, ("candidate", "champion"))
    assert registry.nominate(tmp_path / "moved", None, {}) == version + 1


def test_an_empty_folder_is_nomodel(database: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no files"):
        ModelRegistry(database, "empty", "kyara-evaluate").nominate(tmp_path, None, {})


def test_the_fingerprint_sees_names_and_contents(tmp_path: Path) -> None:
    one = directory_fingerprint(model(tmp_path / "one", "a"))
    assert directory_fingerprint(model(tmp_path / "two", "a")) == one
    assert directory_fingerprint(model(tmp_path / "three", "b")) != one
    renamed = model(tmp_path / "four", "a")
    (renamed / "config.json").rename(renamed / "other.json")
    assert directory_fingerprint(renamed) != one
