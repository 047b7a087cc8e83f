import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.training.feeding import EpochOrder, whole_steps

SIZES = st.integers(min_value=1, max_value=60)


@given(SIZES, SIZES, st.integers(min_value=0, max_value=9))
def test_every_row_comes_and_as_few_as_can_be_come_again(rows: int, step: int, seed: int) -> None:
    numbers = whole_steps(rows, step, seed)
    assert numbers[:rows].tolist() == list(range(rows))
    assert len(numbers) % step == 0
    assert len(numbers) - rows < step
    counts = np.bincount(numbers)
    assert counts.max() - counts.min() <= 1


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    order = EpochOrder(50, seed=0)
    first = list(order)
    assert sorted(first) == list(range(len(order)))
    order.set_epoch(1)
    second = list(order)
    order.set_epoch(0)
    assert list(order) == first != second
    assert list(EpochOrder(50, seed=1)) != first
