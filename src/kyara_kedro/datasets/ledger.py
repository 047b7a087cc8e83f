"""Ledgers, in which every reply is kept."""

import atexit
from functools import cache
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import TablePreview

from kyara_kedro.datasets import previews
from kyara_kedro.storage import on_disk
from kyara_kedro.teachers.ledger import Entry, Ledger


class LedgerDataset(AbstractDataset[None, Ledger]):
    """A ledger for teachers that a node makes itself.

    Args:
        filepath: The ledger's file; made when it is not there.
        metadata: Free entries, such as kedro-viz's layer.
    """

    _SINGLE_PROCESS = True

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = on_disk(filepath, "a ledger")
        self.metadata = metadata

    def load(self) -> Ledger:
        """Open it."""
        return open_ledger(self._path)

    def save(self, data: None) -> None:
        """Refuse: replies are put into it, one by one."""
        raise DatasetError(f"{self._path} is written by teachers")

    def preview(self) -> TablePreview:
        """What each teacher was paid for, for kedro-viz."""
        return ledger_table(self._path)

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}


def ledger_table(path: Path) -> TablePreview:
    """Replies, tokens and cost by teacher and task; no rows where there is no ledger yet."""
    rows: list[Entry] = []
    if path.exists():
        with Ledger(path, read_only=True) as ledger:
            rows = ledger.summary()
    return previews.table(Entry._fields, rows)


@cache
def open_ledger(path: Path) -> Ledger:
    """The ledger of a file, opened once a process and closed with it."""
    ledger = Ledger(path)
    atexit.register(ledger.close)
    return ledger
