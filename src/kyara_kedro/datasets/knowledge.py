"""The knowledge base as a catalog entry: saved from passages, loaded as a store to search."""

from pathlib import Path
from typing import Any, Literal

import polars as pl
from kedro.io import AbstractDataset

from kyara_kedro.knowledge.store import KnowledgeOptions, KnowledgeStore


class KnowledgeBaseDataset(AbstractDataset[pl.DataFrame, KnowledgeStore]):
    """Qdrant, embedded or on a server; all nodes of a run share one open store.

    Args:
        filepath: Folder of the embedded store.
        kind: ``edge`` (embedded), ``local`` (qdrant-client) or ``server``.
        url: Address of a server.
        credentials: ``api_key`` of a server, from credentials.yml only.
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
        self._options = KnowledgeOptions(kind=kind, path=Path(filepath), url=url, **(options or {}))
        self._api_key = (credentials or {}).get("api_key")
        self.metadata = metadata
        self._store: KnowledgeStore | None = None

    def save(self, data: pl.DataFrame) -> None:
        """Make the store hold exactly these passages; only what changed is indexed."""
        self._release()
        with self._open() as store:
            store.build(data)

    def load(self) -> KnowledgeStore:
        """Open the store once; releasing the dataset closes it."""
        if self._store is None:
            self._store = self._open()
        return self._store

    def _release(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _open(self) -> KnowledgeStore:
        return KnowledgeStore(self._options, self._api_key)

    def _exists(self) -> bool:
        if self._options.kind != "server" and not self._options.path.exists():
            return False
        with self._open() as store:
            return store.count() > 0

    def _describe(self) -> dict[str, Any]:
        return {"kind": self._options.kind, "path": self._options.path, "url": self._options.url}
