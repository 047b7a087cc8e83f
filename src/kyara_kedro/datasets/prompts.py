"""The prompt library as a catalog entry."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import TablePreview

from kyara_kedro.datasets import previews
from kyara_kedro.prompts.library import PromptLibrary, PromptTemplate


class PromptLibraryDataset(AbstractDataset[None, PromptLibrary]):
    """The prompt templates, with the project's own in place of those of the package.

    Args:
        overrides: Folders of replacements, a later one wins. ``${folders:prompts}`` are the folders
            ``prompts`` of the configuration: that of ``conf/base``, then that of the environment.
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(
        self,
        *,
        overrides: Sequence[str] = (),
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._overrides = [Path(folder) for folder in overrides]
        self.metadata = metadata
        self._library: PromptLibrary | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What another process opens the library from."""
        return self.__dict__ | {"_library": None}

    def load(self) -> PromptLibrary:
        """Open the library, once for all nodes of a run."""
        if self._library is None:
            self._library = PromptLibrary(self._overrides)
        return self._library

    def save(self, data: None) -> None:
        """Refuse: prompts are edited as files."""
        raise DatasetError("prompts are edited as files, not saved")

    def preview(self) -> TablePreview:
        """Every template with its version, its origin and what it is for, for kedro-viz."""
        library = self.load()
        rows = [_row(library, library.template(name)) for name in library.templates]
        columns = ["task", "language", "version", "source", "description"]
        return previews.table(columns, rows)

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"overrides": [str(folder) for folder in self._overrides]}


def _row(library: PromptLibrary, template: PromptTemplate) -> list[str]:
    return [
        template.task,
        template.name.partition("/")[2],
        template.sha,
        "/".join(template.path.parts[-4:]) if template.overridden else "package",
        library.meta(template.task).description["zh-TW"],
    ]
