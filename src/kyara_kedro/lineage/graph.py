"""What an explanation is made of: records, what joins them, and what was made of the one asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = 1
"""Version of the form of :meth:`Explanation.to_dict`, which docs/lineage.md describes."""

FORWARD = ("learned_by", "start_of", "registered_as")
"""Relations that lead away from the sources."""


@dataclass(frozen=True)
class Span:
    """A stretch of a record's text that another record rests on.

    Attributes:
        start: First character.
        end: Character after the last one.
        by: Key of the record that rests on it.
        text: The stretch itself.
        before: Some characters before it.
        after: Some characters after it.
    """

    start: int
    end: int
    by: str
    text: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Drop:
    """Why a record did not go on.

    Attributes:
        pipeline: Where, or the training stage that left it out.
        reason: The one reason.
        detail: The reason's particulars.
    """

    pipeline: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Call:
    """A teacher's call that had a part in a record.

    Attributes:
        task: What was asked.
        teacher: Who was asked.
        prompt: Version of the prompt's text.
        prompt_state: ``held``: the library still has that text; ``changed``: it has another one
            under the name; ``gone``: it has none.
        key: Key of the reply.
        reply: Its tokens, cost, latency in seconds, finish reason and time; None where no ledger
            has it.
    """

    task: str
    teacher: str
    prompt: str
    prompt_state: str
    key: str
    reply: Mapping[str, Any] | None


@dataclass
class Node:
    """A record.

    Attributes:
        kind: One of ``words.TERMS``.
        id: Its id.
        values: Its columns that are told.
        said: What it says: pairs of a speaker or column and a text.
        tables: The tables that it is in, in their order, each with its version or None.
        notes: What other tables say of it: name of the note and columns.
        drops: Why it did not go on; at most one a pipeline.
        left_out: Training stages that did not learn from it, and why.
        calls: Teachers' calls that had a part in it.
        spans: Stretches of its text that other records of the explanation rest on.
        missing: What it names and no table holds: pairs of a column and an id.
    """

    kind: str
    id: str
    values: dict[str, Any] = field(default_factory=dict)
    said: list[tuple[str, str]] = field(default_factory=list)
    tables: list[tuple[str, str | None]] = field(default_factory=list)
    notes: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    left_out: list[Drop] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)

    @property
    def key(self) -> str:
        """What names it among all kinds."""
        return f"{self.kind}/{self.id}"

    @property
    def headline(self) -> str:
        """What it is about, in one line of any length."""
        for name in ("title", "text"):
            if self.values.get(name):
                return str(self.values[name])
        spoken = [text for speaker, text in self.said if speaker != "system"]
        answers = [text for speaker, text in self.said if speaker in ("response", "output")]
        return " ".join([*answers, *spoken, ""][0].split())


@dataclass(frozen=True)
class Edge:
    """What joins two records.

    Attributes:
        source: Key of the one that is explained.
        target: Key of the one that explains it.
        relation: One of ``words.RELATIONS``.
    """

    source: str
    target: str
    relation: str


@dataclass(frozen=True)
class Group:
    """Records of one kind that were made of the one that is explained, or because of it.

    Attributes:
        kind: Their kind.
        relation: ``made_from``, ``shown``, ``called``, ``copies``, ``leaks`` or ``learned``.
        count: How many there are.
        states: How many of them are in each table that they pass through, and how many were dropped
            for each reason (``dropped: <reason>``).
        shown: Ids and headlines of the first ones.
    """

    kind: str
    relation: str
    count: int
    states: Mapping[str, int]
    shown: Sequence[tuple[str, str]]


@dataclass
class Explanation:
    """Everything that is known of one record.

    Attributes:
        root: Key of the record.
        nodes: Records by key.
        edges: What joins them, in the order in which they were found.
        made: What was made of the record.
        remarks: What could not be told, and why.
    """

    root: str
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    made: list[Group] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, node: Node) -> Node:
        """Take a record in, or give the one that is there already."""
        return self.nodes.setdefault(node.key, node)

    def join(self, source: str, target: str, relation: str) -> None:
        """Join two records, once."""
        if source != target and not any(
            (edge.source, edge.target) == (source, target) for edge in self.edges
        ):
            self.edges.append(Edge(source, target, relation))

    def after(self, key: str, *, forward: bool = False) -> list[Edge]:
        """What explains a record; or where it went."""
        return [
            edge
            for edge in self.edges
            if edge.source == key and (edge.relation in FORWARD) == forward
        ]

    @property
    def cost(self) -> float:
        """What the teachers' calls behind it cost, each counted once."""
        calls = {call.key: call.reply for node in self.nodes.values() for call in node.calls}
        return sum(float(reply["cost"]) for reply in calls.values() if reply)

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON can hold it; docs/lineage.md describes the form."""
        return {
            "schema": SCHEMA,
            "root": self.root,
            "cost": self.cost,
            "nodes": {key: _node(node) for key, node in self.nodes.items()},
            "edges": [asdict(edge) for edge in self.edges],
            "made": [
                asdict(group) | {"shown": [{"id": id_, "text": text} for id_, text in group.shown]}
                for group in self.made
            ],
            "remarks": self.remarks,
        }


def _node(node: Node) -> dict[str, Any]:
    return {
        **asdict(node),
        "headline": node.headline,
        "said": [{"by": by, "text": text} for by, text in node.said],
        "tables": [{"table": table, "version": version} for table, version in node.tables],
        "notes": [{"note": name, **told} for name, told in node.notes],
        "missing": [{"column": column, "value": value} for column, value in node.missing],
    }
