from random import Random

import polars as pl
import pytest
from tests.judging.rows import Answer, always_first, honest, length_lover, tournament, verdicts

from kyara_kedro.judging.ratings import contestant_ratings
from kyara_kedro.judging.reliability import (
    labelled_reliability,
    reliability,
    side_ids,
    warnings,
)
from kyara_kedro.records import CONTESTANT_RATING, JUDGE_RELIABILITY, LABELLED_PAIR, VERDICT


def measured(said: pl.DataFrame) -> dict[str, dict[str, float]]:
    table = JUDGE_RELIABILITY.validate(reliability(said, resamples=200, seed=0))
    return {row["measure"]: row for row in table.iter_rows(named=True)}


def flags(said: pl.DataFrame) -> set[str]:
    return {name for name, row in measured(said).items() if row["flagged"]}


def test_measures_by_hand() -> None:
    chars = {"a": 1, "b": 6, "c": 2}
    rows = [("a", "b", "A"), ("b", "a", "A"), ("a", "c", "B"), ("c", "a", "A"), ("b", "c", None)]
    found = measured(
        pl.concat(
            [verdicts("p", rows, chars=chars), verdicts("p", [("a", "b", "C")], "另一位", chars)]
        ).filter(judge="評審")
    )
    assert {name: (row["value"], row["cases"]) for name, row in found.items()} == {
        "parse_failure": (0.2, 5),
        "tie": (0.0, 4),
        "first": (0.75, 4),
        "flip": (0.5, 2),
        "longer": (0.75, 4),
        "longer_agreed": (1.0, 1),
    }


def test_a_judge_that_always_takes_the_first_is_flagged() -> None:
    _, said = tournament(always_first)
    assert flags(said) == {"first", "flip"}
    told = warnings(reliability(said, resamples=50, seed=0))
    assert any("shown first wins 100.0% of its decisions" in line for line in told)
    assert all(line.startswith("judge 評審: ") for line in told)


def test_a_judge_that_takes_the_last_too() -> None:
    _, said = tournament(lambda first, second, draw: "B")
    assert "first" in flags(said)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.3])
def test_a_lover_of_length_is_flagged(share: float) -> None:
    _, said = tournament(length_lover(share))
    assert {"longer"} <= flags(said) <= {"longer", "longer_agreed"}


def test_a_lover_of_length_is_flagged_where_one_contestant_always_writes_more() -> None:
    def lengths(draw: Random, quality: float) -> int:
        return 1000 + round(100 * quality)

    _, said = tournament(length_lover(1.0), length=lengths)
    assert "longer" in flags(said)


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_an_honest_judge_is_not_flagged_however_noisy(noise: float, seed: int) -> None:
    _, said = tournament(honest(noise), seed=seed)
    assert flags(said) == set()
    assert warnings(reliability(said, resamples=50, seed=0)) == []


def test_an_honest_judge_of_contestants_of_whom_the_better_write_more_is_not_flagged() -> None:
    rank = {"a": 100, "b": 200, "c": 300, "d": 400}

    def taste(first: Answer, second: Answer, draw: Random) -> str:
        first.chars, second.chars = rank[first.contestant], rank[second.contestant]
        return honest(0.5)(first, second, draw)

    _, said = tournament(taste)
    said = said.with_columns(
        first_chars=pl.col("first_contestant").replace_strict(rank, return_dtype=pl.Int32),
        second_chars=pl.col("second_contestant").replace_strict(rank, return_dtype=pl.Int32),
    )
    found = measured(said)
    assert found["longer"]["value"] > 0.65
    assert not found["longer"]["flagged"]


def test_a_coin_is_flagged_for_its_flips_alone() -> None:
    _, said = tournament(lambda first, second, draw: draw.choice("AB"))
    assert flags(said) == {"flip"}


def test_one_that_cannot_be_read_is_flagged() -> None:
    def taste(first: Answer, second: Answer, draw: Random) -> str | None:
        return None if draw.random() < 0.2 else honest(0.3)(first, second, draw)

    _, said = tournament(taste)
    assert flags(said) == {"parse_failure"}


@pytest.mark.parametrize(("love", "flagged"), [(0.0, False), (0.8, True)])
def test_self_preference_is_measured_against_other_judges(love: float, flagged: bool) -> None:
    def vain(first: Answer, second: Answer, draw: Random) -> str:
        for answer, sign in ((first, 1), (second, -1)):
            if answer.contestant == "a":
                seen = first.quality - second.quality + sign * love + draw.gauss(0, 0.3)
                return "A" if seen > 0 else "B"
        return honest(0.3)(first, second, draw)

    _, own = tournament(vain, judge="自己", prompts=200)
    _, other = tournament(honest(0.3), judge="別人", prompts=200)
    said = pl.concat([own.with_columns(judge_family=pl.lit("fa")), other])
    table = reliability(said, resamples=200, seed=0)
    (row,) = table.filter(measure="self_preference").to_dicts()
    assert (row["judge"], row["flagged"]) == ("自己", flagged)
    assert row["cases"] == 200 * 6
    assert "own family" in " ".join(warnings(table)) or not flagged


def test_ties_alone_are_flagged() -> None:
    _, said = tournament(lambda first, second, draw: "C", prompts=30)
    assert flags(said) == {"tie"}


def test_nothing_was_judged() -> None:
    assert reliability(VERDICT.frame(), resamples=10, seed=0).is_empty()
    assert labelled_reliability(
        LABELLED_PAIR.frame(), VERDICT.frame(), resamples=10, seed=0
    ).is_empty()


def labelled(count: int) -> pl.DataFrame:
    return LABELLED_PAIR.validate(
        LABELLED_PAIR.frame(
            {
                "id": f"pair {n}",
                "data_set": "people",
                "prompt": f"第{n}題",
                "first": "長的回答" * 3,
                "second": "短",
                "label": "AABC"[n % 4],
                "labels": ["AABC"[n % 4]],
                "first_contestant": "one",
                "second_contestant": "other",
                "source": "test",
                "language": "zh-Hant-TW",
                "licence": "CC0-1.0",
            }
            for n in range(count)
        )
    )


def judged(pairs: pl.DataFrame, right: float) -> pl.DataFrame:
    """Verdicts in both orders that are right in a share of the pairs, else the contrary."""
    draw, frames = Random(0), []
    other = {"A": "B", "B": "A", "C": "C"}
    for pair, label in pairs.select("id", "label").rows():
        verdict = label if draw.random() < right else other[label] if label != "C" else "A"
        said = verdicts(
            pair, [("a", "b", verdict), ("b", "a", other[verdict])], chars={"a": 12, "b": 1}
        )
        first, second = side_ids(pair)
        ids = {f"{pair}-a": first, f"{pair}-b": second}
        frames.append(
            said.with_columns(
                pl.col("first_id").replace_strict(ids), pl.col("second_id").replace_strict(ids)
            )
        )
    return VERDICT.validate(pl.concat(frames))


@pytest.mark.parametrize("right", [1.0, 0.7])
def test_agreement_with_people_and_what_they_do_is_what_is_expected(right: float) -> None:
    pairs = labelled(200)
    table = labelled_reliability(pairs, judged(pairs, right), resamples=100, seed=0)
    rows = {row["measure"]: row for row in JUDGE_RELIABILITY.validate(table).to_dicts()}
    assert set(table["data_set"]) == {"people"}
    assert rows["accuracy"]["value"] == pytest.approx(right, abs=0.06)
    assert (rows["kappa"]["flagged"], rows["accuracy"]["cases"]) == (False, 200)
    if right == 1.0:
        assert rows["longer"]["value"] == rows["longer"]["expected"] == pytest.approx(2 / 3)
        assert not rows["longer"]["flagged"]


def test_a_judge_that_agrees_by_chance_is_flagged() -> None:
    pairs = labelled(120)
    said = judged(pairs, 1.0).with_columns(
        verdict=pl.when(pl.col("first_id").is_in([side_ids(pair)[0] for pair in pairs["id"]]))
        .then(pl.lit("A"))
        .otherwise(pl.lit("B")),
    )
    table = labelled_reliability(pairs, said, resamples=100, seed=0)
    assert table.filter(measure="kappa")["flagged"].to_list() == [True]
    assert any("may be chance" in line for line in warnings(table))


def test_of_a_team_each_judge_is_measured_on_the_pairs_that_it_judged() -> None:
    pairs = labelled(40)
    halves = pl.col("prompt_id").is_in([f"pair {n}" for n in range(20)])
    said = judged(pairs, 1.0).with_columns(
        judge=pl.when(halves).then(pl.lit("one")).otherwise(pl.lit("other"))
    )
    table = labelled_reliability(pairs, said, resamples=10, seed=0).filter(measure="accuracy")
    assert table.select("judge", "value", "cases").rows() == [("one", 1.0, 20), ("other", 1.0, 20)]


def test_contestants_are_rated() -> None:
    answers, said = tournament(honest(0.3))
    table = CONTESTANT_RATING.validate(contestant_ratings(answers, said, resamples=100, seed=0))
    assert table["contestant"].to_list() == ["d", "c", "b", "a"]
    assert (table["low"] < table["strength"]).all()
    assert table["win_rate"].is_sorted(descending=True)
    assert table["answers"].to_list() == [120] * 4
    assert table["verdicts"].to_list() == [720] * 4
    assert contestant_ratings(answers, VERDICT.frame(), resamples=10, seed=0).is_empty()
