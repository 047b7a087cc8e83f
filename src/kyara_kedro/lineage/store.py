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
        frame = self.tables[name].scan()
        columns = frame.collect_schema().names()
        return frame.with_columns(
            key.alias(alias)
            for alias, key in DERIVED.items()
            if set(key.meta.root_names()) <= set(columns)
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

    Returns:
        The rows found for each question, without any where the table or the column is not there.
    """
    return collect([_query(store, question) for question in questions])


def collect(queries: Sequence[pl.LazyFrame]) -> list[pl.DataFrame]:
    """Collect queries together, streaming."""
    return pl.collect_all(queries, engine="streaming") if queries else []


def _query(store: Store, question: Ask) -> pl.LazyFrame:
    if question.table not in store.tables or not question.values:
        return pl.LazyFrame()
    frame = store.scan(question.table)
    schema = frame.collect_schema()
    if question.column not in schema:
        return pl.LazyFrame()
    columns = [name for name in question.columns or schema.names() if name in schema]
    return frame.filter(holds(schema, question.column, question.values)).select(columns)


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
