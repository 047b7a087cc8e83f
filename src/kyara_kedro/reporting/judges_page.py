"""How far the judges can be trusted and who won: one web page that needs nothing but itself.

Answers and judgements are text to the page, never markup: the template escapes all values, and a
content security policy forbids scripts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from kyara_kedro.records import FIRST_WON
from kyara_kedro.reporting.charts import bar_chart
from kyara_kedro.reporting.pages import environment, legible

MEASURES = {
    "parse_failure": ("讀不出結論", "no verdict"),
    "tie": ("平手", "ties"),
    "first": ("先出場者勝", "first wins"),
    "flip": ("換序後翻轉", "flips on swap"),
    "longer": ("較長者勝", "longer wins"),
    "longer_agreed": ("一致時較長者勝", "if agreed"),
    "self_preference": ("同家族勝", "own family wins"),
    "accuracy": ("與人一致", "agrees with people"),
    "macro_f1": ("F1 平均", "macro F1"),
    "kappa": ("κ 係數", "Cohen's kappa"),
    "no_rating": ("讀不出分數", "no rating"),
    "pearson": ("線性相關", "Pearson's r"),
    "spearman": ("等級相關", "Spearman's ρ"),
    "kendall": ("τ 係數", "Kendall's τ"),
}
COEFFICIENTS = frozenset(("kappa", "pearson", "spearman", "kendall"))
"""Measures that are no shares."""
_LONGEST = 700


@dataclass(frozen=True)
class _Judge:
    """One judge on one set of duels."""

    name: str
    data_set: str | None
    rows: list[dict[str, Any]]
    chart: Markup


@dataclass(frozen=True)
class _Example:
    """A duel whose verdict does not count, with what the judge said."""

    judge: str
    contestants: tuple[str, str]
    texts: tuple[str, str]
    prompt: str
    said: list[tuple[str, str]]


def judges_page(
    reliability: pl.DataFrame,
    ratings: pl.DataFrame,
    verdicts: pl.DataFrame,
    candidates: pl.DataFrame,
    contestants: Mapping[str, Mapping[str, Any]],
    warnings: Sequence[str],
    shown: int = 8,
) -> str:
    """Render the page.

    Args:
        reliability: A table of ``records.JUDGE_RELIABILITY``.
        ratings: A table of ``records.CONTESTANT_RATING``.
        verdicts: A table of ``records.VERDICT``.
        candidates: A table of ``records.CANDIDATE``, for the examples' texts.
        contestants: What became of each: ``asked``, ``answered``, ``out_of_reach``.
        warnings: What a person should know first: a sentence in English for each flagged row.
        shown: Examples of each kind that are shown at most.

    Returns:
        An HTML document.
    """
    templates = environment()
    templates.filters |= {"text": _text, "rate": _rate, "figure": _figure}
    names = ratings["contestant"].to_list()
    return templates.get_template("judges.html.jinja").render(
        judges=_judges(reliability),
        alarms=list(zip(_alarms(reliability), warnings, strict=True)),
        measures=MEASURES,
        ratings=ratings.to_dicts(),
        ratings_chart=_ratings_chart(ratings),
        names=names,
        table=_head_to_head(verdicts),
        contestants=contestants,
        flips=_examples(_flipped(verdicts), candidates, shown),
        unread=_examples(verdicts.filter(pl.col("verdict").is_null()), candidates, shown),
        verdicts=verdicts.height,
    )


def _alarms(reliability: pl.DataFrame) -> list[str]:
    """What is flagged, in Chinese."""
    return [
        f"評審 {row['judge']}{'（' + row['data_set'] + '）' if row['data_set'] else ''}："
        f"{MEASURES[row['measure']][0]} {_figure(row['value'], row['measure'])}"
        f"（區間 {_figure(row['low'], row['measure'])} 至 {_figure(row['high'], row['measure'])}"
        + (f"，預期 {_rate(row['expected'])}）" if row["expected"] is not None else "）")
        for row in reliability.filter("flagged").iter_rows(named=True)
    ]


def _judges(reliability: pl.DataFrame) -> list[_Judge]:
    order = {name: place for place, name in enumerate(MEASURES)}
    found = []
    for (name, data_set), part in reliability.group_by("judge", "data_set", maintain_order=True):
        rows = sorted(part.to_dicts(), key=lambda row: order[row["measure"]])
        chart = bar_chart(
            f"{_text(str(name))}{f' · {_text(str(data_set))}' if data_set else ''}",
            [" ".join(MEASURES[row["measure"]]) for row in rows],
            {
                "量測值 measured": [row["value"] for row in rows],
                "預期 expected": [row["expected"] for row in rows],
            },
            {
                "量測值 measured": [
                    None if row["low"] is None else (row["low"], row["high"]) for row in rows
                ]
            },
            unit="number" if COEFFICIENTS & {row["measure"] for row in rows} else "percent",
        )
        shown = None if data_set is None else str(data_set)
        found.append(_Judge(str(name), shown, rows, Markup(chart.svg())))  # noqa: S704
    return found


def _ratings_chart(ratings: pl.DataFrame) -> Markup | None:
    if ratings.is_empty():
        return None
    chart = bar_chart(
        "參賽者實力 strength of the contestants",
        [_text(name) for name in ratings["contestant"]],
        {"Bradley-Terry": ratings["strength"].to_list()},
        {"Bradley-Terry": list(ratings.select("low", "high").iter_rows())},
        x_label="對數勝率比，平均為 0 log-odds, mean zero",
    )
    return Markup(chart.svg())  # noqa: S704


def _head_to_head(verdicts: pl.DataFrame) -> dict[tuple[str, str], tuple[float, int]]:
    """Share of verdicts that one contestant won against another, and how many there are."""
    sides = pl.concat(
        [
            verdicts.select(own="first_contestant", other="second_contestant", won=FIRST_WON),
            verdicts.select(own="second_contestant", other="first_contestant", won=1.0 - FIRST_WON),
        ]
    ).drop_nulls()
    counted = sides.group_by("own", "other").agg(pl.col("won").mean(), pl.len())
    return {(own, other): (share, count) for own, other, share, count in counted.iter_rows()}


def _flipped(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Verdicts, both orders of each, on duels in which the same place won twice."""
    swapped = verdicts.select(
        "judge", "prompt_id", "verdict", first_id="second_id", second_id="first_id"
    )
    keys = ["judge", "prompt_id", "first_id", "second_id", "verdict"]
    return verdicts.filter(pl.col("verdict") != "C").join(swapped, on=keys, how="semi")


def _examples(verdicts: pl.DataFrame, candidates: pl.DataFrame, shown: int) -> list[_Example]:
    """The first duels by id, each with all that one judge said about it here."""
    answers = {
        row["id"]: row
        for row in candidates.filter(
            pl.col("id").is_in(
                pl.concat([verdicts["first_id"], verdicts["second_id"]]).unique().implode()
            )
        ).iter_rows(named=True)
    }
    duels = (
        verdicts.with_columns(
            low=pl.min_horizontal("first_id", "second_id"),
            high=pl.max_horizontal("first_id", "second_id"),
        )
        .sort("id")
        .group_by("judge", "low", "high", maintain_order=True)
        .agg(pl.col("first_contestant"), pl.col("verdict"), pl.col("problem"), pl.col("reason"))
        .head(shown)
    )
    found = []
    for judge, low, high, firsts, said, problems, reasons in duels.iter_rows():
        if low not in answers or high not in answers:
            continue
        one, other = answers[low], answers[high]
        labels = [
            f"先出場 shown first: {first} → {verdict or problem}"
            for first, verdict, problem in zip(firsts, said, problems, strict=True)
        ]
        found.append(
            _Example(
                judge,
                (one["contestant"], other["contestant"]),
                (one["response"], other["response"]),
                one["messages"][-1]["content"],
                list(zip(labels, reasons, strict=True)),
            )
        )
    return found


def _rate(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.1%}"


def _figure(value: float | None, measure: str) -> str:
    return f"{value:.2f}" if value is not None and measure in COEFFICIENTS else _rate(value)


def _text(value: str) -> str:
    return legible(value, _LONGEST)
