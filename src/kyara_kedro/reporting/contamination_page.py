"""The audit page of a decontamination: what was found of each benchmark, and where.

One web page that needs nothing but itself. Records and questions are text to the page, never
markup: the template escapes all values, and a content security policy forbids scripts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from kyara_kedro.reporting.charts import histogram
from kyara_kedro.reporting.pages import environment, legible

_CONTEXT = 160
"""Characters of a record that are shown on either side of a stretch."""
_LONGEST = 600
_BINS = 20


@dataclass(frozen=True)
class _Hit:
    """A stretch of a record, with what stands around it and the item that it gives away."""

    record_id: str
    source: str
    item_id: str
    question: str
    choices: list[str]
    answer: str
    part: str
    coverage: float
    before: str
    evidence: str
    after: str


@dataclass(frozen=True)
class _Section:
    """What was found of one benchmark."""

    benchmark: str
    items: int
    items_hit: int
    records: int
    chart: Markup | None
    hits: list[_Hit]
    rest: int


def contamination_page(
    contamination: pl.DataFrame,
    questions: pl.DataFrame,
    texts: pl.DataFrame,
    boilerplate: pl.DataFrame,
    shown: int = 20,
) -> str:
    """Render the page.

    Args:
        contamination: Rows of ``records.CONTAMINATION``; every record in it is one that is dropped.
        questions: Rows of ``records.BENCHMARK_QUESTION``; those without a hit are counted.
        texts: Columns id, text and source of the records; of one that is missing, the stretch alone
            is shown.
        boilerplate: Columns text and questions: runs of tokens that do not count, commonest first.
        shown: Hits of a benchmark that are shown at most, those that cover most first.

    Returns:
        An HTML document.
    """
    templates = environment()
    templates.filters |= {"text": _text}
    names = questions["benchmark"].unique().sort().to_list()
    return templates.get_template("contamination.html.jinja").render(
        sections=[_section(name, contamination, questions, texts, shown) for name in names],
        records=contamination["record_id"].n_unique(),
        boilerplate=boilerplate.head(shown).rows(),
        boilerplate_rest=max(boilerplate.height - shown, 0),
    )


def _section(
    name: str,
    contamination: pl.DataFrame,
    questions: pl.DataFrame,
    texts: pl.DataFrame,
    shown: int,
) -> _Section:
    asked = questions.filter(benchmark=name)
    found = contamination.filter(benchmark=name)
    chart = histogram(
        f"{_text(name)}: 涵蓋率 coverage",
        found["coverage"].to_list(),
        bins=_BINS,
        span=(0.0, 1.0),
        x_label="題目文字出現在紀錄中的比例 share of the question that a record holds",
        y_label="筆數 hits",
    )
    rows = (
        found.sort("coverage", "record_id", "item_id", descending=[True, False, False])
        .head(shown)
        .join(asked.select("item_id", "question", "choices", "answer"), on="item_id", how="left")
        .join(
            texts.select("text", "source", record_id="id").unique("record_id", keep="first"),
            on="record_id",
            how="left",
            maintain_order="left",
        )
    )
    return _Section(
        name,
        asked.height,
        found["item_id"].n_unique(),
        found["record_id"].n_unique(),
        Markup(chart.svg()) if found.height else None,  # noqa: S704
        [_hit(row) for row in rows.iter_rows(named=True)],
        max(found.height - shown, 0),
    )


def _hit(row: dict[str, Any]) -> _Hit:
    text, start, end = row["text"] or "", row["start"], row["end"]
    return _Hit(
        row["record_id"],
        row["source"] or "",
        row["item_id"],
        row["question"] or "",
        list(row["choices"] or ()),
        row["answer"] or "",
        row["part"],
        row["coverage"],
        ("…" if start > _CONTEXT else "") + text[max(start - _CONTEXT, 0) : start],
        row["evidence"],
        text[end : end + _CONTEXT] + ("…" if len(text) > end + _CONTEXT else ""),
    )


def _text(value: str) -> str:
    return legible(value, _LONGEST)
