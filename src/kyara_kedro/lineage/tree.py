"""An explanation as a tree for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from kyara_kedro.lineage.audit import Audit
from kyara_kedro.lineage.graph import Call, Drop, Explanation, Group, Node
from kyara_kedro.lineage.words import MADE, NOTES, RELATIONS, TERMS, column
from kyara_kedro.reporting.lineage_page import told
from kyara_kedro.reporting.pages import legible
from kyara_kedro.reporting.terminal import aligned, clipped, display_width, wrapped

_ID_SHOWN = 12
_LONGEST = 2_000
"""Characters of a text that are shown."""
_QUOTED = 400
"""Columns of a quotation from a document."""
_TONES: Mapping[str, Mapping[str, Any]] = {
    "name": {"bold": True},
    "bad": {"fg": "red"},
    "good": {"fg": "green"},
    "soft": {"dim": True},
    "": {},
}
_PROMPTS = {"held": "✓", "changed": "≠", "gone": "✗"}


@dataclass
class _Branch:
    """A line of the tree and what hangs from it.

    Attributes:
        text: The line.
        tone: How it is coloured on a terminal.
        long: Whether it is wrapped instead of cut.
        under: What hangs from it.
    """

    text: str
    tone: str = ""
    long: bool = False
    under: list[_Branch] = field(default_factory=list)


def tree(found: Explanation, width: int) -> str:
    """Draw an explanation.

    Args:
        found: What is explained.
        width: Columns of the terminal; lines are cut or wrapped to them.

    Returns:
        Lines with colours, which ``click.echo`` leaves out where there is no terminal.
    """
    root = found.nodes[found.root]
    trunk = _Branch(_title(root, whole=True), "name", under=list(_own(root)))
    trunk.under += _joined(found, root, {root.key}, forward=False)
    trunk.under += _joined(found, root, {root.key}, forward=True)
    trunk.under += [_group(group) for group in found.made]
    trunk.under += [_Branch(f"⚠ {remark}", "bad", long=True) for remark in found.remarks]
    return "\n".join(_drawn(trunk, "", "", width))


def audit_table(audit: Audit) -> str:
    """The shares and gates of whole tables, and what does not hold."""
    shares = [
        (
            share.table,
            f"{share.rows:,}",
            f"{share.resolved / share.rows if share.rows else 1:.2%}",
            "" if share.rows == share.resolved else "✗",
        )
        for share in audit.shares
    ]
    gates = [
        (
            f"{passed.gate.entering} → {passed.gate.leaving}",
            *(f"{number:,}" for number in (passed.entered, passed.left, passed.dropped)),
            "✗" if passed.lost or passed.twice else "",
        )
        for passed in audit.gates
    ]
    parts = [aligned([("資料表 table", "筆數 rows", "可追溯 resolve", ""), *shares])]
    if gates:
        parts.append(aligned([("關卡 gate", "進 in", "出 out", "淘汰 dropped", ""), *gates]))
    return "\n\n".join([*parts, *_faults(audit)])


def _faults(audit: Audit) -> Iterator[str]:
    for share in audit.shares:
        for broken in share.broken:
            named = f"{broken.column} {broken.value or '(空 nothing)'}"
            yield f"✗ {share.table} {broken.id}: {named} 查無 not found"
    for passed in audit.gates:
        for name in passed.lost:
            yield f"✗ {passed.gate.entering} {name}: 沒有下文也沒有原因 gone without a reason"
        for name in passed.twice:
            yield f"✗ {passed.gate.entering} {name}: 原因不只一個 more than one fate"


def _drawn(branch: _Branch, first: str, rest: str, width: int) -> Iterator[str]:
    stem = f"{rest}{'│  ' if branch.under else '   '}" if first else ""
    room = max(width - display_width(stem if branch.long else first), 20)
    text = legible(" ".join(branch.text.split()), _LONGEST)
    lines = wrapped(text, room) if branch.long else [clipped(text, room)]
    for number, line in enumerate(lines):
        yield (first if number == 0 else stem) + click.style(line, **_TONES[branch.tone])
    for number, below in enumerate(branch.under):
        last = number == len(branch.under) - 1
        yield from _drawn(
            below, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "), width
        )


def _title(node: Node, *, whole: bool = False) -> str:
    name = node.id if whole or node.kind in ("row", "table", "version") else node.id[:_ID_SHOWN]
    name = str(node.values.get("passage_id", name))
    stage = node.values.get("stage") if node.kind == "model" else None
    parts = [str(TERMS[node.kind]), *([stage] if stage else []), name]
    if node.kind == "version":
        parts += node.values["aliases"]
    return " ".join(parts)


def _own(node: Node) -> Iterator[_Branch]:
    """Everything about the record itself."""
    for by, text in node.said:
        yield _Branch(f"{column(by)}: {text}", long=True)
    if line := _told(node.values, without=("evidence", "reasons", "scores", "aliases")):
        yield _Branch(line, long=True)
    yield from _details(node)
    if scores := node.values.get("scores"):
        yield _Branch(f"成績 scores: {_told(scores)}", long=True)
    if node.tables:
        path = " → ".join(
            f"{table}{f'@{version}' if version else ''}" for table, version in node.tables
        )
        yield _Branch(f"經過 path: {path}", long=True)
    yield from (_dropped(drop) for drop in node.drops)
    yield from (_left_out(drop) for drop in node.left_out)
    for name, note in node.notes:
        yield _Branch(f"{NOTES[name]}: {_noted(note)}", long=True)
    if node.calls:
        yield _calls(node)


def _details(node: Node) -> Iterator[_Branch]:
    """Spans, evidence and reasons, a line each."""
    for span in node.spans if node.kind == "document" else ():
        place = f"字元 characters {span.start:,}–{span.end:,}"
        yield _Branch(f"{place}: {clipped(span.text, _QUOTED)}", "good", long=True)
    if evidence := node.values.get("evidence"):
        yield _Branch(f"依據 evidence: 「{evidence}」", "good", long=True)
    for reason in node.values.get("reasons", ()):
        yield _Branch(f"關卡 gate: {reason}", long=True)
    for name, value in node.missing:
        yield _Branch(f"✗ {column(name)} {value}: 查無 not found", "bad")


def _dropped(drop: Drop) -> _Branch:
    why = f"{drop.reason}（{drop.pipeline}）{drop.detail}"
    return _Branch(f"✗ 未留用 dropped: {why}", "bad", long=True)


def _left_out(drop: Drop) -> _Branch:
    return _Branch(
        f"– {drop.pipeline} 未學 not learned: {drop.reason} {drop.detail}", "soft", long=True
    )


def _calls(node: Node) -> _Branch:
    paid = sum(float(call.reply["cost"]) for call in node.calls if call.reply)
    held = sum(call.reply is not None for call in node.calls)
    head = f"教師呼叫 calls: {len(node.calls)}，帳本 in the ledger {held}，費用 cost {paid:.4f}"
    return _Branch(head, under=[_Branch(_call(call)) for call in node.calls])


def _call(call: Call) -> str:
    parts = [call.teacher, f"{call.prompt} {_PROMPTS[call.prompt_state]}"]
    if call.reply:
        tokens = f"{call.reply['prompt_tokens']:,}+{call.reply['completion_tokens']:,} tokens"
        parts += [
            tokens,
            f"{call.reply['cost']:.4f}",
            f"{call.reply['latency']:.1f} s",
            str(call.reply["finish_reason"]),
        ]
    return f"{call.task}: {' · '.join(parts)} [{call.key[:_ID_SHOWN]}]"


def _joined(found: Explanation, node: Node, seen: set[str], *, forward: bool) -> list[_Branch]:
    """What a record rests on, or where it went; what is drawn already is only named again."""
    branches = []
    for edge in found.after(node.key, forward=forward):
        other = found.nodes[edge.target]
        text = f"{RELATIONS[edge.relation]}: {_title(other)}"
        if other.key in seen:
            branches.append(_Branch(f"{text} （同上 see above）", "soft"))
            continue
        seen.add(other.key)
        headline = other.headline
        under = [*([_Branch(f"「{headline}」")] if headline else []), *_brief(other)]
        under += _joined(found, other, seen, forward=forward)
        branches.append(_Branch(text, under=under))
    return branches


def _brief(node: Node) -> Iterator[_Branch]:
    """The few lines about a record that another one rests on."""
    if line := _told(
        node.values, without=("evidence", "reasons", "scores", "aliases", "title", "answer")
    ):
        yield _Branch(line, "soft", long=node.kind == "table")
    yield from _details(node)
    yield from (_dropped(drop) for drop in node.drops)


def _group(group: Group) -> _Branch:
    states = " · ".join(f"{name} {count:,}" for name, count in group.states.items())
    head = f"{MADE[group.relation]}: {TERMS[group.kind]} {group.count:,}"
    under = [_Branch(states, "soft", long=True)] if states else []
    under += [_Branch(f"{name[:_ID_SHOWN]}  {text}") for name, text in group.shown]
    if group.count > len(group.shown):
        under.append(_Branch(f"… 還有 {group.count - len(group.shown):,} 筆 more", "soft"))
    return _Branch(head, under=under)


def _told(values: Mapping[str, Any], without: Sequence[str] = ()) -> str:
    return " · ".join(
        f"{column(name)} {told(value)}"
        for name, value in values.items()
        if name not in without and value not in (None, "", [], {})
    )


def _noted(note: Mapping[str, Any]) -> str:
    """The columns of a note: the most telling one without its name, none that repeats another."""
    (_, first), *others = note.items()
    rest = _told({name: value for name, value in others if value != first})
    return f"{told(first)}{f' · {rest}' if rest else ''}"
