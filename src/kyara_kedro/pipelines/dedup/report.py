"""What other thresholds would remove, told by the stored pairs without a new search."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from kedro.io import CatalogProtocol

from kyara_kedro.errors import UserError
from kyara_kedro.params import DedupParams
from kyara_kedro.records import METHODS
from kyara_kedro.reporting.duplicates_page import (
    MARGIN_PAIR,
    differences,
    duplicates_page,
    visible,
)
from kyara_kedro.similarity.resolve import resolve

AGAIN = "run `kedro run --pipeline=dedup` again"

_STEP, _FINE_STEP, _FINE_FROM = 0.05, 0.01, 0.8
_BINS = 40
_MARGIN_PAIRS, _PAIRS_OF_A_GROUP = 200, 6
_TOLD_GROUPS, _EXCERPT = 5, 14
_WIDE = 0x1100
"""Code points from here on (Chinese, for one) take two columns of a terminal."""


class Review(NamedTuple):
    """What there is to say about a choice of thresholds.

    Attributes:
        thresholds: The chosen ones, by method.
        duplicates: What they remove, rows of ``records.DUPLICATE``.
        ladder: The table of :func:`threshold_table`.
        spread: The table of :func:`similarity_spread`.
        margin: The table of :func:`margin_pairs`.
        records: Number of records compared.
        copies: Number of exact copies among them.
    """

    thresholds: Mapping[str, float]
    duplicates: pl.DataFrame
    ladder: pl.DataFrame
    spread: pl.DataFrame
    margin: pl.DataFrame
    records: int
    copies: int

    def page(self) -> str:
        """The review as a web page."""
        return duplicates_page(
            self.margin,
            self.ladder,
            self.spread,
            self.thresholds,
            records=self.records,
            copies=self.copies,
        )


def draw_duplicates(compared_texts: pl.LazyFrame, params: DedupParams, *pairs: pl.DataFrame) -> str:
    """Draw the page of pairs at the margin of the configured thresholds."""
    thresholds, floors = limits(params)
    return review(pl.concat(pairs), compared_texts, thresholds, floors).page()


class Tables(NamedTuple):
    """What a review looks at, as the last run left it.

    Attributes:
        texts: A table of ``records.COMPARED_TEXT``.
        pairs: Tables of ``records.SIMILAR_PAIR``, of all methods together.
        duplicates: Rows of ``records.DUPLICATE``.
        thresholds: The configured ones, by method.
        floors: Smallest similarities that are stored, by method.
    """

    texts: pl.LazyFrame
    pairs: pl.DataFrame
    duplicates: pl.DataFrame
    thresholds: dict[str, float]
    floors: dict[str, float]


def load_tables(catalog: CatalogProtocol[Any, Any]) -> Tables:
    """Load what the dedup pipeline stored.

    Raises:
        UserError: a table is not there yet.
    """
    thresholds, floors = limits(DedupParams.model_validate(catalog.load("params:dedup")))
    pairs = [f"{method}_pairs" for method in thresholds]
    for name in ("compared_texts", *pairs, "duplicates"):
        if not catalog.exists(name):
            raise UserError(f"'{name}' is not there yet: run `kedro run --pipeline=dedup` first")
    return Tables(
        catalog.load("compared_texts"),
        pl.concat([catalog.load(name) for name in pairs]),
        catalog.load("duplicates"),
        thresholds,
        floors,
    )


def limits(params: DedupParams) -> tuple[dict[str, float], dict[str, float]]:
    """Thresholds and floors that are configured, by method."""
    options = {name: getattr(params, name, None) for name in METHODS}
    return (
        {name: found.threshold for name, found in options.items() if found},
        {name: found.floor for name, found in options.items() if found},
    )


def chosen_thresholds(
    thresholds: Mapping[str, float],
    floors: Mapping[str, float],
    wishes: Mapping[str, float | None],
) -> dict[str, float]:
    """Put wishes in the place of configured thresholds.

    Raises:
        UserError: a wish is below the floor from which pairs are stored, or there are no pairs of
            its method.
    """
    wanted = {method: wish for method, wish in wishes.items() if wish is not None}
    for method, wish in wanted.items():
        if method not in floors:
            raise UserError(f"--{method} {wish:g}: no {method} pairs are looked for")
        if wish < floors[method]:
            raise UserError(
                f"--{method} {wish:g}: pairs are stored from {floors[method]:g} on; lower "
                f"dedup.{method}.floor to {wish:g} and {AGAIN}"
            )
    return {**thresholds, **wanted}


def review(
    pairs: pl.DataFrame,
    texts: pl.LazyFrame,
    thresholds: Mapping[str, float],
    floors: Mapping[str, float],
) -> Review:
    """Look at a choice of thresholds.

    Args:
        pairs: A table of ``records.SIMILAR_PAIR``, of all methods.
        texts: A table of ``records.COMPARED_TEXT``.
        thresholds: The chosen ones, by method; none below its floor.
        floors: Smallest similarities that are stored, by method.
    """
    lowest = pl.col("method").replace_strict(
        {"exact": 1.0, **floors}, default=None, return_dtype=pl.Float64
    )
    pairs = pairs.filter(pl.col("similarity") >= lowest)
    duplicates = resolve(pairs, thresholds)
    return Review(
        thresholds,
        duplicates,
        threshold_table(pairs, thresholds, floors),
        similarity_spread(pairs, floors),
        margin_pairs(pairs, texts, duplicates, thresholds, floors),
        texts.select(pl.len()).collect().item(),
        pairs.filter(pl.col("method") == "exact").height,
    )


def threshold_table(
    pairs: pl.DataFrame, thresholds: Mapping[str, float], floors: Mapping[str, float]
) -> pl.DataFrame:
    """Tell what each threshold of a ladder removes; those of the other methods stay as chosen.

    Args:
        pairs: A table of ``records.SIMILAR_PAIR``, of all methods.
        thresholds: The chosen ones, by method.
        floors: Where the ladders begin, by method; they end at 1.

    Returns:
        One row a method and threshold, in order: method, threshold, chosen, removed (records that
        go), exact, lexical, semantic (of these, by what was found), groups, largest (records that
        go from the largest group), newly_removed and newly_kept (against the chosen thresholds).
    """
    before = resolve(pairs, thresholds)["removed_id"]
    rows = []
    for method, chosen in thresholds.items():
        for step in _ladder(floors[method], chosen):
            found = resolve(pairs, {**thresholds, method: step})
            gone = found["removed_id"]
            again = gone.is_in(before.implode()).sum()
            rows.append(
                {
                    "method": method,
                    "threshold": step,
                    "chosen": step == chosen,
                    "removed": found.height,
                    **{name: (found["method"] == name).sum() for name in METHODS},
                    "groups": found["group_id"].n_unique(),
                    "largest": found["group_id"].value_counts()["count"].max() or 0,
                    "newly_removed": found.height - again,
                    "newly_kept": len(before) - again,
                }
            )
    return pl.DataFrame(rows)


def similarity_spread(pairs: pl.DataFrame, floors: Mapping[str, float]) -> pl.DataFrame:
    """Count the pairs of each method by similarity, in bins from its floor to 1.

    Returns:
        Columns method, low, high, pairs.
    """
    tables = []
    for method, floor in floors.items():
        found = pairs.filter(pl.col("method") == method)["similarity"].to_numpy()
        edges = np.linspace(floor, 1, _BINS + 1)
        place = np.searchsorted(edges, found, side="right") - 1
        counts = np.bincount(place.clip(0, _BINS - 1), minlength=_BINS)
        tables.append(
            pl.DataFrame({"method": method, "low": edges[:-1], "high": edges[1:], "pairs": counts})
        )
    return pl.concat(tables)


def margin_pairs(
    pairs: pl.DataFrame,
    texts: pl.LazyFrame,
    duplicates: pl.DataFrame,
    thresholds: Mapping[str, float],
    floors: Mapping[str, float],
) -> pl.DataFrame:
    """Take the pairs nearest to their method's threshold, as many from above as from below it.

    Args:
        pairs: A table of ``records.SIMILAR_PAIR``, of all methods.
        texts: A table of ``records.COMPARED_TEXT``.
        duplicates: What the thresholds remove.
        thresholds: The chosen ones, by method.
        floors: Smallest similarities that are stored, by method.

    Returns:
        At most 200 pairs, of a group at most 6, the nearest first, with the columns of
        :data:`kyara_kedro.reporting.duplicates_page.MARGIN_PAIR`.

    Raises:
        UserError: a record of a pair has no text.
    """
    side = pl.col("method"), pl.col("above")
    near = (
        _with_groups(pairs, floors)
        .filter(pl.col("method").is_in(list(thresholds)))
        .with_columns(limit=pl.col("method").replace_strict(thresholds, return_dtype=pl.Float64))
        .with_columns(
            above=pl.col("similarity") >= pl.col("limit"),
            distance=(pl.col("similarity") - pl.col("limit")).abs(),
        )
        .sort("distance", "method", "first_id", "second_id")
        .filter(pl.int_range(pl.len()).over("group_id") < _PAIRS_OF_A_GROUP)
        .with_columns(turn=pl.int_range(pl.len()).over(*side))
        .sort("turn", "above", "method", descending=[False, True, False])
        .head(_MARGIN_PAIRS)
    )
    ids = pl.concat([near["first_id"], near["second_id"]]).unique()
    said = texts.filter(pl.col("id").is_in(ids.implode())).collect()
    missing = ids.filter(~ids.is_in(said["id"].implode())).sort().to_list()
    if missing:
        raise UserError(f"compared_texts has no record {missing[0]} of a pair: {AGAIN}")
    for end in ("first", "second"):
        fates = duplicates.select(
            pl.col("removed_id").alias(f"{end}_id"), pl.col("kept_id").alias(f"{end}_kept_id")
        )
        contents = said.select(
            pl.col("id").alias(f"{end}_id"),
            pl.col("text").alias(f"{end}_text"),
            pl.col("quality").fill_nan(None).alias(f"{end}_quality"),
        )
        near = near.join(contents, on=f"{end}_id", how="left", maintain_order="left").join(
            fates, on=f"{end}_id", how="left", maintain_order="left"
        )
    return near.select(*MARGIN_PAIR)


def against_stored(duplicates: pl.DataFrame, stored: pl.DataFrame) -> dict[str, int]:
    """Count what differs between two choices of who goes.

    Returns:
        ``newly_removed``, ``newly_kept``, and ``other_keeper``: records that go in both, for
        another one.
    """
    both = duplicates.join(stored, on="removed_id", suffix="_stored")
    return {
        "newly_removed": duplicates.height - both.height,
        "newly_kept": stored.height - both.height,
        "other_keeper": both.filter(pl.col("kept_id") != pl.col("kept_id_stored")).height,
    }


def told(found: Review, stored: pl.DataFrame) -> Iterator[str]:
    """Tell a review in lines for a terminal, in English and Chinese.

    Args:
        found: The review.
        stored: The duplicates of the last run.
    """
    methods = ["exact", *found.thresholds]
    yield f"{found.records:,} records compared 已比對的資料, {found.copies:,} copies 完全相同"
    yield ""
    names = ("method", "threshold", "go", *methods, "groups", "largest", "more", "fewer")
    chinese = {
        **{"method": "方法", "threshold": "門檻", "go": "移除", "exact": "完全相同"},
        **{"lexical": "字面相近", "semantic": "語意相近", "groups": "群組"},
        **{"largest": "最大群", "more": "增加", "fewer": "減少"},
    }
    yield _cells(names)
    yield _cells([chinese[name] for name in names])
    for row in found.ladder.iter_rows(named=True):
        yield _cells(
            [
                row["method"],
                f"{'* ' if row['chosen'] else ''}{row['threshold']:g}",
                f"{row['removed']:,}",
                *(f"{row[method]:,}" for method in methods),
                *(f"{row['groups']:,}", f"{row['largest']:,}"),
                *(f"+{row['newly_removed']:,}", f"-{row['newly_kept']:,}"),
            ]
        )
    change = against_stored(found.duplicates, stored)
    yield "* chosen 選用"
    yield ""
    yield (
        f"Chosen 選用: {found.duplicates.height:,} go 移除; stored 已存: {stored.height:,}; "
        f"more 增加 {change['newly_removed']:,}, fewer 減少 {change['newly_kept']:,}, "
        f"for another record 改由他筆代表 {change['other_keeper']:,}"
    )
    yield from _told_margin(found.margin)


def adoption(thresholds: Mapping[str, float], environment: str) -> str:
    """The line of configuration that adopts thresholds, and where it goes."""
    line = ", ".join(f"{method}: {{threshold: {limit:g}}}" for method, limit in thresholds.items())
    return f"Adopt 採用: conf/{environment}/parameters/dedup.yml\ndedup: {{{line}}}"


def _ladder(floor: float, chosen: float) -> list[float]:
    step = _STEP if floor < _FINE_FROM else _FINE_STEP
    steps = (round(n * step, 2) for n in range(round(1 / step) + 1))
    return sorted({floor, chosen, *(value for value in steps if value > floor)})


def _with_groups(pairs: pl.DataFrame, floors: Mapping[str, float]) -> pl.DataFrame:
    """Name the group of each pair: all that stored pairs connect; at least one of the two goes."""
    groups = resolve(pairs, floors).select("removed_id", "group_id")
    named = (
        pairs.join(groups, left_on="second_id", right_on="removed_id", how="left")
        .join(groups, left_on="first_id", right_on="removed_id", how="left", suffix="_of_first")
        .with_columns(group_id=pl.coalesce("group_id", "group_id_of_first"))
    )
    ends = pl.concat([named.select("group_id", id=side) for side in ("first_id", "second_id")])
    sizes = ends.group_by("group_id").agg(group_size=pl.col("id").n_unique())
    counts = named.group_by("group_id").agg(group_pairs=pl.len())
    return named.join(sizes, on="group_id").join(counts, on="group_id")


def _told_margin(margin: pl.DataFrame) -> Iterator[str]:
    """The groups nearest to the threshold, each with its nearest pair."""
    nearest = margin.unique("group_id", keep="first", maintain_order=True)
    if nearest.is_empty():
        return
    yield ""
    shown = min(_TOLD_GROUPS, nearest.height)
    yield f"Groups at the margin 門檻邊緣的群組 ({shown}; on the page 頁面上 {nearest.height})"
    for row in nearest.head(_TOLD_GROUPS).iter_rows(named=True):
        yield (
            f"{row['similarity']:.4f} {row['method']}, group 群組 {visible(row['group_id'])}: "
            f"{row['group_size']:,} records 筆"
        )
        texts = row["first_text"], row["second_text"]
        for end, text in zip(("first", "second"), _excerpts(*texts), strict=True):
            fate = "stays 留下" if row[f"{end}_kept_id"] is None else "goes 移除"
            yield f"  {visible(row[f'{end}_id'])} {fate}  {text}"


def _excerpts(left: str, right: str) -> Iterator[str]:
    """The first difference of two texts with a little around it."""
    for stretches in differences(left, right):
        kinds = [stretch.kind for stretch in stretches]
        first = next((kind for kind in ("differs", "variant") if kind in kinds), None)
        place = kinds.index(first) if first else len(kinds)
        before, after = (
            "".join(text for kind, text in part if kind not in ("gap", "cut"))
            for part in (stretches[:place], stretches[place + 1 :])
        )
        if first is None:
            yield _one_line(before[: 4 * _EXCERPT])
            continue
        yield (
            f"{_one_line(before[-_EXCERPT:])}⟦{_one_line(stretches[place].text[: 2 * _EXCERPT])}⟧"
            f"{_one_line(after[:_EXCERPT])}"
        )


def _one_line(text: str) -> str:
    return visible(text.replace("\n", "⏎").replace("\t", " "))


def _cells(values: list[str] | tuple[str, ...]) -> str:
    """A line of a table: the first column to the left, the others to the right."""
    widths = [sum(1 + (ord(sign) >= _WIDE) for sign in value) for value in values]
    first, *others = (" " * (10 - width) for width in widths)
    return values[0] + first + "".join(p + v for p, v in zip(others, values[1:], strict=True))
