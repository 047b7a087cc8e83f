import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.judging.self_play import answer_key, spin_pairs, sppo_pairs, win_probabilities
from kyara_kedro.records import CONVERSATION, GENERATION, PREFERENCE

ASK = [{"role": "user", "content": "臺灣最高的山是哪一座？"}]


def conversations(*names, answer="玉山。"):
    return CONVERSATION.frame(
        {
            "id": name,
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
        for name in names
    )


def generations(*rows, method="self_play"):
    return GENERATION.validate(
        GENERATION.frame(
            {
                "id": f"{conversation}{iteration}{sample}",
                "conversation_id": conversation,
                "method": method,
                "iteration": iteration,
                "sample": sample,
                "model": f"m{iteration}",
                "max_tokens": 64,
                "output": output,
                "tokens": 3,
                "stopped": stopped,
                "fault": fault,
            }
            for conversation, iteration, sample, output, stopped, fault in rows
        )
    )


def dropped(result):
    return dict(result.drops.select("record_id", "reason").iter_rows())


def test_the_corpus_against_the_model():
    written = generations(
        ("a", 0, 0, "阿里山", True, None),
        ("b", 0, 0, "玉山！ ", True, None),
        ("c", 0, 0, "玉山高三千", False, None),
        ("d", 0, 0, " ", True, None),
        ("e", 0, 0, "", True, "teacher_failed"),
        ("f", 0, 0, "雪山", True, None),
    )
    result = spin_pairs(conversations(*"abcdef"), written, held_out=["f"])
    (pair,) = PREFERENCE.validate(result.pairs).to_dicts()
    assert (pair["chosen"], pair["rejected"], pair["source"]) == ("玉山。", "阿里山", "self_play")
    assert (pair["prompt"], pair["judged_orders"], pair["licence"]) == (ASK, 0, "CC0")
    assert pair["parents"] == ["a", "a00"]
    assert dropped(result) == {
        "b00": "equal_responses",
        "c00": "truncated",
        "d00": "blank",
        "e00": "teacher_failed",
        "f00": "held_out",
    }


def test_two_iterations_are_trained_on_together_and_the_newer_comes_first():
    written = generations(
        ("a", 0, 0, "阿里山", True, None),
        ("b", 0, 0, "雪山", True, None),
        ("a", 1, 0, "阿里山", True, None),
        ("b", 1, 0, "合歡山", True, None),
    )
    result = spin_pairs(conversations("a", "b", answer="玉山。"), written)
    assert sorted(result.pairs["rejected"]) == ["合歡山", "阿里山", "雪山"]
    assert dropped(result) == {"a00": "repeated"}
    assert result.drops["detail"].to_list() == ["as a10"]


def test_signs_of_reckoning_tell_answers_apart():
    assert answer_key("3 + 2") != answer_key("3 - 2")
    assert answer_key("3.5") != answer_key("35")
    assert answer_key("玉山。") == answer_key("玉山！") == answer_key(" 玉山")


def reference(scores, sharpness):
    """The definition, term by term."""
    beats = [[1 / (1 + math.exp(-(a - b) * sharpness)) for b in scores] for a in scores]
    return [sum(row) / len(row) for row in beats]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=7), st.floats(0.1, 10))
def test_win_probabilities(scores, sharpness):
    found = win_probabilities(scores, sharpness)
    assert found.tolist() == pytest.approx(reference(scores, sharpness))
    assert found.mean() == pytest.approx(0.5)


def test_rewards_of_any_size_are_ranked():
    assert win_probabilities([1e6, 0.0]).tolist() == [0.75, 0.25]


def test_best_and_worst_sample_make_a_pair_with_both_probabilities():
    written = generations(
        *(("a", 0, number, text, True, None) for number, text in enumerate("甲乙丙")),
        *(("b", 0, number, text, True, None) for number, text in enumerate("甲乙")),
        *(("c", 0, number, text, True, None) for number, text in enumerate(["甲", "甲。"])),
        *(("d", 0, number, text, True, None) for number, text in enumerate("甲乙")),
        ("e", 0, 0, "甲", True, None),
        method="sppo",
    )
    wins = {"a00": 0.5, "a01": 0.7, "a02": 0.3, "b00": 0.5, "b01": 0.5, "c00": 0.9, "c01": 0.1}
    wins |= {"d00": 0.52, "d01": 0.48, "e00": 0.5}
    result = sppo_pairs(conversations(*"abcdef"), written, wins, 0.1, "h")
    (pair,) = PREFERENCE.validate(result.pairs).to_dicts()
    assert (pair["chosen"], pair["rejected"], pair["source"]) == ("乙", "丙", "sppo")
    assert (pair["p_chosen"], pair["p_rejected"]) == (0.7, 0.3)
    assert pair["margin"] == pytest.approx(0.4)
    assert (pair["judge"], pair["parents"]) == ("h", ["a", "a01", "a02"])
    assert sorted(result.drops["reason"]) == [
        "equal_responses",
        "margin_below_floor",
        "tie",
        "too_few_samples",
        "too_few_samples",
    ]


def test_conversations_of_one_prompt_give_a_pair_once():
    written = generations(
        *(
            (name, 0, number, text, True, None)
            for name in "ab"
            for number, text in enumerate("甲乙")
        ),
        method="sppo",
    )
    wins = {"a00": 0.75, "a01": 0.25, "b00": 0.75, "b01": 0.25}
    result = sppo_pairs(conversations("a", "b"), written, wins, 0.1, "h")
    (pair,) = PREFERENCE.validate(result.pairs).to_dicts()
    assert pair["parents"][0] == "a"
    assert result.drops.select("reason", "detail").rows() == [("repeated", "b as a")]


def test_a_margin_that_is_just_reached_is_enough():
    written = generations(
        *(("a", 0, number, text, True, None) for number, text in enumerate("甲乙")), method="sppo"
    )
    result = sppo_pairs(conversations("a"), written, {"a00": 0.6, "a01": 0.5}, 0.1, "h")
    assert result.pairs.height == 1


def test_nothing_played_gives_nothing():
    nothing = pl.DataFrame(schema=GENERATION.schema)
    assert spin_pairs(conversations(), nothing).pairs.is_empty()
    assert sppo_pairs(conversations(), nothing, {}, 0.1, "h").drops.is_empty()
