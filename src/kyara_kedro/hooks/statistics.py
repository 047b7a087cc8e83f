"""One line a node in the log, and row counts for kedro-viz."""

import json
import logging
import time
from pathlib import Path
from typing import Any

import polars as pl
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node

logger = logging.getLogger("kyara_kedro")


class StatisticsHooks:
    """Counts rows as tables are saved and tells how long each node took."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._statistics: dict[str, dict[str, int]] = {}
        self._file: Path | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note where kedro-viz looks for statistics."""
        self._file = Path(context.project_path) / ".viz" / "stats.json"

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Start the clock."""
        self._started[node.name] = time.perf_counter()

    @hook_impl
    def after_node_run(self, node: Node, outputs: dict[str, Any]) -> None:
        """Log what the node made, with rows and seconds."""
        seconds = time.perf_counter() - self._started.pop(node.name)
        made = ", ".join(_told(name, data) for name, data in outputs.items())
        logger.info("%s: %s (%.1f s)", node.name, made, seconds)
        for name, data in outputs.items():
            if isinstance(data, pl.DataFrame):
                self._statistics[name] = {"rows": data.height, "columns": data.width}

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Merge the counts of this run into kedro-viz's file."""
        if self._file is None:
            return
        self._file.parent.mkdir(exist_ok=True)
        known = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._file.write_text(json.dumps(known | self._statistics, indent=1, sort_keys=True))


def _told(name: str, data: Any) -> str:
    return f"{name} {data.height:,}" if isinstance(data, pl.DataFrame) else name
