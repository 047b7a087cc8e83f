from itertools import combinations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.judging.pairs import PairOptions, preference_pairs, reliability, self_play_pairs
from kyara_kedro.records import CANDIDATE, CONVERSATION, PREFERENCE, VERDICT

ASK = [{"role": "user", "content": "臺灣最高的山是哪一座？"}]


def candidates(prompt, *responses):
    return CANDIDATE.frame(
        {
            "id": f"{prompt}-{name}",
            "prompt_id": prompt,
            "messages": ASK,
            "response": response,
            "contestant": name,
            "licence": f"L{name}",
        }
        for name, response in zip("abcd", responses, strict=False)
    )


def verdicts(prompt, rows, judge="評審"):
    return VERDICT.frame(
        {
            "id": f"{judge}{prompt}{first}{second}",
            "prompt_id": prompt,
            "first_id": f"{prompt}-{first}",
            "second_id": f"{prompt}-{second}",
            "verdict": verdict,
            "judge": judge,
            "reason": "",
        }
        for first, second, verdict in rows
    )


def both_orders(order):
    """Verdicts of a judge that always agrees with the given order, best first."""
    return [
        row
        for better, worse in combinations(order, 2)
        for row in ((better, worse, "A"), (worse, better, "B"))
    ]


def dropped(result):
    return dict(result.drops.select("record_id", "reason").iter_rows())


def test_round_robin_takes_the_best_and_the_worst():
    asked = candidates("p", "甲", "乙", "丙", "丁")
    result = preference_pairs(asked, verdicts("p", both_orders("cadb")))
    (pair,) = PREFERENCE.validate(result.pairs).to_dicts()
    assert (pair["chosen"], pair["rejected"]) == ("丙", "乙")
    assert (pair["p_chosen"], pair["p_rejected"], pair["margin"]) == (0.875, 0.125, 0.75)
    assert pair["judged_orders"] == 2
    assert pair["parents"] == ["p", "p-c", "p-b"]
    assert pair["licence"] == "Lb AND Lc"
    assert pair["judge"] == "評審"
    assert result.drops.is_empty()


def test_a_verdict_that_flips_on_swap_is_a_tie():
    asked = candidates("p", "甲", "乙")
    result = preference_pairs(asked, verdicts("p", [("a", "b", "A"), ("b", "a", "A")]))
    assert result.pairs.is_empty()
    assert dropped(result) == {"p": "tie"}


def test_one_order_alone_counts_and_is_said():
    result = preference_pairs(candidates("p", "甲", "乙"), verdicts("p", [("b", "a", "A")]))
    assert result.pairs["chosen"].to_list() == ["乙"]
    assert result.pairs["judged_orders"].to_list() == [1]


def test_judges_are_averaged():
    asked = candidates("p", "甲", "乙")
    said = pl.concat(
        [verdicts("p", both_orders("ab"), "一"), verdicts("p", both_orders("ba"), "二")]
    )
    assert dropped(preference_pairs(asked, said)) == {"p": "tie"}


@pytest.mark.parametrize(
    ("responses", "rows", "margin", "reason"),
    [
        (("甲", "乙"), [], 0.0, "not_judged"),
        (("甲", "乙"), [("a", "b", "C"), ("b", "a", "C")], 0.0, "tie"),
        (("甲", "乙"), both_orders("ab"), 0.6, "margin_below_floor"),
        (("玉山。", "玉山！"), both_orders("ab"), 0.0, "equal_responses"),
    ],
)
def test_reasons_for_no_pair(responses, rows, margin, reason):
    result = preference_pairs(
        candidates("p", *responses), verdicts("p", rows), PairOptions(margin=margin)
    )
    assert result.pairs.is_empty()
    assert dropped(result) == {"p": reason}


@given(st.lists(st.sampled_from("ABC"), min_size=12, max_size=12), st.floats(0, 0.9))
def test_every_prompt_gives_a_pair_or_a_reason(said, margin):
    rows = [(*order, verdict) for order, verdict in zip(_orders("abcd"), said, strict=True)]
    asked = pl.concat([candidates("p", "甲", "乙", "丙", "丁"), candidates("q", "甲")])
    result = preference_pairs(asked, verdicts("p", rows), PairOptions(margin=margin))
    PREFERENCE.validate(result.pairs)
    assert result.pairs.height + result.drops.height == 2
    for pair in result.pairs.iter_rows(named=True):
        assert pair["margin"] >= margin
        assert pair["p_chosen"] > 0.5 > pair["p_rejected"]


def _orders(names):
    return [(one, other) for one in names for other in names if one != other]


def conversation(row_id, answer):
    return {
        "id": row_id,
        "messages": [*ASK, {"role": "assistant", "content": answer}],
        "source": "s",
        "language": "zh-Hant-TW",
        "rounds": 1,
        "tokens": 5,
        "teacher": None,
        "prompt_version": None,
        "passage_ids": [],
        "calls": [],
        "parents": ["d"],
        "licence": "CC0",
    }


def test_self_play():
    corpus = CONVERSATION.frame(conversation(row_id, "玉山。") for row_id in "abcde")
    generations = pl.DataFrame(
        {
            "conversation_id": list("abcd"),
            "output": ["阿里山", "玉山。 ", "玉山高三千", " "],
            "stopped": [True, True, False, True],
        }
    )
    result = self_play_pairs(corpus, generations)
    (pair,) = PREFERENCE.validate(result.pairs).to_dicts()
    assert (pair["chosen"], pair["rejected"], pair["source"]) == ("玉山。", "阿里山", "self_play")
    assert (pair["prompt"], pair["judged_orders"], pair["licence"]) == (ASK, 0, "CC0")
    assert dropped(result) == {
        "b": "equal_responses",
        "c": "truncated",
        "d": "blank",
        "e": "not_generated",
    }


def test_reliability():
    asked = candidates("p", "短", "長一點的回答", "普通")
    said = pl.concat(
        [
            verdicts("p", [("a", "b", "A"), ("b", "a", "A"), ("a", "c", "B"), ("c", "a", "A")]),
            verdicts("p", [("a", "b", "C")], "另一位"),
        ]
    )
    other, judge = reliability(said, asked).to_dicts()
    assert (other["tie_rate"], other["pairs"], other["flip_rate"]) == (1.0, 0, None)
    assert (other["first_rate"], other["longer_rate"]) == (None, None)
    assert (judge["verdicts"], judge["pairs"]) == (4, 2)
    assert (judge["flip_rate"], judge["tie_rate"]) == (0.5, 0.0)
    assert (judge["first_rate"], judge["longer_rate"]) == (0.75, 0.75)
