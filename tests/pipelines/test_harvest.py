"""Asking for N yields N, or the log says why not."""

import logging
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.pipelines.synthesize.harvest import Basket, drawn_order, drop_table, gather


def asker(basket: Basket, good: set[int], asked: list[int], budget: int | None = None):  # type: ignore[no-untyped-def]
    """A strategy that succeeds for some seeds, until its budget is spent."""

    def ask(seeds: Sequence[int]) -> bool:
        for seed in seeds:
            if budget is not None and len(asked) >= budget:
                basket.drop(f"a{seed}", ("teacher_deferred", "no budget"))
                continue
            asked.append(seed)
            if seed in good:
                basket.put(f"a{seed}", {"id": f"r{seed}"})
            else:
                basket.drop(f"a{seed}", ("bad", "it is bad"))
        return budget is None or len(asked) < budget

    return ask


@given(st.sets(st.integers(0, 299)), st.integers(0, 300))
def test_the_target_is_reached_exactly_whenever_the_source_holds_it(
    good: set[int], target: int
) -> None:
    basket, asked = Basket("rows", target), list[int]()
    why, left = gather("test", range(300), [basket], asker(basket, good, asked))
    assert len(basket.rows) == min(target, len(good))
    assert why == ("target" if target <= len(good) else "source")
    assert asked + list(left) == list(range(300))
    assert basket.attempts == len(asked)


def test_the_rows_are_those_that_come_first() -> None:
    good = set(range(0, 1000, 3))
    basket = Basket("rows", 100)
    gather("test", range(1000), [basket], asker(basket, good, []))
    assert list(basket.rows) == [f"r{seed}" for seed in sorted(good)[:100]]


@pytest.mark.parametrize(("every", "target"), [(1, 400), (2, 400), (10, 100), (50, 20)])
def test_little_is_asked_beyond_the_target(every: int, target: int) -> None:
    basket, asked = Basket("rows", target), list[int]()
    gather("test", range(10_000), [basket], asker(basket, set(range(0, 10_000, every)), asked))
    assert len(basket.rows) == target
    assert len(asked) <= 1.35 * every * target


def test_without_a_target_everything_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    waves = []
    basket = Basket("rows")

    def ask(seeds: Sequence[int]) -> bool:
        waves.append(len(seeds))
        return asker(basket, set(range(5)), [])(seeds)

    with caplog.at_level(logging.INFO, "kyara_kedro"):
        why, left = gather("test", range(10), [basket], ask)
    assert (why, list(left), waves) == ("source", [], [1, 2, 6, 1])
    assert "5 rows (dropped: bad 5); the source is exhausted after 10 of 10 seeds" in caplog.text


def test_nothing_is_asked_for_a_target_of_nothing() -> None:
    def ask(seeds: Sequence[int]) -> bool:
        raise AssertionError("asked")

    assert gather("test", range(10), [Basket("rows", 0)], ask) == ("target", range(10))


def test_a_spent_budget_ends_it() -> None:
    basket, asked = Basket("rows", 50), list[int]()
    why, left = gather("test", range(500), [basket], asker(basket, set(range(500)), asked, 40))
    assert why == "budget"
    assert len(basket.rows) == 40
    assert len(left) == 500 - basket.attempts


def test_several_baskets_are_all_filled() -> None:
    odd, even = Basket("odd", 10), Basket("even", 30)

    def ask(seeds: Sequence[int]) -> bool:
        for seed in seeds:
            (odd if seed % 2 else even).put(f"a{seed}", {"id": str(seed)})
        return True

    why, _ = gather("test", range(500), [odd, even], ask)
    assert (why, len(odd.rows), len(even.rows)) == ("target", 10, 30)
    assert {reason for _, reason, _ in odd.dropped} == {"beyond_target"}


def test_an_open_ended_basket_keeps_what_comes_beyond_its_target() -> None:
    basket = Basket("rows", 3, open_ended=True)
    for number in range(5):
        basket.put(f"a{number}", {"id": str(number)})
    assert len(basket.rows) == 5
    assert basket.missing == 0


def test_every_attempt_has_one_end() -> None:
    basket = Basket("rows", 2)
    for attempt, row in [("a", "1"), ("b", "1"), ("c", "2"), ("d", "3")]:
        basket.put(attempt, {"id": row})
    basket.drop("e", ("bad", "it is bad"))
    assert basket.flow() == {
        "in": 5,
        "out": 2,
        "dropped": {"bad": 1, "beyond_target": 1, "repeated": 1},
    }
    table = drop_table([basket])
    assert table["record_id"].to_list() == ["b", "d", "e"]
    assert set(table["pipeline"]) == {"synthesize"}


@given(st.lists(st.text(min_size=1), unique=True, max_size=30), st.text(min_size=1))
def test_a_new_id_leaves_the_others_in_their_order(ids: list[str], new: str) -> None:
    before = drawn_order(ids, "test")
    after = drawn_order([*ids, new], "test") if new not in ids else before
    assert [one for one in after if one != new or new in ids] == before
