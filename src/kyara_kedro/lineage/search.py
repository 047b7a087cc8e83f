"""From what a person types to the one record that is meant, or to what it could be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

import polars as pl

from kyara_kedro.errors import UserError
from kyara_kedro.lineage.kinds import DROPS, KINDS, RAW
from kyara_kedro.lineage.store import Store, collect
from kyara_kedro.teachers.ledger import Ledger

SHORTEST = 4
_MOST = 8
"""Candidates that are told."""
_VERSION = re.compile(r"(?:model:)?(@[\w.-]+|[0-9]+)|model:([\w.-]+)")
_MADE = "kedro run"


class Found(NamedTuple):
    """A record that was meant.

    Attributes:
        kind: Its kind; beside those of tables ``version``, ``model``, ``reply`` and ``dropped``.
        id: Its full id.
        place: Where it was found.
    """

    kind: str
    id: str
    place: str


class Hits(NamedTuple):
    """Records of a kind that hold a text.

    Attributes:
        kind: The kind.
        number: How many there are.
        shown: Ids of the first ones.
    """

    kind: str
    number: int
    shown: tuple[str, ...]


def find(store: Store, wanted: str) -> Found:
    """The record of an id or of the beginning of one.

    Args:
        store: What is searched.
        wanted: Four or more characters of an id, a ``passage_id``, the id of a benchmark's item,
            the place of a raw row (``alpaca.json#3``), or a version (``3``, ``@champion``).

    Raises:
        UserError: nothing has been made yet, nothing has that id, or several records have.
    """
    wanted = wanted.strip()
    if not store.there(table for kind in KINDS.values() for table in kind.tables):
        raise UserError(f"there are no tables yet: run `{_MADE}` first")
    if (version := _VERSION.fullmatch(wanted)) and (len(wanted) < SHORTEST or not wanted.isdigit()):
        return Found("version", (version[1] or version[2]).strip(), "model registry")
    if len(wanted) < SHORTEST:
        raise UserError(f"'{wanted}': give {SHORTEST} characters of an id or more")
    found = list(dict.fromkeys(_everywhere(store, wanted))) or _elsewhere(store, wanted)
    known = {one.id for one in found if one.kind != "dropped"}
    found = [one for one in found if one.kind != "dropped" or one.id not in known]
    exact = [one for one in found if one.id == wanted]
    records = {(one.kind, one.id): one for one in reversed(exact or found)}
    if len(records) == 1:
        return next(iter(records.values()))
    if records:
        raise UserError(_ambiguous(wanted, list(records.values())[::-1]))
    raise UserError(_unknown(store, wanted))


def containing(store: Store, text: str, most: int = _MOST) -> list[Hits]:
    """The records that hold a text, letter by letter.

    Args:
        store: What is searched.
        text: The text.
        most: Ids told of each kind.

    Raises:
        UserError: the text is blank.
    """
    if not text.strip():
        raise UserError("--text is blank: give some characters that a record holds")
    queries, kinds = [], []
    for kind in KINDS.values():
        for table in store.there(kind.found_in) if kind.texts else ():
            frame = store.scan(table)
            schema = frame.collect_schema()
            held = [_contains(schema, column, text) for column in kind.texts if column in schema]
            queries.append(frame.filter(pl.any_horizontal(held)).select("id"))
            kinds.append(kind.name)
    hits: dict[str, dict[str, None]] = {}
    for name, found in zip(kinds, collect(queries), strict=True):
        hits.setdefault(name, {}).update(dict.fromkeys(sorted(found["id"])))
    return [Hits(kind, len(ids), tuple(ids)[:most]) for kind, ids in hits.items() if ids]


def _contains(schema: pl.Schema, column: str, text: str) -> pl.Expr:
    if isinstance(schema[column], pl.List):
        said = pl.element().struct.field("content").str.contains(text, literal=True)
        return pl.col(column).list.eval(said).list.any()
    return pl.col(column).str.contains(text, literal=True)


def _everywhere(store: Store, wanted: str) -> Iterator[Found]:
    queries = [*_by_id(store, wanted), *_by_name(store, wanted), *_dropped(store, wanted)]
    frames = collect([query for _, _, query in queries])
    for (kind, table, _), frame in zip(queries, frames, strict=True):
        yield from (Found(kind, name, table) for name in sorted(frame["id"]))
    for path in store.ledgers:
        with Ledger(path, read_only=True) as ledger:
            keys = ledger.beginning_with(wanted, _MOST)
        yield from (Found("reply", key, path.name) for key in keys)
    for entry, versions in store.models.items():
        for model in versions.values():
            if model.fingerprint.startswith(wanted):
                yield Found("model", model.fingerprint, entry)


def _elsewhere(store: Store, wanted: str) -> list[Found]:
    """Records that are in none of the tables in which their kind ought to be found."""
    others = [
        (kind.name, table, _beginning(store.scan(table), "id", wanted))
        for kind in KINDS.values()
        for table in store.there(kind.tables)
        if table not in kind.found_in
    ]
    frames = collect([query for _, _, query in others])
    return [
        Found(kind, name, table)
        for (kind, table, _), frame in zip(others, frames, strict=True)
        for name in sorted(frame["id"])
    ]


_Query = tuple[str, str, pl.LazyFrame]


def _by_id(store: Store, wanted: str) -> Iterator[_Query]:
    for kind in KINDS.values():
        for table in store.there(kind.found_in) if kind.name != "row" else ():
            yield kind.name, table, _beginning(store.scan(table), "id", wanted)


def _by_name(store: Store, wanted: str) -> Iterator[_Query]:
    for kind in KINDS.values():
        if kind.name == "row":
            yield from _rows(store, wanted)
            continue
        for table in store.there(kind.found_in):
            for column in kind.names:
                frame = store.scan(table)
                if column == "passage_id" and wanted.startswith("id_"):
                    named = frame.filter(pl.col(column).str.starts_with(wanted))
                else:
                    named = frame.filter(pl.col(column) == wanted)
                yield kind.name, table, named.select("id").head(_MOST)


def _rows(store: Store, wanted: str) -> Iterator[_Query]:
    """Raw rows by their place, which may follow the input that they were read from."""
    for table in store.there(RAW):
        source = RAW[table].source
        place = wanted.removeprefix(f"{source}/")
        named = store.scan(table).filter(pl.col("place") == place)
        yield "row", table, named.select(pl.format(source + "/{}", "place").alias("id")).unique()


def _dropped(store: Store, wanted: str) -> Iterator[_Query]:
    for table in store.there(DROPS):
        frame = store.scan(table).select(id="record_id")
        yield "dropped", table, _beginning(frame, "id", wanted)


def _beginning(frame: pl.LazyFrame, column: str, wanted: str) -> pl.LazyFrame:
    return frame.filter(pl.col(column).str.starts_with(wanted)).select(column).head(_MOST)


def _ambiguous(wanted: str, found: list[Found]) -> str:
    told = "; ".join(_told(one) for one in found[:_MOST])
    more = " …" if len(found) > _MOST else ""
    return f"'{wanted}' is the beginning of several ids, give more of the one meant: {told}{more}"


def _told(found: Found) -> str:
    term = KINDS[found.kind].term.en if found.kind in KINDS else found.kind
    return f"{found.id} ({term} in {found.place})"


def _unknown(store: Store, wanted: str) -> str:
    searched = {table: kind for kind in KINDS.values() for table in store.there(kind.found_in)}
    near = _near(store, wanted, searched)
    told = f"; near are {', '.join(near)}" if near else ""
    names = ", ".join([*searched, *store.there(DROPS), *(path.name for path in store.ledgers)])
    return f"no record is called '{wanted}'{told}; searched were {names}"


def _near(store: Store, wanted: str, searched: Iterable[str]) -> list[str]:
    """Ids that begin or end as what was typed does, the most similar first."""
    ends = pl.col("id").str.starts_with(wanted[:SHORTEST])
    if len(wanted) > 2 * SHORTEST:
        ends |= pl.col("id").str.ends_with(wanted[-2 * SHORTEST :])
    queries = [
        store.scan(table).filter(ends).select(pl.col("id").head(10 * _MOST))
        for table in searched
        if table not in RAW
    ]
    ids = {name for frame in collect(queries) for name in frame["id"]}

    def similarity(name: str) -> tuple[float, str]:
        return -SequenceMatcher(None, wanted, name, autojunk=False).ratio(), name

    return sorted(ids, key=similarity)[:3]
