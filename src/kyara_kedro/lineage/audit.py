"""Whole tables at once: does every record come from somewhere, and has every dropped one a reason?

Tables are joined by their keys, so that millions of rows take seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from kyara_kedro.lineage.kinds import FILES, KINDS, RAW, TASKS, Kind, Link
from kyara_kedro.lineage.store import Store, collect

FINAL = (
    *("base_conversations", "refined_conversations", "sft_base_rows", "sft_refine_rows"),
    *("preferences", "dpo_pairs", "benchmark_items"),
)
"""Tables that people train on, publish or decide by."""

_EXAMPLES = 5


class Gate(NamedTuple):
    """Where records go on or are dropped: what enters is what leaves and what is dropped."""

    entering: str
    leaving: str
    drops: str


GATES = (
    Gate("pooled_conversations", "base_conversations", "dedup_drops"),
    Gate("reviewed_conversations", "refined_conversations", "curate_drops"),
    Gate("pooled_preferences", "preferences", "preference_drops"),
)


class Broken(NamedTuple):
    """A record that does not come from anywhere.

    Attributes:
        id: The record.
        column: The column that names what is not there.
        value: What it names; None when it names nothing.
    """

    id: str
    column: str
    value: str | None


@dataclass(frozen=True)
class Share:
    """How much of a table resolves to a raw row or to a span of a document.

    Attributes:
        table: The table.
        rows: Its rows.
        resolved: Those that resolve.
        broken: The first ones that do not.
    """

    table: str
    rows: int
    resolved: int
    broken: tuple[Broken, ...] = ()


@dataclass(frozen=True)
class Passed:
    """What became of the records that entered a gate.

    Attributes:
        gate: The gate.
        entered: How many entered.
        left: How many went on.
        dropped: How many were dropped, each for one reason.
        lost: Ids of the first that neither went on nor have a reason.
        twice: Ids of the first that went on although they have a reason, or that have two.
    """

    gate: Gate
    entered: int
    left: int
    dropped: int
    lost: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """What whole tables say about themselves."""

    shares: tuple[Share, ...]
    gates: tuple[Passed, ...]

    @property
    def holds(self) -> bool:
        """Whether every record resolves, and every dropped one has exactly one reason."""
        return all(share.rows == share.resolved for share in self.shares) and not any(
            gate.lost or gate.twice for gate in self.gates
        )


@dataclass(frozen=True)
class Reached:
    """The sources of a set of records.

    Attributes:
        counts: Number of records by kind.
        files: Rows by raw file, the most used first.
    """

    counts: Mapping[str, int]
    files: Mapping[str, int]


def audit(store: Store, tables: Iterable[str] = FINAL) -> Audit:
    """Check tables row by row, as many of them as have been made.

    A row resolves when everything that it names is there and resolves too, down to raw rows that
    were read; a passage also has to be the stretch of its document that it says it is.
    """
    wanted = store.there(tables)
    kinds = {table: kind for kind in KINDS.values() for table in kind.tables}
    resolved = _Resolved(store)
    shares = [_share(store, table, kinds[table], resolved) for table in wanted]
    gates = [_passed(store, gate) for gate in GATES if len(store.there(gate)) == len(gate)]
    return Audit(tuple(shares), tuple(gates))


def sources(store: Store, kind: str, ids: pl.Series) -> Reached:
    """Everything that a set of records was made from.

    Args:
        store: Where it is looked up.
        kind: Kind of the records.
        ids: Their ids.
    """
    waiting = {kind: ids.unique()}
    reached: dict[str, pl.Series] = {}
    for name in reversed(list(KINDS)):
        while len(new := _new(waiting.pop(name, None), reached.get(name))):
            reached[name] = pl.concat([reached[name], new]) if name in reached else new
            for link in KINDS[name].links:
                found = _targets(store, KINDS[name], new, link)
                waiting[link.to] = (
                    pl.concat([waiting[link.to], found]).unique() if link.to in waiting else found
                )
    rows = reached.pop("row", pl.Series("id", [], pl.String))
    files = rows.str.replace(r"#[^#]*$", "").value_counts(sort=True, name="rows")
    counts = {name: len(reached[name]) for name in KINDS if name in reached and name != kind}
    return Reached(counts | {"row": len(rows)}, dict(files.head(_EXAMPLES * 4).iter_rows()))


def _new(ids: pl.Series | None, known: pl.Series | None) -> pl.Series:
    if ids is None:
        return pl.Series("id", [], pl.String)
    return ids if known is None else ids.filter(~ids.is_in(known.implode()))


def _targets(store: Store, kind: Kind, ids: pl.Series, link: Link) -> pl.Series:
    """Ids of what some records name by a link."""
    wanted = ids.alias("id").to_frame().lazy()
    named = pl.concat(
        [
            _named(store.scan(table).join(wanted, on="id", how="semi"), link.column)
            for table in store.there(kind.found_in)
        ]
        or [_NOTHING]
    ).select(pl.col("value").unique())
    known = [
        store.scan(table)
        .join(named, left_on=link.by, right_on="value", how="semi")
        .select(id=_identity(link.to, table))
        for table in store.there(link.tables or KINDS[link.to].found_in)
    ]
    frames = collect([pl.concat(known).unique()]) if known else [pl.DataFrame({"id": []})]
    return frames[0]["id"].cast(pl.String)


_NOTHING = pl.LazyFrame(schema={"id": pl.String, "value": pl.String})


def _identity(kind: str, table: str) -> pl.Expr:
    """The id of a row of a table, as explanations call it."""
    return pl.format(RAW[table].source + "/{}", "place") if kind == "row" else pl.col("id")


def _named(frame: pl.LazyFrame, column: str) -> pl.LazyFrame:
    """Rows' ids, and each value that a column of them names."""
    schema = frame.collect_schema()
    if column not in schema:
        return _NOTHING
    named = frame.select("id", pl.col(column).alias("value"))
    return (named.explode("value") if isinstance(schema[column], pl.List) else named).drop_nulls()


class _Resolved:
    """What resolves, kind by kind and key by key; found out when it is asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str, tuple[str, ...]], pl.Series] = {}
        self._unresolved: dict[str, pl.Series] = {}

    def values(self, link: Link) -> pl.Series:
        """Values that a link may have."""
        tables = tuple(self._store.there(link.tables or KINDS[link.to].found_in))
        key = (link.to, link.by, tables)
        if key not in self._known:
            self._known[key] = self._find(link, tables)
        return self._known[key]

    def broken(self, frame: pl.LazyFrame, kind: Kind, *, itself: bool = True) -> pl.DataFrame:
        """Rows that do not resolve, each with the first column and value that is to blame.

        Args:
            frame: Rows of a table.
            kind: Their kind.
            itself: Whether links to the same kind are followed, or only have to be there.
        """
        found = [pl.DataFrame(schema={"id": pl.String, "value": pl.String, "column": pl.String})]
        columns = dict.fromkeys(link.column for link in kind.links if link.needed)
        for column in columns:
            links = [link for link in kind.links if link.column == column]
            allowed = pl.concat(
                [
                    self._present(link)
                    if link.to == kind.name and not itself
                    else self.values(link)
                    for link in links
                ]
            )
            bad = (
                _named(frame, column)
                .join(allowed.alias("value").to_frame().lazy(), on="value", how="anti")
                .unique("id", keep="any")
                .with_columns(column=pl.lit(column))
            )
            found += collect([bad])
        if kind.name == "passage":
            found += collect([self._displaced(frame)])
        if kind.name == "benchmark_question":
            found[1:] = [self._without_files(one) for one in found[1:]]
        sourceless = pl.all_horizontal(
            pl.col(column).is_null()
            if not isinstance(frame.collect_schema()[column], pl.List)
            else pl.col(column).list.len() == 0
            for column in columns
        )
        empty = frame.filter(sourceless) if columns else frame.clear()
        found += collect(
            [
                empty.select(
                    "id",
                    value=pl.lit(None, pl.String),
                    column=pl.lit(next(iter(columns), "id")),
                )
            ]
        )
        return pl.concat(found).unique("id", keep="first", maintain_order=True)

    def _find(self, link: Link, tables: tuple[str, ...]) -> pl.Series:
        present = self._present(link)
        if link.to == "row":
            return present
        out = self._unresolved_ids(link.to)
        if not len(out):
            return present
        gone = out.alias("id").to_frame().lazy()
        frames = [
            self._store.scan(table).join(gone, on="id", how="anti").select(link.by)
            for table in tables
        ]
        return collect([pl.concat(frames).unique()])[0][link.by]

    def _present(self, link: Link) -> pl.Series:
        frames = []
        for table in self._store.there(link.tables or KINDS[link.to].found_in):
            frame = self._store.scan(table)
            kept = frame.filter(pl.col("reason").is_null()) if link.to == "row" else frame
            frames.append(kept.select(link.by))
        return collect([pl.concat(frames).unique()])[0][link.by] if frames else _EMPTY

    def _unresolved_ids(self, name: str) -> pl.Series:
        """Ids of a kind that do not resolve; a row that names its own kind is resolved in turn."""
        if name not in self._unresolved:
            kind = KINDS[name]
            found = _EMPTY
            for table in self._store.there(kind.found_in):
                bad = self.broken(self._store.scan(table), kind, itself=False)["id"]
                found = pl.concat([found, bad]).unique()
            self._unresolved[name] = self._spread(kind, found)
        return self._unresolved[name]

    def _spread(self, kind: Kind, bad: pl.Series) -> pl.Series:
        """Unresolved records, and those of the same kind that name them, however far away."""
        own = [link for link in kind.links if link.to == kind.name]
        while own and len(bad):
            frames = [
                _named(self._store.scan(table), link.column)
                .join(bad.alias("value").to_frame().lazy(), on="value", how="semi")
                .select("id")
                for link in own
                for table in self._store.there(kind.found_in)
            ]
            more = pl.concat([bad, *(frame["id"] for frame in collect(frames))]).unique()
            if len(more) == len(bad):
                break
            bad = more
        return bad

    def _displaced(self, passages: pl.LazyFrame) -> pl.LazyFrame:
        """Passages that are not the stretch of their document that they say they are."""
        if "documents" not in self._store.tables:
            return pl.LazyFrame(schema={"id": pl.String, "value": pl.String, "column": pl.String})
        documents = self._store.scan("documents").select(document_id="id", whole="text")
        stretch = pl.col("whole").str.slice(pl.col("start"), pl.col("end") - pl.col("start"))
        return (
            passages.join(documents, on="document_id")
            .filter(stretch != pl.col("text"))
            .select("id", value=pl.col("document_id"), column=pl.lit("start"))
        )

    def _without_files(self, broken: pl.DataFrame) -> pl.DataFrame:
        """Broken links but for those to files of which no table of rows is kept, and to tasks."""
        names = {name for source in FILES for name in self._store.files(source)}
        file = pl.col("value").str.replace(r"#.*$", "")
        tasks = [self._store.scan(name).select("id") for name in self._store.there([TASKS])]
        ids = collect(tasks)[0]["id"] if tasks else _EMPTY
        return broken.filter(~file.is_in(sorted(names)), ~pl.col("id").is_in(ids.implode()))


_EMPTY = pl.Series("id", [], pl.String)


def _share(store: Store, table: str, kind: Kind, resolved: _Resolved) -> Share:
    frame = store.scan(table)
    rows = collect([frame.select(pl.len())])[0].item()
    broken = resolved.broken(frame, kind)
    examples = broken.sort("id").head(_EXAMPLES).select("id", "column", "value")
    return Share(
        table, rows, rows - broken.height, tuple(Broken(*row) for row in examples.iter_rows())
    )


def _passed(store: Store, gate: Gate) -> Passed:
    entering, leaving = (store.scan(name).select("id") for name in gate[:2])
    drops = store.scan(gate.drops).select(id="record_id").join(entering, on="id", how="semi")
    lost = entering.join(leaving, on="id", how="anti").join(drops, on="id", how="anti")
    twice = pl.concat(
        [
            drops.join(leaving, on="id", how="semi"),
            drops.group_by("id").len().filter(pl.col("len") > 1).select("id"),
        ]
    )
    counts = [frame.select(pl.len()) for frame in (entering, leaving, drops)]
    first = [frame.unique().sort("id").head(_EXAMPLES) for frame in (lost, twice)]
    found = collect([*counts, *first])
    return Passed(
        gate,
        *(frame.item() for frame in found[:3]),
        *(tuple(frame["id"]) for frame in found[3:]),
    )
