"""Files with columns: CSV and TSV, Parquet, Arrow."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.pipelines.ingest.readers import streams
from kyara_kedro.pipelines.ingest.readers.rows import Item

_BATCH = 256
_LARGEST_CELL = 1 << 26


def comma_separated(file: SourceFile) -> Iterator[Item]:
    """Read CSV whose first row names the columns."""
    return _separated(file, ",")


def tab_separated(file: SourceFile) -> Iterator[Item]:
    """Read TSV whose first row names the columns."""
    return _separated(file, "\t")


def _separated(file: SourceFile, delimiter: str) -> Iterator[Item]:
    csv.field_size_limit(_LARGEST_CELL)
    rows = csv.DictReader(
        (f"{line}\n" for line in streams.lines(file)),
        restkey="(more cells than the header)",
        delimiter=delimiter,
    )
    for number, values in enumerate(rows, start=1):
        cells = "".join(cell for cell in values.values() if isinstance(cell, str))
        yield number, streams.undecoded(cells, file) or dict(values)


def parquet(file: SourceFile) -> Iterator[Item]:
    """Read Parquet batch by batch."""
    import pyarrow.parquet

    with (
        _told(),
        pyarrow.parquet.ParquetFile(
            streams.source(file), buffer_size=streams.PIECE, pre_buffer=False
        ) as table,
    ):
        yield from _numbered(table.iter_batches(batch_size=_BATCH))


def arrow(file: SourceFile) -> Iterator[Item]:
    """Read Arrow's stream format, in which `datasets` saves to disk, or its file format."""
    import pyarrow.ipc

    with _told(), streams.arrow_source(file) as source:
        if source.read(6) == b"ARROW1":
            table = pyarrow.ipc.open_file(source)
            batches = (table.get_batch(n) for n in range(table.num_record_batches))
        else:
            source.seek(0)
            batches = iter(pyarrow.ipc.open_stream(source))
        yield from _numbered(batches)


def _numbered(batches: Iterator[Any]) -> Iterator[Item]:
    number = 0
    for batch in batches:
        batch.validate(full=True)  # Python would read beyond the buffers of a damaged one
        for start in range(0, batch.num_rows, _BATCH):
            for values in batch.slice(start, _BATCH).to_pylist():
                number += 1
                yield number, values


@contextmanager
def _told() -> Iterator[None]:
    """Raise what Arrow cannot read, or Python cannot hold, as an OSError."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:
        raise OSError(str(error)) from error
