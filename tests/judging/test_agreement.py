import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.judging.agreement import Agreement, agreement

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
