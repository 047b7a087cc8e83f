"""The MLflow model registry: versions of the trained model, and aliases on them.

A version is an MLflow model with signature and requirements. It refers to the model directory,
where the weights stay without a copy, or holds a complete copy. In both cases the tag ``path``
holds the directory, which has to be reachable for whoever loads a model that only refers to it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import xxhash

from kyara_kedro.errors import UserError
from kyara_kedro.tracking.delivery import find_run
from kyara_kedro.tracking.flavor import parts, write_flavor
from kyara_kedro.tracking.store import answers, database, experiment_id

LogModel = Literal["reference", "upload"]
CHAMPION, CANDIDATE, FORMER = "champion", "candidate", "former-champion"
_CHUNK = 1 << 20
_ENTRY = "promotion."
_UNNAMED = re.compile(r"[/:.%\"']")
"""Characters that MLflow allows in the names of registered models but not of logged ones."""


class RegistryDown(UserError):
    """The model registry does not answer."""


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


@dataclass(frozen=True)
class Version:
    """What the registry knows of a version, whether or not its directory is still there.

    Attributes:
        number: Its number.
        aliases: The aliases that name it, sorted.
        tags: Everything that was noted about it.
    """

    number: int
    aliases: tuple[str, ...]
    tags: dict[str, str]


@dataclass(frozen=True)
class Promotion:
    """A change of the champion.

    Attributes:
        at: When, in UTC.
        version: The champion from then on.
        former: The champion until then.
        by: Who decided it: ``gate``, or a person.
        reason: Why.
        withdrawn: The version that was taken back by it, if it was a roll-back.
    """

    at: str
    version: int
    former: int | None
    by: str
    reason: str
    withdrawn: int | None = None


class ModelRegistry:
    """One registered model and its versions.

    Args:
        tracking_uri: ``sqlite:///...`` or the address of an MLflow server.
        name: Name of the registered model.
        experiment: Name of the experiment in which its versions appear.
        log_model: Whether a version refers to the model directory or holds a copy of it.
    """

    def __init__(
        self, tracking_uri: str, name: str, experiment: str, log_model: LogModel = "reference"
    ) -> None:
        os.environ.setdefault("DO_NOT_TRACK", "true")
        from mlflow import MlflowClient

        self.name = name
        self.experiment = experiment
        self._uri = tracking_uri
        self._complete = log_model == "upload"
        self._client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)

    def nominate(self, model_dir: Path, run: str | None, tags: Mapping[str, str]) -> int:
        """Register a model directory, or find the version that it already is, as the candidate.

        Args:
            model_dir: Directory with weights and tokenizer; stays where it is.
            run: Key of the tracked run that made it.
            tags: What to note about it; also set on a version that was there before.

        Returns:
            The version's number, the same for the same content of the directory.

        Raises:
            UserError: there is no such directory, or it is empty.
            RegistryDown: the registry does not answer.
        """
        self._reach()
        path = model_dir.resolve()
        fingerprint = directory_fingerprint(path)
        number = self._find(fingerprint, tags) or self._create(path, fingerprint, run, tags)
        self.set_alias(CANDIDATE, number)
        return number

    def set_alias(self, alias: str, version: int) -> None:
        """Let an alias name a version, and no other one."""
        self._client.set_registered_model_alias(self.name, alias, str(version))

    def resolve(self, alias: str) -> RegisteredModel | None:
        """The version that an alias names, or None.

        Raises:
            UserError: the version's directory is gone.
            RegistryDown: the registry does not answer.
        """
        self._reach()
        number = self._aliases().get(alias)
        return None if number is None else self._registered(number, alias)

    def version(self, number: int) -> RegisteredModel:
        """A version by its number.

        Raises:
            UserError: there is no such version, or its directory is gone.
            RegistryDown: the registry does not answer.
        """
        self._reach()
        found = self._client.search_model_versions(f"name = '{self.name}'")
        known = sorted(int(version.version) for version in found)
        if number not in known:
            told = ", ".join(map(str, known)) or "none"
            raise UserError(f"model '{self.name}' has no version {number}; there are: {told}")
        return self._registered(number, None)

    def versions(self) -> list[Version]:
        """Every version, the newest first.

        Raises:
            RegistryDown: the registry does not answer.
        """
        self._reach()
        named: dict[int, list[str]] = {}
        for alias, number in sorted(self._aliases().items()):
            named.setdefault(int(number), []).append(alias)
        found = self._client.search_model_versions(f"name = '{self.name}'")
        versions = [
            Version(int(one.version), tuple(named.get(int(one.version), ())), dict(one.tags))
            for one in found
        ]
        return sorted(versions, key=lambda version: -version.number)

    def promote(self, version: int, *, by: str, reason: str) -> bool:
        """Make a version the champion; the one before it stays known as ``former-champion``.

        Args:
            version: Its number.
            by: Who decided it: ``gate``, or a person.
            reason: Why, for the history.

        Returns:
            Whether anything changed: the champion stays what it is.
        """
        former = self._aliases().get(CHAMPION)
        if former == version:
            return False
        if former is not None:
            self.set_alias(FORMER, former)
        self.set_alias(CHAMPION, version)
        self._note(Promotion(_now(), version, former, by, reason))
        return True

    def roll_back(self, *, by: str, reason: str) -> int:
        """Make the champion before this one the champion again.

        What was taken back is passed over, so that a second time goes further back.

        Returns:
            The version's number.

        Raises:
            UserError: there was none, or it is deleted or its directory gone.
            RegistryDown: the registry does not answer.
        """
        self._reach()
        aliases = self._aliases()
        present = aliases.get(CHAMPION)
        history = self.history()
        champions = [number for one in history for number in (one.version, one.former)]
        former = next(
            (
                number
                for number in (*champions, aliases.get(FORMER))
                if number not in (None, present) and not _withdrawn(history, number)
            ),
            None,
        )
        if present is None or former is None:
            raise UserError(f"model '{self.name}': there is no champion before the present one")
        self.version(former)
        self.set_alias(CHAMPION, former)
        self.set_alias(FORMER, present)
        self._note(Promotion(_now(), former, present, by, reason, withdrawn=present))
        return former

    def withdrawn(self, version: int) -> Promotion | None:
        """How a person took a version back, when nobody has made it the champion since."""
        return _withdrawn(self.history(), version)

    def history(self) -> list[Promotion]:
        """Every change of the champion, the newest first."""
        found = self._client.search_registered_models(f"name = '{self.name}'")
        entries = [
            (key, Promotion(**json.loads(value)))
            for model in found
            for key, value in model.tags.items()
            if key.startswith(_ENTRY)
        ]
        return [entry for _, entry in sorted(entries, reverse=True)]

    def _note(self, entry: Promotion) -> None:
        number = len(self.history()) + 1
        told = json.dumps(asdict(entry), ensure_ascii=False)
        self._client.set_registered_model_tag(self.name, f"{_ENTRY}{number:06}", told)

    def _registered(self, number: int, alias: str | None) -> RegisteredModel:
        version = self._client.get_model_version(self.name, str(number))
        path = Path(version.tags.get("path", ""))
        if "path" not in version.tags or not path.is_dir():
            name = f"{self.name}@{alias}" if alias else self.name
            raise UserError(
                f"model '{name}' (version {number}): its directory "
                f"'{version.tags.get('path', '?')}' is gone; restore it or set the alias anew"
            )
        return RegisteredModel(int(number), path, dict(version.tags))

    def _reach(self) -> None:
        if not answers(self._uri):
            raise RegistryDown(
                "the model registry does not answer: start the server, or set mlflow.tracking_uri "
                "to null in conf/base/globals.yml for a local one"
            )

    def _aliases(self) -> dict[str, int]:
        found = self._client.search_registered_models(f"name = '{self.name}'")
        return {alias: int(number) for model in found for alias, number in model.aliases.items()}

    def _find(self, fingerprint: str, tags: Mapping[str, str]) -> int | None:
        """A version of that content whose directory is still there, with the tags set."""
        query = f"name = '{self.name}' and tag.fingerprint = '{fingerprint}'"
        for version in self._client.search_model_versions(query, order_by=["version_number ASC"]):
            if Path(version.tags["path"]).is_dir():
                for key, value in tags.items():
                    self._client.set_model_version_tag(self.name, version.version, key, value)
                return int(version.version)
        return None

    def _create_name(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _create(
        self, path: Path, fingerprint: str, run: str | None, tags: Mapping[str, str]
    ) -> int:
        self._create_name()
        experiment = experiment_id(self._client, self._uri, self.experiment)
        run_id = find_run(self._client, experiment, run) if run else None
        noted = {**tags, "fingerprint": fingerprint, "path": str(path)}
        model = self._client.create_logged_model(
            experiment,
            name=_UNNAMED.sub("-", self.name),
            source_run_id=run_id,
            tags=noted,
            model_type="causal-lm",
        )
        self._log(model.model_id, path, fingerprint)
        self._client.finalize_logged_model(model.model_id, "READY")
        served = database(self._uri) is None
        version = self._client.create_model_version(
            self.name,
            source=f"models:/{model.model_id}" if served else model.artifact_location,
            run_id=run_id,
            tags={**noted, "model_id": model.model_id},
            # A database store would look the id up in the store of the working directory.
            model_id=model.model_id if served else None,
        )
        return int(version.version)

    def _log(self, model_id: str, path: Path, fingerprint: str) -> None:
        with TemporaryDirectory() as folder:
            write_flavor(path, Path(folder), fingerprint=fingerprint, complete=self._complete)
            self._client.log_model_artifacts(model_id, folder)
        for file, place in parts(path) if self._complete else ():
            self._client.log_model_artifact(model_id, str(file), place)


def _withdrawn(history: Iterable[Promotion], version: int | None) -> Promotion | None:
    for entry in history:
        if entry.version == version:
            return None
        if entry.withdrawn == version:
            return entry
    return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


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
