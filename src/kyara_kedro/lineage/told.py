"""What ``kedro explain`` prints."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from typing import Any

from kyara_kedro.lineage.audit import Audit
from kyara_kedro.lineage.graph import FORWARD, Explanation
from kyara_kedro.lineage.search import containing
from kyara_kedro.lineage.store import Store
from kyara_kedro.lineage.tree import audit_table, tree
from kyara_kedro.lineage.words import COLUMNS, MADE, NOTES, RELATIONS, TERMS
from kyara_kedro.reporting.lineage_page import lineage_page

_COLUMNS = 100


def explanation_text(found: Explanation, *, as_json: bool) -> str:
    """An explanation as JSON, or as a tree as wide as the terminal."""
    if as_json:
        return _json(found.to_dict())
    return tree(found, shutil.get_terminal_size((_COLUMNS, 24)).columns)


def explanation_page(found: Explanation) -> str:
    """An explanation as a web page."""
    names = {
        **{"kinds": TERMS, "relations": RELATIONS, "notes": NOTES, "made": MADE},
        "columns": COLUMNS,
    }
    forward = {name: RELATIONS[name] for name in FORWARD}
    return lineage_page(found.to_dict(), {**names, "forward": forward})


def audit_text(audit: Audit, *, as_json: bool) -> str:
    """The check of whole tables as JSON or as text."""
    return _json(asdict(audit) | {"holds": audit.holds}) if as_json else audit_table(audit)


def hits_text(store: Store, text: str, most: int, *, as_json: bool) -> str:
    """The records that hold a text, as JSON or as text."""
    hits = containing(store, text, most)
    if as_json:
        return _json([hit._asdict() for hit in hits])
    lines = []
    for hit in hits:
        lines.append(f"{TERMS[hit.kind]} {hit.number:,}")
        lines += [f"  {name}" for name in hit.shown]
        if hit.number > len(hit.shown):
            lines.append(f"  … 還有 {hit.number - len(hit.shown):,} 筆 more")
    return "\n".join(lines) or f"「{text}」: 沒有任何紀錄含有這段文字 no record holds this text"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
