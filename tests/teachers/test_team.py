import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.pipeline import Node
from pydantic import SecretStr
from tests.teachers.loopback import GOOD, Answer, Server, chat, failed, question, serving
from tests.teachers.test_batch import Service, service
from tests.teachers.test_batch import teacher as batch_teacher

from kyara_kedro.hooks.accounts import AccountHooks
from kyara_kedro.teachers.base import ChatRequest, Completion, Teacher, TeacherError
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.local import LocalOptions, LocalTeacher
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher
from kyara_kedro.teachers.replay import ReplayTeacher
from kyara_kedro.teachers.team import TeamOptions, TeamTeacher, order

from .conftest import requests_for_queries as requests
from .tiny import chat_model, plain

__all__ = ["chat_model", "service"]

Say = Callable[[int, dict[str, Any]], Answer]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [one.name for one in threading.enumerate() if one.name.startswith("team member")]


@pytest.fixture
def serve() -> Iterator[Callable[[Say | None], Server]]:
    with ExitStack() as stack:
        yield lambda say=None: stack.enter_context(serving(say))


def member(server: Server, ledger: Ledger, name: str, **options: Any) -> OpenAITeacher:
    limits = {"backoff": 0.01, "in_flight": 4, "patience": 3.0, **options.pop("limits", {})}
    settings = EndpointOptions(model=name, base_url=server.url, limits=limits, **options)
    return OpenAITeacher(settings, ledger, SecretStr("sk-secret"))


def team(members: dict[str, Teacher], overflow: bool = False, **weights: float) -> TeamTeacher:
    weights = {name: weights.get(name, 1.0) for name in members}
    return TeamTeacher(members, weights, TeamOptions(role="writer", overflow=overflow))


def by_row(done: Iterable[Completion]) -> dict[str, Completion]:
    return {completion.row_id: completion for completion in done}


def stuck_until(release: threading.Event) -> Say:
    def stuck(number: int, body: dict[str, Any]) -> Answer:
        release.wait(20)
        return chat()

    return stuck


@contextmanager
def held_up(release: threading.Event) -> Iterator[None]:
    try:
        yield
    finally:
        release.set()


WEIGHTS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.floats(0.1, 10), min_size=1, max_size=5
)


@given(WEIGHTS, st.text("xyz", min_size=1, max_size=4), st.floats(0.1, 10), st.text(max_size=8))
def test_a_member_that_joins_takes_rows_and_leaves_the_order_of_the_others(
    weights: dict[str, float], name: str, weight: float, row: str
) -> None:
    before, after = order(weights, row), order(weights | {name: weight}, row)
    assert sorted(before) == sorted(weights)
    assert [one for one in after if one != name] == before
    assert order(dict(reversed(weights.items())), row) == before


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.lists(st.floats(0.2, 10), min_size=2, max_size=4))
def test_every_place_is_drawn_by_weight(parts: list[float]) -> None:
    weights = {f"m{number}": part for number, part in enumerate(parts)}
    rows, total = 2000, sum(parts)
    orders = [order(weights, f"row-{number}") for number in range(rows)]
    first = Counter(names[0] for names in orders)
    for name, weight in weights.items():
        share = weight / total
        assert abs(first[name] - rows * share) < 5 * (rows * share * (1 - share)) ** 0.5 + 1
    leader = max(first, key=first.__getitem__)
    second = Counter(names[1] for names in orders if names[0] == leader)
    for name in weights.keys() - {leader}:
        share = weights[name] / (total - weights[leader])
        spread = max(0.0, first[leader] * share * (1 - share)) ** 0.5
        assert abs(second[name] - first[leader] * share) < 5 * spread + 1


def test_rows_are_shared_by_weight_and_say_whom_they_are_from(
    ledger: Ledger, serve: Callable[..., Server]
) -> None:
    one, two = serve(), serve()
    both = team(
        {
            "strong": member(one, ledger, "m1", prices={"completion": 1.0}),
            "other": member(two, ledger, "m2"),
        },
        strong=3,
    )
    done = by_row(both.map(requests(400)))
    assert len(done) == 400
    assert Counter(c.teacher for c in done.values()) == {"m1": len(one.seen), "m2": len(two.seen)}
    assert {c.teacher_kind for c in done.values()} == {"llm"}
    assert 260 < len(one.seen) < 340
    assert {c.cost > 0 for c in done.values() if c.teacher == "m1"} == {True}
    assert {body["model"] for body in one.seen} == {"m1"}
    assert (both.name, both.role, both.kind) == ("m1 + m2", "writer", "llm")
    accounts = {name: sum(t.asked for t in each.account.tallies.values())
                for name, each in both.members.items()}  # fmt: skip
    assert accounts == {"strong": len(one.seen), "other": len(two.seen)}
    assert both.account.tallies["expand_query"].asked == 400
    again = by_row(both.map(requests(400)))
    assert all(c.cached for c in again.values())
    assert {r: c.teacher for r, c in again.items()} == {r: c.teacher for r, c in done.items()}
    assert all(c.key == done[row].key for row, c in again.items())


def test_a_dialogue_stays_with_one_member_and_samples_meet_several(
    ledger: Ledger, serve: Callable[..., Server]
) -> None:
    both = team({"a": member(serve(), ledger, "m1"), "b": member(serve(), ledger, "m2")}, a=4)
    base = list(requests(60))
    turns = [replace(r, row_id=f"{r.row_id}:{turn}") for r in base for turn in range(3)]
    met: dict[str, set[str]] = {}
    for one in both.map(turns):
        met.setdefault(one.row_id.partition(":")[0], set()).add(one.teacher)
    assert {len(names) for names in met.values()} == {1}
    assert set().union(*met.values()) == {"m1", "m2"}
    samples = [replace(r, sample=sample) for r in base for sample in range(4)]
    met_by: dict[str, list[tuple[int, str]]] = {}
    for one in both.map(samples):
        met_by.setdefault(one.row_id, []).append((one.sample, one.teacher))
    for row, pairs in met_by.items():
        names = [name for _, name in sorted(pairs)]
        assert names == names[:2] * 2
        assert set(names) == {"m1", "m2"}
        assert {names[0]} == met[row]


def test_a_slow_member_holds_nobody_up(ledger: Ledger, serve: Callable[..., Server]) -> None:
    release = threading.Event()
    slow, fast = serve(stuck_until(release)), serve()
    both = team({"slow": member(slow, ledger, "m1"), "fast": member(fast, ledger, "m2")})
    theirs = [r for r in requests(1500) if both.responsible(r)[0] == "fast"]
    with held_up(release), closing(both.map(requests(1500))) as run:
        early = [next(run) for _ in theirs]
        assert {one.teacher for one in early} == {"m2"}
        assert len(fast.seen) == len(theirs) > 600
        release.set()
        assert {one.teacher for one in run} == {"m1"}


def test_a_full_backlog_of_one_member_leaves_no_rest_of_another_lying(
    ledger: Ledger, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kyara_kedro.teachers.team._AHEAD", 64)
    release = threading.Event()
    slow, fast = serve(stuck_until(release)), serve()
    both = team({"slow": member(slow, ledger, "m1"), "fast": member(fast, ledger, "m2")})
    read = 0

    def counted() -> Iterator[ChatRequest]:
        nonlocal read
        for request in requests(1000):
            read += 1
            yield request

    with held_up(release), closing(both.map(counted())) as run:
        early = [next(run) for _ in range(30)]
        assert {one.teacher for one in early} == {"m2"}
        assert read < 600, "requests are read as they are needed"
        release.set()
        assert len(list(run)) == 970


def test_all_members_work_at_the_same_time(ledger: Ledger, serve: Callable[..., Server]) -> None:
    reached = [threading.Event() for _ in range(3)]

    def answering(number: int) -> Say:
        def answer(_: int, body: dict[str, Any]) -> Answer:
            reached[number].set()
            return chat() if all(one.wait(10) for one in reached) else failed(500)

        return answer

    members: dict[str, Teacher] = {
        f"m{number}": member(serve(answering(number)), ledger, f"m{number}") for number in range(3)
    }
    done = by_row(team(members).map(requests(60)))
    assert Counter(c.status for c in done.values()) == {"ok": 60}
    assert max(c.attempts for c in done.values()) == 1


def test_an_early_close_keeps_what_is_in_flight_and_sends_nothing_more(
    ledger: Ledger, serve: Callable[..., Server]
) -> None:
    slow = serve(lambda n, body: chat(delay=0.6))
    fast = serve()
    both = team({"slow": member(slow, ledger, "m1"), "fast": member(fast, ledger, "m2")})
    run = both.map(requests(600))
    next(run)
    while not slow.seen:
        time.sleep(0.01)
    begun = time.monotonic()
    run.close()
    assert time.monotonic() - begun < 3
    sent = len(slow.seen) + len(fast.seen)
    assert sum(frame.height for frame in ledger.frames()) == sent
    assert len(slow.seen) <= 4
    time.sleep(0.7)
    assert len(slow.seen) + len(fast.seen) == sent
    done = by_row(both.map(requests(40)))
    assert {one.status for one in done.values()} == {"ok"}


def test_an_error_of_one_member_comes_once_and_the_others_keep_what_is_in_flight(
    ledger: Ledger, serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    bad = serve(lambda n, body: chat() if n < 4 else failed(401))
    good = serve(lambda n, body: chat(delay=0.1))
    both = team({"bad": member(bad, ledger, "m1"), "good": member(good, ledger, "m2")})
    with pytest.raises(TeacherError, match=r"m1 at .*HTTP 401"):
        list(both.map(requests(500)))
    assert sum(frame.height for frame in ledger.frames()) == len(good.seen) + 3
    assert len(good.seen) < 200
    worse = team({"a": member(bad, ledger, "m1"), "b": member(bad, ledger, "m3")})
    with pytest.raises(TeacherError, match="HTTP 401"):
        list(worse.map(requests(500, prefix="水")))


def test_a_budget_that_is_spent_defers_or_overflows(
    ledger: Ledger, serve: Callable[..., Server]
) -> None:
    one, two = serve(), serve()

    def both(overflow: bool, prefix: str, **more: Any) -> dict[str, Completion]:
        poor = member(one, ledger, "m1", budget={"requests": 10, **more})
        rich = member(two, ledger, "m2", budget={"requests": 70, "when_spent": "go_on"})
        made = team({"poor": poor, "rich": rich}, overflow)
        done = by_row(made.map(requests(100, prefix=prefix)))
        assert len(done) == 100
        late = [c for c in done.values() if c.status == "deferred"]
        assert {made.ends_run(c) for c in late if c.teacher == "m2"} <= {False}
        assert {made.ends_run(c) for c in late if c.teacher == "m1"} <= {not more}
        return done

    kept = Counter((c.teacher, c.status) for c in both(False, "茶").values())
    assert kept["m1", "ok"] == 10
    assert kept["m1", "deferred"] > 20
    assert kept["m2", "deferred"] == 0
    assert len(one.seen) == 10
    moved = Counter((c.teacher, c.status) for c in both(True, "水", when_spent="go_on").values())
    assert (moved["m1", "ok"], moved["m2", "ok"], sum(moved.values())) == (10, 70, 100)
    assert moved["m1", "deferred"] + moved["m2", "deferred"] == 20


def test_what_a_first_member_has_wasted_is_counted_when_the_second_answers(
    ledger: Ledger, serve: Callable[..., Server]
) -> None:
    one, two = serve(lambda n, body: chat("甲")), serve()
    prices = {"completion": 1.0}
    first = member(one, ledger, "m1", budget={"requests": 1}, prices=prices)
    both = team({"a": first, "b": member(two, ledger, "m2", prices=prices)}, True, a=1000)
    (done,) = both.map(requests(1))
    assert (done.status, done.teacher, done.attempts) == ("ok", "m2", 2)
    assert done.cost == pytest.approx(10e-6)
    assert done.cost == both.account.cost == sum(one.account.cost for one in both.members.values())


def test_rules_and_models_and_replays_make_a_team(
    ledger: Ledger, serve: Callable[..., Server]
) -> None:
    server = serve()
    recorded = member(server, ledger, "m1")
    list(recorded.map(requests(200)))
    paid = len(server.seen)
    mixed = team({"r": ExtractiveTeacher(), "m": ReplayTeacher(recorded.options, ledger)})
    done = by_row(mixed.map(requests(200)))
    assert {c.teacher_kind for c in done.values()} == {"rules", "llm"}
    assert len(server.seen) == paid
    estimate = mixed.estimate(requests(200))
    assert estimate is not None
    assert 60 < estimate.requests == estimate.held < 140
    only_rules = team({"r": ExtractiveTeacher()})
    assert (only_rules.kind, only_rules.estimate(requests(2))) == ("rules", None)


def test_an_estimate_is_the_members_in_sum(ledger: Ledger, serve: Callable[..., Server]) -> None:
    server = serve()
    one = member(server, ledger, "m1", prices={"prompt": 1.0})
    two = member(server, ledger, "m2", prices={"prompt": 2.0})
    both = team({"a": one, "b": two})
    asked = [[r for r in requests(50) if both.responsible(r)[0] == name] for name in "ab"]
    found, parts = both.estimate(requests(50)), [one.estimate(asked[0]), two.estimate(asked[1])]
    assert found is not None
    assert (found.requests, found.calls) == (50, 50)
    assert found.cost[1] == pytest.approx(sum(part.cost[1] for part in parts))


def test_a_team_is_checked(ledger: Ledger, serve: Callable[..., Server]) -> None:
    server = serve()
    with pytest.raises(TeacherError, match="no members"):
        team({})
    with pytest.raises(TeacherError, match="several members are called 'm'"):
        team({"a": member(server, ledger, "m"), "b": member(server, ledger, "m")})


def test_equal_prompts_of_two_members_are_two_requests(
    ledger: Ledger, serve: Callable[..., Server]
) -> None:
    server = serve(lambda n, body: chat(GOOD))
    both = team({"a": member(server, ledger, "m1"), "b": member(server, ledger, "m2")})
    same = [replace(next(requests(1)), row_id=f"copy-{number}") for number in range(40)]
    done = by_row(both.map(same))
    assert len(done) == 40
    assert sorted(body["model"] for body in server.seen) == ["m1", "m2"]
    assert len({question(body) for body in server.seen}) == 1


def test_a_batch_that_is_open_does_not_hold_up_the_end(
    service: Service, ledger: Ledger, serve: Callable[..., Server]
) -> None:
    service.polls = 10**9
    quick = member(serve(), ledger, "m2")
    nightly = batch_teacher(service, ledger, poll=60.0)
    both = team({"night": nightly, "day": quick})
    with closing(both.map(requests(60))) as run:
        assert next(run).teacher == "m2"
        while not service.batches:
            time.sleep(0.01)
        begun = time.monotonic()
    assert time.monotonic() - begun < 20
    service.polls = 2
    done = by_row(team({"night": batch_teacher(service, ledger), "day": quick}).map(requests(60)))
    assert Counter(c.status for c in done.values()) == {"ok": 60}
    assert set(service.executed.values()) == {1}
    assert len(service.sizes) == 1


def test_a_model_in_the_middle_of_a_reply_is_stopped(chat_model: Path, ledger: Ledger) -> None:
    local = LocalTeacher(LocalOptions(path=chat_model, device="cpu", batch_size=2), ledger)
    both = team({"here": local, "rules": ExtractiveTeacher()})
    asked = [
        plain("茶" * 50 + "？", row_id=f"row-{n}", sample=n, temperature=9.0, max_tokens=4000)
        for n in range(100)
    ]
    with closing(both.map(asked)) as run:
        assert next(run).teacher_kind == "rules"
        while not local._decoders:
            time.sleep(0.01)
        begun = time.monotonic()
    assert time.monotonic() - begun < 20


SCRIPT = """
import sys
from pathlib import Path
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher
from kyara_kedro.teachers.team import TeamTeacher
from tests.teachers.conftest import requests_for_queries
path, count, *urls = sys.argv[1:]
limits = {"in_flight": 8, "backoff": 0.01}
ledger = Ledger(Path(path))
members = {
    url: OpenAITeacher(EndpointOptions(model=f"m{n}", base_url=url, limits=limits), ledger)
    for n, url in enumerate(urls)
}
team = TeamTeacher(members, dict.fromkeys(members, 1.0))
asked = requests_for_queries(int(count))
"""
READ = """
with ledger:
    for completion in team.map(asked):
        print(completion.key, completion.status, flush=True)
"""


def start(script: str, path: Path, servers: Iterable[Server]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path), "300", *(one.url for one in servers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def held(path: Path) -> int:
    with Ledger(path, read_only=True) as ledger:
        return sum(frame.height for frame in ledger.frames())


@pytest.mark.faults
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_team_pays_again_only_for_what_was_in_flight(
    tmp_path: Path, serve: Callable[..., Server], sign: signal.Signals
) -> None:
    path, servers = tmp_path / "replies.db", [serve(lambda n, body: chat(delay=0.05))] * 2
    servers[1] = serve(lambda n, body: chat(delay=0.1))
    process = start(SCRIPT + READ, path, servers)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(20)]
    process.send_signal(sign)
    rest, said = process.communicate(timeout=20)
    assert process.returncode != 0
    paid = sum(len(one.seen) for one in servers)
    if sign is signal.SIGINT:
        assert held(path) == paid < 150
        assert "KeyboardInterrupt" in said
    keys = [line.split()[0] for line in [*lines, *rest.splitlines()] if len(line.split()) == 2]
    with Ledger(path, read_only=True) as ledger:
        assert ledger.get_many(keys).keys() == set(keys)
    again = start(SCRIPT + READ, path, servers)
    printed, said = again.communicate(timeout=60)
    assert (len(printed.splitlines()), said) == (300, "")
    assert 300 <= sum(len(one.seen) for one in servers) <= 300 + 16


@pytest.mark.faults
def test_a_team_that_is_left_alone_ends_with_the_program(
    tmp_path: Path, serve: Callable[..., Server]
) -> None:
    path, servers = tmp_path / "replies.db", [serve(lambda n, body: chat(delay=0.3)), serve()]
    done = start(SCRIPT + "run = team.map(asked)\nprint(next(run).status)\n", path, servers)
    assert done.communicate(timeout=30) == ("ok\n", "")
    assert held(path) == sum(len(one.seen) for one in servers) < 300


def test_accounts_are_kept_by_member(
    tmp_path: Path, ledger: Ledger, serve: Callable[..., Server]
) -> None:
    prices = {"completion": 1.0}
    both = team(
        {
            "strong": member(serve(), ledger, "m1", prices=prices),
            "rules": ExtractiveTeacher(),
        }
    )
    hooks = AccountHooks()
    context: Any = SimpleNamespace(project_path=tmp_path)
    hooks.after_context_created(context)
    node, part = Node(lambda writer: None, "writer", "rows", name="make"), both.portion(0.5)
    hooks.before_node_run(node, {"writer": both})
    done = Counter(c.teacher for c in part.map(requests(40)))
    hooks.after_node_run(node, {"writer": both}, {"rows": pl.DataFrame({"id": ["a"] * 10})})
    file = tmp_path / "data/08_reporting/teacher_accounts.json"
    rows = {row["teacher"]: row for row in json.loads(file.read_text("utf-8"))["nodes"]["make"]}
    assert {name: row["requests"] for name, row in rows.items()} == done
    assert rows["m1"]["cost"] == pytest.approx(5e-6 * done["m1"])
    assert hooks.costs["make"] == pytest.approx(both.account.cost)
    hooks.before_pipeline_run()
    assert hooks.costs == {}
    hooks.before_node_run(node, {"writer": both})
    hooks.after_node_run(node, {"writer": both}, {})
    assert "make" in json.loads(file.read_text("utf-8"))["nodes"]
