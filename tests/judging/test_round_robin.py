from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.judging.rows import (
    Answer,
    Said,
    always_first,
    both_orders,
    candidates,
    honest,
    length_lover,
    tournament,
    verdicts,
)

from kyara_kedro.judging.length import length_effect
from kyara_kedro.judging.pairs import Pairs
from kyara_kedro.judging.round_robin import (
    PairOptions,
    duels,
    preference_pairs,
    win_probabilities,
)
from kyara_kedro.records import CANDIDATE, PREFERENCE, VERDICT


def dropped(result: Pairs) -> dict[str, str]:
    return dict(result.drops.select("record_id", "reason").iter_rows())


def test_round_robin_takes_the_best_and_the_worst() -> None:
    asked = candidates("p", "甲", "乙", "丙", "丁")
    result = preference_pairs(asked, verdicts("p", both_orders("cadb")))
    (pair,) = PREFERENCE.validate(result.pairs).to_dicts()
    assert (pair["chosen"], pair["rejected"]) == ("丙", "乙")
    assert (pair["p_chosen"], pair["p_rejected"], pair["margin"]) == (0.875, 0.125, 0.75)
    assert pair["score_chosen"] == pytest.approx(-pair["score_rejected"])
    assert pair["score_chosen"] > 1
    assert pair["judged_orders"] == 2
    assert pair["parents"] == ["p", "p-c", "p-b"]
    assert pair["licence"] == "Lb AND Lc"
    assert pair["judge"] == "評審"
    assert result.drops.is_empty()


def test_a_verdict_that_flips_on_swap_is_a_tie() -> None:
    asked = candidates("p", "甲", "乙")
    result = preference_pairs(asked, verdicts("p", [("a", "b", "A"), ("b", "a", "A")]))
    assert result.pairs.is_empty()
    assert dropped(result) == {"p": "tie"}


@pytest.mark.parametrize(
    ("forward", "swapped", "probability"),
    [
        ("A", "B", 1.0),
        ("B", "A", 0.0),
        ("A", "A", 0.5),
        ("B", "B", 0.5),
        ("C", "B", 0.5),
        ("A", "C", 0.5),
        ("C", "C", 0.5),
        ("A", None, 0.5),
        ("B", None, 0.5),
        ("C", None, 0.5),
        (None, None, None),
    ],
)
def test_two_orders_are_joined(
    forward: str | None, swapped: str | None, probability: float | None
) -> None:
    (row,) = duels(verdicts("p", [("a", "b", forward), ("b", "a", swapped)])).to_dicts() or [{}]
    assert row.get("probability") == probability
    assert row.get("orders") == (None if forward is None else 1 + (swapped is not None))


def test_one_order_alone_decides_nothing() -> None:
    result = preference_pairs(candidates("p", "甲", "乙"), verdicts("p", [("b", "a", "A")]))
    assert dropped(result) == {"p": "tie"}


def test_one_order_alone_between_the_ends_is_said() -> None:
    rows = [row for row in both_orders("abc") if row[:2] != ("a", "c")]
    result = preference_pairs(candidates("p", *"甲乙丙"), verdicts("p", rows))
    (pair,) = result.pairs.to_dicts()
    assert (pair["chosen"], pair["rejected"], pair["judged_orders"]) == ("甲", "丙", 1)
    assert (pair["p_chosen"], pair["p_rejected"]) == (2 / 3, 1 / 3)


def test_judges_are_averaged() -> None:
    asked = candidates("p", "甲", "乙")
    said = pl.concat(
        [verdicts("p", both_orders("ab"), "一"), verdicts("p", both_orders("ba"), "二")]
    )
    assert dropped(preference_pairs(asked, said)) == {"p": "tie"}


@pytest.mark.parametrize(
    ("responses", "rows", "margin", "reason"),
    [
        (("甲",), [], 0.0, "one_answer"),
        (("甲", "乙"), [], 0.0, "not_judged"),
        (("甲", "乙"), [("a", "b", None), ("b", "a", None)], 0.0, "not_judged"),
        (("甲", "乙"), [("a", "b", "C"), ("b", "a", "C")], 0.0, "tie"),
        (("甲", "乙"), both_orders("ab"), 0.6, "margin_below_floor"),
        (("玉山。", "玉山！"), both_orders("ab"), 0.0, "equal_responses"),
    ],
)
def test_reasons_for_no_pair(
    responses: tuple[str, ...], rows: list[Said], margin: float, reason: str
) -> None:
    result = preference_pairs(
        candidates("p", *responses), verdicts("p", rows), PairOptions(margin=margin)
    )
    assert result.pairs.is_empty()
    assert dropped(result) == {"p": reason}


def orders(names: str) -> list[tuple[str, str]]:
    return [(one, other) for one in names for other in names if one != other]


SAID = st.lists(st.sampled_from(["A", "B", "C", None]), min_size=12, max_size=12)


@settings(max_examples=30, deadline=None)
@given(SAID, st.floats(0, 0.9), st.booleans())
def test_every_prompt_gives_a_pair_or_a_reason(
    said: list[str | None], margin: float, controlled: bool
) -> None:
    rows = [(*order, verdict) for order, verdict in zip(orders("abcd"), said, strict=True)]
    asked = pl.concat([candidates("p", "甲", "乙乙", "丙", "丁丁丁"), candidates("q", "甲")])
    result = preference_pairs(
        asked,
        verdicts("p", rows, chars={"a": 1, "b": 2, "c": 1, "d": 3}),
        PairOptions(margin=margin, length_controlled=controlled),
    )
    PREFERENCE.validate(result.pairs)
    assert result.pairs.height + result.drops.height == 2
    for pair in result.pairs.iter_rows(named=True):
        assert pair["margin"] >= margin - 1e-9
        assert pair["p_chosen"] > 0.5 > pair["p_rejected"]


def by_hand(rows: list[Said], names: str) -> dict[str, float]:
    """Win probabilities as the text says them, one after the other."""
    said = {(first, second): verdict for first, second, verdict in rows}
    won = {"A": 1.0, "B": 0.0, "C": 0.5}

    def better(one: str, other: str) -> float | None:
        forward, backward = said[one, other], said[other, one]
        if forward and backward and won[forward] == 1 - won[backward]:
            return won[forward]
        return 0.5 if forward or backward else None

    chances = {
        one: [p for other in names if other != one and (p := better(one, other)) is not None]
        for one in names
    }
    return {one: (sum(ps) + 0.5) / (len(ps) + 1) for one, ps in chances.items() if ps}


@settings(max_examples=30, deadline=None)
@given(SAID)
def test_win_probabilities_are_the_means_that_they_say_they_are(said: list[str | None]) -> None:
    rows = [(*order, verdict) for order, verdict in zip(orders("abcd"), said, strict=True)]
    found = win_probabilities(candidates("p", *"甲乙丙丁"), verdicts("p", rows))
    probabilities = {name.removeprefix("p-"): p for name, p in found.select("id", "p").rows()}
    assert probabilities == pytest.approx(by_hand(rows, "abcd"))


@settings(max_examples=30, deadline=None)
@given(st.permutations(orders("abcd")), SAID)
def test_the_order_of_the_verdicts_changes_nothing(
    shuffled: list[tuple[str, str]], said: list[str | None]
) -> None:
    verdict = dict(zip(orders("abcd"), said, strict=True))
    asked = candidates("p", *"甲乙丙丁")
    usual = preference_pairs(asked, verdicts("p", [(*o, verdict[o]) for o in orders("abcd")]))
    other = preference_pairs(asked, verdicts("p", [(*o, verdict[o]) for o in shuffled]))
    assert usual.pairs.equals(other.pairs)
    assert usual.drops.equals(other.drops)


def test_nothing_makes_nothing() -> None:
    for controlled in (False, True):
        options = PairOptions(length_controlled=controlled)
        result = preference_pairs(CANDIDATE.frame(), VERDICT.frame(), options)
        assert result.pairs.is_empty()
        assert result.drops.is_empty()


@pytest.mark.parametrize("controlled", [False, True])
def test_a_judge_that_says_nothing_yields_no_pair(controlled: bool) -> None:
    said = verdicts("p", [(*order, None) for order in orders("abc")])
    options = PairOptions(length_controlled=controlled)
    result = preference_pairs(candidates("p", *"甲乙丙"), said, options)
    assert dropped(result) == {"p": "not_judged"}


@pytest.mark.parametrize("unread", [0.0, 0.2])
def test_a_judge_that_always_takes_the_first_yields_no_pair(unread: float) -> None:
    def taste(first: Answer, second: Answer, draw: Random) -> str | None:
        return always_first(first, second, draw) if draw.random() >= unread else None

    answers, said = tournament(taste)
    for controlled in (False, True):
        options = PairOptions(margin=0, length_controlled=controlled)
        result = preference_pairs(answers, said, options)
        assert result.pairs.is_empty()
        assert set(dropped(result).values()) == {"tie"}


def longer_chosen(result: Pairs) -> float:
    chosen, rejected = (pl.col(name).str.len_chars() for name in ("chosen", "rejected"))
    return float(result.pairs.select((chosen > rejected).mean()).item())


def test_length_control_leaves_an_honest_judge_alone() -> None:
    answers, said = tournament(honest(0.3))
    usual = preference_pairs(answers, said)
    controlled = preference_pairs(answers, said, PairOptions(length_controlled=True))
    assert abs(length_effect(said).weight) < 0.3
    assert usual.pairs.height > 110
    assert controlled.pairs.height > 0.95 * usual.pairs.height
    turned = usual.pairs.join(
        controlled.pairs, left_on=["chosen", "rejected"], right_on=["rejected", "chosen"]
    )
    assert turned.is_empty()


def test_length_control_takes_what_a_lover_of_length_gives() -> None:
    answers, said = tournament(length_lover(1.0))
    assert preference_pairs(answers, said).pairs.height == 120
    controlled = preference_pairs(answers, said, PairOptions(length_controlled=True))
    assert length_effect(said).weight > 20
    assert controlled.pairs.height <= 12


def test_length_control_brings_back_what_a_half_lover_knows() -> None:
    answers, said = tournament(length_lover(0.5), prompts=300)
    usual = preference_pairs(answers, said)
    controlled = preference_pairs(answers, said, PairOptions(length_controlled=True))
    assert longer_chosen(usual) > 0.75
    assert 0.3 < longer_chosen(controlled) < 0.75
    assert controlled.pairs.height > 60
