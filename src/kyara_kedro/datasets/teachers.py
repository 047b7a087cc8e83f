"""Teachers and prompts as catalog entries."""

from pathlib import Path
from typing import Any, Literal

from kedro.io import AbstractDataset, DatasetError

from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.teachers.base import Teacher


class TeacherDataset(AbstractDataset[None, Teacher]):
    """A teacher to ask: the embedded rules, or a model behind an OpenAI-compatible endpoint.

    All nodes of a run share one teacher, so its caps hold for the run.

    Args:
        kind: ``extractive`` for the embedded rules, ``openai`` for an endpoint.
        options: The endpoint's settings, see ``OpenAIOptions``.
        ledger: The file that keeps every paid reply.
        credentials: ``api_key``, from credentials.yml only.
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(
        self,
        *,
        kind: Literal["extractive", "openai"],
        options: dict[str, Any] | None = None,
        ledger: dict[str, str] | None = None,
        credentials: dict[str, str] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if kind not in ("extractive", "openai"):
            raise DatasetError(f"teacher kind '{kind}' is unknown: use 'extractive' or 'openai'")
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
        if self._kind == "extractive":
            from kyara_kedro.teachers.extractive import ExtractiveTeacher

            return ExtractiveTeacher()
        if self._ledger is None:
            raise DatasetError("an endpoint's teacher needs a ledger: set 'ledger: {path: …}'")
        from pydantic import SecretStr

        from kyara_kedro.teachers.ledger import Ledger
        from kyara_kedro.teachers.openai_chat import OpenAIOptions, OpenAITeacher

        key = self._credentials.get("api_key")
        return OpenAITeacher(
            OpenAIOptions(**self._options),
            ledger=Ledger(Path(self._ledger["path"])),
            api_key=SecretStr(key) if key else None,
        )

    def save(self, data: None) -> None:
        """Refuse: teachers are asked, not saved."""
        raise DatasetError("a teacher is an input and is never written")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"kind": self._kind, "options": self._options}


class PromptLibraryDataset(AbstractDataset[None, PromptLibrary]):
    """The prompt templates, with the project's own in place of those of the package.

    Args:
        overrides: ``path`` of a folder of replacements.
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(
        self,
        *,
        overrides: dict[str, str] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._overrides = Path(overrides["path"]) if overrides else None
        self.metadata = metadata

    def load(self) -> PromptLibrary:
        """Open the library."""
        return PromptLibrary(self._overrides)

    def save(self, data: None) -> None:
        """Refuse: prompts are edited as files."""
        raise DatasetError("prompts are edited as files, not saved")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"overrides": str(self._overrides)}
