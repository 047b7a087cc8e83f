"""Small sets of tables as a run leaves them, made of a list of what came from what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.lineage.kinds import RAW
from kyara_kedro.lineage.store import Store, Table
from kyara_kedro.records import (
    CANDIDATE,
    CONTAMINATION,
    CONVERSATION,
    DOCUMENT,
    DROP,
    DUPLICATE,
    GENERATION,
    PASSAGE,
    PREFERENCE,
    QUESTION,
    Record,
)

TEXT = "玉山是臺灣最高的山，主峰海拔3,952公尺。雪山是第二高的山，主峰海拔3,886公尺。"
PROMPT = "answer_question/zh-TW"
_RECORDS: Mapping[str, Record] = {
    "documents": DOCUMENT,
    "passages": PASSAGE,
    "questions": QUESTION,
    "open_conversations": CONVERSATION,
    "synthetic_conversations": CONVERSATION,
    "pooled_conversations": CONVERSATION,
    "base_conversations": CONVERSATION,
    "reviewed_conversations": CONVERSATION,
    "refined_conversations": CONVERSATION,
    "self_play_generations": GENERATION,
    "candidate_responses": CANDIDATE,
    "pooled_preferences": PREFERENCE,
    "preferences": PREFERENCE,
    "dedup_drops": DROP,
    "curate_drops": DROP,
    "preference_drops": DROP,
    "duplicates": DUPLICATE,
    "contamination": CONTAMINATION,
}


@dataclass
class World:
    """Tables that are being filled."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    parents: dict[str, list[str]] = field(default_factory=dict)

    def raw(self, table: str, place: str, reason: str | None = None) -> str:
        """A raw row; its name is its place."""
        self.rows[table].append(
            {"id": content_id(place), "place": place, "reason": reason, "detail": None}
        )
        self.parents[place] = []
        return place

    def document(self, place: str, text: str = TEXT) -> str:
        name = self._named("document", place)
        self.rows["documents"].append(
            {
                **{"id": name, "title": "玉山", "text": text, "source": place},
                **{"licence": "CC0-1.0", "url": None, "language": "zh-Hant-TW"},
            }
        )
        return self._made(name, place)

    def passage(self, document: str, start: int, end: int) -> str:
        name = self._named("passage", document, start, end)
        (whole,) = (row["text"] for row in self.rows["documents"] if row["id"] == document)
        self.rows["passages"].append(
            {
                **{"id": name, "passage_id": f"id_{name[:8]}", "document_id": document},
                **{"title": "玉山", "text": whole[start:end], "start": start, "end": end},
                **{"language": "zh-Hant-TW", "licence": "CC0-1.0"},
            }
        )
        return self._made(name, document)

    def question(self, passage: str, parent: str | None = None, evidence: str = "") -> str:
        name = self._named("question", passage, parent)
        self.rows["questions"].append(
            {
                **{"id": name, "text": f"問題 {name[:6]}？", "passage_ids": [f"id_{passage[:8]}"]},
                **{"kind": "number", "operation": "deepen" if parent else "none", "round": 0},
                **{"parent": parent, "language": "zh-Hant-TW", "answer": "3,952"},
                **{"evidence": evidence or None, "calls": []},
            }
        )
        return self._made(name, passage, *filter(None, [parent]))

    def conversation(self, table: str, *parents: str, calls: Iterable[dict[str, str]] = ()) -> str:
        """A conversation made from records, or from a raw row."""
        name = self._named("conversation", *parents)
        self.rows[table].append(self._conversation(name, parents, calls))
        return self._made(name, *parents)

    def edited(self, name: str) -> str:
        """A conversation that a person has changed into another one."""
        new = self._named("edited", name)
        self.rows["edits"].append(self._conversation(new, [name]))
        return self._made(new, name)

    def generation(self, conversation: str) -> str:
        name = self._named("generation", conversation)
        self.rows["self_play_generations"].append(
            {
                **{"id": name, "conversation_id": conversation, "method": "self_play"},
                **{"iteration": 0, "sample": 0, "model": "m", "max_tokens": 9, "output": "不知"},
                **{"tokens": 2, "stopped": True, "fault": None},
            }
        )
        return self._made(name, conversation)

    def candidate(self, response: str) -> str:
        """An answer to a user's prompt of which nothing is kept."""
        name = self._named("candidate", response)
        self.rows["candidate_responses"].append(
            {
                **{
                    "id": name,
                    "prompt_id": "p",
                    "messages": _turns("多高？"),
                    "licence": "CC0-1.0",
                },
                **{"response": response, "contestant": "c", "teacher": "t", "family": ""},
            }
        )
        return self._made(name)

    def preference(self, *parents: str) -> str:
        name = self._named("preference", *parents)
        self.rows["pooled_preferences"].append(
            {
                **{"id": name, "kind": "conversation", "prompt": _turns("多高？")[:1]},
                **{"chosen": f"好 {name[:6]}", "rejected": "壞", "source": "self_play"},
                **{"judged_orders": 0, "parents": list(parents), "licence": "CC0-1.0"},
            }
        )
        return self._made(name, *parents)

    def drop(self, table: str, name: str, reason: str = "over_quota", detail: str = "") -> None:
        self.rows[table].append(
            {
                **{"id": content_id(table, name), "record_id": name, "reason": reason},
                **{"pipeline": table.removesuffix("_drops"), "detail": detail},
            }
        )

    def store(self, **more: pl.DataFrame) -> Store:
        """The tables, with those that the rows make: pool, base, reviewed and refined corpus."""
        rows = {name: list(some) for name, some in self.rows.items()}
        pool = rows.get("open_conversations", []) + rows.get("synthetic_conversations", [])
        edits = rows.pop("edits", [])
        base = _without(pool, rows.get("dedup_drops", ()))
        replaced = {row["parents"][0] for row in edits}
        reviewed = [row for row in base if row["id"] not in replaced] + edits
        tables = {
            **{"pooled_conversations": pool, "base_conversations": base},
            **{"reviewed_conversations": reviewed},
            "refined_conversations": _without(reviewed, rows.get("curate_drops", ())),
            "preferences": _without(
                rows.get("pooled_preferences", []), rows.get("preference_drops", ())
            ),
        }
        frames = {
            name: record.frame((rows | tables).get(name, ())) for name, record in _RECORDS.items()
        }
        frames |= {name: _raw_frame(rows.get(name, [])) for name in RAW}
        return Store({name: Table(frame.lazy) for name, frame in (frames | more).items()})

    def without(self, name: str) -> Store:
        """The same tables, but for one record that others may rest on."""
        left = World({}, self.parents)
        left.rows = {
            table: [row for row in rows if name not in (row["id"], row.get("place"))]
            for table, rows in self.rows.items()
        }
        return left.store()

    def rests_on(self, name: str, other: str) -> bool:
        """Whether a record was made from another one, however far back."""
        return any(parent == other or self.rests_on(parent, other) for parent in self.parents[name])

    def _named(self, *what: Any) -> str:
        return content_id(len(self.parents), *what)

    def _made(self, name: str, *parents: str) -> str:
        self.parents[name] = list(parents)
        return name

    def _conversation(
        self, name: str, parents: Iterable[str], calls: Iterable[dict[str, str]] = ()
    ) -> dict[str, Any]:
        passages = {row["id"]: row["passage_id"] for row in self.rows["passages"]}
        return {
            **{"id": name, "messages": _turns(f"玉山多高 {name[:6]}？", "3,952公尺。")},
            **{"source": "knowledge", "language": "zh-Hant-TW", "rounds": 1, "tokens": 9},
            **{"teacher": "t", "prompt_version": PROMPT, "parents": list(parents)},
            "passage_ids": [passages[one] for one in parents if one in passages],
            **{"calls": list(calls), "licence": "CC0-1.0"},
        }


def _turns(*said: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": role, "content": text} for role, text in zip(roles, said, strict=False)]


def _without(rows: list[dict[str, Any]], drops: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    gone = {drop["record_id"] for drop in drops}
    return [row for row in rows if row["id"] not in gone]


def _raw_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema = dict.fromkeys(("id", "place", "reason", "detail"), pl.String)
    return pl.DataFrame(rows, schema=schema)
