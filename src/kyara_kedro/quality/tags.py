"""Raw tags of conversations: what their users ask for, told by rules or by a teacher's replies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.prompts.rag_format import has_references, question_of
from kyara_kedro.records import RAW_TAGS, TAG_EXAMPLE
from kyara_kedro.text.intentions import explain_intentions, find_intentions

TAGGER = "tags-rules-v2"
GROUNDED = "檢索問答"
"""The tag of what is asked with reference documents, which is seen and need not be judged."""

_BLANK = re.compile(r"[\s\x00-\x1f\x7f]+")
_FORMULA = "=+-@'\"` "
"""What must not begin a cell that a person opens in a spreadsheet."""


class Request(NamedTuple):
    """What a conversation asks for.

    Attributes:
        id: The conversation's id.
        turns: What its users say, prompts with references reduced to their question.
        grounded: Whether a prompt shows references.
    """

    id: str
    turns: list[str]
    grounded: bool


class Tagged(NamedTuple):
    """Raw tags.

    Attributes:
        raw: A table of :data:`kyara_kedro.records.RAW_TAGS`.
        examples: A table of :data:`kyara_kedro.records.TAG_EXAMPLE`, one row a tag.
    """

    raw: pl.DataFrame
    examples: pl.DataFrame


def requests_of(conversations: pl.DataFrame) -> list[Request]:
    """What conversations ask for, in their order.

    Args:
        conversations: A table of :data:`kyara_kedro.records.CONVERSATION`.
    """
    by_users = pl.element().filter(pl.element().struct.field("role") == "user")
    said = conversations.select(
        "id", said=pl.col("messages").list.eval(by_users.struct.field("content"))
    )
    return [
        Request(row, list(map(question_of, turns)), any(map(has_references, turns)))
        for row, turns in said.iter_rows()
    ]


def tag_by_rules(requests: Sequence[Request]) -> Tagged:
    """Tag requests by their words, see :mod:`kyara_kedro.text.intentions`.

    Args:
        requests: At most one for each id.
    """
    columns = {"id": pl.String, "text": pl.String, "grounded": pl.Boolean}
    rows = [(one.id, "\n".join(one.turns), one.grounded) for one in requests]
    asked = pl.DataFrame(rows, schema=columns, orient="row")
    asked = asked.with_columns(tag=find_intentions(asked["text"]))
    firsts = asked.sort("id").explode("tag").unique("tag", keep="first", maintain_order=True)
    examples = [
        (tag, f"「{words}」" if (words := dict(explain_intentions(text)).get(tag)) else "", row)
        for tag, text, row in firsts.select("tag", "text", "id").iter_rows()
    ]
    grounded = pl.when("grounded").then(pl.lit(GROUNDED))
    raw = asked.select(
        "id",
        raw_tags=pl.concat_list(grounded, "tag").list.drop_nulls(),
        tagger=pl.lit(TAGGER),
        fault=pl.lit(None, pl.String),
    )
    return Tagged(raw, _examples(examples))


def tag_by_replies(replies: Iterable[tuple[Request, str, Mapping[str, str]]]) -> Tagged:
    """Take tags from replies.

    Args:
        replies: Requests, who tagged them, and their tags with an explanation each, as
            :func:`cleaned` gives them.
    """
    rows: list[dict[str, Any]] = []
    firsts: dict[str, tuple[str, str]] = {}
    for request, tagger, given in replies:
        for tag, explanation in given.items():
            example = request.id, explanation
            firsts[tag] = min(firsts.get(tag, example), example)
        tags = [*([GROUNDED] if request.grounded else []), *given]
        rows.append({"id": request.id, "raw_tags": tags, "tagger": tagger, "fault": None})
    examples = ((tag, explanation, row) for tag, (row, explanation) in firsts.items())
    return Tagged(RAW_TAGS.frame(rows), _examples(examples))


def cleaned(given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Tags and explanations as they may stand in a table that people open, each tag once."""
    found: dict[str, str] = {}
    for tag, explanation in given:
        found.setdefault(_in_one_line(tag), _in_one_line(explanation))
    found.pop("", None)
    return found


def joined(parts: Sequence[Tagged]) -> Tagged:
    """Put tables of different conversations together; of a tag's examples the first id's stays."""
    examples = pl.concat([TAG_EXAMPLE.frame(), *(part.examples for part in parts)])
    ordered = examples.sort("tag", "conversation_id")
    return Tagged(
        pl.concat([RAW_TAGS.frame(), *(part.raw for part in parts)]),
        ordered.unique("tag", keep="first", maintain_order=True),
    )


def _in_one_line(text: str) -> str:
    return _BLANK.sub(" ", text).lstrip(_FORMULA).rstrip()


def _examples(rows: Iterable[tuple[str, str, str]]) -> pl.DataFrame:
    return TAG_EXAMPLE.frame(
        {
            "id": content_id("tag example", tag),
            "tag": tag,
            "explanation": explanation,
            "conversation_id": row,
        }
        for tag, explanation, row in rows
    )
