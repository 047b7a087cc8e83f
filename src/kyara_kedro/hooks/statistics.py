"""One line a node and a flow of records in the log, and row counts for kedro-viz."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline.node import Node

from kyara_kedro.datasets.atomic import AtomicDataset
from kyara_kedro.datasets.table import TableDataset
from kyara_kedro.files import written_whole

logger = logging.getLogger("kyara_kedro")


class StatisticsHooks:
    """Counts rows as tables are saved and tells how long each node took."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._statistics: dict[str, dict[str, int]] = {}
        self._file: Path | None = None
        self._catalog: DataCatalog | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note where kedro-viz looks for statistics."""
        self._file = Path(context.project_path) / ".viz" / "stats.json"

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog) -> None:
        """Keep the catalog, which knows the files of streamed tables."""
        self._catalog = catalog

    @hook_impl
    def before_dataset_saved(self, dataset_name: str) -> None:
        """Start the clock of a table that is made while it is saved."""
        self._started[dataset_name] = time.perf_counter()

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Note the size of a file, and count the rows of a table that was streamed to it."""
        seconds = time.perf_counter() - self._started.pop(dataset_name)
        dataset = self._catalog.get(dataset_name) if self._catalog else None
        if not isinstance(dataset, AtomicDataset):
            return
        found = {"file_size": dataset.size()}
        if isinstance(dataset, TableDataset):
            rows, columns = dataset.shape()
            found |= {"rows": rows, "columns": columns}
            if not isinstance(data, pl.DataFrame):
                logger.info("%s: %s rows (%.1f s)", dataset_name, f"{rows:,}", seconds)
        self._statistics[dataset_name] = found

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Start the clock."""
        self._started[node.name] = time.perf_counter()

    @hook_impl
    def after_node_run(self, node: Node, outputs: dict[str, Any]) -> None:
        """Log what the node made, with rows and seconds, and what the pipeline dropped and why."""
        seconds = time.perf_counter() - self._started.pop(node.name)
        made = ", ".join(_told(name, data) for name, data in outputs.items())
        logger.info("%s: %s (%.1f s)", node.name, made, seconds)
        for name, data in outputs.items():
            if isinstance(data, pl.DataFrame):
                self._statistics[name] = {"rows": data.height, "columns": data.width}
            if name.endswith("_summary") and isinstance(data, dict):
                for line in _flows(data):
                    logger.info("%s: %s", name.removesuffix("_summary"), line)

    def hand_over(self) -> Mapping[str, Any]:
        """Give the counts of the tables that were saved in this process."""
        given, self._statistics = self._statistics, {}
        return given

    def take_over(self, facts: Mapping[str, Any]) -> None:
        """Add counts of tables."""
        self._statistics |= facts

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Merge the counts of this run into kedro-viz's file."""
        if self._file is None:
            return
        counts = json.dumps(_known(self._file) | self._statistics, indent=1, sort_keys=True)
        with written_whole(self._file) as part:
            part.write_text(counts, "utf-8")


def _known(file: Path) -> dict[str, Any]:
    """The counts of earlier runs; none when the file is missing or damaged."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _told(name: str, data: Any) -> str:
    if isinstance(data, pl.DataFrame):
        return f"{name} {data.height:,}"
    return f"{name} {data:,}" if isinstance(data, int) else name


def _flows(summary: dict[str, Any]) -> Iterator[str]:
    """One line for each kind of record that went through a pipeline."""
    for name, flow in summary.items():
        if isinstance(flow, dict) and "dropped" in flow:
            dropped = ", ".join(f"{reason} {count:,}" for reason, count in flow["dropped"].items())
            yield f"{name} {flow['in']:,} in, {flow['out']:,} out, dropped: {dropped or 'none'}"
