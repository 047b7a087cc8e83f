"""Ctrl-C while a runner waits for nodes in threads."""

import os
import signal
import threading
from pathlib import Path

import polars as pl
import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from kyara_kedro.datasets.files import JSONDataset
from kyara_kedro.runners import ThreadRunner


def test_an_interrupt_is_heard_while_a_node_runs(tmp_path: Path) -> None:
    in_time = threading.Event()

    def waits(text: str) -> int:
        assert pl.DataFrame({"text": [text]}).height
        os.kill(os.getpid(), signal.SIGINT)
        if heard.wait(60):
            in_time.set()
        return 1

    heard = threading.Event()
    stored = JSONDataset(filepath=str(tmp_path / "told.json"))
    catalog = DataCatalog({"text": MemoryDataset("a"), "told": stored})
    before = signal.getsignal(signal.SIGINT)

    def hears(number: int, frame: object) -> None:
        heard.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, hears)
    try:
        with pytest.raises(KeyboardInterrupt):
            ThreadRunner(max_workers=1).run(
                Pipeline([Node(waits, "text", "told", name="waits")]),
                catalog,
                _create_hook_manager(),
            )
    finally:
        signal.signal(signal.SIGINT, before)
    assert in_time.wait(60)  # an interrupt while the thread starts is not waited for
