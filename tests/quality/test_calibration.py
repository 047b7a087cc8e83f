"""What becomes of raw values: places within a language, one mean, and figures of agreement."""

import json
import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kyara_kedro.errors import UserError
from kyara_kedro.quality.calibration import combine, quality_table, summarise
from kyara_kedro.quality.scorers import QualityOptions
from kyara_kedro.records import QUALITY, RAW_SCORES

Values = list[float | None]

SCORERS = QualityOptions.model_validate(
    {
        "scorers": {
            "heuristics": {"kind": "heuristics", "weight": 1},
            "reward": {"kind": "reward_model", "model": "rm", "weight": 2},
            "judge": {"kind": "judge", "weight": 1},
        }
    }
).scorers


def raw_scores(languages: list[str], **values: Values) -> pl.LazyFrame:
    rows = [
        {
            "id": f"{number:04}",
            "language": language,
            "scores": [
                {
                    "scorer": name,
                    "name": f"{name}-1",
                    "value": some[number],
                    "reason": "too_long" if some[number] is None else None,
                    "detail": None,
                }
                for name, some in values.items()
            ],
            "aspects": [{"aspect": "reward.honesty", "value": 0.25}],
        }
        for number, language in enumerate(languages)
    ]
    return RAW_SCORES.validate(RAW_SCORES.frame(rows)).lazy()


def qualities(raw: pl.LazyFrame, scorers: Any = SCORERS, rows: int = 2) -> pl.DataFrame:
    frames = list(raw.collect().iter_slices(rows))
    return QUALITY.validate(pl.concat(quality_table(frames, combine(raw, scorers), scorers)))


RAW = raw_scores(
    ["zh", "zh", "en", "zh", "en", "zh"],
    heuristics=[0.5, 0.75, 1.0, 0.25, None, None],
    reward=[-3.0, -1.0, 40.0, -3.0, 20.0, None],
    judge=[5.0, 1.0, 3.0, None, None, None],
)


def test_a_reward_counts_by_its_place_in_its_language() -> None:
    found = combine(RAW, SCORERS).calibrated["reward"].to_list()
    third = pytest.approx(1 / 3)
    # zh: -3, -1, -3 are in places 1.5, 3, 1.5 of 3; en: 40, 20 in places 2, 1 of 2
    assert found == [third, pytest.approx(2.5 / 3), 0.75, third, 0.25, None]


def test_the_mean_is_over_those_that_gave_a_value() -> None:
    combined = combine(RAW, SCORERS)
    assert combined.calibrated["heuristics"].to_list() == [0.5, 0.75, 1.0, 0.25, None, None]
    assert combined.calibrated["judge"].to_list() == [1.0, 0.0, 0.5, None, None, None]
    assert combined.score.to_list() == [
        pytest.approx((0.5 + 2 / 3 + 1.0) / 4),
        pytest.approx((0.75 + 5 / 3 + 0.0) / 4),
        pytest.approx((1.0 + 1.5 + 0.5) / 4),
        pytest.approx((0.25 + 2 / 3) / 3),
        pytest.approx(0.25),
        None,
    ]


def test_a_row_shows_all_that_was_said_of_it() -> None:
    first, *_, fifth, last = qualities(RAW).iter_rows(named=True)
    assert first["scorer"] == "heuristics-1 + reward-1 + judge-1"
    assert {one["aspect"]: one["value"] for one in first["aspects"]} == {
        "heuristics": 0.5,
        "reward": pytest.approx(1 / 3),
        "judge": 1.0,
        "reward.raw": -3.0,
        "judge.raw": 5.0,
        "reward.honesty": 0.25,
    }
    assert fifth["scorer"] == "reward-1"
    assert (last["score"], last["scorer"]) == (None, "")
    assert [one["aspect"] for one in last["aspects"]] == ["reward.honesty"]


def test_frames_of_any_size_give_the_same_table() -> None:
    assert qualities(RAW, rows=1).equals(qualities(RAW, rows=100))


def test_a_scorer_without_weight_is_only_reported() -> None:
    scorers = dict(SCORERS) | {"reward": SCORERS["reward"].model_copy(update={"weight": 0.0})}
    found = qualities(RAW, scorers)
    assert found["score"][0] == pytest.approx((0.5 + 1.0) / 2)
    assert found["scorer"][0] == "heuristics-1 + judge-1"
    assert "reward.raw" in [one["aspect"] for one in found["aspects"][0]]
    assert (found["score"][4], found["scorer"][4]) == (None, "")
    with pytest.raises(ValidationError, match="a weight above 0"):
        QualityOptions.model_validate({"scorers": {"a": {"kind": "judge", "weight": 0}}})
    with pytest.raises(ValidationError, match="may not be called language"):
        QualityOptions.model_validate({"scorers": {"language": {"kind": "judge"}}})


def test_raw_scores_of_other_scorers_are_refused() -> None:
    other = {"heuristics": SCORERS["heuristics"]}
    with pytest.raises(UserError, match="run the node score_conversations again"):
        combine(RAW, other)


def test_figures_count_every_row_once() -> None:
    found = summarise(RAW, combine(RAW, SCORERS), SCORERS)
    assert json.loads(json.dumps(found)) == found
    assert found["conversations"] == {
        "total": 6,
        "scored_by_all": 3,
        "scored_by_some": 2,
        "scored_by_none": 1,
    }
    reward = found["scorers"]["reward"]
    assert (reward["name"], reward["values"], reward["without"]) == ("reward-1", 5, {"too_long": 1})
    assert reward["languages"]["en"]["mean"] == 30
    assert reward["languages"]["zh"] == {
        "values": 3,
        "mean": pytest.approx(-7 / 3, abs=1e-6),
        "0.05": -3.0,
        "0.25": -3.0,
        "0.5": -3.0,
        "0.75": -2.0,
        "0.95": -1.2,
    }
    pairs = {tuple(one["scorers"]): one for one in found["agreement"]}
    assert pairs["heuristics", "judge"]["conversations"] == 3
    assert pairs["heuristics", "judge"]["spearman"] == pytest.approx(-0.5)


def test_agreement_of_a_constant_is_unknown() -> None:
    raw = raw_scores(["zh"] * 3, heuristics=[0.5] * 3, reward=[1.0, 2.0, 3.0], judge=[1.0] * 3)
    found = summarise(raw, combine(raw, SCORERS), SCORERS)
    assert [one["spearman"] for one in found["agreement"]] == [None, None, None]


def test_no_conversations() -> None:
    nothing = RAW_SCORES.frame().lazy()
    frames = list(quality_table([nothing.collect()], combine(nothing, SCORERS), SCORERS))
    assert QUALITY.validate(pl.concat(frames)).is_empty()
    assert summarise(nothing, combine(nothing, SCORERS), SCORERS)["conversations"]["total"] == 0


ROW = st.tuples(
    st.sampled_from(["zh", "en", "ja"]),
    st.none() | st.floats(0, 1),
    st.none() | st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0]),
    st.none() | st.floats(1, 5),
)


@given(st.lists(ROW, min_size=1, max_size=40), st.randoms())
@settings(deadline=None, max_examples=60)
def test_scores_lie_between_0_and_1_and_depend_on_no_order(rows: list[Any], random: Any) -> None:
    languages, *values = zip(*rows, strict=True)
    raw = raw_scores(list(languages), **dict(zip(SCORERS, map(list, values), strict=True)))
    combined = combine(raw, SCORERS)
    found = qualities(raw, rows=7)
    none = [all(value is None for value in row[1:]) for row in rows]
    assert found["score"].is_null().to_list() == none
    assert len(found) == len(rows)
    for language in set(languages):
        here = combined.raw.with_columns(place=combined.calibrated["reward"]).filter(
            language=language
        )
        known = here.drop_nulls("reward").sort("reward")
        if known.height:
            assert known["place"].mean() == pytest.approx(0.5)
            assert known["place"].is_sorted()
            same = known.group_by("reward").agg(pl.col("place").n_unique())["place"]
            assert (same == 1).all()
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = raw.collect()[order].lazy()
    again = qualities(shuffled).sort("id")
    for one, other in zip(found["score"], again["score"], strict=True):
        assert (one is None and other is None) or math.isclose(one, other)
