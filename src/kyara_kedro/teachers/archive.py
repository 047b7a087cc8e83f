"""Replies as Parquet: to keep a ledger small, to move it, and to replay a run elsewhere."""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from kyara_kedro.errors import UserError
from kyara_kedro.records import REPLY, RecordError
from kyara_kedro.teachers.ledger import SHARD, Ledger, StoredReply

if TYPE_CHECKING:
    import polars as pl


def export_replies(ledger: Ledger, path: Path) -> int:
    """Write all replies to one Parquet file (zstd), whole or not at all, with mode 0600.

    Returns:
        How many there are.

    Raises:
        LedgerError: the ledger cannot be read.
        UserError: the file cannot be written.
    """
    import pyarrow.parquet as pq

    schema = REPLY.frame([]).to_arrow().schema
    rows = 0
    part = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            part = Path(file.name)
            with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                for frame in ledger.frames():
                    writer.write_table(frame.to_arrow().cast(schema))
                    rows += frame.height
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise UserError(f"export to {path}: {error.strerror or error}") from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
    return rows


def import_replies(ledger: Ledger, path: Path) -> int:
    """Put the replies of an exported file into a ledger; what it holds already stays as it is.

    Returns:
        How many the file has.

    Raises:
        LedgerError: the ledger cannot be written.
        UserError: the file is missing, no Parquet file, or no table of replies.
    """
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(SHARD):
                frame = pl.DataFrame(pa.Table.from_batches([batch]))
                if "top_logprobs" not in frame.columns:  # exported before there were any
                    frame = frame.with_columns(top_logprobs=pl.lit(""))
                put_replies(ledger, REPLY.validate(frame))
                rows += frame.height
    except (OSError, pa.ArrowException, RecordError) as error:
        raise UserError(f"import of {path}: {error}") from error
    return rows


def put_replies(ledger: Ledger, replies: pl.DataFrame) -> None:
    """Put a table of :data:`kyara_kedro.records.REPLY` into a ledger, as replies of another one."""
    ledger.put([StoredReply(**row) for row in replies.drop("id").to_dicts()], paid=False)


def open_to_replay(path: Path) -> Ledger:
    """Open a ledger for reading alone, or an exported file of replies.

    Raises:
        LedgerError: the ledger is missing, damaged or of another version.
        UserError: the exported file cannot be read.
    """
    if path.suffix != ".parquet":
        return Ledger(path, read_only=True)
    folder = tempfile.TemporaryDirectory(prefix="replay-")
    ledger = Ledger(Path(folder.name) / "replies.db")
    weakref.finalize(ledger, folder.cleanup)
    import_replies(ledger, path)
    return ledger
