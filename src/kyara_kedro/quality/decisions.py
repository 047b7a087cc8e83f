"""What reviewers decided, and what it does to the corpus.

A decision is about a text: it names a record by the hash of its content, so it does not apply once
that text is another. Of several decisions about one record the latest counts. An edited text is a
record of its own, about which there may be decisions again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.content import Message, content_id
from kyara_kedro.records import CONVERSATION, DECISION, DECISIONS
from kyara_kedro.text.length import estimate_tokens
from kyara_kedro.text.normalise import normalise
from kyara_kedro.text.script import language_of

_QUOTED = 60
_SAID = ("record_id", "decision", "messages", "reason", "reviewer", "decided_at")
_SHAPE = tuple(rule for rule in CONVERSATION.rules if rule.column == "messages")

Row = dict[str, Any]


class Reviewed(NamedTuple):
    """A corpus after its decisions.

    Attributes:
        decisions: Every line that was read with what came of it, a table of ``records.DECISION``.
        conversations: The corpus without what was edited, then the edited texts; as many rows as
            before.
        edited: The edited texts alone.
    """

    decisions: pl.DataFrame
    conversations: pl.LazyFrame
    edited: pl.DataFrame


class _Malformed(ValueError):
    """A line that is no decision."""


def parse(lines: Iterable[tuple[str, str]]) -> list[Row]:
    """Read decisions from lines of JSON.

    Args:
        lines: Where each line stands, and the line.

    Returns:
        Rows in the columns of ``records.DECISION``; those of lines that are no decision say in
        ``detail`` what is wrong. Times are in UTC.
    """
    rows = []
    for origin, line in lines:
        row: Row = dict.fromkeys(DECISION.columns) | {"id": content_id("decision", origin)}
        row |= {"origin": origin, "status": "stale", "detail": ""}
        try:
            row |= _read(line)
        except _Malformed as fault:
            row |= {"status": "invalid", "detail": str(fault)}
        rows.append(row)
    _check_shapes([row for row in rows if row["messages"]])
    return rows


def _check_shapes(edits: list[Row]) -> None:
    """Mark edits whose turns are no conversation as invalid."""
    shapes = pl.DataFrame(
        {
            "messages": [
                [turn | {"content": normalise(turn["content"])} for turn in row["messages"]]
                for row in edits
            ]
        },
        schema={"messages": CONVERSATION.columns["messages"]},
    )
    for rule in reversed(_SHAPE):
        for row, holds in zip(edits, shapes.select(rule.holds).to_series(), strict=True):
            if not holds:
                row |= {"messages": None, "decision": None, "status": "invalid"}
                row["detail"] = f"messages must {rule.text}"


def _read(line: str) -> Row:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise _Malformed("not a line of JSON") from None
    if not isinstance(found, dict):
        raise _Malformed("not a JSON object")
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _Malformed("holds half a character (a lone surrogate)") from None
    if (decision := found.get("decision")) not in DECISIONS:
        raise _Malformed(f"decision {_quoted(decision)}: use one of {', '.join(DECISIONS)}")
    if not _text(found, "record_id"):
        raise _Malformed("record_id is missing")
    return {
        "record_id": found["record_id"],
        "decision": decision,
        "messages": _turns(found.get("messages")) if decision == "edit" else None,
        **{name: _text(found, name) for name in ("reason", "reviewer", "page")},
        "decided_at": _time(_text(found, "decided_at")),
    }


def _text(found: Mapping[str, Any], name: str) -> str | None:
    value = found.get(name)
    if value is not None and not isinstance(value, str):
        raise _Malformed(f"{name} {_quoted(value)} must be text")
    return value


def _time(value: str | None) -> str:
    try:
        time = datetime.fromisoformat(value or "")
        if time.tzinfo is None:
            raise ValueError
        return time.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        raise _Malformed(
            f"decided_at {_quoted(value)}: use a time with its zone, as 2026-11-29T08:00:00Z"
        ) from None


def _turns(found: Any) -> list[Message]:
    """The turns of an edited conversation, in whatever order."""
    try:
        turns = [Message(role=turn["role"], content=turn["content"]) for turn in found]
    except (TypeError, KeyError):
        turns = []
    if not turns or not all(isinstance(text, str) for turn in turns for text in turn.values()):
        raise _Malformed("messages must be a list of {role, content}")
    return turns


def _quoted(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _QUOTED else shown[:_QUOTED] + "…"


def decide(conversations: pl.LazyFrame, rows: Iterable[Row]) -> Reviewed:
    """Apply decisions to a corpus.

    Edited turns are normalised as those of files are; an edited conversation gets the id of its
    text, its former id as parent, and its rounds, tokens and language counted anew. One that was
    edited into the text of another stays as it is, and ``overrides`` rejects it.

    Args:
        conversations: A table of ``records.CONVERSATION``; of its texts, only those that are
            decided about come into memory.
        rows: What ``parse`` made of the lines, in their order.
    """
    decisions = [dict(row) for row in rows]
    latest = _latest(decisions)
    wanted = conversations.filter(pl.col("id").is_in(list(latest)))
    decided = wanted.collect(engine="streaming").sort("id")
    edited: dict[str, Row] = {}
    for row in decided.iter_rows(named=True):
        new = _followed(row, latest)
        if new["id"] != row["id"]:
            edited.setdefault(new["id"], new | {"parents": [row["id"]]})
    known = conversations.select("id").filter(pl.col("id").is_in(list(edited))).collect()["id"]
    there = set(known)
    texts = CONVERSATION.frame(row for name, row in edited.items() if name not in there).sort("id")
    replaced = texts["parents"].list.first().to_list()
    kept = conversations.filter(~pl.col("id").is_in(replaced))
    return Reviewed(DECISION.frame(decisions), pl.concat([kept, texts.lazy()]), texts)


def without(rows: Iterable[Row], decided: pl.DataFrame, leaks: Mapping[str, str]) -> list[Row]:
    """Make edits invalid whose text must not be trained on: of each text the latest one.

    Args:
        rows: What ``parse`` made of the lines.
        decided: What ``decide`` made of these.
        leaks: Ids of edited texts, and what each holds of a benchmark.
    """
    edits = (
        decided.filter(pl.col("decision") == "edit", pl.col("outcome_id").is_in(list(leaks)))
        .sort("decided_at", "id")
        .unique("outcome_id", keep="last", maintain_order=True)
    )
    told = dict(edits.select("id", "outcome_id").iter_rows())
    return [
        row | {"status": "invalid", "detail": f"the edited text leaks {leaks[told[row['id']]]}"}
        if row["id"] in told
        else row
        for row in rows
    ]


def _latest(decisions: list[Row]) -> dict[str, Row]:
    """The decision that counts for each record; the others are told by it."""
    latest: dict[str, Row] = {}
    valid = (row for row in decisions if row["status"] != "invalid")
    for row in sorted(valid, key=lambda row: row["decided_at"]):
        row["detail"] = f"no conversation {row['record_id']}: its text changed, or it was dropped"
        earlier = latest.get(row["record_id"])
        if earlier and all(earlier[name] == row[name] for name in _SAID):
            row |= {"status": "repeated", "detail": f"the same as {earlier['origin']}"}
            continue
        if earlier:
            earlier |= {"status": "superseded", "detail": f"by {row['origin']}"}
        latest[row["record_id"]] = row
    return latest


def _followed(row: Row, latest: Mapping[str, Row]) -> Row:
    """A conversation after the decisions about it, and about what it was edited into."""
    path: dict[str, Row] = {}
    while row["id"] in latest and row["id"] not in path:
        decision = path[row["id"]] = latest[row["id"]]
        if decision["decision"] == "edit":
            row = _edited(row, decision["messages"])
    *earlier, last = path.values()
    for decision in earlier:
        decision |= {"status": "followed", "outcome_id": row["id"], "detail": last["origin"]}
    last |= {"status": "applies", "outcome_id": row["id"], "detail": ""}
    return row


def _edited(row: Row, messages: Iterable[Message]) -> Row:
    before = {turn["content"] for turn in row["messages"]}
    turns = [
        turn
        if turn["content"] in before
        else Message(role=turn["role"], content=normalise(turn["content"]))
        for turn in messages
    ]
    return row | {
        "id": content_id("conversation", row["source"], turns),
        "messages": turns,
        "language": language_of(" ".join(turn["content"] for turn in turns)),
        "rounds": sum(turn["role"] == "user" for turn in turns),
        "tokens": sum(estimate_tokens(turn["content"]) for turn in turns),
    }


def overrides(decisions: pl.DataFrame) -> tuple[list[str], dict[str, str]]:
    """What decisions say about the selection.

    Args:
        decisions: A table of ``records.DECISION``.

    Returns:
        The ids that are accepted, edited ones among them, and those that are rejected, with who
        did so and why.
    """
    counting = (
        decisions.filter(pl.col("status") == "applies")
        .sort("decided_at", "id")
        .unique("outcome_id", keep="last", maintain_order=True)
        .sort("outcome_id")
    )
    accepted = counting.filter(pl.col("decision") != "reject")["outcome_id"].to_list()
    copies = decisions.filter(
        pl.col("decision") == "edit",
        pl.col("outcome_id") != pl.col("record_id"),
        ~pl.col("record_id").is_in(accepted),
    ).select("record_id", "edited into the text of " + pl.col("outcome_id"))
    said = pl.concat_str(
        pl.col("reviewer").replace("", None).fill_null("a reviewer"),
        pl.lit(", "),
        pl.col("decided_at").str.head(10),
        pl.when(pl.col("reason") != "").then(": " + pl.col("reason")).otherwise(pl.lit("")),
    )
    rejected = counting.filter(pl.col("decision") == "reject").select("outcome_id", said)
    return accepted, {**dict(copies.iter_rows()), **dict(rejected.iter_rows())}
