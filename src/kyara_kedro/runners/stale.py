"""Kedro's runners, which pass over nodes that are up to date when there is a `RunLog`."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import chain
from typing import Any

from kedro import runner
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import Task
from pluggy import PluginManager

from kyara_kedro.runners.log import Catalog, RunLog, log_of

logger = logging.getLogger("kyara_kedro")


class StaleAware(runner.AbstractRunner):
    """Runs what the log's plan says, and tells the log.

    Put before one of Kedro's runners. Without a log, as when a runner is used on its own, it is
    that runner.
    """

    _log: RunLog | None = None

    def run(
        self,
        pipeline: Pipeline,
        catalog: Catalog,
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
        only_missing_outputs: bool = False,
    ) -> dict[str, Any]:
        """Run what is due; see `kyara_kedro.runners.log`."""
        _let_interrupts_end_waits()
        self._log = log_of(catalog)
        if self._log is not None:
            self._log.open()
            pipeline, only_missing_outputs = self._log.pipeline, False
        return super().run(pipeline, catalog, hook_manager, run_id, only_missing_outputs)

    def _suggest_resume_scenario(
        self, pipeline: Pipeline, done_nodes: Iterable[Node], catalog: Catalog
    ) -> None:
        if self._log is None:
            super()._suggest_resume_scenario(pipeline, done_nodes, catalog)
        else:
            left = len(pipeline.nodes) - len({*done_nodes})
            logger.warning("%d nodes have not run; the same command goes on from here", left)

    def _step(self, task: Task) -> Node:
        """Run a node, unless it turns out to be up to date."""
        if self._log is None:
            return task.execute()
        if not self._log.begin(task.node):
            return task.node
        started = time.perf_counter()
        try:
            node = task.execute()
        except BaseException:
            self._log.failed(task.node, time.perf_counter() - started)
            raise
        self._log.done(node, time.perf_counter() - started)
        return node


def _let_interrupts_end_waits() -> None:
    """Put Python's own handler of Ctrl-C in place of the one that comes with Polars.

    With that one the system begins a wait for other threads anew, and nobody hears of Ctrl-C.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))


class SequentialRunner(StaleAware, runner.SequentialRunner):
    """One node after another."""

    def _run(
        self,
        pipeline: Pipeline,
        catalog: Catalog,
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        reads = Counter(chain.from_iterable(node.inputs for node in pipeline.nodes))
        done: set[Node] = set()
        for node in pipeline.nodes:
            task = Task(node, catalog, self._is_async, hook_manager, run_id)
            try:
                self._step(task)
            except Exception:
                self._suggest_resume_scenario(pipeline, done, catalog)
                raise
            done.add(node)
            self._release_datasets(node, catalog, reads, pipeline)


class ThreadRunner(StaleAware, runner.ThreadRunner):
    """Nodes that do not need each other at the same time, in threads."""

    def _get_executor(self, max_workers: int) -> Executor:
        return _Stepping(self._step, max_workers)


class _Stepping(ThreadPoolExecutor):
    def __init__(self, step: Callable[[Task], Node], max_workers: int) -> None:
        super().__init__(max_workers)
        self._step = step

    def submit(self, task: Task, /) -> Future[Node]:  # type: ignore[override]
        return super().submit(self._step, task)
