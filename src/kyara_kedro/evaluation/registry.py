"""The MLflow model registry: versions that point to model directories, and aliases on them.

Models are registered where they lie, without a copy: the version's source is the directory. An
MLflow server refuses sources on disks that it does not manage, so there the version refers to an
external model (an MLflow logged model without artifacts of its own). In both cases the tag
``path`` holds the directory, which has to be reachable for whoever loads the model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from kyara_kedro.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CANDIDATE, FORMER = "champion", "candidate", "former-champion"
_CHUNK = 1 << 20
_UNNAMED = re.compile(r"[/:.%\"']")
"""Characters that MLflow allows in the names of registered models but not of logged ones."""


@dataclass(frozen=True)
class RegisteredModel:
    """A version of the registered model.

    Attributes:
        version: Its number.
        path: Directory with weights and tokenizer.
        tags: Everything that was noted about it.
    """

    version: int
    path: Path
    tags: dict[str, str]


class ModelRegistry:
    """One registered model and its versions.

    Args:
        tracking_uri: ``sqlite:///...`` or the address of an MLflow server.
        name: Name of the registered model.
        experiment: Name of the experiment in which its versions appear.
    """

    def __init__(self, tracking_uri: str, name: str, experiment: str) -> None:
        os.environ.setdefault("DO_NOT_TRACK", "true")
        from mlflow import MlflowClient

        self.name = name
        self.experiment = experiment
        self._uri = tracking_uri
        self._client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)

    def register(self, model_dir: Path, run_id: str | None, tags: Mapping[str, str]) -> int:
        """Register a model directory, or find the version that it already is.

        Args:
            model_dir: Directory with weights and tokenizer; stays where it is.
            run_id: The run that made it.
            tags: What to note about it; also set on a version that was there before.

        Returns:
            The version's number, the same for the same content of the directory.

        Raises:
            UserError: there is no such directory, or it is empty.
        """
        path = model_dir.resolve()
        fingerprint = directory_fingerprint(path)
        self._create_name()
        for version in self._versions(f"tag.fingerprint = '{fingerprint}'"):
            if Path(version.tags["path"]).is_dir():
                for key, value in tags.items():
                    self._client.set_model_version_tag(self.name, version.version, key, value)
                return int(version.version)
        return self._create_version(
            path, run_id, {**tags, "fingerprint": fingerprint, "path": str(path)}
        )

    def set_alias(self, alias: str, version: int) -> None:
        """Let an alias name a version, and no other one."""
        self._client.set_registered_model_alias(self.name, alias, str(version))

    def resolve(self, alias: str) -> RegisteredModel | None:
        """The version that an alias names, or None.

        Raises:
            UserError: the version's directory is gone.
        """
        number = self._aliases().get(alias)
        if number is None:
            return None
        version = self._client.get_model_version(self.name, str(number))
        path = Path(version.tags.get("path", ""))
        if "path" not in version.tags or not path.is_dir():
            raise UserError(
                f"model '{self.name}@{alias}' (version {number}): its directory "
                f"'{version.tags.get('path', '?')}' is gone; restore it or set the alias anew"
            )
        return RegisteredModel(int(number), path, dict(version.tags))

    def promote(self, version: int) -> None:
        """Make a version the champion; the one before it stays known as ``former-champion``."""
        former = self._aliases().get(CHAMPION)
        if former is not None and former != version:
            self.set_alias(FORMER, former)
        self.set_alias(CHAMPION, version)

    def _aliases(self) -> dict[str, int]:
        found = self._client.search_registered_models(f"name = '{self.name}'")
        return {alias: int(number) for model in found for alias, number in model.aliases.items()}

    def _versions(self, condition: str) -> Iterator[ModelVersion]:
        query = f"name = '{self.name}' and {condition}"
        yield from self._client.search_model_versions(query, order_by=["version_number ASC"])

    def _create_name(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _create_version(self, path: Path, run_id: str | None, tags: dict[str, str]) -> int:
        experiment = experiment_id(
            self._client, {"experiment": self.experiment, "tracking_uri": self._uri}
        )
        model = self._client.create_logged_model(
            experiment,
            name=_UNNAMED.sub("-", self.name),
            source_run_id=run_id,
            tags=tags,
            model_type="causal-lm",
        )
        self._client.finalize_logged_model(model.model_id, "READY")
        served = _database(self._uri) is None
        version = self._client.create_model_version(
            self.name,
            source=f"models:/{model.model_id}" if served else path.as_uri(),
            run_id=run_id,
            tags={**tags, "model_id": model.model_id},
            # A database store would look the id up in the store of the working directory.
            model_id=model.model_id if served else None,
        )
        return int(version.version)


def experiment_id(client: MlflowClient, config: Mapping[str, Any]) -> str:
    """Find an experiment, or make it with an artifact location that no working directory moves.

    Args:
        client: Client of the tracking store.
        config: ``tracking_uri``, ``experiment`` and optionally ``artifact_location`` (a folder or
            a URI). Without the last, artifacts lie in ``mlartifacts`` beside a SQLite file; a
            server decides itself.

    Returns:
        The experiment's id.
    """
    from mlflow.exceptions import MlflowException

    name = str(config["experiment"])
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    try:
        location = _artifact_location(config)
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException as error:
        found = client.get_experiment_by_name(name)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
            raise
        return str(found.experiment_id)


def directory_fingerprint(directory: Path) -> str:
    """Hash of the names and contents of all files of a directory, 32 hexadecimal digits.

    Raises:
        UserError: there is no such directory, or it holds no file.
    """
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    if not files:
        raise UserError(f"model directory '{directory}': there are no files; train the model first")
    digest = xxhash.xxh3_128()
    for path in files:
        name = path.relative_to(directory).as_posix()
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _artifact_location(config: Mapping[str, Any]) -> str | None:
    location = config.get("artifact_location")
    if location is not None:
        return str(location) if "://" in str(location) else Path(location).resolve().as_uri()
    database = _database(str(config["tracking_uri"]))
    return None if database is None else (database.parent / "mlartifacts").as_uri()


def _database(tracking_uri: str) -> Path | None:
    """The file of a SQLite store, None for a server."""
    scheme, found, path = tracking_uri.partition(":///")
    return Path(path).resolve() if found and scheme == "sqlite" else None
