"""Where one record comes from, as a web page that needs nothing but itself.

What records say is text to the page, never markup; the content security policy allows the page's
own script and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from kyara_kedro.reporting.pages import environment, legible

_LONGEST = 4_000
"""Characters of a text that are shown."""

Node = Mapping[str, Any]
Names = Mapping[str, tuple[str, str]]


class Piece(NamedTuple):
    """A piece of a text, marked or not."""

    text: str
    marked: bool


def lineage_page(found: Mapping[str, Any], names: Mapping[str, Names]) -> str:
    """Write the page.

    Args:
        found: An explanation as JSON: ``root``, ``nodes``, ``edges``, ``made``, ``remarks``,
            ``cost``; docs/lineage.md describes them.
        names: What people call ``kinds``, ``relations``, ``notes``, ``made`` and ``columns``, in
            Chinese and in English. Relations named in ``forward`` lead away from the sources.

    Returns:
        HTML.
    """
    templates = environment()
    templates.filters |= {"told": told, "legible": lambda text: legible(str(text), _LONGEST)}
    root = found["nodes"][found["root"]]
    return templates.get_template("lineage_page.html.jinja").render(
        root=root,
        title=_title(root),
        sources=_branches(found, names, forward=False),
        uses=_branches(found, names, forward=True),
        made=found["made"],
        cost=found["cost"],
        remarks=found["remarks"],
        names=names,
        pieces=pieces,
        anchor=_anchor,
        shown_id=_shown_id,
    )


def pieces(text: str, spans: Sequence[Mapping[str, Any]]) -> list[Piece]:
    """Cut a text at the ends of what is to be marked; spans may overlap or repeat each other.

    Args:
        text: The text.
        spans: Mappings with ``start`` and ``end`` in characters.
    """
    cuts = sorted({0, len(text), *(min(span[end], len(text)) for span in spans for end in _ENDS)})
    found: list[Piece] = []
    for start, end in pairwise(cuts):
        marked = any(span["start"] <= start < span["end"] for span in spans)
        if found and found[-1].marked == marked:
            found[-1] = Piece(found[-1].text + text[start:end], marked)
        else:
            found.append(Piece(text[start:end], marked))
    return found


_ENDS = ("start", "end")


class Branch(NamedTuple):
    """A record in the tree of sources or of uses.

    Attributes:
        relation: What it is to the one above.
        key: What names it.
        node: The record; None where it stands elsewhere on the page already.
        under: What hangs from it.
    """

    relation: str
    key: str
    node: Node | None
    under: list[Branch]


def _branches(
    found: Mapping[str, Any], names: Mapping[str, Names], *, forward: bool
) -> list[Branch]:
    seen = {found["root"]}

    def below(key: str) -> Iterator[Branch]:
        for edge in found["edges"]:
            if edge["source"] != key or (edge["relation"] in names["forward"]) != forward:
                continue
            target = edge["target"]
            new = target not in seen
            seen.add(target)
            yield Branch(
                edge["relation"],
                target,
                found["nodes"][target] if new else None,
                list(below(target)) if new else [],
            )

    return list(below(found["root"]))


def _title(node: Node) -> str:
    return legible(node["headline"] or node["id"], 90)


def _anchor(key: str) -> str:
    """A name that a link can point to."""
    return "".join(letter if letter.isalnum() else "-" for letter in key)


def _shown_id(node: Node) -> str:
    """What a person calls a record by: enough of its id."""
    if node["kind"] in ("row", "table", "version"):
        return str(node["id"])
    return str(node["values"].get("passage_id", node["id"][:12]))


def told(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        if value.keys() == {"aspect", "value"}:
            return f"{value['aspect']} {told(value['value'])}"
        return "、".join(f"{name} {told(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return "、".join(map(told, value))
    return legible(str(value), _LONGEST)
