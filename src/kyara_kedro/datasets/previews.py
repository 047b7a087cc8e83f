"""What kedro-viz shows of an entry: short forms of tables, documents and texts."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kedro_datasets._typing import HTMLPreview, JSONPreview, TablePreview

ROWS = 20
"""Most rows of a table that is not one of records."""
_CELL, _TEXT, _ITEMS, _LINES = 160, 300, 20, 200
_HEAD = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> TablePreview:
    """Rows, with nested values as short JSON."""
    cells = [[_cell(value) for value in row] for row in rows]
    return TablePreview({"index": list(range(len(cells))), "columns": list(columns), "data": cells})


def document(value: Any) -> JSONPreview:
    """A document without the rest of what is long in it."""
    return JSONPreview(json.dumps(_shortened(value), ensure_ascii=False, default=str))


def markdown(said: str) -> HTMLPreview:
    """The first lines of a Markdown text, which kedro-viz renders, without its YAML head."""
    lines = _HEAD.sub("", said).splitlines()
    more = f"\n\n… {len(lines) - _LINES:,} lines more" if len(lines) > _LINES else ""
    return HTMLPreview("\n".join(lines[:_LINES]) + more)


def folder(place: Path) -> TablePreview:
    """What lies in a folder: names, files and bytes."""
    entries = sorted(place.iterdir()) if place.is_dir() else []
    rows = [(entry.name, *_size(entry)) for entry in entries[:ROWS]]
    return table(["name", "files", "bytes"], rows)


def _size(entry: Path) -> tuple[int, int]:
    files = [entry] if entry.is_file() else [file for file in entry.rglob("*") if file.is_file()]
    return len(files), sum(file.stat().st_size for file in files)


def _cell(value: object) -> object:
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and len(value) > _CELL:
        return value[: _CELL - 1] + "…"
    return value


def _shortened(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _TEXT:
        return value[: _TEXT - 1] + "…"
    if isinstance(value, list | tuple):
        more = [f"… {len(value) - _ITEMS:,} more"] if len(value) > _ITEMS else []
        return [*map(_shortened, value[:_ITEMS]), *more]
    if isinstance(value, dict):
        return {name: _shortened(one) for name, one in value.items()}
    return value
