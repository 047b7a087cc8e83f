"""Preference pairs: from a round robin of judged answers, and from self-play."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl
from pydantic import Field

from kyara_kedro.content import content_id
from kyara_kedro.judging.verdicts import win_probability
from kyara_kedro.options import Options
from kyara_kedro.records import PREFERENCE
from kyara_kedro.text.fold import match_key

RLAIF, SELF_PLAY = "rlaif", "self_play"
TIE, MARGIN_BELOW_FLOOR, EQUAL_RESPONSES = "tie", "margin_below_floor", "equal_responses"
NOT_JUDGED, NOT_GENERATED, TRUNCATED, BLANK = "not_judged", "not_generated", "truncated", "blank"


class PairOptions(Options):
    """Which differences are worth a pair.

    Attributes:
        margin: Smallest difference of win probability between chosen and rejected. Magpie takes
            the best and the worst without one and so teaches noise.
    """

    margin: float = Field(0.25, ge=0, le=1)


_DEFAULT = PairOptions()


class Pairs(NamedTuple):
    """Preference pairs and the records that gave none.

    Attributes:
        pairs: A table of :data:`kyara_kedro.records.PREFERENCE`.
        drops: Columns record_id, reason and detail.
    """

    pairs: pl.DataFrame
    drops: pl.DataFrame


class _Duel(NamedTuple):
    """What the judges said about two candidates, as seen from the first."""

    probability: float
    orders: int
    judges: tuple[str, ...]


def preference_pairs(
    candidates: pl.DataFrame, verdicts: pl.DataFrame, options: PairOptions = _DEFAULT
) -> Pairs:
    """Choose the best and the worst of each prompt's answers.

    The win probability of an answer is the mean over the answers it was judged against and over
    itself, which counts one half (SPPO, uclaml/SPPO). Each pair of answers counts once, with its
    verdicts in both orders joined judge by judge.

    Args:
        candidates: A table of :data:`kyara_kedro.records.CANDIDATE`.
        verdicts: A table of :data:`kyara_kedro.records.VERDICT` about them.
        options: Which differences are worth a pair.

    Returns:
        One pair for each prompt, or its drop: not_judged, tie, margin_below_floor or
        equal_responses.
    """
    duels = _duels(verdicts)
    pairs, dropped = [], []
    for (prompt_id,), group in candidates.sort("prompt_id", "id").group_by(
        "prompt_id", maintain_order=True
    ):
        rows = group.to_dicts()
        wins = _win_probabilities([row["id"] for row in rows], duels)
        if not wins:
            dropped.append((prompt_id, NOT_JUDGED, f"{len(rows)} answers, no verdict"))
            continue
        judged = [row for row in rows if row["id"] in wins]
        chosen = max(judged, key=lambda row: wins[row["id"]])
        rejected = min(judged, key=lambda row: wins[row["id"]])
        margin = wins[chosen["id"]] - wins[rejected["id"]]
        if margin == 0:
            dropped.append((prompt_id, TIE, f"{len(judged)} answers"))
        elif match_key(chosen["response"]) == match_key(rejected["response"]):
            dropped.append((prompt_id, EQUAL_RESPONSES, f"{chosen['id']} and {rejected['id']}"))
        elif margin < options.margin:
            dropped.append((prompt_id, MARGIN_BELOW_FLOOR, f"{margin:.3f} < {options.margin}"))
        else:
            pairs.append(_judged_pair(chosen, rejected, wins, duels))
    return Pairs(PREFERENCE.frame(pairs), _drops(dropped))


def self_play_pairs(
    conversations: pl.DataFrame, generations: pl.DataFrame, source: str = SELF_PLAY
) -> Pairs:
    """Pair the corpus' last answer with the model's own (SPIN, uclaml/SPIN).

    A truncated answer would teach nothing but its length; equal and blank ones nothing at all.

    Args:
        conversations: A table of :data:`kyara_kedro.records.CONVERSATION`.
        generations: Columns conversation_id, output and stopped (false: cut at the limit); one row
            a conversation.
        source: Name of the pairs' source.

    Returns:
        One pair for each conversation, or its drop: not_generated, blank, truncated or
        equal_responses.
    """
    outputs = {
        row_id: (output, stopped)
        for row_id, output, stopped in generations.select(
            "conversation_id", "output", "stopped"
        ).iter_rows()
    }
    pairs, dropped = [], []
    for row in conversations.sort("id").iter_rows(named=True):
        output, stopped = outputs.get(row["id"], (None, False))
        *prompt, answer = row["messages"]
        if output is None:
            dropped.append((row["id"], NOT_GENERATED, "no output"))
        elif not output.strip():
            dropped.append((row["id"], BLANK, f"{len(output)} characters"))
        elif not stopped:
            dropped.append((row["id"], TRUNCATED, f"{len(output)} characters"))
        elif output.strip() == answer["content"].strip():
            dropped.append((row["id"], EQUAL_RESPONSES, "the model gives the corpus' answer"))
        else:
            pairs.append(
                _pair(
                    prompt=prompt,
                    chosen=answer["content"],
                    rejected=output,
                    source=source,
                    judged_orders=0,
                    parents=[row["id"]],
                    licence=row["licence"],
                )
            )
    return Pairs(PREFERENCE.frame(pairs), _drops(dropped))


def reliability(verdicts: pl.DataFrame, candidates: pl.DataFrame) -> pl.DataFrame:
    """Measure how far a judge can be trusted.

    Args:
        verdicts: A table of :data:`kyara_kedro.records.VERDICT`.
        candidates: A table of :data:`kyara_kedro.records.CANDIDATE`, for the answers' lengths.

    Returns:
        One row a judge: verdicts; tie_rate (share of C); first_rate (share of decisive verdicts
        for the answer shown first); pairs (judged in both orders); flip_rate (share of them in
        which the same place won twice); longer_rate (share of decisive verdicts between answers of
        different length in characters that go to the longer). Rates without a case are null.
    """
    lengths = candidates.select("id", length=pl.col("response").str.len_chars().cast(pl.Int64))
    said = (
        verdicts.join(
            lengths.rename({"id": "first_id", "length": "first"}), on="first_id", how="left"
        )
        .join(lengths.rename({"id": "second_id", "length": "second"}), on="second_id", how="left")
        .with_columns(decisive=pl.col("verdict") != "C", first_won=pl.col("verdict") == "A")
        .with_columns(uneven=pl.col("decisive") & (pl.col("first") != pl.col("second")))
    )
    swapped = verdicts.select(
        "judge",
        "prompt_id",
        pl.col("second_id").alias("first_id"),
        pl.col("first_id").alias("second_id"),
        again="verdict",
    )
    both = (
        verdicts.filter(pl.col("first_id") < pl.col("second_id"))
        .join(swapped, on=["judge", "prompt_id", "first_id", "second_id"])
        .group_by("judge")
        .agg(
            pairs=pl.len(),
            flip_rate=((pl.col("verdict") == pl.col("again")) & (pl.col("verdict") != "C")).mean(),
        )
    )
    longer = (pl.col("first") > pl.col("second")) == pl.col("first_won")
    return (
        said.group_by("judge")
        .agg(
            verdicts=pl.len(),
            tie_rate=pl.col("decisive").not_().mean(),
            first_rate=pl.col("first_won").filter("decisive").mean(),
            longer_rate=longer.filter("uneven").mean(),
        )
        .join(both, on="judge", how="left")
        .with_columns(pl.col("pairs").fill_null(0))
        .sort("judge")
    )


def _duels(verdicts: pl.DataFrame) -> dict[tuple[str, str], _Duel]:
    """Join the verdicts on each pair of candidates, keyed by both of its orders."""
    said: dict[tuple[str, str], dict[str, dict[bool, str]]] = defaultdict(dict)
    for row in verdicts.sort("id").iter_rows(named=True):
        first, second = row["first_id"], row["second_id"]
        key = (min(first, second), max(first, second))
        said[key].setdefault(row["judge"], {})[first == key[0]] = row["verdict"]
    duels = {}
    for (first, second), judges in said.items():
        won = [_first_wins(orders) for orders in judges.values()]
        probability = sum(won) / len(won)
        orders = min(len(seen) for seen in judges.values())
        names = tuple(sorted(judges))
        duels[first, second] = _Duel(probability, orders, names)
        duels[second, first] = _Duel(1.0 - probability, orders, names)
    return duels


def _first_wins(orders: Mapping[bool, str]) -> float:
    if True in orders:
        return win_probability(orders[True], orders.get(False))
    return 1.0 - win_probability(orders[False])


def _win_probabilities(
    ids: Sequence[str], duels: Mapping[tuple[str, str], _Duel]
) -> dict[str, float]:
    """Win probability of each judged answer, itself counted with one half."""
    wins = {}
    for own in ids:
        won = [duels[own, other].probability for other in ids if (own, other) in duels]
        if won:
            wins[own] = (sum(won) + 0.5) / (len(won) + 1)
    return wins


def _judged_pair(
    chosen: Mapping[str, Any],
    rejected: Mapping[str, Any],
    wins: Mapping[str, float],
    duels: Mapping[tuple[str, str], _Duel],
) -> dict[str, Any]:
    direct = duels.get((chosen["id"], rejected["id"]))
    judges = {
        judge
        for own in (chosen["id"], rejected["id"])
        for other in wins
        if (own, other) in duels
        for judge in duels[own, other].judges
    }
    return _pair(
        prompt=chosen["messages"],
        chosen=chosen["response"],
        rejected=rejected["response"],
        margin=wins[chosen["id"]] - wins[rejected["id"]],
        p_chosen=wins[chosen["id"]],
        p_rejected=wins[rejected["id"]],
        source=RLAIF,
        judge=", ".join(sorted(judges)),
        judged_orders=direct.orders if direct else 0,
        parents=[chosen["prompt_id"], chosen["id"], rejected["id"]],
        licence=_joined([chosen["licence"], rejected["licence"]]),
    )


def _pair(**values: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(PREFERENCE.columns) | {"kind": "conversation"} | values
    row["id"] = content_id("preference", row["prompt"], row["chosen"], row["rejected"])
    return row


def _joined(licences: Iterable[str]) -> str:
    """SPDX expression of several licences that hold at once."""
    return " AND ".join(sorted(set(licences)))


def _drops(rows: Sequence[tuple[str, str, str]]) -> pl.DataFrame:
    return pl.DataFrame(
        rows,
        schema={"record_id": pl.String, "reason": pl.String, "detail": pl.String},
        orient="row",
    )
