"""References to trained models, the folder that holds them, and the model registry."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import JSONPreview, TablePreview

from kyara_kedro.datasets import previews
from kyara_kedro.datasets.atomic import AtomicDataset
from kyara_kedro.storage import on_disk
from kyara_kedro.tracking.registry import LogModel, ModelRegistry
from kyara_kedro.tracking.store import tracking_uri as resolve_uri
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.tokens import TokensRef

Ref = TypeVar("Ref", ModelRef, TokensRef)


class RefDataset(AtomicDataset[Ref, Ref]):
    """A reference to a directory on a disk.

    It is stored relative to a reference that lies beside it, so that both can move; one in an
    object store holds the directory's own path.
    """

    _kind: type[Ref]

    def write(self, path: Path, data: Ref) -> None:
        """Write the reference."""
        values = data.to_dict() | {"path": self._relative(data.path)}
        path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def read(self, path: Path) -> Ref:
        """Read the reference, with the directory's absolute path."""
        ref = self._kind.from_dict(json.loads(path.read_text(encoding="utf-8")))
        local = self._folder / ref.path
        return replace(ref, path=str(local)) if local.exists() else ref

    def preview(self) -> JSONPreview:
        """Give the reference as it is stored."""
        return previews.document(json.loads(self.local().read_text(encoding="utf-8")))

    @property
    def _folder(self) -> Path:
        return Path(self._filepath).parent

    def _relative(self, path: str) -> str:
        directory = Path(path)
        inside = directory.is_absolute() and directory.is_relative_to(self._folder)
        return directory.relative_to(self._folder).as_posix() if inside else path


class ModelRefDataset(RefDataset[ModelRef]):
    """A reference to a model."""

    _kind = ModelRef


class TokensRefDataset(RefDataset[TokensRef]):
    """A reference to a store of tokens."""

    _kind = TokensRef


class FolderDataset(AbstractDataset[None, Path]):
    """A folder that nodes write directories into; loads as its path."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._folder = on_disk(filepath, "a folder that nodes write into")
        self.metadata = metadata

    def load(self) -> Path:
        """Give the folder, made when it is not there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def save(self, data: None) -> None:
        """Refuse: nodes write into the folder themselves."""
        raise DatasetError(f"{self._folder} is a folder to write into, not a table to save")

    def preview(self) -> TablePreview:
        """What lies in the folder, for kedro-viz."""
        return previews.folder(self._folder)

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._folder)}


class ModelRegistryDataset(AbstractDataset[None, ModelRegistry]):
    """The MLflow model registry.

    Args:
        filepath: Folder of the local store, which is used when no server is named.
        tracking_uri: Address of an MLflow server, or None.
        experiment: Experiment that runs belong to.
        model: Name of the registered model.
        log_model: ``reference`` leaves weights where they are, ``upload`` copies them to MLflow.
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(
        self,
        *,
        filepath: str,
        tracking_uri: str | None,
        experiment: str,
        model: str,
        log_model: LogModel = "reference",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._folder = on_disk(filepath, "MLflow's local store")
        self._server = tracking_uri
        self._experiment = experiment
        self._model = model
        self._log_model = log_model
        self.metadata = metadata

    def load(self) -> ModelRegistry:
        """Connect to the registry."""
        uri = resolve_uri(self._server, self._folder)
        return ModelRegistry(uri, self._model, self._experiment, self._log_model)

    def save(self, data: None) -> None:
        """Refuse: versions are registered through the registry itself."""
        raise DatasetError("register versions through the registry, not by saving the dataset")

    def preview(self) -> JSONPreview:
        """Where models are registered, for kedro-viz."""
        place = self._server or self._folder.name
        return previews.document(
            {"registry": place, "experiment": self._experiment, "model": self._model}
        )

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"tracking_uri": self._server, "folder": self._folder, "model": self._model}
