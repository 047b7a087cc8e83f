"""How far a judge can be trusted: what its verdicts give away about its habits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kyara_kedro.content import content_id
from kyara_kedro.judging.agreement import agreement, rating_agreement
from kyara_kedro.judging.bootstrap import Interval, cluster_intervals
from kyara_kedro.judging.bradley_terry import sigmoid
from kyara_kedro.judging.ratings import rated
from kyara_kedro.judging.round_robin import duels
from kyara_kedro.records import FIRST_WON, JUDGE_RELIABILITY

Floats = NDArray[np.float64]


class Measure(NamedTuple):
    """A habit of judges.

    Attributes:
        name: Of the measure.
        bar: How far above what is expected, by the lower end of the interval, it is flagged.
        both_sides: Whether it is flagged as far below, too.
        warning: What is said then; takes the value, its interval and what was expected.
    """

    name: str
    bar: float
    both_sides: bool
    warning: str


MEASURES: Mapping[str, Measure] = {
    one.name: one
    for one in (
        Measure(
            "parse_failure",
            0.05,
            both_sides=False,
            warning="{value} of its replies have no verdict that can be read: look at their "
            "`reason` in the verdicts",
        ),
        Measure("tie", 0.8, both_sides=False, warning="{value} of its verdicts are ties"),
        Measure(
            "first",
            0.05,
            both_sides=True,
            warning="the answer shown first wins {value} of its decisions ({low} to {high}): "
            "position decides, and what it says counts only where both orders agree",
        ),
        Measure(
            "flip",
            0.4,
            both_sides=False,
            warning="in {value} of its duels the same place won in both orders ({low} to {high})",
        ),
        Measure(
            "longer",
            0.05,
            both_sides=False,
            warning="the longer answer wins {value} of its decisions ({low} to {high}), {expected} "
            "was to be expected: set preference.length_controlled, or name another judge",
        ),
        Measure(
            "longer_agreed",
            0.05,
            both_sides=False,
            warning="where both orders agree the longer answer wins {value} ({low} to {high}), "
            "{expected} was to be expected",
        ),
        Measure(
            "self_preference",
            0.05,
            both_sides=False,
            warning="answers of its own family win {value} of their duels ({low} to {high}), with "
            "other judges {expected}",
        ),
        Measure(
            "no_rating",
            0.05,
            both_sides=False,
            warning="{value} of its ratings cannot be read: look at their `text` in the labelled "
            "judgements",
        ),
    )
}
AGREEMENTS = ("accuracy", "macro_f1", "kappa")
CORRELATIONS = ("pearson", "spearman", "kendall")
_ONLY_LENGTH = 0.9
"""Share of the longer answer that nothing but length explains, whoever the contestants are."""


def reliability(
    verdicts: pl.DataFrame,
    *,
    resamples: int,
    seed: int,
    truth: pl.DataFrame | None = None,
    data_set: str | None = None,
) -> pl.DataFrame:
    """Measure every judge of some verdicts.

    ``parse_failure``: share of its replies without a verdict. ``tie``: share of its verdicts.
    ``first``: share of its decisions for the answer shown first; 0.5 is expected. ``flip``: share
    of the duels judged in both orders in which the same place won twice. ``longer``: share of its
    decisions between answers of different length in characters that go to the longer one; expected
    is what the strengths of the contestants by this judge make of it (who is better may write
    more), or people where they judged the same. Where a contestant always writes more, love of
    length and of that contestant cannot be told apart, unless the longer one wins nine in ten.
    ``longer_agreed``: the same where both orders agree. ``self_preference``: share that answers of
    the judge's own family win against others (a tie is half); expected is what other judges gave
    to the same answers in the same duels.

    A measure is flagged when its interval lies above what is expected by more than the bar in
    :data:`MEASURES`, so an honest judge with much noise is not.

    Args:
        verdicts: A table of :data:`kyara_kedro.records.VERDICT`.
        resamples: Resamples of the intervals, over prompts.
        seed: Of the draws.
        truth: What people said about the same duels: prompt_id, first_id, and expected (1 where
            that answer is better, 0.5 for a tie, else 0), once in each order.
        data_set: Name of the set that the duels are from; None for those of the run.

    Returns:
        A table of :data:`kyara_kedro.records.JUDGE_RELIABILITY`; a measure without a case has no
        row.
    """
    said = verdicts.sort("id").with_columns(won=FIRST_WON)
    rows = []
    for (judge,), own in said.group_by("judge", maintain_order=True):
        chance = _chance(own, truth)
        marked = _marked(own.with_columns(expected=pl.Series(chance)), said)
        rows += list(_measured(str(judge), marked, data_set, resamples, seed))
    return JUDGE_RELIABILITY.frame(rows).sort("judge", "measure", maintain_order=True)


def labelled_reliability(
    labelled: pl.DataFrame, verdicts: pl.DataFrame, *, resamples: int, seed: int
) -> pl.DataFrame:
    """Measure every judge on duels that people have judged, set by set.

    As :func:`reliability`, and ``accuracy``, ``macro_f1`` and ``kappa``: agreement of the judge's
    verdict, joined over both orders, with the label. A pair without a verdict counts as wrong. A
    kappa that may be zero is flagged.

    Args:
        labelled: A table of :data:`kyara_kedro.records.LABELLED_PAIR`.
        verdicts: A table of :data:`kyara_kedro.records.VERDICT`; prompts are the pairs' ids, and
            the answers' ids those of :func:`side_ids`.
        resamples: Resamples of the intervals.
        seed: Of the draws.
    """
    found = [JUDGE_RELIABILITY.frame()]
    for (name,), pairs in labelled.group_by("data_set", maintain_order=True):
        own = verdicts.filter(pl.col("prompt_id").is_in(pairs["id"].to_list()))
        truth = _truth(pairs)
        options: dict[str, Any] = {"resamples": resamples, "seed": seed}
        found.append(reliability(own, truth=truth, data_set=str(name), **options))
        for (judge,), part in own.sort("id").group_by("judge", maintain_order=True):
            mine = pairs.filter(pl.col("id").is_in(part["prompt_id"].to_list()))
            found.append(_agreed(str(judge), mine, part, str(name), **options))
    return pl.concat(found).sort("judge", "data_set", "measure", nulls_last=False)


def rated_reliability(
    labelled: pl.DataFrame, judgements: pl.DataFrame, *, resamples: int, seed: int
) -> pl.DataFrame:
    """Measure every judge on answers that people have scored, set by set.

    ``pearson``, ``spearman`` and ``kendall``: correlation of its ratings with people's scores,
    null where one of them gave all answers the same. A Spearman's that may be zero is flagged.
    ``no_rating``: share of its judgements that hold none.

    Args:
        labelled: A table of :data:`kyara_kedro.records.LABELLED_RATING`.
        judgements: A table of :data:`kyara_kedro.records.JUDGEMENT`; items are the ratings' ids.
        resamples: Resamples of the intervals, over questions.
        seed: Of the draws.
    """
    both = judgements.join(
        labelled.select("data_set", "prompt", "rating", item_id="id"), on="item_id"
    ).sort("id")
    rows = []
    for (name, judge), part in both.group_by("data_set", "judge", maintain_order=True):
        found = rating_agreement(
            part["rating"].to_list(),
            part["value"].to_list(),
            part["prompt"].to_list(),
            resamples=resamples,
            seed=seed,
        )
        row = _row(str(judge), str(name), "no_rating", found.unread, part.height)
        rows.append(row | {"flagged": found.unread.low > MEASURES["no_rating"].bar})
        for measure in CORRELATIONS if part["value"].count() else ():
            interval: Interval = getattr(found, measure)
            row = _row(str(judge), str(name), measure, interval, part["value"].count())
            rows.append(row | {"flagged": measure == "spearman" and not interval.low > 0})
    return JUDGE_RELIABILITY.frame(rows).sort("judge", "data_set", "measure")


def side_ids(pair: str) -> tuple[str, str]:
    """Ids of the two answers of a labelled pair."""
    return content_id("labelled", pair, 1), content_id("labelled", pair, 2)


def warnings(table: pl.DataFrame) -> list[str]:
    """What a person should know of judges, one line for every flagged measure."""
    return [_warning(row) for row in table.filter("flagged").iter_rows(named=True)]


def _warning(row: Mapping[str, Any]) -> str:
    where = f" on {row['data_set']}" if row["data_set"] else ""
    text = (
        MEASURES[row["measure"]].warning
        if row["measure"] in MEASURES
        else f"its agreement with people ({row['measure']} {{value}}, {{low}} to {{high}}) may be "
        "chance"
    )
    form = ".1%" if row["measure"] in MEASURES else ".2f"
    figures = {
        name: "unknown" if row[name] is None else format(row[name], form)
        for name in ("value", "low", "high", "expected")
    }
    return f"judge {row['judge']}{where}: {text.format(**figures)}"


def _chance(own: pl.DataFrame, truth: pl.DataFrame | None) -> Floats:
    """The probability that the first answer wins, by people or by the contestants' strengths."""
    if truth is not None:
        known = own.join(truth, on=["prompt_id", "first_id"], how="left", maintain_order="left")
        return known["expected"].cast(pl.Float64).to_numpy()
    ratings, names = rated(own, resamples=0, seed=0)
    strength = {name: float(ratings.strength[i]) for i, name in enumerate(names)}
    apart = own["first_contestant"].replace_strict(strength, default=0.0, return_dtype=pl.Float64)
    apart -= own["second_contestant"].replace_strict(strength, default=0.0, return_dtype=pl.Float64)
    return sigmoid(apart.to_numpy())


def _marked(own: pl.DataFrame, said: pl.DataFrame) -> pl.DataFrame:
    """Add what each measure needs: the other order's verdict, lengths, and other judges' view."""
    swapped = own.select(
        "prompt_id", first_id="second_id", second_id="first_id", again=1.0 - pl.col("won")
    )
    others = (
        said.filter(pl.col("judge") != own["judge"][0], pl.col("won").is_not_null())
        .group_by("prompt_id", "first_id", "second_id")
        .agg(others=pl.col("won").mean())
    )
    keys = ["prompt_id", "first_id", "second_id"]
    longer = pl.col("first_chars") > pl.col("second_chars")
    mine = pl.col("judge_family") != ""
    first_own = mine & (pl.col("first_family") == pl.col("judge_family"))
    second_own = mine & (pl.col("second_family") == pl.col("judge_family"))

    def of(side: pl.Expr, name: str) -> pl.Expr:
        return pl.when(side).then(pl.col(name)).otherwise(1.0 - pl.col(name))

    return (
        own.join(swapped, on=keys, how="left", maintain_order="left")
        .join(others, on=keys, how="left", maintain_order="left")
        .with_columns(
            read=pl.col("won").is_not_null(),
            decided=(pl.col("won") != 0.5).fill_null(value=False),
            uneven=pl.col("first_chars") != pl.col("second_chars"),
            both=pl.col("won").is_not_null() & pl.col("again").is_not_null(),
            longer_won=of(longer, "won"),
            longer_expected=of(longer, "expected"),
            own=first_own ^ second_own,
            own_won=of(first_own, "won"),
            own_expected=of(first_own, "others"),
        )
        .with_columns(agreed=pl.col("decided") & (pl.col("won") == pl.col("again")))
    )


_CASES: Mapping[str, tuple[pl.Expr, pl.Expr, pl.Expr]] = {
    "parse_failure": (pl.lit(value=True), ~pl.col("read"), pl.lit(0.0)),
    "tie": (pl.col("read"), pl.col("won") == 0.5, pl.lit(0.0)),
    "first": (pl.col("decided"), pl.col("won") == 1.0, pl.lit(0.5)),
    "flip": (
        pl.col("both") & (pl.col("first_id") < pl.col("second_id")),
        pl.col("decided") & (pl.col("won") == 1.0 - pl.col("again")),
        pl.lit(0.0),
    ),
    "longer": (
        pl.col("decided") & pl.col("uneven"),
        pl.col("longer_won"),
        pl.col("longer_expected"),
    ),
    "longer_agreed": (
        pl.col("agreed").fill_null(value=False)
        & pl.col("uneven")
        & (pl.col("first_id") < pl.col("second_id")),
        pl.col("longer_won"),
        pl.col("longer_expected"),
    ),
    "self_preference": (
        pl.col("own") & pl.col("read") & pl.col("others").is_not_null(),
        pl.col("own_won"),
        pl.col("own_expected"),
    ),
}
"""Of each measure: which rows are cases, what is counted, and what is expected of it."""


def _measured(
    judge: str, marked: pl.DataFrame, data_set: str | None, resamples: int, seed: int
) -> Iterator[dict[str, Any]]:
    columns = [
        part.cast(pl.Float64).alias(f"{name}:{what}")
        for name, (case, value, expected) in _CASES.items()
        for what, part in (
            ("cases", case),
            ("value", pl.when(case).then(value.cast(pl.Float64)).otherwise(0.0)),
            ("expected", pl.when(case).then(expected).otherwise(0.0)),
        )
    ]
    items = marked.select(columns).fill_null(0.0).to_numpy()

    def figures(sums: Floats) -> Floats:
        parts = sums.reshape(len(sums), len(_CASES), 3)
        cases = parts[:, :, :1]
        rates = np.divide(
            parts[:, :, 1:], cases, out=np.full_like(parts[:, :, 1:], np.nan), where=cases > 0
        )
        excess = rates[:, :, 0] - rates[:, :, 1]
        return np.concatenate([rates[:, :, 0], rates[:, :, 1], excess], axis=1)

    found = cluster_intervals(
        items, marked["prompt_id"].to_list(), figures, resamples=resamples, seed=seed
    )
    number = len(_CASES)
    for place, name in enumerate(_CASES):
        value, expected, excess = found[place], found[number + place], found[2 * number + place]
        cases = int(items[:, 3 * place].sum())
        if cases:
            row = _row(judge, data_set, name, value, cases)
            row["flagged"] = _flagged(MEASURES[name], value, excess)
            row["expected"] = None if name in ("parse_failure", "tie", "flip") else expected.value
            yield row


def _flagged(measure: Measure, value: Interval, excess: Interval) -> bool:
    above = excess.low > measure.bar
    below = measure.both_sides and excess.high < -measure.bar
    only_length = measure.name.startswith("longer") and value.low >= _ONLY_LENGTH
    return bool(above or below or only_length)


def _truth(pairs: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for pair, better in pairs.select("id", verdict="label").select("id", FIRST_WON).iter_rows():
        first, second = side_ids(pair)
        rows += [(pair, first, better), (pair, second, 1.0 - better)]
    return pl.DataFrame(rows, schema=["prompt_id", "first_id", "expected"], orient="row")


def _agreed(
    judge: str,
    pairs: pl.DataFrame,
    verdicts: pl.DataFrame,
    data_set: str,
    *,
    resamples: int,
    seed: int,
) -> pl.DataFrame:
    joined = {
        pair: 1.0 - chance if low == side_ids(pair)[1] else chance
        for pair, low, chance in duels(verdicts).select("prompt_id", "low", "probability").rows()
    }
    said = [
        None if (chance := joined.get(pair)) is None else _label(chance) for pair in pairs["id"]
    ]
    found = agreement(
        pairs["label"].to_list(), said, pairs["prompt"].to_list(), resamples=resamples, seed=seed
    )
    rows = []
    for name in AGREEMENTS:
        interval: Interval = getattr(found, name)
        row = _row(judge, data_set, name, interval, found.items)
        rows.append(row | {"flagged": name == "kappa" and interval.low <= 0})
    return JUDGE_RELIABILITY.frame(rows)


def _label(chance: float) -> str:
    return "A" if chance > 0.5 else "B" if chance < 0.5 else "C"


def _row(
    judge: str, data_set: str | None, measure: str, interval: Interval, cases: int
) -> dict[str, Any]:
    return {
        "id": content_id("reliability", judge, data_set, measure),
        "judge": judge,
        "data_set": data_set,
        "measure": measure,
        **{end: None if np.isnan(x) else x for end, x in interval._asdict().items()},
        "expected": None,
        "cases": cases,
        "flagged": False,
    }
