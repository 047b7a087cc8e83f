"""Rows on their way from files to tables, as a stream.

The rows of a kind become one table, kept and dropped ones alike, batch by batch; the table that
others read and the drops are made from it. So memory depends on neither files nor tables, but for
16 bytes a kept row, by which repeated ones are told.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import polars as pl
from tqdm import tqdm

from kyara_kedro.content import content_id
from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.datasets.table import Frames, batches
from kyara_kedro.pipelines.ingest.formats import Malformed
from kyara_kedro.pipelines.ingest.readers import RawRow, read_rows
from kyara_kedro.records import (
    BENCHMARK_QUESTION,
    CONVERSATION,
    DOCUMENT,
    DROP,
    LABELLED_PAIR,
    LABELLED_RATING,
    PASSAGE,
    PERSONA,
    PREFERENCE,
    PROMPT,
    PROTECTED_TEXT,
    Record,
    RecordError,
    drops,
)

PIPELINE = "ingest"
Values = dict[str, Any]
Parsed = Callable[[RawRow], Values]
Table = tuple[pl.DataFrame, pl.DataFrame, int]

_BATCH_ROWS = 1_000
_BATCH_CHARS = 1_000_000
_PLACE = {"place": pl.String, "reason": pl.String, "detail": pl.String}


@dataclass(frozen=True)
class RowTable:
    """The shape of a table of rows: a validator for the catalog that looks at columns alone.

    Attributes:
        record: What the kept rows are; their columns are null in dropped ones.
        more: Further columns: the place of the row, and for a dropped one the reason and detail.
    """

    record: Record
    more: tuple[str, ...] = tuple(_PLACE)

    @property
    def schema(self) -> pl.Schema:
        """Polars schema of the table."""
        return pl.Schema({**self.record.columns, **{name: _PLACE[name] for name in self.more}})

    def validate(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Check the columns of a table and return it unchanged.

        Raises:
            RecordError: a column is missing or another one.
        """
        if rows.collect_schema() != self.schema:
            raise RecordError(f"{self.record.name} rows: the columns must be {self.schema}")
        return rows


DOCUMENT_ROWS = RowTable(DOCUMENT)
PASSAGE_ROWS = RowTable(PASSAGE, more=())
CONVERSATION_ROWS = RowTable(CONVERSATION)
PREFERENCE_ROWS = RowTable(PREFERENCE)
PERSONA_ROWS = RowTable(PERSONA)
PROMPT_ROWS = RowTable(PROMPT)
BENCHMARK_ROWS = RowTable(BENCHMARK_QUESTION)
PROTECTED_ROWS = RowTable(PROTECTED_TEXT)
LABELLED_ROWS = RowTable(LABELLED_PAIR)
RATING_ROWS = RowTable(LABELLED_RATING)


class Kept(NamedTuple):
    """What came of the rows of one kind of record."""

    table: Frames
    drops: pl.DataFrame
    read: int
    kept: int


def parsed_rows(
    record: Record,
    files: list[SourceFile],
    parse: Parsed,
    split: Callable[[RawRow], Iterable[RawRow]] = lambda row: (row,),
) -> Frames:
    """Read files into the shape of `RowTable`, in the order of the files.

    Args:
        record: What the rows become.
        files: The files, in their order.
        parse: Makes a row's values, or raises `Malformed`.
        split: Makes several rows of one.
    """
    schema = RowTable(record).schema

    def frames() -> Iterator[pl.DataFrame]:
        held: list[Values] = []
        chars = 0
        for row in _parsed(record, files, parse, split):
            held.append(row)
            chars += _length(row)
            if len(held) >= _BATCH_ROWS or chars >= _BATCH_CHARS:
                yield pl.DataFrame(held, schema, orient="row")
                held, chars = [], 0
        yield pl.DataFrame(held, schema, orient="row")

    return Frames(frames)


def _parsed(
    record: Record,
    files: list[SourceFile],
    parse: Parsed,
    split: Callable[[RawRow], Iterable[RawRow]],
) -> Iterator[Values]:
    """Parse every row; a row that cannot be read, parsed or told from an earlier one is dropped."""
    seen: set[bytes] = set()
    rows = tqdm(
        read_rows(files), f"{record.name}s", unit=" rows", disable=None, leave=False, delay=2
    )
    for row in chain.from_iterable(map(split, rows)):
        try:
            if row.fault:
                raise Malformed(*row.fault)
            values = parse(row)
        except Malformed as fault:
            yield {"place": row.origin, "reason": fault.reason, "detail": fault.detail}
            continue
        key = bytes.fromhex(values["id"])
        if key in seen:
            yield {"id": values["id"], "place": row.origin, "reason": "repeated", "detail": ""}
        else:
            seen.add(key)
            yield {**values, "place": row.origin}


def _length(value: Any) -> int:
    """Characters of a row."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        value = value.values()
    return sum(map(_length, value)) if isinstance(value, Iterable) else 0


def keep_rows(record: Record, rows: pl.LazyFrame) -> Kept:
    """Part the rows of a record into those that are kept and the drops, one each.

    A row that repeats an earlier one is told by the place of that one.
    """
    kept = rows.filter(pl.col("reason").is_null())
    dropped = rows.filter(pl.col("reason").is_not_null()).select("id", *_PLACE).collect()
    repeated = dropped.select("id").drop_nulls().unique().lazy()
    first = kept.select("id", first="place").join(repeated, on="id", how="semi").collect()
    told = dropped.join(first, on="id", how="left", maintain_order="left").with_columns(
        pl.coalesce(pl.format("same content as {}", "first"), "detail").alias("detail")
    )
    parts = told.select(list(_PLACE)).iter_slices()
    return Kept(
        Frames(lambda: map(record.validate, kept_frames(record, rows))),
        pl.concat([DROP.frame(), *(_drops(record, part) for part in parts)]),
        rows.select(pl.len()).collect().item(),
        kept.select(pl.len()).collect().item(),
    )


def kept_frames(record: Record, rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """The kept rows in the columns of their record.

    Filtering frame by frame takes a third less memory than filtering the lazy table.
    """
    for frame in batches(rows):
        yield frame.filter(pl.col("reason").is_null()).select(*record.columns)


def _drops(record: Record, rows: pl.DataFrame) -> pl.DataFrame:
    return drops(
        PIPELINE,
        (
            (content_id("row", record.name, place), reason, f"{place}: {detail}")
            for place, reason, detail in rows.iter_rows()
        ),
    )


def in_memory(record: Record, rows: Frames) -> Table:
    """The kept rows, drops and number of rows of a corpus that fits in memory."""
    table, dropped, read, _ = keep_rows(record, pl.concat(rows).lazy())
    return record.validate(pl.concat(table)), dropped, read
