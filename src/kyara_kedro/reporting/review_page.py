"""The page on which people read, accept, reject and edit conversations.

One web page that needs nothing but itself. What records and sources say reaches it as JSON and is
put into the page as text, never as markup; the content security policy allows the page's own script
and style sheet and nothing else. Decisions leave it as the lines of JSON that
``kyara_kedro.quality.decisions`` reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain
from math import isfinite
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field, NonNegativeInt

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.options import Options
from kyara_kedro.prompts.rag_format import question_of
from kyara_kedro.records import Language
from kyara_kedro.reporting.cards import by_rules
from kyara_kedro.reporting.pages import environment

LARGE = 16 << 20
"""Bytes from which a page takes long to open."""

_TITLE = 80
_WITHOUT_SCORES = ("language_not_wanted", "other_teacher", "rejected_by_reviewer", "unscored")
"""Reasons of drops that no score would have changed."""
_DOCUMENT = 4_000
"""Characters of a whole document that are shown as a source."""

Which = Literal["all", "selected", "dropped", "margin", "decided"]
Share = Annotated[float, Field(ge=0, le=1)]


class ReviewOptions(Options):
    """Which conversations the page shows; an empty list does not restrict.

    Attributes:
        sample: Most conversations.
        which: ``all``, those ``selected``, ``dropped`` or already ``decided``, or those at the
            ``margin``: nearest in score to where selected and dropped ones of their tag meet.
        seed: Of the sample.
        languages: Languages.
        sources: Sources.
        tags: Final tags; one of them is enough.
        score: Lowest and highest score; null does not restrict.
        ids: Exactly these, in this order; nothing else is looked at then.
    """

    sample: Annotated[int, Field(ge=1, le=5_000)] = 100
    which: Which = "margin"
    seed: NonNegativeInt = 0
    languages: tuple[Language, ...] = ()
    sources: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    score: tuple[Share, Share] | None = None
    ids: tuple[str, ...] = ()


class ReviewTables(NamedTuple):
    """What the page tells about; tables of ``kyara_kedro.records``.

    Attributes:
        conversations: Those that were selected from.
        tags: Theirs.
        quality: Theirs.
        drops: Of those that were not selected.
        decisions: Earlier ones.
        duplicates: Copies that stand behind kept conversations.
        questions: What conversations were made from, with evidence.
        references: Passages found for questions, with evidence.
        passages: Those that conversations rest on.
        documents: Theirs.
    """

    conversations: pl.DataFrame | pl.LazyFrame
    tags: pl.DataFrame
    quality: pl.DataFrame
    drops: pl.DataFrame
    decisions: pl.DataFrame
    duplicates: pl.DataFrame
    questions: pl.DataFrame
    references: pl.DataFrame
    passages: pl.DataFrame
    documents: pl.DataFrame


def review_page(tables: ReviewTables, options: ReviewOptions) -> str:
    """Write the page.

    Returns:
        An HTML document.

    Raises:
        UserError: an id is asked for that no conversation has.
    """
    records, sources = shown(tables, options)
    data = {
        "page": content_id("review", [record["id"] for record in records]),
        "conversations": tables.quality.height,
        "records": records,
        "sources": sources,
    }
    return environment().get_template("review_page.html.jinja").render(data=data)


def shown(
    tables: ReviewTables, options: ReviewOptions
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """What the page tells of each conversation, and its sources by their ids."""
    chosen = choose(tables, options)
    ids = chosen["id"].to_list()
    texts = tables.conversations.lazy().filter(pl.col("id").is_in(ids)).collect()
    told = (
        chosen.select("id", "reason", "detail")
        .join(texts, on="id", how="left", maintain_order="left")
        .join(tables.tags.select("id", "tags"), on="id", how="left", maintain_order="left")
        .join(tables.quality, on="id", how="left", maintain_order="left")
        .join(_decided(tables.decisions), on="id", how="left", maintain_order="left")
        .to_dicts()
    )
    origins = list(chain.from_iterable(row["parents"] for row in told))
    evidence = _evidence(tables, origins)
    copies = _copies(tables.duplicates, [*ids, *origins])
    sources = _sources(tables, told)
    records = []
    for row in told:
        del row["calls"]
        found = [name for name in (*row.pop("passage_ids"), *row["parents"]) if name in sources]
        covered = {sources[name]["document_id"] for name in found}
        records.append(
            {
                **row,
                "title": _title(row["messages"]),
                "score": _rounded(row["score"]),
                "aspects": [
                    [part["aspect"], _rounded(part["value"])] for part in row["aspects"] or ()
                ],
                "rules": bool(by_rules([row["teacher"] or ""])),
                "sources": [name for name in dict.fromkeys(found) if name not in covered],
                "evidence": list(dict.fromkeys(chain(*(evidence[one] for one in row["parents"])))),
                "copies": [*copies[row["id"]], *chain(*(copies[one] for one in row["parents"]))],
            }
        )
    needed = {name for record in records for name in record["sources"]}
    return records, {name: source for name, source in sources.items() if name in needed}


def choose(tables: ReviewTables, options: ReviewOptions) -> pl.DataFrame:
    """Choose the conversations that the page shows, in its order.

    Returns:
        Columns id, reason and detail (null for selected ones), and others.

    Raises:
        UserError: an id is asked for that no conversation has.
    """
    pool = (
        tables.conversations.lazy()
        .select("id", "source", "language")
        .collect()
        .join(tables.tags.select("id", "tags"), on="id", how="left")
        .join(tables.quality.select("id", "score"), on="id", how="left")
        .join(tables.drops.select("reason", "detail", id="record_id"), on="id", how="left")
        .sort("id")
    )
    if options.ids:
        wanted = pl.DataFrame({"id": list(dict.fromkeys(options.ids))})
        for missing in wanted.join(pool, on="id", how="anti")["id"]:
            raise UserError(f"curate.review.ids: no conversation has the id '{missing}'")
        return wanted.join(pool, on="id", how="left", maintain_order="left")
    for column, values in (("language", options.languages), ("source", options.sources)):
        if values:
            pool = pool.filter(pl.col(column).is_in(list(values)))
    if options.tags:
        shared = pl.col("tags").list.set_intersection(list(options.tags))
        pool = pool.filter(shared.list.len() > 0)
    if options.score:
        pool = pool.filter(pl.col("score").is_between(*options.score))
    if options.which == "margin":
        return _at_the_margin(pool, tables.decisions).head(options.sample)
    if options.which == "decided":
        pool = pool.join(_decided(tables.decisions), on="id", how="semi", maintain_order="left")
    elif options.which != "all":
        is_selected = pl.col("reason").is_null()
        pool = pool.filter(is_selected if options.which == "selected" else ~is_selected)
    order = np.random.default_rng(options.seed).permutation(pool.height)
    return pool[order[: options.sample]]


def _at_the_margin(pool: pl.DataFrame, decisions: pl.DataFrame) -> pl.DataFrame:
    """Conversations by their distance from the edge; only those that scores decided about."""
    is_selected = pl.col("reason").is_null()
    worst_in = pl.col("score").filter(is_selected).min()
    best_out = pl.col("score").filter(~is_selected).max()
    edge = ((worst_in + best_out) / 2).over(pl.col("tags").list.first())
    return (
        pool.filter(pl.col("reason").is_in(_WITHOUT_SCORES).fill_null(False).not_())
        .join(_decided(decisions), on="id", how="anti")
        .with_columns(distance=(pl.col("score") - edge).abs())
        .sort("distance", "id", nulls_last=True)
    )


def _decided(decisions: pl.DataFrame) -> pl.DataFrame:
    """The decisions that count, by the records that they are about now."""
    return (
        decisions.filter(pl.col("status") == "applies")
        .sort("decided_at", "id")
        .unique("outcome_id", keep="last", maintain_order=True)
        .select(
            pl.col("outcome_id").alias("id"),
            earlier=pl.struct(
                "decision", "reviewer", "decided_at", why="reason", former_id="record_id"
            ),
        )
    )


def _evidence(tables: ReviewTables, origins: Iterable[str]) -> Mapping[str, list[str]]:
    """What sources say about each question, in their own words."""
    asked = list(origins)
    found: defaultdict[str, list[str]] = defaultdict(list)
    for table, key in ((tables.questions, "id"), (tables.references, "question_id")):
        quoted = table.filter(pl.col(key).is_in(asked), pl.col("evidence").is_not_null())
        for question, evidence in quoted.select(key, "evidence").iter_rows():
            found[question].append(evidence)
    return found


def _copies(duplicates: pl.DataFrame, ids: list[str]) -> Mapping[str, list[list[Any]]]:
    """The copies that were removed in favour of conversations: id, method and similarity."""
    found: defaultdict[str, list[list[Any]]] = defaultdict(list)
    copies = duplicates.filter(pl.col("kept_id").is_in(ids)).sort(
        "similarity", "removed_id", descending=[True, False]
    )
    for row in copies.iter_rows(named=True):
        found[row["kept_id"]].append(
            [row["removed_id"], row["method"], _rounded(row["similarity"])]
        )
    return found


def _sources(tables: ReviewTables, told: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Passages by passage id, and documents that whole conversations were made of by their id."""
    names = list(chain.from_iterable(row["passage_ids"] for row in told))
    origins = list(chain.from_iterable(row["parents"] for row in told))
    passages = tables.passages.filter(pl.col("passage_id").is_in(names))
    about = tables.documents.filter(pl.col("id").is_in([*passages["document_id"], *origins]))
    urls = dict(about.select("id", "url").iter_rows())
    sources = {
        row["passage_id"]: {
            **{name: row[name] for name in ("title", "text", "licence", "document_id")},
            "url": urls.get(row["document_id"]),
        }
        for row in passages.sort("passage_id").iter_rows(named=True)
    }
    for row in about.filter(pl.col("id").is_in(origins)).sort("id").iter_rows(named=True):
        text = row["text"]
        sources[row["id"]] = {
            "title": row["title"],
            "text": text[:_DOCUMENT] + ("…" if len(text) > _DOCUMENT else ""),
            "licence": row["licence"],
            "document_id": None,
            "url": row["url"],
        }
    return sources


def _title(messages: list[dict[str, str]]) -> str:
    asked = next(turn["content"] for turn in messages if turn["role"] == "user")
    return " ".join(question_of(asked)[: 4 * _TITLE].split())[:_TITLE]


def _rounded(value: float | None) -> float | None:
    return None if value is None or not isfinite(value) else round(value, 4)
