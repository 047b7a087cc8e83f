"""The refined set: the best of every kind, within a budget.

Clusters (main tags) take turns and each gives the conversation that adds most to what is selected
already, in quality and in tags that are new; see :mod:`kyara_kedro.quality.picking`. Sources and
teachers have a largest share, languages a share that is aimed at. Of conversations that resemble
each other the best is taken, and the others only when nothing else fills the budget.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from kyara_kedro.errors import UserError
from kyara_kedro.options import Options
from kyara_kedro.quality.picking import Pool, Room, pick
from kyara_kedro.quality.shares import Bounds, allocate, apportion, largest_size, most_of
from kyara_kedro.records import SIMILAR_PAIR, Language

UNTAGGED = ""
BEST = "best"
OTHER_LANGUAGES = "others"
"""What all languages without a target are called together."""

_NO_PAIRS = SIMILAR_PAIR.frame()
_SCHEMA = {"record_id": pl.String, "reason": pl.String, "detail": pl.String}
_CELL = ["source", "teacher", "aim", "copy"]


class SelectionOptions(Options):
    """How much is selected, and of what at most.

    Attributes:
        budget: Number of conversations, or as a fraction their share of the pool.
        min_score: Lowest quality score.
        max_source_share: Largest share of the selection from one source.
        max_teacher_share: Largest share of the selection by one teacher; conversations without a
            teacher are not bounded.
        single_teacher: The only teacher that is selected, or ``best``: the one whose best
            conversations, as many as the budget, have the largest sum of scores.
        language_targets: Share of the selection in each language that is aimed at. What the pool
            lacks of one goes to the others; languages that are not named share the rest.
        new_tag_bonus: What a tag that nothing selected has yet adds to a score; a tag that n
            selected conversations have adds 1 / (n + 1) of it.
    """

    budget: int | float = Field(0.5, gt=0)
    min_score: float = Field(0.0, ge=0, le=1)
    max_source_share: float = Field(1.0, gt=0, le=1)
    max_teacher_share: float = Field(1.0, gt=0, le=1)
    single_teacher: str | None = None
    language_targets: Mapping[Language, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict
    )
    new_tag_bonus: float = Field(0.05, ge=0)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if isinstance(self.budget, float) and self.budget > 1:
            raise ValueError("budget is a whole number of conversations, or a share of at most 1.0")
        if sum(self.language_targets.values()) > 1 + 1e-9:
            raise ValueError("language_targets add up to more than 1")
        if self.single_teacher and self.max_teacher_share < 1:
            raise ValueError("single_teacher leaves nothing for max_teacher_share to bound")
        return self


_DEFAULT = SelectionOptions()


class Selection(NamedTuple):
    """What was selected and why the rest was not.

    Attributes:
        ids: The selected conversations, sorted.
        drops: Columns record_id, reason and detail, one row for each other conversation.
        report: What was asked for and what was reached: ``asked``, ``reached``, ``notes`` (what
            kept the two apart), ``teacher``, ``copies`` (selected although a better one is
            like them), and as lists of rows ``clusters`` (available, taken, mean score),
            ``sources``, ``teachers`` and ``languages`` (share asked for and reached).
    """

    ids: list[str]
    drops: pl.DataFrame
    report: dict[str, Any]


def select(
    conversations: pl.DataFrame | pl.LazyFrame,
    tags: pl.DataFrame,
    quality: pl.DataFrame,
    options: SelectionOptions = _DEFAULT,
    *,
    accepted: Collection[str] = (),
    rejected: Mapping[str, str] = MappingProxyType({}),
    pairs: pl.DataFrame = _NO_PAIRS,
) -> Selection:
    """Select conversations by quality within quotas.

    The budget is met exactly wherever the pool and the bounds on sources and teachers allow; where
    they do not, the selection is the largest whose shares hold. The order of the rows of a table
    does not matter.

    Args:
        conversations: A table of :data:`kyara_kedro.records.CONVERSATION`; of a lazy one, only the
            columns that are needed are read.
        tags: A table of :data:`kyara_kedro.records.TAGS`, one row a conversation.
        quality: A table of :data:`kyara_kedro.records.QUALITY`, one row a conversation.
        options: How much is selected, and of what at most.
        accepted: Ids that are selected whatever their score and the bounds; they count into the
            budget first. Ids that the pool lacks are ignored.
        rejected: Ids that are not selected, each with the detail of its drop; likewise.
        pairs: Conversations that resemble each other, a table of
            :data:`kyara_kedro.records.SIMILAR_PAIR`; others than those of the pool are ignored.

    Raises:
        UserError: A conversation has no tags or no score, no selection satisfies the bounds, there
            is no such teacher, or an id is both accepted and rejected.
    """
    for name in sorted(rejected.keys() & set(accepted)):
        raise UserError(f"selection: conversation {name} is accepted and rejected; decide for one")
    pool = _pool(conversations, tags, quality, accepted)
    asked = options.budget
    asked = asked if isinstance(asked, int) else max(1, round(asked * pool.height))
    pool = _set_aside(pool, options, int(asked), rejected)
    fit = pool.filter(pl.col("reason").is_null()).drop("reason", "detail").with_row_index("row")
    near = _near(fit, pairs)
    fit = _sorted_into_cells(fit, _followers(near, fit), options)
    chosen, bounds = _choose(fit, int(asked), options)
    if fit.height and not chosen:
        raise UserError(
            f"selection: no set holds max_source_share={options.max_source_share} and "
            f"max_teacher_share={options.max_teacher_share} with the sources "
            f"{_names(fit['source'])} and the teachers "
            f"{_names(fit['teacher'])}; raise a share"
        )
    marked = np.zeros(fit.height, np.bool_)
    marked[chosen] = True
    fit = fit.with_columns(taken=pl.Series(marked, dtype=pl.Boolean))
    aside = pool.filter(pl.col("reason").is_not_null()).rename({"id": "record_id"})
    return Selection(
        fit.filter("taken")["id"].sort().to_list(),
        pl.concat([aside.select(*_SCHEMA), _explain(fit, near, bounds)]).sort("record_id"),
        _report(pool, fit, bounds, int(asked), options),
    )


def _pool(
    conversations: pl.DataFrame | pl.LazyFrame,
    tags: pl.DataFrame,
    quality: pl.DataFrame,
    accepted: Collection[str],
) -> pl.DataFrame:
    """Conversations with tags, cluster and score: the accepted ones first, then the best."""
    rows = conversations.lazy().select("id", "source", "teacher", "language").collect()
    pool = (
        rows.join(tags.select("id", "tags"), on="id", how="left")
        .join(quality.select("id", "score"), on="id", how="left")
        .with_columns(
            cluster=pl.col("tags").list.first().fill_null(UNTAGGED),
            accepted=pl.col("id").is_in(list(accepted)),
        )
        .sort("accepted", "score", "id", descending=[True, True, False])
    )
    for name in ("tags", "score"):
        lacking = pool.filter(pl.col(name).is_null())
        if lacking.height:
            raise UserError(
                f"selection: conversation {_names(lacking['id'])[0]} has no {name}; tag and score "
                "the same conversations that are selected from"
            )
    return pool


def _set_aside(
    pool: pl.DataFrame, options: SelectionOptions, size: int, rejected: Mapping[str, str]
) -> pl.DataFrame:
    """Give what cannot be selected its reason and detail; both are null for the others."""
    told = pl.DataFrame(
        {"id": list(rejected), "told": list(rejected.values())},
        schema={"id": pl.String, "told": pl.String},
    )
    pool = pool.join(told, on="id", how="left", maintain_order="left")
    teacher = _single_teacher(pool.filter(pl.col("told").is_null()), options, size)
    low = pl.col("score") < options.min_score
    other = pl.lit(False) if teacher is None else pl.col("teacher").ne_missing(teacher)
    judged = pl.when("accepted").then(None)
    by = pl.format("'{}'", "teacher").fill_null("nobody")
    return pool.with_columns(
        reason=judged.when(pl.col("told").is_not_null())
        .then(pl.lit("rejected_by_reviewer"))
        .when(other)
        .then(pl.lit("other_teacher"))
        .when(low)
        .then(pl.lit("below_min_score")),
        detail=judged.when(pl.col("told").is_not_null())
        .then("told")
        .when(other)
        .then(pl.format("by {}, not '{}'", by, pl.lit(teacher or "")))
        .when(low)
        .then(pl.format("score {} < {}", _said("score"), pl.lit(str(options.min_score)))),
    ).drop("told")


def _single_teacher(pool: pl.DataFrame, options: SelectionOptions, size: int) -> str | None:
    """The only teacher that is wanted, if there is one."""
    if options.single_teacher is None or not pool.height:
        return None
    by_teacher = (
        pool.filter(pl.col("teacher").is_not_null(), pl.col("score") >= options.min_score)
        .group_by("teacher")
        .agg(total=pl.col("score").top_k(size).sum())
        .sort("total", "teacher", descending=[True, False])["teacher"]
        .to_list()
    )
    wanted = options.single_teacher
    if wanted in by_teacher or (wanted == BEST and by_teacher):
        return str(by_teacher[0] if wanted == BEST else wanted)
    raise UserError(
        f"selection: single_teacher is '{wanted}', but no conversation that is good enough is by "
        f"it; there are {sorted(by_teacher) or 'none by a teacher'}"
    )


class _Near(NamedTuple):
    """Rows that resemble each other: the better one, the worse one, and how much."""

    better: NDArray[np.int64]
    worse: NDArray[np.int64]
    similarity: NDArray[np.float64]


def _near(fit: pl.DataFrame, pairs: pl.DataFrame) -> _Near:
    row = fit.select("id", pl.col("row").cast(pl.Int64))
    found = (
        pairs.select("first_id", "second_id", "similarity")
        .join(row.rename({"id": "first_id", "row": "first"}), on="first_id")
        .join(row.rename({"id": "second_id", "row": "second"}), on="second_id")
        .select(
            "similarity",
            better=pl.min_horizontal("first", "second"),
            worse=pl.max_horizontal("first", "second"),
        )
        .sort("worse", "similarity", "better", descending=[False, True, False])
    )
    return _Near(*(found[name].to_numpy() for name in _Near._fields))


def _followers(near: _Near, fit: pl.DataFrame) -> NDArray[np.bool_]:
    """Rows like a better one that is no follower itself, from the best row on (the leader rule)."""
    accepted = fit["accepted"].to_numpy()
    follows = [False] * fit.height
    for better, worse in zip(near.better.tolist(), near.worse.tolist(), strict=True):
        if not follows[better] and not accepted[worse]:
            follows[worse] = True
    return np.asarray(follows, np.bool_)


def _sorted_into_cells(
    fit: pl.DataFrame, follows: NDArray[np.bool_], options: SelectionOptions
) -> pl.DataFrame:
    """Add what the language counts as, whether a row is a copy, and the number of its cell."""
    named = pl.col("language").is_in(list(options.language_targets))
    return fit.with_columns(
        aim=pl.when(named).then("language").otherwise(pl.lit(OTHER_LANGUAGES)),
        copy=pl.Series(follows, dtype=pl.Boolean),
    ).with_columns(cell=pl.struct(_CELL).rank("dense") - 1)


def _choose(fit: pl.DataFrame, asked: int, options: SelectionOptions) -> tuple[list[int], Bounds]:
    """The rows that are selected, and the bounds that hold for as many.

    First rows are picked freely within the bounds. Where that leaves places empty, it is computed
    how many rows of each source, teacher and language make the largest selection, and rows are
    picked anew within these numbers.
    """
    pool = _picking_pool(fit)
    given = fit.filter("accepted")["row"].to_list()
    size = _largest(fit, max(min(asked, fit.height), len(given)), options)
    bounds = _bounds(fit, size, options)
    rooms = [_room(fit[name], most) for name, most in bounds.most.items()]
    if bounds.aims:
        rooms.append(_room(fit["aim"], bounds.aims))
    bonus = options.new_tag_bonus
    apart = fit.filter(~pl.col("copy"))["row"].to_list()
    taken = pick(pool, apart, size, given=given, rooms=rooms, new_tag_bonus=bonus)
    if len(taken) == size:
        return taken, bounds
    cells = (
        fit.with_columns(taken=pl.col("row").is_in(taken))
        .group_by("cell")
        .agg(
            *(pl.col(name).first() for name in _CELL),
            available=pl.len(),
            given=pl.col("accepted").sum(),
            taken=pl.col("taken").sum(),
        )
        .sort("cell")
    )
    while int((counts := allocate(cells, size, bounds)).sum()) < size:
        size = _largest(fit, int(counts.sum()), options)
        bounds = _bounds(fit, size, options)
    room = Room(fit["cell"].to_list(), counts.tolist())
    rows = fit["row"].to_list()
    return pick(pool, rows, size, given=given, rooms=[room], new_tag_bonus=bonus), bounds


def _picking_pool(fit: pl.DataFrame) -> Pool:
    others = fit["tags"].list.set_difference(fit.select(pl.concat_list("cluster"))["cluster"])
    flat = _codes(others.explode(empty_as_null=False))
    ends = [0, *others.list.len().cum_sum().to_list()]
    tags = [flat[start:end] for start, end in pairwise(ends)]
    return Pool(fit["score"].to_list(), _codes(fit["cluster"]), tags)


def _names(values: pl.Series) -> list[str]:
    """The distinct values, sorted."""
    return values.drop_nulls().unique().sort().to_list()


def _codes(values: pl.Series) -> list[int]:
    """Each value's place among the distinct values; -1 for null."""
    return (values.rank("dense").cast(pl.Int64) - 1).fill_null(-1).to_list()


def _room(values: pl.Series, most: Mapping[str, int]) -> Room:
    left = [most.get(name, len(values)) for name in _names(values)]
    return Room(_codes(values), [*left, len(values)])


def _largest(fit: pl.DataFrame, size: int, options: SelectionOptions) -> int:
    """The largest size whose shares no source and no teacher has to exceed on its own."""
    shares = {"source": options.max_source_share, "teacher": options.max_teacher_share}
    while True:
        before = size
        for name, share in shares.items():
            groups = _sizes(fit, name)
            size = largest_size(
                size,
                share,
                groups["available"].to_numpy(),
                int(fit[name].null_count()),
                groups["given"].to_numpy(),
            )
        if size == before:
            return size


def _sizes(fit: pl.DataFrame, name: str) -> pl.DataFrame:
    """Rows of each value of a column, and how many of them are accepted."""
    return (
        fit.filter(pl.col(name).is_not_null())
        .group_by(name)
        .agg(
            available=pl.len().cast(pl.Int64),
            given=pl.col("accepted").sum().cast(pl.Int64),
            apart=pl.col("copy").not_().sum().cast(pl.Int64),
        )
        .sort(name)
    )


def _bounds(fit: pl.DataFrame, size: int, options: SelectionOptions) -> Bounds:
    """The most rows of each source and teacher, and the rows aimed at in each language."""
    shares = {"source": options.max_source_share, "teacher": options.max_teacher_share}
    most = {
        name: {
            value: max(most_of(share, size), given)
            for value, given in _sizes(fit, name).select(name, "given").iter_rows()
        }
        for name, share in shares.items()
        if share < 1
    }
    if not options.language_targets:
        return Bounds(most, {})
    languages = _sizes(fit, "aim")
    weights = _weights(languages["aim"].to_list(), options)
    enough = "apart" if languages["apart"].sum() >= size else "available"
    aims = apportion(size, weights, languages[enough].to_list())
    return Bounds(most, dict(zip(languages["aim"].to_list(), aims, strict=True)))


def _weights(names: Sequence[str], options: SelectionOptions) -> list[float]:
    rest = max(0.0, 1 - sum(options.language_targets.values()))
    weights = {str(name): share for name, share in options.language_targets.items()}
    return [(weights | {OTHER_LANGUAGES: rest}).get(name, 0.0) for name in names]


def _explain(fit: pl.DataFrame, near: _Near, bounds: Bounds) -> pl.DataFrame:
    """Say why each row that was not taken was not."""
    taken = fit["taken"].to_numpy()
    stands = taken[near.better]
    alike = pl.DataFrame(
        {
            "row": near.worse[stands].astype(np.uint32),
            "kept_id": fit["id"].gather(near.better[stands]),
            "similarity": near.similarity[stands],
        }
    ).unique("row", keep="first", maintain_order=True)
    lowest = pl.col("score").filter(pl.col("taken") & ~pl.col("accepted")).min()
    size = int(taken.sum())

    def full(name: str, most: Mapping[str, int]) -> pl.Expr:
        allowed = (
            pl.col(name).replace_strict(most, default=fit.height, return_dtype=pl.Int64)
            if most
            else pl.lit(fit.height)
        )
        return pl.col(f"{name}_taken") >= allowed

    reasons = {
        "similar_to_selected": (
            pl.col("kept_id").is_not_null(),
            pl.format("of {}, similarity {}", "kept_id", _said("similarity")),
        ),
        "over_source_share": (
            full("source", bounds.most.get("source", {})),
            pl.format("source '{}' holds {} of {}", "source", "source_taken", pl.lit(size)),
        ),
        "over_teacher_share": (
            full("teacher", bounds.most.get("teacher", {})),
            pl.format("teacher '{}' holds {} of {}", "teacher", "teacher_taken", pl.lit(size)),
        ),
        "over_language_share": (
            full("aim", bounds.aims)
            & (pl.col("score") > pl.col("lowest"))
            & (pl.col("score") <= pl.col("aim_lowest").fill_null(1.0)),
            pl.format(
                "language {} holds {} of {}, the share aimed at; score {}",
                *("aim", "aim_taken", pl.lit(size), _said("score")),
            ),
        ),
        "over_quota": (
            pl.col("score") > pl.col("lowest"),
            pl.format(
                "'{}' gave {} of its {}; score {}",
                *("cluster", "cluster_taken", "cluster_rows", _said("score")),
            ),
        ),
        "over_budget": (
            pl.lit(True),
            pl.format("score {}, {} selected", _said("score"), pl.lit(size)),
        ),
    }
    said = pl.coalesce(
        pl.when(holds).then(pl.struct(reason=pl.lit(name), detail=text))
        for name, (holds, text) in reasons.items()
    )
    counted = fit.with_columns(
        *(
            pl.col("taken").sum().over(name).cast(pl.Int64).alias(f"{name}_taken")
            for name in ("source", "teacher", "aim", "cluster")
        ),
        cluster_rows=pl.len().over("cluster"),
        lowest=lowest,
        aim_lowest=lowest.over("aim"),
    ).filter(~pl.col("taken"))
    told = counted.join(alike, on="row", how="left").select("id", said=said)
    return told.unnest("said").rename({"id": "record_id"})


def _said(column: str) -> pl.Expr:
    """A score in three digits that do not round it up to a bound."""
    return ((pl.col(column) * 1000).floor() / 1000).round(3).cast(pl.String)


def _report(
    pool: pl.DataFrame, fit: pl.DataFrame, bounds: Bounds, asked: int, options: SelectionOptions
) -> dict[str, Any]:
    reached = fit.filter("taken").height
    copies = fit.filter(pl.col("taken") & pl.col("copy")).height
    languages = _shares(fit.with_columns(language="aim"), "language", reached)
    asks = _weights([row["language"] for row in languages], options)
    notes = []
    if reached > asked:
        notes.append(f"the reviewers accepted {reached}")
    elif fit.height == reached < asked:
        notes.append(f"no more than {reached} of the {pool.height} conversations can be selected")
    elif reached < asked:
        notes.append(_full(fit, bounds, options))
    if copies:
        notes.append(f"{copies} resemble better ones, for there was nothing else to select")
    if options.language_targets:
        wanted = apportion(reached, asks, [reached] * len(asks))
        for row, target, number in zip(languages, asks, wanted, strict=True):
            row["target"] = round(target, 4)
            if row["taken"] < number:
                notes.append(f"{row['language']}: {row['taken']} of the {number} aimed at")
        missing = options.language_targets.keys() - {row["language"] for row in languages}
        notes += [f"{name}: the pool has none" for name in sorted(missing)]
    else:
        languages = _shares(fit, "language", reached)
    clusters = (
        fit.group_by("cluster")
        .agg(
            available=pl.len(),
            taken=pl.col("taken").sum(),
            mean_score=pl.col("score").filter("taken").mean().round(4),
        )
        .sort("available", "cluster", descending=[True, False])
    )
    return {
        "asked": asked,
        "reached": reached,
        "notes": notes,
        "copies": copies,
        "clusters": clusters.to_dicts(),
        "sources": _shares(fit, "source", reached),
        "teachers": _shares(fit, "teacher", reached),
        "languages": languages,
    }


def _full(fit: pl.DataFrame, bounds: Bounds, options: SelectionOptions) -> str:
    """Which sources and teachers have the largest share that they may have."""
    shares = {"source": options.max_source_share, "teacher": options.max_teacher_share}
    found = [
        f"{name} '{value}' may have {shares[name]:.0%}"
        for name, most in bounds.most.items()
        for value, taken in fit.group_by(name).agg(pl.col("taken").sum()).sort(name).iter_rows()
        if taken >= most.get(value, fit.height)
    ]
    return f"the shares hold for no more: {', '.join(found)}"


def _shares(fit: pl.DataFrame, name: str, reached: int) -> list[dict[str, Any]]:
    """What there is and what is taken of each value of a column, the most taken first."""
    return (
        fit.group_by(name)
        .agg(available=pl.len(), taken=pl.col("taken").sum())
        .with_columns(share=(pl.col("taken") / max(reached, 1)).round(4))
        .sort("taken", name, descending=[True, False])
        .to_dicts()
    )
