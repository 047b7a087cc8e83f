"""What lineage is read from, and the few questions that it asks of tables.

Tables are scanned, never loaded: a question reads the columns that it filters by, and the other
columns of the rows that are found.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.lineage.kinds import DERIVED
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.tracking.registry import ModelRegistry
from kyara_kedro.training.model_ref import ModelRef


@dataclass(frozen=True)
class Table:
    """A stored table.

    Attributes:
        scan: Opens it.
        version: Its version, None where there are none.
    """

    scan: Callable[[], pl.LazyFrame]
    version: str | None = None


@dataclass(frozen=True)
class Store:
    """Everything that lineage is read from; what has not been made yet is simply not there.

    Attributes:
        tables: The stored tables by name.
        ledgers: Files of the replies of teachers.
        prompts: The present prompts.
        models: Every version of the models that stages made, by catalog entry, the newest first.
        registry: Connects to the model registry; None where there is none.
        files: The raw files of an input, by the name that rows tell.
    """

    tables: Mapping[str, Table]
    ledgers: Sequence[Path] = ()
    prompts: PromptLibrary = field(default_factory=PromptLibrary)
    models: Mapping[str, Mapping[str, ModelRef]] = field(default_factory=dict)
    registry: Callable[[], ModelRegistry] | None = None
    files: Callable[[str], Mapping[str, Path]] = lambda source: {}

    def there(self, names: Iterable[str]) -> list[str]:
        """Those of some tables that have been made, in their order."""
        return [name for name in names if name in self.tables]

    def scan(self, name: str) -> pl.LazyFrame:
        """A table with the derived keys that its columns allow."""
        return derived(self.tables[name].scan())


def derived(frame: pl.LazyFrame) -> pl.LazyFrame:
    """A table with the derived keys that its columns allow."""
    columns = set(frame.collect_schema().names())
    return frame.with_columns(
        key.alias(alias) for alias, key in DERIVED.items() if set(key.meta.root_names()) <= columns
    )


class Ask(NamedTuple):
    """A question to a table: the rows whose column holds one of some values.

    Attributes:
        table: The table.
        column: The column; of lists, one of whose members counts.
        values: What is looked for.
        columns: Columns wanted; all by default.
    """

    table: str
    column: str
    values: Collection[str]
    columns: tuple[str, ...] = ()


def ask(store: Store, questions: Sequence[Ask]) -> list[pl.DataFrame]:
    """Answer questions to tables together, in one pass of all processors.

    A question for ids is answered at once. For other columns, the rows are found first, and then
    read with what lies around them: a whole column of messages takes seconds a million rows.

    Returns:
        The rows found for each question; no columns either where the table or the column asked
        about is not there.
    """
    found = collect([_found(store, question) for question in questions])
    queries, owners = [], []
    for number, (question, frame) in enumerate(zip(questions, found, strict=True)):
        if _NUMBER in frame.columns:
            for start, rows in _stretches(frame[_NUMBER]):
                queries.append(_rows(store, question, start, rows))
                owners.append(number)
    read: dict[int, list[pl.DataFrame]] = {}
    for number, frame in zip(owners, collect(queries), strict=True):
        read.setdefault(number, []).append(frame)
    return [
        pl.concat(read[number]) if number in read else frame for number, frame in enumerate(found)
    ]


def collect(queries: Sequence[pl.LazyFrame]) -> list[pl.DataFrame]:
    """Collect queries together, streaming."""
    return pl.collect_all(queries, engine="streaming") if queries else []


_NUMBER = "row number"
_STRETCH = 4_096
"""Rows that are read together when several of them are wanted."""
_MOST_STRETCHES = 128
"""Stretches above which a table is read as a whole."""


def _found(store: Store, question: Ask) -> pl.LazyFrame:
    """The ids that a question is for, or the numbers of the rows that answer it."""
    if question.table not in store.tables or not question.values:
        return pl.LazyFrame()
    frame = store.scan(question.table)
    schema = frame.collect_schema()
    if question.column not in schema:
        return pl.LazyFrame()
    answers = holds(schema, question.column, question.values)
    if question.columns == ("id",):
        return frame.filter(answers).select("id")
    numbered = store.tables[question.table].scan().with_row_index(_NUMBER)
    return derived(numbered).filter(answers).select(_NUMBER)


def _rows(store: Store, question: Ask, start: int, rows: int | None) -> pl.LazyFrame:
    frame = derived(store.tables[question.table].scan().slice(start, rows))
    schema = frame.collect_schema()
    columns = [name for name in question.columns or schema.names() if name in schema]
    return frame.filter(holds(schema, question.column, question.values)).select(columns)


def _stretches(numbers: pl.Series) -> list[tuple[int, int | None]]:
    """Stretches of a table, first row and number of rows, that hold some of its rows."""
    found: list[tuple[int, int]] = []
    for number in numbers.sort():
        if found and number < found[-1][0] + _STRETCH:
            found[-1] = (found[-1][0], number - found[-1][0] + 1)
        else:
            found.append((number, 1))
    return [(0, None)] if len(found) > _MOST_STRETCHES else list(found) or [(0, 0)]


def holds(schema: pl.Schema, column: str, values: Collection[str]) -> pl.Expr:
    """Whether a column is one of some values, or a column of lists has one of them."""
    wanted = sorted(values)
    if isinstance(schema[column], pl.List):
        return pl.col(column).list.eval(pl.element().is_in(wanted)).list.any()
    return pl.col(column).is_in(wanted)


def values_of(row: Mapping[str, Any], column: str) -> list[str]:
    """What a column of a row names, each once, in order."""
    value = row.get(column)
    named = value if isinstance(value, list) else [value]
    return [one for one in dict.fromkeys(named) if one is not None]
