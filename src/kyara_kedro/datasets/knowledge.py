"""The knowledge base as a catalog entry: saved from passages, loaded as a store to search."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import polars as pl
from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from kyara_kedro.datasets import previews
from kyara_kedro.knowledge.store import KnowledgeOptions, KnowledgeStore
from kyara_kedro.storage import on_disk

_HEADS = {"edge": "CURRENT", "local": "meta.json"}
Passages = pl.DataFrame | Iterable[pl.DataFrame]


class KnowledgeBaseDataset(AbstractDataset[Passages, KnowledgeStore]):
    """Qdrant, embedded or on a server; all nodes of a run share one open store.

    Args:
        filepath: Folder of the embedded store.
        kind: ``edge`` (embedded), ``local`` (qdrant-client) or ``server``.
        url: Address of a server.
        credentials: ``api_key`` of a server and ``embedding_api_key`` of an embeddings endpoint,
            from credentials.yml only.
        metadata: Free entries, such as kedro-viz's layer.
        options: Further settings, see ``KnowledgeOptions``.
    """

    def __init__(
        self,
        *,
        filepath: str,
        kind: Literal["edge", "local", "server"] = "edge",
        url: str | None = None,
        credentials: dict[str, str] | None = None,
        metadata: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        folder = on_disk(filepath, "the embedded Qdrant") if kind != "server" else filepath
        values = {**(options or {}), "kind": kind, "path": folder, "url": url}
        self._options = KnowledgeOptions.read(values, "the knowledge base")
        self._credentials = credentials or {}
        self.metadata = metadata
        self._store: KnowledgeStore | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What another process opens the store from."""
        return self.__dict__ | {"_store": None}

    def save(self, data: Passages) -> None:
        """Make the store hold exactly these passages; only what changed is indexed."""
        self._release()
        with self._open() as store:
            store.build(data)

    def load(self) -> KnowledgeStore:
        """Open the store once; releasing the dataset closes it."""
        if self._store is None:
            self._store = self._open()
        return self._store

    def stored(self) -> Path | None:
        """The file that every build of an embedded store writes; None for a server."""
        name = _HEADS.get(self._options.kind)
        return self._options.path / name if name else None

    def configured(self) -> Any:
        """The settings, without keys."""
        return self._options.model_dump(mode="json")

    def preview(self) -> JSONPreview:
        """Where it is, how it ranks and how many passages it holds, for kedro-viz."""
        passages = self.load().count() if self._exists() else 0
        options = self._options.model_dump(mode="json", exclude={"path"})
        return previews.document({"passages": passages} | options)

    def _release(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _open(self) -> KnowledgeStore:
        keys = (self._credentials.get(name) for name in ("api_key", "embedding_api_key"))
        return KnowledgeStore(self._options, *keys)

    def _exists(self) -> bool:
        if self._options.kind != "server" and not self._options.path.exists():
            return False
        with self._open() as store:
            return store.count() > 0

    def _describe(self) -> dict[str, Any]:
        options, dense = self._options, self._options.dense
        where = {"url": options.url} if options.url else {"path": options.path}
        return {"kind": options.kind, **where, **({"model": dense.model} if dense else {})}
