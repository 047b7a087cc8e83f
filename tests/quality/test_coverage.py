from itertools import permutations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.quality.coverage import complexity, coverage


def rows(*tags):
    return pl.DataFrame(
        {"tags": list(map(list, tags)), "complexity": list(map(len, tags))},
        schema={"tags": pl.List(pl.String), "complexity": pl.Int32},
    )


def test_complexity_counts_tags():
    found = complexity(rows("ab", "", "abcd"))
    assert (found["mean"], found["p50"], found["untagged"]) == (2.0, 2.0, 1)
    assert complexity(rows())["mean"] is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("abcde", max_size=3), min_size=1, max_size=5))
def test_coverage_by_hand_and_over_all_orders(tags):
    everything = {tag for one in tags for tag in one}
    curves = coverage(rows(*tags))
    if not everything:
        assert curves == ([], [])
        return

    def share(order, size):
        return len({tag for one in order[:size] for tag in one}) / len(everything)

    orders = list(permutations(tags))
    for size in range(1, len(tags) + 1):
        assert dict(curves.ordered)[size] == pytest.approx(share(tags, size))
        mean = sum(share(order, size) for order in orders) / len(orders)
        assert dict(curves.random)[size] == pytest.approx(mean)


def test_a_long_table_has_few_points():
    curves = coverage(rows(*(["a", "b"] * 5_000), "c"))
    assert len(curves.ordered) == len(curves.random) <= 200
    assert curves.ordered[-1] == (10_001, 1.0) and curves.random[-1][1] == pytest.approx(1)
    assert curves.ordered[0] == (1, pytest.approx(1 / 3))
