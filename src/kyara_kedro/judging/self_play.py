"""Preference pairs from a model's own answers, against the corpus (SPIN) or each other (SPPO)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kyara_kedro.content import Message, content_id
from kyara_kedro.judging.pairs import EQUAL_RESPONSES, Pairs, dropped, pair_row
from kyara_kedro.judging.round_robin import EQUAL, MARGIN_BELOW_FLOOR, TIE
from kyara_kedro.records import PREFERENCE
from kyara_kedro.text.fold import match_key

SPIN, SPPO = "self_play", "sppo"
HELD_OUT, REPEATED, TOO_FEW = "held_out", "repeated", "too_few_samples"
TRUNCATED, BLANK = "truncated", "blank"

_OPERATORS = re.compile(r"[-+*/×÷=<>≤≥≠%^√−]|(?<=\d)\.(?=\d)")


def answer_key(text: str) -> tuple[str, str]:
    """What makes two answers the same: letters and digits, and the signs that reckon with them."""
    return match_key(text), "".join(_OPERATORS.findall(text))


def prompt_key(messages: Iterable[Message]) -> str:
    """What makes two prompts the same, turn by turn."""
    return "\n".join(f"{turn['role']} {match_key(turn['content'])}" for turn in messages)


def unusable(generation: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why an answer cannot be half of a pair: it failed, says nothing, or was cut at its limit.

    One that was cut would teach nothing but its length.
    """
    if generation["fault"] is not None:
        return str(generation["fault"]), ""
    if not generation["output"].strip():
        return BLANK, f"{generation['tokens']} tokens"
    if not generation["stopped"]:
        return TRUNCATED, f"{generation['tokens']} tokens"
    return None


def spin_pairs(
    conversations: pl.DataFrame, generations: pl.DataFrame, held_out: Sequence[str] = ()
) -> Pairs:
    """Pair the corpus' last answer with a model's own (SPIN, uclaml/SPIN, arXiv:2401.01335).

    Args:
        conversations: A table of :data:`kyara_kedro.records.CONVERSATION`.
        generations: A table of :data:`kyara_kedro.records.GENERATION` about them, of one iteration
            or of several.
        held_out: Ids of conversations that are kept for measuring.

    Returns:
        A pair for each generation, or the drop of the generation: held_out, its fault, blank,
        truncated, equal_responses (to the corpus' answer) or repeated (in another iteration).
    """
    kept_back = frozenset(held_out)
    rows = {row["id"]: row for row in conversations.iter_rows(named=True)}
    pairs: dict[str, dict[str, Any]] = {}
    refused = []
    order = generations.sort("iteration", "conversation_id", "id", descending=[True, False, False])
    for generation in order.iter_rows(named=True):
        row = rows[generation["conversation_id"]]
        *prompt, answer = row["messages"]
        if row["id"] in kept_back:
            refused.append((generation["id"], HELD_OUT, "kept for measuring"))
        elif reason := unusable(generation):
            refused.append((generation["id"], *reason))
        elif answer_key(generation["output"]) == answer_key(answer["content"]):
            detail = "the model gives the corpus' answer"
            refused.append((generation["id"], EQUAL_RESPONSES, detail))
        else:
            pair = pair_row(
                source=SPIN,
                prompt=prompt,
                chosen=answer["content"],
                rejected=generation["output"],
                judged_orders=0,
                parents=[row["id"], generation["id"]],
                licence=row["licence"],
            )
            if (first := pairs.setdefault(pair["id"], pair)) is not pair:
                refused.append((generation["id"], REPEATED, f"as {first['parents'][1]}"))
    return Pairs(PREFERENCE.frame(pairs.values()), dropped(refused))


def win_probabilities(scores: Sequence[float], sharpness: float = 1.0) -> NDArray[np.float64]:
    """Win probability of each sample: its mean over all of them, itself counted with one half.

    A sample beats another with probability sigmoid(difference of scores) (SPPO, uclaml/SPPO).

    Args:
        scores: One a sample, higher is better.
        sharpness: What differences are multiplied with; 1 for rewards in logits.
    """
    values = np.asarray(scores, dtype=np.float64) * sharpness
    lost = np.exp(np.clip(values[None, :] - values[:, None], -700, 700))
    mean: NDArray[np.float64] = (1.0 / (1.0 + lost)).mean(axis=1)
    return mean


def sppo_pairs(
    conversations: pl.DataFrame,
    generations: pl.DataFrame,
    wins: Mapping[str, float],
    margin: float,
    judge: str,
) -> Pairs:
    """Pair the samples with the highest and the lowest win probability (SPPO, arXiv:2405.00675).

    Args:
        conversations: A table of :data:`kyara_kedro.records.CONVERSATION`, one pair at most each.
        generations: A table of :data:`kyara_kedro.records.GENERATION`, several samples of each.
        wins: Win probability of each usable sample, by its id; see :func:`win_probabilities`.
        margin: Smallest difference of win probabilities that is worth a pair.
        judge: Who ranked them.

    Returns:
        A pair for each conversation, with both probabilities for the soft loss, or its drop:
        too_few_samples, tie, equal_responses, margin_below_floor, or repeated where another
        conversation with the same prompt has given the same pair.
    """
    samples: dict[str, list[dict[str, Any]]] = {}
    for generation in generations.sort("sample", "id").iter_rows(named=True):
        if generation["id"] in wins:
            samples.setdefault(generation["conversation_id"], []).append(generation)
    pairs: dict[str, dict[str, Any]] = {}
    refused = []
    for row in conversations.sort("id").iter_rows(named=True):
        record, ranked = content_id(SPPO, row["id"]), samples.get(row["id"], [])
        if len(ranked) < 2:
            refused.append((record, TOO_FEW, f"{len(ranked)} usable samples of {row['id']}"))
            continue
        chosen = max(ranked, key=lambda sample: wins[sample["id"]])
        rejected = min(ranked, key=lambda sample: wins[sample["id"]])
        gain = wins[chosen["id"]] - wins[rejected["id"]]
        if gain <= EQUAL:
            refused.append((record, TIE, f"{len(ranked)} samples of {row['id']}"))
        elif answer_key(chosen["output"]) == answer_key(rejected["output"]):
            refused.append((record, EQUAL_RESPONSES, f"{chosen['id']} and {rejected['id']}"))
        elif gain < margin - EQUAL:
            refused.append((record, MARGIN_BELOW_FLOOR, f"{gain:.3f} < {margin} of {row['id']}"))
        else:
            pair = pair_row(
                source=SPPO,
                prompt=row["messages"][:-1],
                chosen=chosen["output"],
                rejected=rejected["output"],
                judged_orders=0,
                margin=gain,
                p_chosen=wins[chosen["id"]],
                p_rejected=wins[rejected["id"]],
                judge=judge,
                parents=[row["id"], chosen["id"], rejected["id"]],
                licence=row["licence"],
            )
            if (first := pairs.setdefault(pair["id"], pair)) is not pair:
                refused.append((record, REPEATED, f"{row['id']} as {first['parents'][0]}"))
    return Pairs(PREFERENCE.frame(pairs.values()), dropped(refused))
