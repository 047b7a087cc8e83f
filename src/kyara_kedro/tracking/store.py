"""Where MLflow keeps things: a SQLite file of our own, or a server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

_CREDENTIALS = re.compile(r"//[^/@\s]+@")
_PATIENCE = 5
"""Seconds that a server may take to say that it is there."""


def tracking_uri(server: str | None, folder: Path) -> str:
    """The server's address, or that of a SQLite store in a folder, which is made if need be."""
    if server:
        return server
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder.resolve() / 'mlflow.db'}"


def database(uri: str) -> Path | None:
    """The file of a SQLite store, None for a server."""
    scheme, found, path = uri.partition(":///")
    return Path(path).resolve() if found and scheme == "sqlite" else None


def answers(uri: str) -> bool:
    """Whether a store can be spoken to; a server has to say so within seconds.

    MLflow itself tries for minutes before it says that a server is down.
    """
    if not uri.startswith(("http://", "https://")):
        return True
    import requests

    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=_PATIENCE)
    except requests.exceptions.SSLError:  # it is there; MLflow's settings know its certificate
        return True
    except requests.RequestException:
        return False
    return bool(answer.status_code < 500)


def experiment_id(
    client: MlflowClient, uri: str, name: str, artifact_location: str | None = None
) -> str:
    """Find an experiment, or make it with an artifact location that no working directory moves.

    Args:
        client: Client of the tracking store.
        uri: Address of the store.
        name: Name of the experiment.
        artifact_location: A folder or a URI. Without it, artifacts lie in ``mlartifacts`` beside a
            SQLite file; a server decides itself.

    Returns:
        The experiment's id.
    """
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name, _location(uri, artifact_location)))
    except MlflowException as error:
        found = client.get_experiment_by_name(name)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
            raise
        return str(found.experiment_id)


def without_password(error: Exception | str) -> str:
    """What an error says, in one line, without the user and password of an address in it."""
    return " ".join(_CREDENTIALS.sub("//", str(error)).split())


def _location(uri: str, chosen: str | None) -> str | None:
    if chosen is not None:
        return chosen if "://" in chosen else Path(chosen).resolve().as_uri()
    file = database(uri)
    return None if file is None else (file.parent / "mlartifacts").as_uri()
