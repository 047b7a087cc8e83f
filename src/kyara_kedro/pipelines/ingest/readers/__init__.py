"""From files of many formats to plain rows, each with the place it came from, one at a time."""

import csv
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from xml.etree.ElementTree import ParseError

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.pipelines.ingest.readers import markup, objects, prose, tables, wikipedia
from kyara_kedro.pipelines.ingest.readers.rows import Fault, Item, RawRow

__all__ = ["RawRow", "read_rows"]

_READERS: dict[str, Callable[[SourceFile], Iterator[Item]]] = {
    "txt": prose.plain,
    "md": prose.markdown,
    "html": markup.page,
    "htm": markup.page,
    "jsonl": objects.lines_of_json,
    "ndjson": objects.lines_of_json,
    "json": objects.values_of_json,
    "csv": tables.comma_separated,
    "tsv": tables.tab_separated,
    "parquet": tables.parquet,
    "arrow": tables.arrow,
    "xml": wikipedia.dump,
}
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeDecodeError, csv.Error, ParseError)


def read_rows(files: Iterable[SourceFile]) -> Iterator[RawRow]:
    """Read every row of every file; what cannot be read is a row with a fault.

    Memory holds one row, or one batch of a columnar file, whatever a file's size. The ending names
    the format: txt, md and html are a document each; jsonl, json (an array, one object, or objects
    one after another), csv and tsv with a header, parquet and arrow hold rows; xml is a Wikipedia
    dump; a file without any of these endings is WikiExtractor's. Text and Wikipedia files may be
    compressed. A file that is damaged half-way keeps the rows before and ends with one fault.
    """
    for file in files:
        last = 0
        try:
            for number, found in _READERS.get(file.kind, wikipedia.extracted)(file):
                last = number or last
                yield _row(file, number, found)
        except _DAMAGE as error:
            fault = Fault("unreadable_file", str(error) or type(error).__name__)
            yield _row(file, last + 1 if last else None, fault)


def _row(file: SourceFile, number: int | None, found: object) -> RawRow:
    origin = file.name if number is None else f"{file.name}#{number}"
    if isinstance(found, Fault):
        return RawRow(origin, {}, found, file.licence, file.data_set)
    if not isinstance(found, dict):
        kind = type(found).__name__
        fault = Fault("not_an_object", f"an object is needed, not {kind}")
        return RawRow(origin, {}, fault, file.licence, file.data_set)
    return RawRow(origin, found, None, file.licence, file.data_set)
