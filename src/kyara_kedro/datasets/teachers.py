"""Teachers as catalog entries."""

import atexit
from functools import cache
from pathlib import Path
from typing import Any, Literal

from kedro.io import AbstractDataset, DatasetError
from pydantic import SecretStr

from kyara_kedro.teachers.base import Teacher
from kyara_kedro.teachers.ledger import Ledger

Kind = Literal["extractive", "openai", "batch", "replay", "transformers-local"]


class TeacherDataset(AbstractDataset[None, Teacher]):
    """A teacher to ask: the embedded rules, a model behind an endpoint, or one on this machine.

    All nodes of a run share one teacher, so its caps hold for the run.

    Args:
        kind: ``extractive``: the embedded rules. ``openai``: any server that speaks OpenAI's chat
            completions. ``batch``: OpenAI's batch service. ``replay``: the ledger alone, with the
            options of the kind it was recorded with. ``transformers-local``: a model in a folder.
        options: Settings of that kind: ``ExtractiveOptions``, ``EndpointOptions``,
            ``LocalOptions``.
        ledger: ``path`` of the file that keeps every reply; for ``replay`` also one that `kedro
            ledger export` has written.
        credentials: ``api_key``, from credentials.yml only.
        metadata: Free entries, such as kedro-viz's layer.
    """

    _SINGLE_PROCESS = True

    def __init__(
        self,
        *,
        kind: Kind,
        options: dict[str, Any] | None = None,
        ledger: dict[str, str] | None = None,
        credentials: dict[str, str | None] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if kind not in Kind.__args__:  # type: ignore[attr-defined]
            known = ", ".join(Kind.__args__)  # type: ignore[attr-defined]
            raise DatasetError(f"teacher kind '{kind}' is unknown: there are {known}")
        self._kind = kind
        self._options = options or {}
        self._ledger = ledger
        self._credentials = credentials or {}
        self.metadata = metadata
        self._teacher: Teacher | None = None

    def load(self) -> Teacher:
        """Give the teacher, made when it is first asked for."""
        if self._teacher is None:
            self._teacher = self._make()
        return self._teacher

    def _make(self) -> Teacher:
        what = f"teacher {self._options.get('role') or self._options.get('model') or self._kind}"
        if self._kind == "extractive":
            from kyara_kedro.teachers.extractive import ExtractiveOptions, ExtractiveTeacher

            return ExtractiveTeacher(ExtractiveOptions.read(self._options, what))
        if self._ledger is None or "path" not in self._ledger:
            raise DatasetError(f"{what} needs a ledger: set 'ledger: {{path: …}}'")
        path = Path(self._ledger["path"])
        if self._kind == "transformers-local" or "path" in self._options:
            return self._local(what, path)

        from kyara_kedro.teachers.model import EndpointOptions

        options = EndpointOptions.read(self._options, what)
        if self._kind == "replay":
            from kyara_kedro.teachers.archive import open_to_replay
            from kyara_kedro.teachers.replay import ReplayTeacher

            return ReplayTeacher(options, open_to_replay(path))
        key = self._credentials.get("api_key")
        if key is None and options.needs_key:
            raise DatasetError(
                f"{what}: {options.base_url} needs a key: set OPENAI_API_KEY in the environment, "
                "or api_key in conf/local/credentials.yml"
            )
        secret = None if key is None else SecretStr(key)
        if self._kind == "batch":
            from kyara_kedro.teachers.batch import BatchTeacher

            return BatchTeacher(options, _ledger(path), secret)
        from kyara_kedro.teachers.openai_chat import OpenAITeacher

        return OpenAITeacher(options, _ledger(path), secret)

    def _local(self, what: str, ledger: Path) -> Teacher:
        from kyara_kedro.teachers.local import LocalOptions, LocalTeacher, fingerprint

        options = LocalOptions.read(self._options, what)
        if self._kind == "replay":
            from kyara_kedro.teachers.archive import open_to_replay
            from kyara_kedro.teachers.replay import ReplayTeacher

            identity = fingerprint(options.path)
            return ReplayTeacher(options.model, open_to_replay(ledger), identity=identity)
        if self._kind != "transformers-local":
            raise DatasetError(
                f"{what}: a 'path' is for 'kind: transformers-local', not {self._kind}"
            )
        return LocalTeacher(options, _ledger(ledger))

    def save(self, data: None) -> None:
        """Refuse: teachers are asked, not saved."""
        raise DatasetError("a teacher is an input and is never written")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"kind": self._kind} | {
            key: self._options[key] for key in ("role", "model", "path") if key in self._options
        }


@cache
def _ledger(path: Path) -> Ledger:
    """The ledger of a file, opened once a process and closed with it."""
    ledger = Ledger(path)
    atexit.register(ledger.close)
    return ledger
