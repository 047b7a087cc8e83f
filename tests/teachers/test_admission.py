import asyncio
import random
import threading
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.teachers.admission import (
    Breaker,
    Bucket,
    Lane,
    Limits,
    Outcome,
    OutOfReach,
    Pass,
    Window,
)
from kyara_kedro.teachers.background import background_loop
from kyara_kedro.teachers.budget import Budget, BudgetExhausted, BudgetOptions
from kyara_kedro.teachers.ledger import Reservation


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_window_doubles_until_something_is_refused() -> None:
    window = Window(512, Clock())
    for _ in range(3):
        for _ in range(int(window.size)):
            window.note("answered", 1000.0)
    assert window.size == 256
    window.note("busy", 1000.0)
    size = window.size
    for _ in range(int(size)):
        window.note("answered", 1000.0)
    assert size < window.size <= size + 1


def test_random_refusals_leave_the_window_alone() -> None:
    chance, clock = random.Random(7), Clock()
    window = Window(64, clock)
    for _ in range(5000):
        clock.now += 0.001
        window.note("busy" if chance.random() < 0.05 else "answered", clock.now)
    assert window.size > 48


def test_a_share_of_refusals_cuts_once_for_each_round_trip() -> None:
    clock = Clock()
    window = Window(64, clock)
    sent_at = clock.now
    clock.now += 0.2
    for number in range(40):
        window.note("busy" if number % 2 else "answered", sent_at)
    assert 16 <= window.size <= 32
    cut = window.size
    clock.now += 0.1
    for _ in range(40):
        window.note("busy", sent_at)
    assert window.size == cut, "these were sent before the cut"


def test_a_bucket_gives_back() -> None:
    clock = Clock()
    bucket = Bucket(600, clock)
    assert bucket.wait(50) == 0
    bucket.take(50)
    assert bucket.wait(10) == pytest.approx(1.0)
    bucket.take(-10)
    assert bucket.wait(10) == 0
    clock.now += 100
    assert bucket.wait(10_000) == 0, "more than it holds waits until it is full, not for ever"
    assert Bucket(None, clock).wait(1e9) == 0


def test_a_breaker_opens_probes_and_closes() -> None:
    clock = Clock()
    breaker = Breaker(60, clock)
    breaker.note("answered", probe=False, why="")
    for _ in range(8):
        breaker.note("broken", probe=False, why="x")
    assert breaker.open
    assert breaker.wait() == pytest.approx(0.5)
    clock.now += 0.5
    assert breaker.wait() == 0
    breaker.sent()
    assert breaker.wait() == float("inf"), "one probe at a time"
    breaker.note("broken", probe=False, why="late")
    assert breaker.wait() == float("inf"), "what was sent before says nothing"
    breaker.note("broken", probe=True, why="x")
    assert breaker.wait() == pytest.approx(1.0)
    clock.now += 1
    breaker.sent()
    breaker.note("answered", probe=True, why="")
    assert not breaker.open


def test_probes_are_seconds_apart_and_end_with_the_patience() -> None:
    clock = Clock()
    breaker = Breaker(60, clock)
    breaker.note("answered", probe=False, why="")
    for _ in range(8):
        breaker.note("broken", probe=False, why="x")
    waits = []
    with pytest.raises(OutOfReach, match="no answer for 6"):
        while True:
            waits.append(breaker.wait())
            clock.now += waits[-1]
            breaker.sent()
            breaker.note("broken", probe=True, why="x")
    assert max(waits) <= 5
    assert 60 <= clock.now - 1000 <= 66


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 10))  # type: ignore[arg-type]


def test_a_lane_lets_in_by_priority_and_then_by_order() -> None:
    async def work() -> None:
        lane = Lane(Limits(in_flight=1))
        first = await lane.enter(1)
        entered: list[str] = []

        async def enter(name: str, priority: int) -> None:
            leave = await lane.enter(1, priority)
            entered.append(name)
            lane.leave(leave, "answered", 1)

        tasks = [
            asyncio.create_task(enter(name, priority))
            for name, priority in (("a", 0), ("b", 0), ("urgent", -1), ("later", 5))
        ]
        await asyncio.sleep(0)
        lane.leave(first, "answered", 1)
        await asyncio.gather(*tasks)
        assert entered == ["urgent", "a", "b", "later"]

    run(work)


def test_leave_that_is_not_used_is_given_back() -> None:
    async def work() -> None:
        lane = Lane(Limits(in_flight=1))
        first = await lane.enter(1)
        waiting = asyncio.create_task(lane.enter(1))
        await asyncio.sleep(0)
        lane.leave(first, "answered", 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        lane.abandon(await lane.enter(1))
        assert isinstance(await lane.enter(1), Pass)

    run(work)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["answered", "busy", "broken", "abandoned"]), max_size=60))
def test_a_lane_never_lets_in_more_than_it_may_and_never_stalls(outcomes: list[str]) -> None:
    async def work() -> None:
        lane = Lane(Limits(in_flight=4, patience=1e9))
        flying = most = 0

        async def one(outcome: str) -> None:
            nonlocal flying, most
            leave = await lane.enter(1)
            flying += 1
            most = max(most, flying)
            await asyncio.sleep(0)
            flying -= 1
            if outcome == "abandoned":
                lane.abandon(leave)
            else:
                said: Outcome = outcome  # type: ignore[assignment]
                lane.leave(leave, said, 1)

        lane.breaker._answered = True
        lane._latency = 0.001
        await asyncio.gather(*(one(outcome) for outcome in outcomes[:7]))
        await asyncio.gather(*(one("answered") for _ in outcomes[7:]))
        assert most <= 4
        assert lane._flying <= 4

    run(work)


def test_a_budget_waits_for_what_is_in_flight_and_knows_the_end() -> None:
    async def work() -> None:
        budget = Budget(BudgetOptions(tokens=100, cost=1.0))
        big = Reservation(60, 0.1)
        await budget.reserve("a", big)
        second = asyncio.create_task(budget.reserve("b", big))
        await asyncio.sleep(0)
        assert not second.done()
        budget.settle(big, Reservation(10, 0.02))
        await second
        budget.settle(big, Reservation(60, 0.1))
        with pytest.raises(BudgetExhausted, match="70 of 100 tokens"):
            await budget.reserve("c", big)
        with pytest.raises(BudgetExhausted, match=r"may cost 0\.9"):
            await budget.reserve("c", Reservation(1, 0.9))

    run(work)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 500),
    st.lists(st.tuples(st.integers(1, 90), st.floats(0, 1)), max_size=40),
)
def test_a_cap_is_never_passed_in_any_order(cap: int, sends: list[tuple[int, float]]) -> None:
    async def work() -> None:
        budget = Budget(BudgetOptions(tokens=cap))
        used = 0

        async def one(worst: int, share: float) -> None:
            nonlocal used
            reservation = Reservation(worst, 0.0)
            try:
                await budget.reserve("k", reservation)
            except BudgetExhausted:
                return
            await asyncio.sleep(0)
            spent = int(worst * share)
            used += spent
            budget.settle(reservation, Reservation(spent, 0.0))
            assert used <= cap

        await asyncio.gather(*(one(*send) for send in sends))
        assert budget.spent.tokens == used <= cap

    run(work)


def test_time_in_which_nobody_asks_is_not_held_against_the_endpoint() -> None:
    clock = Clock()
    breaker = Breaker(60, clock)
    breaker.note("answered", probe=False, why="")
    breaker.note("busy", probe=False, why="")
    clock.now += 3600
    breaker.resume()
    breaker.note("busy", probe=False, why="")
    for _ in range(9):
        breaker.note("broken", probe=False, why="x")
    assert breaker.open


def test_one_loop_serves_all_threads() -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    threads = [threading.Thread(target=lambda: loops.append(background_loop())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(loops)) == 1
