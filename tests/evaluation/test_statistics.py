import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.evaluation.statistics import (
    bootstrap_interval,
    holm,
    mcnemar,
    paired_binary,
    paired_bootstrap,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_newcombes_published_intervals(
    successes: int, trials: int, low: float, high: float
) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_proportion_within_zero_and_one(counts: tuple[int, int]) -> None:
    low, high = wilson(*counts)
    assert 0 <= low <= counts[0] / counts[1] <= high <= 1


def test_wilson_refuses_an_empty_sample() -> None:
    with pytest.raises(ValueError, match="0 of 0"):
        wilson(0, 0)


@pytest.mark.parametrize("binary", [False, True])
def test_bootstrap_finds_the_standard_error_of_a_mean(binary: bool) -> None:
    values = np.random.default_rng(3).normal(size=400)
    values = (values > 0).astype(float) if binary else values
    found = bootstrap_interval(values, range(400), seed=1)
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.04)
    assert found == bootstrap_interval(values, range(400), seed=1)
    assert found != bootstrap_interval(values, range(400), seed=2)


def test_weights_count_as_often_as_copies() -> None:
    random = np.random.default_rng(8)
    values, weights = random.random(50), random.integers(1, 4, 50)
    copies = np.repeat(np.arange(50), weights)
    weighted = bootstrap_interval(values, range(50), weights=weights, seed=0)
    copied = bootstrap_interval(values[copies], copies.tolist(), seed=0)
    assert weighted == pytest.approx(copied)


def test_a_mean_over_groups_of_strata_is_resampled_within_them() -> None:
    random = np.random.default_rng(9)
    sizes = [400, 40, 100, 25]
    values = np.concatenate([(random.random(n) < 0.2 * i + 0.1) for i, n in enumerate(sizes)])
    places = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    layout = [[places[0], places[1]], [places[2]], [places[3]]]
    found = bootstrap_interval(values, range(len(values)), layout=layout, seed=0)
    means = [values[place].mean() for place in places]
    assert found.value == pytest.approx(((means[0] + means[1]) / 2 + means[2] + means[3]) / 3)
    parts = np.array([m * (1 - m) / n for m, n in zip(means, sizes, strict=True)])
    error = np.sqrt((parts[0] + parts[1]) / 4 + parts[2] + parts[3]) / 3
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.05)
    level = paired_bootstrap(values, values, range(len(values)), layout=layout, seed=0)
    assert level == (0, 0, 0, 1)


def test_repeating_every_answer_does_not_make_a_score_surer() -> None:
    values = np.random.default_rng(4).random(60)
    once = bootstrap_interval(values, range(60), seed=0)
    four = bootstrap_interval(np.repeat(values, 4), np.repeat(np.arange(60), 4).tolist(), seed=0)
    assert four == pytest.approx(once)
    naive = bootstrap_interval(np.repeat(values, 4), range(240), seed=0)
    assert naive.high - naive.low < 0.6 * (once.high - once.low)


@pytest.mark.parametrize(
    ("first", "second", "p_value"),
    [(0, 0, 1.0), (5, 5, 1.0), (0, 6, 2 / 64), (1, 9, 22 / 1024), (9, 1, 22 / 1024)],
)
def test_mcnemar_counts_the_tails_exactly(first: int, second: int, p_value: float) -> None:
    assert mcnemar(first, second) == pytest.approx(p_value)


def test_mcnemar_takes_thousands_of_disagreements() -> None:
    assert 0 < mcnemar(2_000, 2_400) < 1e-8


def test_paired_binary_is_antisymmetric_and_wide_when_nothing_differs() -> None:
    ours, theirs = [1, 1, 1, 0, 1, 0] * 8, [1, 0, 0, 0, 1, 1] * 8
    forth, back = paired_binary(ours, theirs), paired_binary(theirs, ours)
    assert forth.difference == pytest.approx(1 / 6)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.p_value == back.p_value
    same = paired_binary([1, 0, 1], [1, 0, 1])
    assert same.low < -0.3 and same.high > 0.3 and same.p_value == 1


@pytest.mark.parametrize(("questions", "least"), [(1, 1.0), (2, 0.5), (5, 1 / 16)])
def test_a_few_questions_are_no_evidence(questions: int, least: float) -> None:
    clusters = [question for question in range(questions) for _ in "ab"]
    ones, tens = [1.0] * len(clusters), [10.0] * len(clusters)
    assert paired_bootstrap(tens, ones, clusters, seed=0).p_value == least


def test_paired_bootstrap_sees_a_shift_and_no_shift() -> None:
    random = np.random.default_rng(6)
    theirs = random.normal(5, 2, size=300)
    shifted = paired_bootstrap(theirs + random.normal(0.3, 1, 300), theirs, range(300), seed=0)
    assert shifted.low > 0 and shifted.p_value < 0.01
    level = paired_bootstrap(theirs + random.normal(0, 1, 300), theirs, range(300), seed=0)
    assert level.low < 0 < level.high and level.p_value > 0.05
    assert paired_bootstrap(theirs, theirs, range(300), seed=0) == (0, 0, 0, 1)


def test_holm_gives_the_textbook_values_in_the_order_given() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_never_lowers_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(0 <= p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)
