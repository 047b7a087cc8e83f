import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.judging.agreement import Agreement, RatingAgreement, agreement, rating_agreement

LABEL = st.sampled_from("ABC")


def compared(truth: list[str], said: list[str | None], **more: object) -> Agreement:
    return agreement(truth, said, resamples=50, seed=0, **more)  # type: ignore[arg-type]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(LABEL, LABEL), min_size=2, max_size=40))
def test_figures_are_those_of_scikit_learn(items: list[tuple[str, str]]) -> None:
    from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score

    truth, said = map(list, zip(*items, strict=True))
    found = compared(truth, said)
    assert found.accuracy.value == pytest.approx(accuracy_score(truth, said))
    assert found.macro_f1.value == pytest.approx(f1_score(truth, said, average="macro"))
    if len({*truth, *said}) > 1:
        assert found.kappa.value == pytest.approx(cohen_kappa_score(truth, said))
    assert found.accuracy.low <= found.accuracy.value <= found.accuracy.high


def test_what_was_not_read_counts_as_wrong() -> None:
    found = compared(["A", "B", "C", "A"], ["A", None, "C", "A"])
    assert (found.accuracy.value, found.unread, found.items) == (0.75, 1, 4)
    assert found.macro_f1.value == pytest.approx(2 / 3)
    assert 0 < found.kappa.value < 1


def test_a_judge_without_insight_has_no_kappa() -> None:
    draw = np.random.default_rng(0)
    truth, said = draw.choice(list("AB"), (2, 400))
    found = compared(list(truth), list(said))
    assert found.kappa.low < 0 < found.kappa.high
    assert compared(list(truth), list(truth)).kappa == (1, 1, 1)


def test_items_of_one_question_are_drawn_together() -> None:
    truth, said = ["A", "B", "A", "B"] * 10, ["A", "B", "B", "A"] * 10
    apart = compared(truth, said)
    together = compared(truth, said, clusters=[str(i % 4 // 2) for i in range(40)])
    assert together.accuracy.high - together.accuracy.low > 2 * (
        apart.accuracy.high - apart.accuracy.low
    )


@pytest.mark.parametrize(("truth", "said"), [([], []), (["A"], [])])
def test_nothing_cannot_be_compared(truth: list[str], said: list[str | None]) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        compared(truth, said)


RATING = st.integers(1, 20).map(lambda half: half / 2)


def rated(truth: list[float], said: list[float | None], **more: object) -> RatingAgreement:
    return rating_agreement(truth, said, resamples=50, seed=0, **more)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(RATING, RATING), min_size=3, max_size=40))
def test_figures_of_ratings_are_those_of_scipy(items: list[tuple[float, float]]) -> None:
    from scipy import stats

    truth, said = map(list, zip(*items, strict=True))
    found = rated(truth, said)
    if len(set(truth)) > 1 and len(set(said)) > 1:
        for ours, theirs in (
            (found.pearson, stats.pearsonr),
            (found.spearman, stats.spearmanr),
            (found.kendall, stats.kendalltau),
        ):
            assert ours.value == pytest.approx(theirs(truth, said).statistic, abs=1e-9)
    else:
        assert np.isnan([found.pearson.value, found.spearman.value, found.kendall.value]).all()


def test_an_unread_rating_is_counted_and_out_of_the_correlations() -> None:
    found = rated([1, 2, 3, 4], [2, 3, 4, None])
    assert (found.kendall.value, found.unread.value) == (1, 0.25)
    assert found.unread.low < 0.25 < found.unread.high
    none = rated([1, 2], [None, None])
    assert np.isnan(none.kendall.value) and none.unread == (1, 1, 1)


def test_the_interval_of_a_correlation_is_as_wide_as_theory_says() -> None:
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 21, 400) / 2
    said = np.clip(np.round(truth + draw.normal(0, 3, 400)), 0, 10)
    found = rating_agreement(truth.tolist(), said.tolist(), resamples=1000, seed=0).pearson
    spread = np.diff(np.tanh(np.arctanh(found.value) + np.array([-1.96, 1.96]) / np.sqrt(397)))
    assert found.high - found.low == pytest.approx(float(spread[0]), rel=0.2)
    four = [values.repeat(4).tolist() for values in (truth[:100], said[:100])]
    names = [str(i // 4) for i in range(400)]
    together, apart = (
        rating_agreement(*four, clusters, resamples=1000, seed=0).pearson
        for clusters in (names, None)
    )
    assert together.high - together.low > 1.6 * (apart.high - apart.low)


@pytest.mark.parametrize(("truth", "said"), [([], []), ([1.0], [])])
def test_no_ratings_cannot_be_compared(truth: list[float], said: list[float | None]) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        rated(truth, said)
