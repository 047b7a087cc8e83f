import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from kyara_kedro.judging.bradley_terry import (
    Ratings,
    bradley_terry,
    components,
    sigmoid,
    strengths,
    strongly_connected,
)

TRUE = np.array([-0.9, -0.2, 0.1, 1.0])
Battles = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def battles(prompts: int, seed: int, ties: float = 0.1) -> Battles:
    """Round robins in both orders, some of them tied by chance."""
    draw = np.random.default_rng(seed)
    sides = np.array(list(itertools.permutations(range(len(TRUE)), 2)))
    first, second = (np.tile(side, prompts) for side in sides.T)
    won = (draw.random(len(first)) < sigmoid(TRUE[first] - TRUE[second])).astype(float)
    won[draw.random(len(first)) < ties] = 0.5
    return first, second, won, np.repeat(np.arange(prompts), len(sides))


def rate(fought: Battles, number: int = 4, resamples: int = 200, seed: int = 0) -> Ratings:
    return bradley_terry(*fought, number, resamples=resamples, seed=seed)


def test_strengths_are_the_maximum_likelihood_of_a_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    first, second, won, _ = fought = battles(40, 1)
    design = np.zeros((len(first), 4))
    rows = np.arange(len(first))
    design[rows, first], design[rows, second] = 1, -1
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12, max_iter=10_000)
    model.fit(
        np.vstack([design, design]),
        np.repeat([1, 0], len(first)),
        sample_weight=np.concatenate([won, 1 - won]),
    )
    expected = model.coef_[0] - model.coef_[0].mean()
    found = rate(fought)
    np.testing.assert_allclose(found.strength, expected, atol=1e-6)
    assert not found.regularised


def test_the_true_strengths_are_found_and_lie_in_the_intervals() -> None:
    hits = []
    for seed in range(25):
        found = rate(battles(60, seed, ties=0), seed=seed)
        hits += list((found.low <= TRUE) & (found.high >= TRUE))
        assert (found.low <= found.strength).all()
        assert (found.high >= found.strength).all()
    assert 0.88 <= np.mean(hits) <= 1.0


def test_prompts_are_drawn_whole() -> None:
    """Ten copies of every verdict on a prompt are no ten times as much evidence."""
    first, second, won, prompt = battles(30, 3)
    once = rate((first, second, won, prompt), resamples=600)
    ten = rate(tuple(np.tile(one, 10) for one in (first, second, won, prompt)), resamples=600)
    np.testing.assert_allclose(once.strength, ten.strength, atol=1e-8)
    np.testing.assert_allclose(once.high - once.low, ten.high - ten.low, rtol=1e-6)


def test_it_is_the_same_every_time() -> None:
    one, other = rate(battles(20, 5)), rate(battles(20, 5))
    assert (one.low == other.low).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.permutations(range(4)))
def test_names_and_order_do_not_matter(seed: int, names: list[int]) -> None:
    first, second, won, prompt = battles(6, seed)
    usual = rate((first, second, won, prompt), resamples=0)
    new = np.array(names)
    shuffled = np.random.default_rng(seed).permutation(len(won))
    renamed = rate(
        (new[first][shuffled], new[second][shuffled], won[shuffled], prompt[shuffled]), resamples=0
    )
    np.testing.assert_allclose(renamed.strength[new], usual.strength, atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_swapped_sides_and_swapped_wins_are_symmetric(seed: int) -> None:
    first, second, won, prompt = battles(6, seed)
    usual = rate((first, second, won, prompt), resamples=0).strength
    other_side = rate((second, first, 1 - won, prompt), resamples=0).strength
    np.testing.assert_allclose(usual, other_side, atol=1e-8)
    reversed_wins = rate((first, second, 1 - won, prompt), resamples=0).strength
    np.testing.assert_allclose(usual, -reversed_wins, atol=1e-7)


TABLES = st_numpy.arrays(np.float64, (3, 4, 4), elements=st.integers(0, 5).map(lambda n: n / 2))


@settings(max_examples=80, deadline=None)
@given(TABLES, st.sampled_from([0.1, 0.5, 2.0]))
def test_any_table_has_finite_strengths_where_the_slope_is_zero(
    wins: np.ndarray, prior: float
) -> None:
    wins[:, range(4), range(4)] = 0
    found = strengths(wins, prior)
    assert np.isfinite(found).all()
    chance = sigmoid(found[:, :, None] - found[:, None, :])
    games = wins + wins.swapaxes(-1, -2)
    slope = wins.sum(-1) - (games * chance).sum(-1) - prior * (sigmoid(found) - 0.5)
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_one_who_never_lost_is_kept_finite_and_it_is_said() -> None:
    found = rate((np.array([0, 0, 1]), np.array([1, 2, 2]), np.ones(3), np.arange(3)), 3)
    assert found.regularised
    assert found.resamples_regularised == 1.0
    assert found.strength[0] > found.strength[1] > found.strength[2]
    assert np.abs(found.strength).max() < 5


def test_those_who_never_met_are_in_components_of_their_own() -> None:
    found = rate((np.array([0, 2]), np.array([1, 3]), np.array([1.0, 0.5]), np.arange(2)), 5)
    assert found.component.tolist() == [0, 0, 1, 1, 2]
    assert found.regularised
    assert found.strength[2] == pytest.approx(found.strength[3])


def test_connections() -> None:
    ring = np.zeros((5, 5))
    ring[range(5), [1, 2, 3, 4, 0]] = 1
    assert strongly_connected(ring)
    ring[4, 0] = 0
    assert not strongly_connected(ring)
    assert components(ring).tolist() == [0] * 5
    assert strongly_connected(np.zeros((1, 1)))


def test_nobody_fought() -> None:
    none = np.zeros(0, dtype=np.int64)
    found = rate((none, none, np.zeros(0), none), 2)
    assert found.strength.tolist() == [0, 0]
    assert found.regularised
