import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from tests.teachers.loopback import GOOD, Answer, Server, chat, failed, serving
from tests.teachers.test_batch import Service, service
from tests.teachers.test_batch import teacher as batch_teacher

from kyara_kedro.teachers.base import Completion, Teacher, TeacherError
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.ledger import Ledger, Spent
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher
from kyara_kedro.teachers.replay import ReplayTeacher
from kyara_kedro.teachers.team import TeamTeacher

from .conftest import requests_for_queries as requests

__all__ = ["service"]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


def teacher(server: Server, ledger: Ledger, model: str = "m", **options: Any) -> OpenAITeacher:
    limits = {"backoff": 0.01, "in_flight": 4, "patience": 3.0, **options.pop("limits", {})}
    settings = EndpointOptions(model=model, base_url=server.url, limits=limits, **options)
    return OpenAITeacher(settings, ledger, SecretStr("sk-secret"))


def outcomes(done: Iterable[Completion]) -> Counter[tuple[str, str]]:
    return Counter((one.status, one.fault) for one in done)


def bill(number: int, body: dict[str, Any]) -> tuple[int, int]:
    """What the server takes: the prompt's bytes, and replies of many lengths."""
    return sum(len(m["content"].encode()) for m in body["messages"]), 1 + number * 7919 % 64


def billed(number: int, body: dict[str, Any]) -> Answer:
    if number % 11 == 0:
        return failed(429, Retry_After="0")
    finish = "abort" if number % 7 == 0 else "stop"
    return chat(GOOD, finish, usage=bill(number, body), delay=0.002 * (number % 3))


@pytest.mark.parametrize("per", ["run", "ledger"])
def test_a_portion_is_kept_and_what_does_not_fit_says_share(ledger: Ledger, per: str) -> None:
    with serving() as server:
        whole = teacher(server, ledger, budget={"requests": 20, "per": per})
        part = whole.portion(0.25)
        found = list(part.map(requests(30)))
        assert outcomes(found) == {("ok", ""): 5, ("deferred", "share"): 25}
        late = next(one for one in found if one.status == "deferred")
        assert late.error == "all 5 requests of the share of 0.25 of the budget are used"
        assert not part.ends_run(late)
        assert part.used == {"m": Spent(5, 75, 0.0)}
        assert outcomes(whole.map(requests(30, prefix="水"))) == {
            ("ok", ""): 15,
            ("deferred", "budget"): 15,
        }
        assert outcomes(part.map(requests(30, prefix="火"))) == {("deferred", "share"): 30}
        (spent,) = whole.portion(0.5).map(requests(1, prefix="山"))
    assert (spent.status, spent.fault) == ("deferred", "budget")
    assert whole.ends_run(spent)
    assert len(server.seen) == 20
    assert part.account is whole.account
    assert part.account.tallies["expand_query"].faults == {"share": 55, "budget": 16}


def test_replies_of_the_ledger_cost_a_portion_nothing(ledger: Ledger) -> None:
    with serving() as server:
        whole = teacher(server, ledger, budget={"requests": 40})
        list(whole.map(requests(20)))
        part = whole.portion(0.1)
        assert outcomes(part.map(requests(30))) == {("ok", ""): 24, ("deferred", "share"): 6}
        assert outcomes(whole.portion(0).map(requests(30)))["deferred", "share"] == 6
    assert part.used["m"].requests == 4


@pytest.mark.parametrize("per", ["run", "ledger"])
@pytest.mark.parametrize("unit", ["tokens", "cost"])
def test_caps_are_never_passed_by_portions_at_the_same_time(
    ledger: Ledger, per: str, unit: str
) -> None:
    cap, shares = 30_000, {"茶": 0.5, "水": 0.3, "火": 0.4}
    with serving(billed) as server:
        whole = teacher(
            server,
            ledger,
            prices={"prompt": 1e6, "completion": 1e6},
            budget={unit: cap, "per": per, "when_spent": "go_on"},
        )
        done: dict[str, list[Completion]] = {}
        parts = {prefix: whole.portion(share) for prefix, share in shares.items()}

        def work(prefix: str) -> None:
            done[prefix] = list(parts[prefix].map(requests(60, prefix=prefix)))

        threads = [threading.Thread(target=work, args=(prefix,)) for prefix in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        used = Counter[str]()
        for number, body in enumerate(server.seen, 1):
            if number % 11:
                prefix = re.findall(r"([茶水火])\d+是什麼", str(body))[-1]
                used[prefix] += sum(bill(number, body))
    assert {len(found) for found in done.values()} == {60}
    for prefix, share in shares.items():
        assert used[prefix] <= share * cap
        assert getattr(parts[prefix].used["m"], unit) == pytest.approx(used[prefix])
        assert (
            outcomes(done[prefix])["deferred", "share"]
            + outcomes(done[prefix])["deferred", "budget"]
        )
    assert cap - 2_000 < sum(used.values()) <= cap
    assert getattr(whole.budget.spent, unit) == pytest.approx(sum(used.values()))


def test_a_portion_goes_on_where_it_was(ledger: Ledger) -> None:
    with serving() as server:
        first = teacher(server, ledger, budget={"requests": 20}).portion(0.5)
        list(first.map(requests(6)))
        again = teacher(server, ledger, budget={"requests": 20}).portion(0.5, first.used)
        assert outcomes(again.map(requests(30)))["ok", ""] == 6 + 4
        half = again.portion(0.5)
        assert outcomes(half.map(requests(30, prefix="水"))) == {("deferred", "share"): 30}


def test_a_stopped_portion_gives_back_what_it_has_reserved(ledger: Ledger) -> None:
    with serving(lambda n, body: chat(delay=0.05)) as server:
        whole = teacher(server, ledger, budget={"requests": 100})
        part = whole.portion(0.5)
        run = part.map(requests(90))
        next(run)
        run.close()
        sent = len(server.seen)
        assert part.used["m"].requests == whole.budget.spent.requests == sent
        assert outcomes(part.map(requests(90)))["ok", ""] == 50


def test_without_caps_or_share_there_is_nothing_to_portion(ledger: Ledger) -> None:
    with serving() as server:
        free, capped = teacher(server, ledger), teacher(server, ledger, budget={"cost": 1})
        rules = ExtractiveTeacher()
        replay = ReplayTeacher(capped.options, ledger)
        both = TeamTeacher({"a": free, "r": rules}, {"a": 1, "r": 1})
        unbounded: list[Teacher] = [free, rules, replay, both]
        assert all(one.portion(0.3) is one for one in unbounded)
        assert capped.portion(None) is capped
        for one in (*unbounded, capped):
            with pytest.raises(TeacherError, match=r"a share of 1\.5 of the budget"):
                one.portion(1.5)


def test_a_portion_of_a_team_is_one_of_each_member(ledger: Ledger) -> None:
    with serving() as server:
        members: dict[str, Teacher] = {
            "a": teacher(server, ledger, "m1", budget={"requests": 40}),
            "b": teacher(server, ledger, "m2", budget={"requests": 20}),
            "r": ExtractiveTeacher(),
        }
        whole = TeamTeacher(members, {"a": 1, "b": 1, "r": 1})
        part = whole.portion(0.5)
        done = Counter((c.teacher, c.status, c.fault) for c in part.map(requests(200)))
        assert (done["m1", "ok", ""], done["m2", "ok", ""]) == (20, 10)
        assert done["m1", "deferred", "share"] > 20
        assert {name: used.requests for name, used in part.used.items()} == {"m1": 20, "m2": 10}
        again = whole.portion(0.75, part.used)
        more = Counter((c.teacher, c.status) for c in again.map(requests(200, prefix="水")))
        assert (more["m1", "ok"], more["m2", "ok"]) == (10, 5)
    assert part.account is whole.account
    assert part.name == whole.name


def test_batches_keep_to_a_portion(service: Service, ledger: Ledger) -> None:
    whole = batch_teacher(service, ledger, budget={"requests": 40})
    part = whole.portion(0.25)
    found = list(part.map(requests(30)))
    assert outcomes(found) == {("ok", ""): 10, ("deferred", "share"): 20}
    assert "of the share of 0.25 of the budget" in next(c for c in found if c.fault).error
    assert part.used == {"m": Spent(10, 150, 0.0)}
    assert outcomes(whole.map(requests(50, prefix="水"))) == {
        ("ok", ""): 30,
        ("deferred", "budget"): 20,
    }
    assert outcomes(part.map(requests(5, prefix="火"))) == {("deferred", "share"): 5}
    assert sum(service.executed.values()) == 40


@pytest.mark.parametrize("per", ["run", "ledger"])
def test_batches_of_portions_at_the_same_time_keep_to_the_caps(
    service: Service, ledger: Ledger, per: str
) -> None:
    whole = batch_teacher(service, ledger, budget={"requests": 30, "per": per})
    done: dict[str, Counter[tuple[str, str]]] = {}

    def work(prefix: str) -> None:
        done[prefix] = outcomes(whole.portion(0.6).map(requests(25, prefix=prefix)))

    threads = [threading.Thread(target=work, args=(prefix,)) for prefix in "茶水"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(one["ok", ""] for one in done.values()) == 30 == sum(service.executed.values())
    assert all(one["ok", ""] <= 18 for one in done.values())
    assert whole.budget.spent.requests == 30
