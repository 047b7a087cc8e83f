"""The map of tags as a file that a person edits with a text editor or a spreadsheet.

A row whose cells no longer fit its id was changed by hand, and so was a row without one: whatever
else happened to the file, such rows decide in the next run.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.records import TAG_MAP

EDITED = "edited"
_COLUMNS = TAG_MAP.schema.names()
_AS = "save it as 'CSV UTF-8'"
_DIGITS = 19
"""Fewest digits of a number that may be too large for a table."""


def row_id(raw: str, final: str | None, step: str) -> str:
    """Id of a row, by which it is seen whether a person has changed it.

    It begins with a letter, so that no spreadsheet takes it for a number.
    """
    return f"t{content_id('tag map', raw, final, step)}"


def write_tag_map(tag_map: pl.DataFrame) -> bytes:
    """Write a map as CSV, in UTF-8 with the mark that spreadsheets know it by."""
    return tag_map.write_csv(include_bom=True).encode()


def read_tag_map(content: bytes, name: str) -> pl.DataFrame:
    """Read a map that a person may have edited.

    Of an edited row only raw and final count; its step becomes :data:`EDITED`. Blank lines and
    columns without a name are nothing.

    Args:
        content: The file: CSV in UTF-8, with or without a byte order mark, any line ends.
        name: What the file is called in messages.

    Raises:
        UserError: it is not such a file, lacks a column, or holds a tag twice.
    """
    lines = _lines(content, name)
    row, header = next(lines, (1, []))
    header = [cell.strip() for cell in header]
    for column in _COLUMNS:
        if header.count(column) != 1:
            raise UserError(
                f"{name}, row {row}: there must be one column '{column}', and there are "
                f"{[cell for cell in header if cell]}; put it back, {_AS} with commas, or delete "
                "the file and lose the edits in it"
            )
    if unknown := [cell for cell in header if cell and cell not in _COLUMNS]:
        raise UserError(f"{name}, row {row}: column '{unknown[0]}' would be lost; remove it")
    places = [header.index(column) for column in _COLUMNS]
    rows: dict[str, tuple[int, dict[str, object]]] = {}
    for row, cells in lines:
        if len(cells) > len(header) and any(cells[len(header) :]):
            raise UserError(
                f"{name}, row {row}: {len(cells)} cells under {len(header)} columns; put cells "
                "with commas in quotation marks"
            )
        filled = [*cells, *[""] * (len(header) - len(cells))]
        found = _row(dict(zip(_COLUMNS, (filled[place] for place in places), strict=True)))
        raw = str(found["raw"])
        if not raw:
            raise UserError(f"{name}, row {row}: column 'raw' is empty; name a tag, or delete it")
        if raw in rows:
            raise UserError(
                f"{name}, row {row}: tag '{raw}' is already in row {rows[raw][0]}; delete one"
            )
        rows[raw] = row, found
    return TAG_MAP.frame(found for _, found in rows.values())


def _lines(content: bytes, name: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, with their numbers as a spreadsheet counts them."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}, row {row}: this is not UTF-8; {_AS}") from None
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    number = 0
    while True:
        number += 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{name}, row {number}: this is not CSV ({error}); {_AS}") from None
        if any(cell.strip() for cell in cells):
            yield number, cells


def _row(cells: dict[str, str]) -> dict[str, object]:
    raw, final, found = (cells[name].strip() for name in ("raw", "final", "found"))
    step, count = cells["step"].strip(), cells["count"].strip()
    if cells["id"].strip() != row_id(raw, final or None, step):
        step = EDITED
    return {
        "raw": raw,
        "final": final or None,
        "step": step,
        "count": int(count) if count.isdecimal() and len(count) < _DIGITS else 0,
        "found": found or None,
        "explanation": cells["explanation"],
        "id": row_id(raw, final or None, step),
    }
