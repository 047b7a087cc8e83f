"""Preference pairs from a round robin of judged answers."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from kyara_kedro.judging.bradley_terry import PRIOR, sigmoid, strengths
from kyara_kedro.judging.length import length_effect, lengthened
from kyara_kedro.judging.pairs import EQUAL_RESPONSES, Pairs, dropped, licences, pair_row
from kyara_kedro.options import Options
from kyara_kedro.records import FIRST_WON, PREFERENCE
from kyara_kedro.text.fold import match_key

RLAIF = "rlaif"
ONE_ANSWER, NOT_JUDGED = "one_answer", "not_judged"
TIE, MARGIN_BELOW_FLOOR, LENGTH_ALONE = "tie", "margin_below_floor", "length_alone"
EQUAL = 1e-9
"""Win probabilities that differ by no more are the same."""
_TABLES_AT_ONCE = 1 << 20


class PairOptions(Options):
    """Which differences are worth a pair.

    Attributes:
        margin: Smallest difference of win probability between chosen and rejected. Magpie takes
            the best and the worst without one and so teaches noise.
        length_controlled: Whether what the judges give to length alone is taken from the win
            probabilities first, see :mod:`kyara_kedro.judging.length`.
    """

    margin: float = Field(0.25, ge=0, le=1)
    length_controlled: bool = False


_DEFAULT = PairOptions()


def duels(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Join the verdicts on each two answers: judge by judge over both orders, then over judges.

    Args:
        verdicts: A table of :data:`kyara_kedro.records.VERDICT`; those without one do not count.

    Returns:
        One row for every two answers that were judged: prompt_id; low and high, their ids in
        order; probability that the first of these is better (a judge says 1 or 0 when both orders
        agree, else 0.5: in one order alone it may have gone by the place); orders that every judge
        gave a verdict in, 1 or 2; judges, their names.
    """
    first_is_low = pl.col("first_id") < pl.col("second_id")
    agreed = (pl.col("won").n_unique() == 1) & (pl.col("first_is_low").n_unique() == 2)
    return (
        verdicts.filter(pl.col("verdict").is_not_null())
        .select(
            "prompt_id",
            "judge",
            low=pl.min_horizontal("first_id", "second_id"),
            high=pl.max_horizontal("first_id", "second_id"),
            won=pl.when(first_is_low).then(FIRST_WON).otherwise(1.0 - FIRST_WON),
            first_is_low=first_is_low,
        )
        .group_by("prompt_id", "low", "high", "judge")
        .agg(
            won=pl.when(agreed).then(pl.col("won").first()).otherwise(0.5),
            orders=pl.col("first_is_low").n_unique().cast(pl.Int32),
        )
        .group_by("prompt_id", "low", "high")
        .agg(
            probability=pl.col("won").mean(),
            orders=pl.col("orders").min(),
            judges=pl.col("judge").unique().sort(),
        )
        .sort("prompt_id", "low", "high")
    )


def win_probabilities(
    candidates: pl.DataFrame, verdicts: pl.DataFrame, *, length_controlled: bool = False
) -> pl.DataFrame:
    """Rate each answer among the answers to its prompt.

    Args:
        candidates: A table of :data:`kyara_kedro.records.CANDIDATE`.
        verdicts: A table of :data:`kyara_kedro.records.VERDICT` about them.
        length_controlled: See :class:`PairOptions`.

    Returns:
        One row for each answer that was judged: id; p, the mean of its win probabilities over the
        answers it was judged against and over itself, which counts one half (SPPO, uclaml/SPPO);
        strength, its log-odds by Bradley and Terry among the answers to the prompt, with a prior of
        half a tie; won, the same as p before anything is taken for length.
    """
    met = duels(verdicts)
    places = _places(met)
    wins, offset = _tables(met, places, candidates, verdicts if length_controlled else None)
    fitted = [
        strengths(wins[part], PRIOR, offset[part])
        for start in range(0, len(wins), _TABLES_AT_ONCE)
        for part in [slice(start, start + _TABLES_AT_ONCE)]
    ]
    strength = np.concatenate(fitted) if fitted else np.zeros((0, 1))
    met_at = wins + wins.swapaxes(-1, -2) > 0
    games = met_at.sum(-1)
    p = won = (wins.sum(-1) + 0.5) / (games + 1)
    if length_controlled:
        chance = sigmoid(strength[:, :, None] - strength[:, None, :])
        p = ((chance * met_at).sum(-1) + 0.5) / (games + 1)
    at = places["table"].to_numpy(), places["place"].to_numpy()
    return places.select("id").with_columns(
        p=pl.Series(p[at]), strength=pl.Series(strength[at]), won=pl.Series(won[at])
    )


def preference_pairs(
    candidates: pl.DataFrame, verdicts: pl.DataFrame, options: PairOptions = _DEFAULT
) -> Pairs:
    """Choose the best and the worst of each prompt's answers.

    Args:
        candidates: A table of :data:`kyara_kedro.records.CANDIDATE`.
        verdicts: A table of :data:`kyara_kedro.records.VERDICT` about them.
        options: Which differences are worth a pair.

    Returns:
        One pair for each prompt, or its drop: one_answer, not_judged, tie, margin_below_floor,
        equal_responses, or length_alone where another answer is best once length is taken out.
        Scores are the answers' strengths, the margin is the difference of their
        win probabilities.
    """
    rated = candidates.join(
        win_probabilities(candidates, verdicts, length_controlled=options.length_controlled),
        on="id",
    ).sort(["prompt_id", "p", "strength", "id"], descending=[False, True, True, False])
    ends = rated.group_by("prompt_id", maintain_order=True).agg(
        chosen=pl.struct(pl.all()).first(), rejected=pl.struct(pl.all()).last(), judged=pl.len()
    )
    met = duels(verdicts)
    orders = {(low, high): count for low, high, count in met["low", "high", "orders"].iter_rows()}
    judges = dict(
        met.group_by("prompt_id").agg(pl.col("judges").explode().unique().sort()).iter_rows()
    )
    pairs, refused = [], []
    for prompt_id, chosen, rejected, judged in ends.iter_rows():
        margin = chosen["p"] - rejected["p"]
        won = chosen["won"] - rejected["won"]
        if abs(won) <= EQUAL:
            refused.append((prompt_id, TIE, f"{judged} answers"))
        elif won < 0:
            refused.append((prompt_id, LENGTH_ALONE, f"{-won:.3f} for the one that falls behind"))
        elif match_key(chosen["response"]) == match_key(rejected["response"]):
            refused.append((prompt_id, EQUAL_RESPONSES, f"{chosen['id']} and {rejected['id']}"))
        elif margin < options.margin - EQUAL:
            refused.append((prompt_id, MARGIN_BELOW_FLOOR, f"{margin:.3f} < {options.margin}"))
        else:
            pairs.append(
                pair_row(
                    prompt=chosen["messages"],
                    chosen=chosen["response"],
                    rejected=rejected["response"],
                    score_chosen=chosen["strength"],
                    score_rejected=rejected["strength"],
                    margin=margin,
                    p_chosen=chosen["p"],
                    p_rejected=rejected["p"],
                    source=RLAIF,
                    judge=", ".join(judges[prompt_id]),
                    judged_orders=orders.get(
                        (min(chosen["id"], rejected["id"]), max(chosen["id"], rejected["id"])), 0
                    ),
                    parents=[prompt_id, chosen["id"], rejected["id"]],
                    licence=licences([chosen["licence"], rejected["licence"]]),
                )
            )
    unjudged = (
        candidates.filter(~pl.col("prompt_id").is_in(ends["prompt_id"].to_list()))
        .group_by("prompt_id")
        .len()
        .sort("prompt_id")
    )
    refused += [
        (prompt_id, ONE_ANSWER, "there is nothing to compare it with")
        if answers == 1
        else (prompt_id, NOT_JUDGED, f"{answers} answers, no verdict")
        for prompt_id, answers in unjudged.iter_rows()
    ]
    return Pairs(PREFERENCE.frame(pairs), dropped(refused))


def _places(met: pl.DataFrame) -> pl.DataFrame:
    """Where each judged answer stands: columns id, table (of its prompt) and place in it."""
    both = pl.concat([met.select("prompt_id", id="low"), met.select("prompt_id", id="high")])
    return (
        both.unique()
        .sort("prompt_id", "id")
        .select(
            "id",
            table=pl.col("prompt_id").rank("dense").cast(pl.Int64) - 1,
            place=pl.int_range(pl.len()).over("prompt_id"),
        )
    )


def _tables(
    met: pl.DataFrame,
    places: pl.DataFrame,
    candidates: pl.DataFrame,
    verdicts: pl.DataFrame | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A table of wins a prompt, shape [prompts, answers, answers], and what length does in it."""
    number = int(places["place"].max() or 0) + 1  # type: ignore[arg-type]
    prompts = int(places["table"].max() if places.height else -1) + 1  # type: ignore[arg-type]
    wins, offset = np.zeros((prompts, number, number)), np.zeros((prompts, number, number))
    placed = met.join(places.rename({"id": "low"}), on="low", maintain_order="left").join(
        places.select(high="id", other="place"), on="high", maintain_order="left"
    )
    table, low, high = (placed[name].to_numpy() for name in ("table", "place", "other"))
    won = placed["probability"].to_numpy()
    wins[table, low, high], wins[table, high, low] = won, 1.0 - won
    if verdicts is not None:
        effect = length_effect(verdicts)
        length = candidates.select("id", length=pl.col("response").str.len_chars().cast(pl.Float64))
        chars = places.join(length, on="id", maintain_order="left")["length"].to_numpy()
        of_place = np.zeros((prompts, number))
        of_place[places["table"].to_numpy(), places["place"].to_numpy()] = chars
        offset = effect.weight * lengthened(
            of_place[:, :, None] - of_place[:, None, :], effect.scale
        )
    return wins, offset
