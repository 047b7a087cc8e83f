"""The manifest of a run: all that it takes to tell what it did, and to do it again."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from kyara_kedro.errors import UserError
from kyara_kedro.files import alive

Status = Literal["running", "finished", "failed", "killed"]
NodeState = Literal["ran", "skipped", "failed"]


class Git(BaseModel):
    """The state of the checkout."""

    commit: str | None = None
    dirty: bool | None = None


class InputState(BaseModel):
    """What was read that no node of the run has made.

    Attributes:
        version: Of a versioned data set.
        hash: Of the content; None for caches, ledgers and the like.
        path: Where it lies.
    """

    version: str | None = None
    hash: str | None = None
    path: str | None = None


class OutputState(BaseModel):
    """What a node has stored.

    Attributes:
        version: Of a versioned data set.
        hash: Of the content.
        rows: Of a table.
        bytes: Of the file.
    """

    version: str | None = None
    hash: str | None = None
    rows: int | None = None
    bytes: int | None = None


class NodeReport(BaseModel):
    """What became of a node.

    Attributes:
        state: Whether it ran.
        why: The reason that it ran, or that it did not.
        seconds: How long it took, loading and saving included.
        fingerprint: Hash of what its outputs follow from.
        outputs: What it stored, or had stored before.
    """

    state: NodeState
    why: str
    seconds: float = 0.0
    fingerprint: str | None = None
    outputs: dict[str, OutputState] = {}


class RunManifest(BaseModel):
    """One run of Kedro.

    Attributes:
        run_id: Kedro's, which is the version of what it saved as well.
        status: ``killed`` is also what a run is whose process is gone without a word.
        host: The machine.
        pid: The process.
        selection: Which part of which pipelines was asked for, as Kedro's options name it.
        git: The checkout.
        lock: Hash of ``requirements.lock``.
        packages: Versions of what results depend on.
        parameters: All parameters, with those of the command line.
        prompts: Hashes of all templates by name.
        inputs: What was read from outside the run.
        nodes: What became of each node.
        costs: What teachers have cost, by node.
        mlflow_run: Key of the run in MLflow.
    """

    run_id: str
    started_at: str
    ended_at: str | None = None
    status: Status = "running"
    error: str | None = None
    host: str = Field(default_factory=socket.gethostname)
    pid: int = Field(default_factory=os.getpid)
    selection: dict[str, Any] = {}
    env: str | None = None
    git: Git = Git()
    lock: str | None = None
    packages: dict[str, str] = {}
    python: str | None = None
    parameters: dict[str, Any] = {}
    runtime_params: dict[str, Any] = {}
    prompts: dict[str, str] = {}
    inputs: dict[str, InputState] = {}
    nodes: dict[str, NodeReport] = {}
    costs: dict[str, float] = {}
    mlflow_run: str | None = None

    @classmethod
    def read(cls, path: Path) -> RunManifest:
        """Read a manifest.

        Raises:
            UserError: the file is none.
        """
        try:
            found = cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            said = str(error).splitlines()[0]
            raise UserError(f"{path} is no manifest of a run ({said}): delete it") from error
        gone = found.host == socket.gethostname() and not alive(found.pid)
        return found.model_copy(update={"status": "killed"} if found.is_running and gone else {})

    @property
    def is_running(self) -> bool:
        """Whether it has not told of its end."""
        return self.status == "running"


def runs(folder: Path) -> Iterator[RunManifest]:
    """The runs of a project, the newest first.

    Args:
        folder: Where the manifests are, such as ``data/runs``.

    Raises:
        UserError: one of them cannot be read.
    """
    for path in sorted(folder.glob("*.json"), reverse=True):
        yield RunManifest.read(path)


def run_named(folder: Path, name: str) -> RunManifest:
    """The run whose id begins so; ``last`` is the newest one.

    Args:
        folder: Where the manifests are.
        name: Beginning of a run id, or ``last``.

    Raises:
        UserError: there is none, or more than one.
    """
    names = sorted(path.stem for path in folder.glob("*.json"))
    found = names[-1:] if name == "last" else [one for one in names if one.startswith(name)]
    if len(found) != 1:
        told = ", ".join((found or names)[-3:]) or "none"
        problem = "several runs begin with" if found else "there is no run"
        raise UserError(f"{problem} '{name}' in {folder}; the newest are: {told}")
    return RunManifest.read(folder / f"{found[0]}.json")
