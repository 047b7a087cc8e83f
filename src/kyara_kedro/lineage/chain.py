"""The explanation of one record: what it was made from, what befell it, what was made of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.lineage.graph import Call, Drop, Explanation, Group, Node, Span
from kyara_kedro.lineage.kinds import (
    DROPS,
    FILES,
    KINDS,
    QUESTION_KEY,
    RAW,
    Kind,
    Link,
)
from kyara_kedro.lineage.models import add_model, add_uses, add_version, named_model, stages_of
from kyara_kedro.lineage.search import Found, find
from kyara_kedro.lineage.store import Ask, Store, ask, collect, values_of
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.prompts.meta import PromptError
from kyara_kedro.teachers.ledger import Ledger, StoredReply

_SHOWN = 12
"""Records listed of each kind that was made."""
_SIMILAR = 3
_AROUND = 60
"""Characters of a document that are shown on each side of a passage."""
_ID = re.compile(r"\b(?:id_[0-9a-f]{8,32}|[0-9a-f]{32})\b")
_DERIVING = "made_from"

Row = dict[str, Any]


def explain(store: Store, wanted: str, shown: int = _SHOWN) -> Explanation:
    """Explain a record, see :func:`~kyara_kedro.lineage.search.find` for how it is named.

    Args:
        store: Where everything is looked up.
        wanted: What is explained.
        shown: Records listed of each kind that was made of it.

    Raises:
        UserError: nothing has been made yet, or ``wanted`` names no record or several.
        LedgerError: a ledger cannot be read.
    """
    return _Walk(store, find(store, wanted), shown).explanation()


class _Wish(NamedTuple):
    """Records of a kind by the values of one of its columns."""

    kind: str
    by: str
    tables: tuple[str, ...]

    @property
    def column(self) -> str:
        """The column in the tables themselves."""
        return "place" if self.kind == "row" else self.by


class _Walk:
    """One walk through the tables."""

    def __init__(self, store: Store, start: Found, shown: int) -> None:
        self._store = store
        self._start = start
        self._shown = shown
        self._rows: dict[str, Row] = {}
        self._found = Explanation(f"{start.kind}/{start.id}")

    def explanation(self) -> Explanation:
        """Walk, and tell what was found."""
        found, start = self._found, self._start
        match start.kind:
            case "version":
                found.root = add_version(found, self._store, start.id).key
            case "model":
                add_model(found, self._store, start.id)
            case "reply":
                self._add_reply(start.id)
            case "dropped":
                root = found.add(Node("dropped", start.id))
                self._annotate_drops([root])
                self._up(self._because(root))
            case _:
                self._up(self._fetched({_Wish(start.kind, "id", (start.place,)): {start.id}}))
                self._up(self._cited())
                self._because(found.nodes[found.root])
                self._down(found.nodes[found.root])
        self._annotate()
        return found

    def _fetched(self, wishes: Mapping[_Wish, set[str]]) -> list[Node]:
        """Nodes of the records that are wanted, those that are new only."""
        return self._added(self._rows_of(wishes))

    def _added(self, found: Mapping[_Wish, list[tuple[str, Row]]]) -> list[Node]:
        added = (self._add(kind, row) for rows in found.values() for kind, row in rows)
        return [node for node in added if node]

    def _rows_of(self, wishes: Mapping[_Wish, set[str]]) -> dict[_Wish, list[tuple[str, Row]]]:
        asks, owners = [], []
        for wish, values in wishes.items():
            for table in self._store.there(wish.tables):
                plain = _places(values, table) if wish.kind == "row" else values
                asks.append(Ask(table, wish.column, plain))
                owners.append((wish, table))
        rows: dict[_Wish, list[tuple[str, Row]]] = {wish: [] for wish in wishes}
        for (wish, table), frame in zip(owners, ask(self._store, asks), strict=True):
            for row in frame.iter_rows(named=True):
                told = _raw_row(table, row) if wish.kind == "row" else row
                rows[wish].append((wish.kind, told))
        return rows

    def _add(self, kind: str, row: Row) -> Node | None:
        """Take in the record of a row; None when it is there already."""
        key = f"{kind}/{row['id']}"
        if key in self._found.nodes:
            return None
        self._rows[key] = row
        declared = KINDS[kind]
        values = {name: row[name] for name in declared.shown if row.get(name) not in (None, "", [])}
        said = list(_said(declared, row))
        return self._found.add(Node(kind, row["id"], values, said))

    def _up(self, nodes: Sequence[Node]) -> None:
        """Follow what records name until nothing new is named."""
        while nodes:
            new: list[Node] = []
            waiting = {
                (node.key, column): set(values_of(self._rows[node.key], column))
                for node in nodes
                for column in _columns(KINDS[node.kind])
            }
            for rank in range(max(_ranks(KINDS[node.kind]) for node in nodes)):
                new += self._step(waiting, rank)
            for (key, column), values in waiting.items():
                self._note_missing(self._found.nodes[key], column, sorted(values))
            nodes = new

    def _step(self, waiting: dict[tuple[str, str], set[str]], rank: int) -> list[Node]:
        """Find what columns name by their links of one rank; what is found waits no more."""
        wishes: dict[_Wish, set[str]] = {}
        links: dict[tuple[str, str], Link] = {}
        for (key, column), values in waiting.items():
            fitting = _columns(KINDS[self._found.nodes[key].kind])[column]
            if values and rank < len(fitting):
                links[key, column] = fitting[rank]
                wishes.setdefault(_wish(fitting[rank]), set()).update(values)
        rows = self._rows_of(wishes)
        new = self._added(rows)
        index = {wish: _by(some, wish.column) for wish, some in rows.items()}
        for (key, column), link in links.items():
            found = index[_wish(link)]
            values = waiting[key, column]
            relation = "shown" if _merely_shown(key.partition("/")[0], link) else _DERIVING
            for value in values_of(self._rows[key], column):
                for target in found.get(value, ()) if value in values else ():
                    self._found.join(key, target, relation)
            values.difference_update(found)
        return new

    def _note_missing(self, node: Node, column: str, values: Sequence[str]) -> None:
        """Note what a record names and no table holds, where it has to be there."""
        needed = any(link.needed for link in _columns(KINDS[node.kind])[column])
        for value in values if needed else ():
            if not self._from_file(node, value):
                node.missing.append((column, value))

    def _from_file(self, node: Node, place: str) -> bool:
        """Join a question to the published file that it is from, of which no rows are kept."""
        name = place.partition("#")[0]
        for source in FILES if node.kind == "benchmark_question" else ():
            if file := self._store.files(source).get(name):
                row = Node("row", f"{source}/{place}", {"file": str(file)})
                self._found.join(node.key, self._found.add(row).key, _DERIVING)
                return True
        return node.kind == "benchmark_question" and bool(
            ask(self._store, [Ask("harness_questions", "id", [node.id], ("id",))])[0].height
        )

    def _cited(self) -> list[Node]:
        """Add the passages that candidate responses cite; gives those that are new."""
        cited = {
            node.key: set(_ID.findall(self._rows[node.key]["response"]))
            for node in self._found.nodes.values()
            if node.kind == "candidate"
        }
        wish = _home("passage")._replace(by="passage_id")
        rows = self._rows_of({wish: set().union(*cited.values())})
        new = self._added(rows)
        index = _by(rows[wish], wish.by)
        for key, names in cited.items():
            for target in (one for name in sorted(names) for one in index.get(name, ())):
                self._found.join(key, target, "shown")
        return new

    def _because(self, root: Node) -> list[Node]:
        """Add what caused a record's drop: the ids that its reason and its notes name.

        Returns:
            Those that are new.
        """
        if root.kind != "dropped":
            self._annotate_drops([root])
            self._annotate_notes([root])
        details = " ".join(drop.detail for drop in root.drops)
        named = set(_ID.findall(details)) - {root.id}
        named |= {str(note["kept_id"]) for _, note in root.notes if "kept_id" in note}
        items = {
            f"{n['benchmark']}/{n['item_id']}" for kind, n in root.notes if kind == "contamination"
        }
        wishes = {_home(kind): named for kind in KINDS if kind != "row"}
        wishes[_home("passage")._replace(by="passage_id")] = named
        for kind in ("benchmark_question", "protected_text"):
            wishes[_home(kind)._replace(by=QUESTION_KEY)] = items
        wishes[_home("row")] = set(_dropped_places(root))
        nodes = self._fetched(wishes)
        for node in nodes:
            self._found.join(root.key, node.key, "because_of")
        return nodes

    def _add_reply(self, key: str) -> None:
        """Add a teacher's reply, and what was made of it."""
        reply = _replies(self._store, [key])[key]
        told = {name: value for name, value in asdict(reply).items() if value not in ("", None)}
        text = told.pop("text", "")
        told.pop("request_id"), told.pop("top_logprobs", None)
        told["prompt_state"] = _prompt_state(self._store.prompts, reply.prompt_version)
        self._found.add(Node("reply", key, told, [("assistant", text)] if text else []))
        calling = pl.col("calls").list.eval(pl.element().struct.field("key") == key).list.any()
        for kind in KINDS.values():
            frames = [
                frame.filter(calling).select("id")
                for table in self._store.there(kind.found_in)
                if "calls" in (frame := self._store.scan(table)).collect_schema()
            ]
            ids = {name for frame in collect(frames) for name in frame["id"]}
            self._group(kind.name, "called", ids)

    def _down(self, root: Node) -> None:
        """Count and list what was made of a record, step by step."""
        front: dict[str, set[str]] = {root.kind: {root.id}}
        seen: dict[str, set[str]] = {root.kind: {root.id}}
        shown: dict[str, set[str]] = {}
        while front:
            following: dict[str, set[str]] = {}
            for kind, link, ids in self._made_of(front):
                target = shown if _merely_shown(kind, link) else following
                target.setdefault(kind, set()).update(ids)
            front = {
                kind: new for kind, ids in following.items() if (new := ids - seen.get(kind, set()))
            }
            for kind, ids in front.items():
                seen.setdefault(kind, set()).update(ids)
        seen[root.kind].discard(root.id)
        for kind in KINDS:
            self._group(kind, _DERIVING, seen.get(kind, set()))
            self._group(kind, "shown", shown.get(kind, set()) - seen.get(kind, set()))
        self._consequences(root)

    def _made_of(self, front: Mapping[str, set[str]]) -> Iterator[tuple[str, Link, set[str]]]:
        """What names the records of a front: kinds, the links by which they do, and ids."""
        values: dict[tuple[str, str], set[str]] = {}
        asks, owners = [], []
        for kind in KINDS.values():
            for link in kind.links:
                if link.to not in front:
                    continue
                named = values.setdefault((link.to, link.by), self._called(link, front[link.to]))
                if link.to == "row" and not self._is_in(link, front["row"]):
                    continue
                for table in self._store.there(kind.found_in):
                    asks.append(Ask(table, link.column, named, ("id",)))
                    owners.append((kind.name, link))
        for (name, link), frame in zip(owners, ask(self._store, asks), strict=True):
            if frame.height:
                yield name, link, set(frame["id"])

    def _is_in(self, link: Link, rows: set[str]) -> bool:
        sources = {RAW[table].source for table in link.tables}
        return any(row.partition("/")[0] in sources for row in rows)

    def _called(self, link: Link, ids: set[str]) -> set[str]:
        """What a link calls the records of some ids."""
        if link.to == "row":
            return {row.partition("/")[2] for row in ids}
        if link.by == "id":
            return ids
        asks = [
            Ask(table, "id", ids, (link.by,))
            for table in self._store.there(KINDS[link.to].found_in)
        ]
        return {value for frame in ask(self._store, asks) for value in frame[link.by]}

    def _consequences(self, root: Node) -> None:
        """What befell other records because of this one."""
        if root.kind == "conversation":
            (copies,) = ask(self._store, [Ask("duplicates", "kept_id", [root.id], ("removed_id",))])
            self._group(
                "conversation", "copies", set(copies["removed_id"]) if copies.width else set()
            )
        if root.kind in ("benchmark_question", "protected_text"):
            item = f"{root.values['benchmark']}/{root.values['item_id']}"
            tables = {
                "conversation": "contamination",
                "preference": "preference_contamination",
            }
            for kind, table in tables.items():
                (leaks,) = ask(self._store, [Ask(table, QUESTION_KEY, [item], ("record_id",))])
                self._group(kind, "leaks", set(leaks["record_id"]) if leaks.width else set())

    def _group(self, kind: str, relation: str, ids: set[str]) -> None:
        """Note how many records of a kind, in which tables, dropped for what, and the first."""
        if not ids:
            return
        asks = [Ask(table, "id", ids, ("id",)) for table in self._store.there(KINDS[kind].tables)]
        frames = ask(self._store, asks)
        states = {
            one.table: frame["id"].n_unique() for one, frame in zip(asks, frames, strict=True)
        }
        for table, _, reason, _ in self._drops(ids):
            if table != "train_drops":
                states[f"dropped: {reason}"] = states.get(f"dropped: {reason}", 0) + 1
        first = sorted(ids)[: self._shown]
        told: dict[str, str] = {}
        for _, row in chain(*self._rows_of({_home(kind): set(first)}).values()):
            node = Node(kind, row["id"], {n: row.get(n) for n in ("title",)})
            node.said = list(_said(KINDS[kind], row))
            told.setdefault(row["id"], node.headline[:200])
        shown = [(name, told.get(name, "")) for name in first]
        states = {name: count for name, count in states.items() if count}
        self._found.made.append(Group(kind, relation, len(ids), states, shown))

    def _annotate(self) -> None:
        """Say of every record what other tables say of it."""
        nodes = list(self._found.nodes.values())
        stored = [node for node in nodes if node.kind in KINDS]
        self._annotate_drops(stored)
        self._annotate_notes(stored)
        self._annotate_tables(stored)
        self._annotate_calls(stored)
        self._annotate_spans(stored)
        self._annotate_judging(stored)
        self._annotate_uses(stored)
        for node in nodes:
            if node.kind == "row" and "file" not in node.values:
                source, _, place = node.id.partition("/")
                if file := self._store.files(source).get(re.sub(r"#[^#]*$", "", place)):
                    node.values["file"] = str(file)

    def _drops(self, ids: Iterable[str]) -> Iterator[tuple[str, str, str, Drop]]:
        """Table, record, reason and drop of those of some ids that were dropped."""
        columns = ("record_id", "pipeline", "reason", "detail")
        asks = [Ask(table, "record_id", set(ids), columns) for table in self._store.there(DROPS)]
        for one, frame in zip(asks, ask(self._store, asks), strict=True):
            for record, pipeline, reason, detail in frame.iter_rows():
                yield one.table, record, reason, Drop(pipeline, reason, detail)

    def _annotate_drops(self, nodes: Sequence[Node]) -> None:
        owners = {node.id: node for node in nodes}
        owners |= {name: node for node in nodes for name in _row_drop_ids(node)}
        stages = {
            content_id(stage.name, node.id): (stage.name, node)
            for node in nodes
            for stage in stages_of(node.kind)
        }
        for _, record, _, drop in self._drops([*owners, *stages]):
            if record in stages:
                name, node = stages[record]
                detail = drop.detail.replace(f"{name} stage, record {node.id}", "").strip()
                told, kept = Drop(name, drop.reason, detail), node.left_out
            else:
                told, kept = drop, owners[record].drops
            if told not in kept:
                kept.append(told)

    def _annotate_notes(self, nodes: Sequence[Node]) -> None:
        asks, owners = [], []
        for kind in dict.fromkeys(node.kind for node in nodes):
            some = [node for node in nodes if node.kind == kind and not node.notes]
            for note in KINDS[kind].notes:
                keys = [(self._rows[node.key].get(note.by), node) for node in some]
                by = {str(key): node for key, node in keys if key is not None}
                asks.append(Ask(note.table, note.column, list(by), (note.column, *note.shown)))
                owners.append((note, by))
        for (note, by), frame in zip(owners, ask(self._store, asks), strict=True):
            for row in frame.iter_rows(named=True):
                told = {n: row[n] for n in note.shown if row[n] not in (None, "", [])}
                by[row[note.column]].notes.append((note.name, told))

    def _annotate_tables(self, nodes: Sequence[Node]) -> None:
        asks, kinds = [], []
        for kind in dict.fromkeys(node.kind for node in nodes if node.kind != "row"):
            ids = {node.id for node in nodes if node.kind == kind}
            for table in self._store.there(KINDS[kind].tables):
                asks.append(Ask(table, "id", ids, ("id",)))
                kinds.append(kind)
        for kind, one, frame in zip(kinds, asks, ask(self._store, asks), strict=True):
            for name in frame["id"].unique(maintain_order=True) if frame.width else ():
                version = self._store.tables[one.table].version
                self._found.nodes[f"{kind}/{name}"].tables.append((one.table, version))

    def _annotate_calls(self, nodes: Sequence[Node]) -> None:
        calls = {
            node.key: self._rows[node.key].get("calls") or []
            for node in nodes
            if node.key in self._rows
        }
        replies = _replies(self._store, [call["key"] for some in calls.values() for call in some])
        for key, some in calls.items():
            self._found.nodes[key].calls = [
                Call(
                    call["task"],
                    call["teacher"],
                    call["prompt_version"],
                    _prompt_state(self._store.prompts, call["prompt_version"]),
                    call["key"],
                    _billed(replies[call["key"]]) if call["key"] in replies else None,
                )
                for call in some
            ]

    def _annotate_spans(self, nodes: Sequence[Node]) -> None:
        """Mark the stretches that records rest on: of documents and of passages."""
        for edge in self._found.edges:
            row, whole = self._rows.get(edge.source), self._rows.get(edge.target)
            node = self._found.nodes[edge.target]
            if row is None or whole is None:
                continue
            if edge.target.startswith("document/") and edge.source.startswith("passage/"):
                node.spans.append(_span(whole["text"], row["start"], row["end"], edge.source))
            elif edge.target.startswith("passage/") and row.get("evidence"):
                place = whole["text"].find(row["evidence"])
                if place >= 0:
                    end = place + len(row["evidence"])
                    node.spans.append(_span(whole["text"], place, end, edge.source))

    def _annotate_judging(self, nodes: Sequence[Node]) -> None:
        """Add the verdicts on a pair's answers in both orders, and a conversation's neighbours."""
        for node in nodes:
            if node.kind == "preference":
                parents = self._rows[node.key]["parents"]
                (frame,) = ask(self._store, [Ask("verdicts", "first_id", parents)])
                for row in frame.iter_rows(named=True):
                    if row["second_id"] in parents:
                        names = ("id", *KINDS["verdict"].shown, "reason")
                        told = {n: row[n] for n in names if row[n] not in (None, "")}
                        node.notes.append(("verdict", told))
            elif node.kind == "conversation" and node.key == self._found.root:
                node.notes += [("similar", pair) for pair in self._neighbours(node.id)]
            elif node.kind in ("model_output", "benchmark_item"):
                name = named_model(self._store, str(node.values["model"]))
                if name and add_model(self._found, self._store, name):
                    self._found.join(node.key, f"model/{name}", "answered_by")

    def _neighbours(self, name: str) -> list[Row]:
        asks = [
            Ask(table, side, [name])
            for table in ("lexical_pairs", "semantic_pairs")
            for side in ("first_id", "second_id")
        ]
        pairs = [row for frame in ask(self._store, asks) for row in frame.iter_rows(named=True)]
        pairs.sort(key=lambda pair: (-pair["similarity"], pair["id"]))
        told = [
            {
                "other_id": pair["second_id"] if pair["first_id"] == name else pair["first_id"],
                "method": pair["method"],
                "similarity": pair["similarity"],
            }
            for pair in pairs[:_SIMILAR]
        ]
        others = [pair["other_id"] for pair in told]
        (kept,) = ask(self._store, [Ask("base_conversations", "id", others, ("id",))])
        there = set(kept["id"]) if kept.width else set()
        return [pair | {"kept": pair["other_id"] in there} for pair in told]

    def _annotate_uses(self, nodes: Sequence[Node]) -> None:
        """Lead from the record asked for to the models that learned from it."""
        root = self._found.nodes[self._found.root]
        for stage in stages_of(root.kind):
            (chosen,) = ask(self._store, [Ask(stage.tokens, "id", [root.id], ("id", "held_out"))])
            for _, held_out in chosen.iter_rows():
                role = "validation" if held_out else "learned"
                root.notes.append(("stage", {"stage": stage.name, "role": role}))
                if not held_out:
                    add_uses(self._found, self._store, root.key, stage)


def _home(kind: str) -> _Wish:
    return _Wish(kind, "id", KINDS[kind].found_in)


def _wish(link: Link) -> _Wish:
    return _Wish(link.to, link.by, link.tables or KINDS[link.to].found_in)


@cache
def _columns(kind: Kind) -> Mapping[str, list[Link]]:
    """The links of a kind by their columns, in their order."""
    found: dict[str, list[Link]] = {}
    for link in kind.links:
        found.setdefault(link.column, []).append(link)
    return found


def _ranks(kind: Kind) -> int:
    """How many links a column has at most."""
    return max(map(len, _columns(kind).values()), default=0)


def _places(values: Iterable[str], table: str) -> set[str]:
    """Places of a table among those that are wanted, with or without the input's name."""
    source = f"{RAW[table].source}/"
    return {value.removeprefix(source) for value in values}


def _raw_row(table: str, row: Row) -> Row:
    kept = {name: row[name] for name in ("place", "reason", "detail")}
    return kept | {"id": f"{RAW[table].source}/{row['place']}", "record_id": row["id"]}


def _by(rows: Iterable[tuple[str, Row]], column: str) -> dict[str, list[str]]:
    """Keys of records by what a column holds."""
    found: dict[str, list[str]] = {}
    for kind, row in rows:
        found.setdefault(row[column], []).append(f"{kind}/{row['id']}")
    return found


def _said(kind: Kind, row: Row) -> Iterator[tuple[str, str]]:
    """What a record says: speakers and their turns, columns and their texts."""
    for column in kind.texts:
        value = row.get(column)
        if isinstance(value, list):
            yield from ((turn["role"], turn["content"]) for turn in value)
        elif value and not (kind.name == "document" and column == "text"):
            yield column, value


def _merely_shown(kind: str, link: Link) -> bool:
    return kind == "conversation" and link.column == "passage_ids"


def _row_drop_ids(node: Node) -> Iterator[str]:
    """Ids under which ingest drops a raw row."""
    if node.kind == "row":
        source, _, place = node.id.partition("/")
        for read in RAW.values():
            if read.source == source:
                yield content_id("row", read.record, place)


def _dropped_places(root: Node) -> Iterator[str]:
    """Raw rows that a drop of ingest, or its detail, speaks of."""
    for drop in root.drops:
        place, _, detail = drop.detail.partition(": ")
        while detail:
            for read in RAW.values():
                if content_id("row", read.record, place) == root.id:
                    yield f"{read.source}/{place}"
            more, _, detail = detail.partition(": ")
            place = f"{place}: {more}"
        if "same content as " in drop.detail and drop.pipeline == "ingest":
            yield drop.detail.rpartition("same content as ")[2]


def _replies(store: Store, keys: Sequence[str]) -> dict[str, StoredReply]:
    """Replies by key, of all ledgers."""
    found: dict[str, StoredReply] = {}
    for path in store.ledgers if keys else ():
        with Ledger(path, read_only=True) as ledger:
            found |= ledger.get_many(keys)
    return found


def _billed(reply: StoredReply) -> dict[str, Any]:
    names = (
        *("prompt_tokens", "cached_tokens", "completion_tokens", "cost", "latency"),
        *("finish_reason", "served_by", "received_at"),
    )
    return {name: getattr(reply, name) for name in names}


def _prompt_state(library: PromptLibrary, version: str) -> str:
    """Whether the library still holds the text that a version names: held, changed or gone."""
    name, _, sha = version.rpartition("@")
    try:
        return "held" if library.template(name).sha == sha else "changed"
    except PromptError:
        return "gone"


def _span(text: str, start: int, end: int, by: str) -> Span:
    before, after = text[max(0, start - _AROUND) : start], text[end : end + _AROUND]
    return Span(start, end, by, text[start:end], before, after)
