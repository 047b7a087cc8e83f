"""What a process has to know to track a run; as JSON it goes through the environment."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field

from kyara_kedro.content import content_id
from kyara_kedro.options import Options
from kyara_kedro.tracking.spool import new_key

_VARIABLE = "KYARA_TRACKING"
_LIBRARIES = ("kyara-kedro", "torch", "transformers", "numpy", "polars", "scikit-learn", "opencc")


class Tracking(Options):
    """Where a run is tracked, and what is known of it before it begins.

    Attributes:
        uri: Address of the MLflow store; may hold a password, so it is never written to a file.
        experiment: The experiment that runs belong to.
        artifact_location: Where a new experiment's files go; None is MLflow's or our default.
        spool: Folder of what MLflow does not have yet.
        key: The run's key.
        parent: Key of the enclosing run.
        tags: What is known of it, such as its :func:`provenance`.
    """

    uri: Annotated[str, Field(repr=False)]
    experiment: str
    artifact_location: str | None = None
    spool: Path
    key: str = Field(default_factory=new_key)
    parent: str | None = None
    tags: dict[str, str] = Field(default={})

    @property
    def store(self) -> str:
        """Hash of the store's address without user and password."""
        parts = urlsplit(self.uri)
        return content_id(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))

    def below(self, **tags: str) -> Self:
        """The same for a run that this one encloses, with more tags."""
        changes = {"key": new_key(), "parent": self.key, "tags": self.tags | tags}
        return self.model_copy(update=changes)

    def environment(self) -> dict[str, str]:
        """What a process of ours has to find in its environment."""
        return {_VARIABLE: self.model_dump_json()}

    @classmethod
    def from_environment(cls) -> Self | None:
        """What :meth:`environment` says; None where nothing is tracked."""
        told = os.environ.get(_VARIABLE)
        return cls.model_validate_json(told) if told else None


def provenance(project: Path) -> dict[str, str]:
    """Which code, which libraries and which machine: tags that every run carries.

    Args:
        project: The project's folder, of which git may know the commit.

    Returns:
        ``mlflow.source.git.commit`` and ``git.dirty`` in a git checkout, ``requirements.lock`` (a
        hash) where there is one, ``host``, ``python``, and what MLflow's pages call user and
        source.
    """
    tags = {
        "host": platform.node(),
        "python": platform.python_version(),
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": project.name,
        "mlflow.source.type": "PROJECT",
    }
    if commit := _git(project, "rev-parse", "HEAD"):
        changed = _git(project, "status", "--porcelain", "--untracked-files=no")
        tags |= {"mlflow.source.git.commit": commit, "git.dirty": str(bool(changed)).lower()}
    lock = project / "requirements.lock"
    if lock.is_file():
        tags["requirements.lock"] = content_id(lock.read_text("utf-8"))
    return tags


def versions() -> dict[str, str]:
    """Versions of this package and of those that results depend on, where they are installed."""
    found = {}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _git(project: Path, *arguments: str) -> str | None:
    """What git says, None where it says nothing or is not there."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(project), *arguments]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
