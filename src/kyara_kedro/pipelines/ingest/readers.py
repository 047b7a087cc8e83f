"""From files of many formats to plain rows, each with the place it came from."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from kyara_kedro.datasets.sources import SourceFile

_TITLE_CHARS = 100


@dataclass(frozen=True)
class RawRow:
    """One row as it was read.

    Attributes:
        origin: File and line (``conversations/a.jsonl#12``), or the file alone.
        values: The row's columns; empty when it could not be read.
        fault: Why it could not be read: (reason, detail).
    """

    origin: str
    values: dict[str, Any]
    fault: tuple[str, str] | None = None


def read_rows(files: list[SourceFile]) -> Iterator[RawRow]:
    """Read every row of every file; what cannot be read is a row with a fault.

    Formats: JSONL, JSON (an array of objects, or one object), CSV with a header, Parquet, and plain
    text or Markdown, where the first line is the title and the rest the text. Any of them may be
    gzip-compressed, Parquet excepted.
    """
    for file in files:
        for row in _rows(file):
            if file.licence:
                row.values.setdefault("licence", file.licence)
            yield row


def _rows(file: SourceFile) -> Iterator[RawRow]:
    if _suffix(file) == "parquet":
        yield from _parquet(file)
        return
    try:
        text = _text(file)
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        yield RawRow(file.name, {}, ("unreadable_file", str(error)))
        return
    yield from _READERS[_suffix(file)](file.name, text)


def _suffix(file: SourceFile) -> str:
    return file.name.lower().removesuffix(".gz").rsplit(".", 1)[-1]


def _text(file: SourceFile) -> str:
    data = file.path.read_bytes()
    if file.name.lower().endswith(".gz"):
        data = gzip.decompress(data)
    return data.decode("utf-8-sig")


def _prose(name: str, text: str) -> Iterator[RawRow]:
    """Read one document; a first line too long for a title belongs to the text."""
    first, _, rest = text.strip().partition("\n")
    title = first.lstrip("# ").strip()
    if not rest.strip() or len(title) > _TITLE_CHARS:
        title, rest = PurePosixPath(name).name.partition(".")[0], text
    yield RawRow(name, {"title": title, "text": rest.strip()})


def _jsonl(name: str, text: str) -> Iterator[RawRow]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _object(f"{name}#{number}", line)


def _object(origin: str, line: str) -> RawRow:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        return RawRow(origin, {}, ("malformed_json", str(error)))
    return _checked(origin, values)


def _checked(origin: str, values: Any) -> RawRow:
    if not isinstance(values, dict):
        found = type(values).__name__
        return RawRow(origin, {}, ("not_an_object", f"an object is needed, not {found}"))
    return RawRow(origin, values)


def _json(name: str, text: str) -> Iterator[RawRow]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield RawRow(name, {}, ("malformed_json", str(error)))
        return
    rows = document if isinstance(document, list) else [document]
    for number, values in enumerate(rows, start=1):
        yield _checked(f"{name}#{number}", values)


def _csv(name: str, text: str) -> Iterator[RawRow]:
    csv.field_size_limit(max(len(text), csv.field_size_limit()))
    lines = io.StringIO(text, newline="")
    rows = csv.DictReader(lines, restkey="(more cells than the header)")
    for number, values in enumerate(rows, start=1):
        yield RawRow(f"{name}#{number}", dict(values))


def _parquet(file: SourceFile) -> Iterator[RawRow]:
    import pyarrow
    import pyarrow.parquet

    try:
        batches = pyarrow.parquet.ParquetFile(file.path).iter_batches(batch_size=8192)
        number = 0
        for batch in batches:
            for values in batch.to_pylist():
                number += 1
                yield RawRow(f"{file.name}#{number}", values)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        yield RawRow(file.name, {}, ("unreadable_file", str(error)))


_READERS: dict[str, Callable[[str, str], Iterator[RawRow]]] = {
    "txt": _prose,
    "md": _prose,
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
}
