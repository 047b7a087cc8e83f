"""Lineage's store, opened from the catalog."""

from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import polars as pl
from kedro.io import CatalogProtocol, DatasetError

from kyara_kedro.lineage.kinds import MODELS, STAGES, TABLES
from kyara_kedro.lineage.store import Store, Table
from kyara_kedro.training.model_ref import ModelRef

_ROWS = "rows.parquet"


def read_store(catalog: CatalogProtocol[Any, Any], ledgers: Path) -> Store:
    """Open what lineage is read from; no table is read before it is asked for.

    Args:
        catalog: The project's catalog.
        ledgers: Folder of the ledgers.
    """
    return Store(
        tables=dict([*_tables(catalog), *_tokens(catalog)]),
        ledgers=sorted(path for path in ledgers.glob("*.db") if path.stat().st_size),
        prompts=catalog.load("prompt_library"),
        models={name: _versions(catalog, name) for name in MODELS if catalog.exists(name)},
        registry=partial(catalog.load, "model_registry"),
        files=cache(partial(_files, catalog)),
    )


def _tables(catalog: CatalogProtocol[Any, Any]) -> Iterator[tuple[str, Table]]:
    for name in TABLES:
        if catalog.exists(name):
            table = catalog[name]
            yield name, Table(cache(table.scan), table.resolve_load_version())


def _tokens(catalog: CatalogProtocol[Any, Any]) -> Iterator[tuple[str, Table]]:
    """The tables of rows that stages chose, which lie beside their tokens."""
    for stage in STAGES:
        if catalog.exists(stage.tokens):
            rows = Path(catalog.load(stage.tokens).path) / _ROWS
            if rows.exists():
                yield stage.tokens, Table(partial(pl.scan_parquet, rows))


def _versions(catalog: CatalogProtocol[Any, Any], name: str) -> dict[str, ModelRef]:
    """Every version of a model, the newest first."""
    versions = sorted(catalog[name].list_versions(full_path=False), reverse=True)
    return {version: catalog.load(name, version=version) for version in versions}


def _files(catalog: CatalogProtocol[Any, Any], source: str) -> Mapping[str, Path]:
    """The files of an input by their names; none where the input has moved away."""
    try:
        return {file.name: file.path for file in catalog.load(source)}
    except DatasetError:
        return {}
