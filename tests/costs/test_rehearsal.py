"""Which nodes a rehearsal plays, how far, and how much larger the whole is."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.teachers.conftest import requests_for_queries
from tests.teachers.loopback import chat, serving

from kyara_kedro.costs.bill import Cap, Part, Range, _line
from kyara_kedro.costs.rehearsal import Scene, capped, strategy_factor
from kyara_kedro.params import SynthesizeParams
from kyara_kedro.reporting.costs import cost_figure, costs, told
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher
from kyara_kedro.teachers.understudy import Habits, Stage, Understudy

from support import ROOT


def params(**targets: int | None) -> SynthesizeParams:
    file = ROOT / "conf/base/parameters/synthesize.yml"
    values = yaml.safe_load(file.read_text("utf-8"))["synthesize"]
    for name, target in targets.items():
        values[name]["target"] = target
    return SynthesizeParams.read(values, "synthesize")


def targets(found: SynthesizeParams) -> dict[str, int | None]:
    names = ("knowledge", "rag", "document", "math", "dialogue", "told", "magpie")
    return {name: getattr(found, name).target for name in names}


@pytest.mark.parametrize(
    ("wanted", "played"),
    [
        ({}, {"knowledge": 300, "rag": None, "dialogue": None, "document": 300}),
        ({"knowledge": 6000, "rag": 2000}, {"knowledge": 300, "rag": 100, "told": None}),
        ({"knowledge": 5, "rag": None}, {"knowledge": 5, "rag": None}),
        ({"knowledge": 0, "rag": 0}, {"knowledge": 0, "dialogue": 300, "told": 300}),
        ({"dialogue": 3000, "told": 3, "knowledge": 0, "rag": 0}, {"dialogue": 300, "told": 1}),
        ({"magpie": 9000, "math": 0}, {"magpie": 300, "math": 0}),
    ],
)
def test_what_is_long_is_played_in_part(
    wanted: dict[str, int | None], played: dict[str, int | None]
) -> None:
    assert targets(capped(params(**wanted), 300)).items() >= played.items()


def flow(there: int, out: int, left: int = 0) -> dict[str, Any]:
    return {"in": there, "out": out, "dropped": {"not_needed": left}}


def test_a_strategy_is_as_much_larger_as_its_target_or_its_source_says() -> None:
    flows = {"passages": flow(100, 10, left=90), "knowledge": flow(40, 30)}
    assert strategy_factor(flows, params(), 1.0) == 10
    assert strategy_factor(flows, params(knowledge=60), 1.0) == 2
    assert strategy_factor(flows, params(knowledge=9_000), 1.0) == 10  # the source ends first
    told = {"told": flow(20, 10, left=10)}
    assert strategy_factor(told, params(), 3.0) == 6
    assert strategy_factor({"magpie": flow(0, 0)}, params(), 1.0) == 1


def test_an_understudy_takes_replies_from_the_ledger_and_sends_nothing(tmp_path: Path) -> None:
    said = iter(['{"queries": ["茶"]}', "no JSON", '{"queries": ["湖"]}'])
    with serving(lambda number, body: chat(next(said), usage=(100, 20))) as server:
        options = EndpointOptions.read(
            {
                "model": "m",
                "base_url": server.url,
                "prices": {"prompt": 1, "completion": 10},
                "limits": {"in_flight": 1},
            },
            "writer",
        )
        with Ledger(tmp_path / "replies.db") as ledger:
            teacher = OpenAITeacher(options, ledger)
            stage = Stage()
            paid = list(teacher.map(requests_for_queries(2)))
            assert len(server.seen) == 3  # one reply was of no use
            stand_in = Understudy.of(teacher, stage)
            played = list(stand_in.map(requests_for_queries(12)))
            assert len(server.seen) == 3
            habits = stand_in.habits("expand_query")
            part = stand_in.parts["expand_query"]
            line = _line(Scene("make", {}, 1.0), "writer", stand_in, "expand_query", part, 1.0)
    assert habits is not None
    replies = {one.row_id: one.text for one in paid}
    assert {one.row_id: one.text for one in played[:2]} == replies
    assert (part.requests, part.held) == (12, 3)
    assert part.sure >= 10 and not part.guessed  # all was asked before anything was made up
    assert (habits.replies, habits.lengths) == (3, (20, 20, 20))
    assert habits.unusable == pytest.approx(1 / 3)
    assert line.calls.low == line.calls.high == part.sure
    assert line.completion.expected == 20 * part.sure
    assert line.cost.expected == pytest.approx(
        (line.prompt.expected + 10 * line.completion.expected) / 1e6
    )


def test_rules_are_counted_and_cost_nothing() -> None:
    stand_in = Understudy.of(ExtractiveTeacher(), Stage())
    assert len(list(stand_in.map(requests_for_queries(3)))) == 3
    part = stand_in.parts["expand_query"]
    line = _line(Scene("make", {}, 2.0), "writer", stand_in, "expand_query", part, None)
    assert line.calls == Range.exactly(6) and line.prompt.low > 0 and not line.cost.high


def test_a_task_without_replies_goes_by_defaults(tmp_path: Path) -> None:
    options = EndpointOptions.read({"model": "m", "prices": {"completion": 1}}, "writer")
    with Ledger(tmp_path / "replies.db") as ledger:
        teacher = OpenAITeacher(options.model_copy(update={"base_url": "http://x/v1"}), ledger)
        stand_in = Understudy.of(teacher, Stage(improvised=True))
        assert Habits.of("expand_query", []) is None
        list(stand_in.map(requests_for_queries(5)))
        part = stand_in.parts["expand_query"]
        line = _line(Scene("make", {}, 1.0), "writer", stand_in, "expand_query", part, None)
    assert isinstance(part, Part) and part.guessed == 5
    assert line.calls == Range(2.5, 5, 12)
    assert line.cost.low < line.cost.expected < line.cost.high and not line.replies


@pytest.mark.parametrize(("cap", "verdict"), [(20, "enough"), (11, "perhaps"), (5, "not_enough")])
def test_a_budget_is_compared_with_the_range(cap: float, verdict: str) -> None:
    assert Cap("writer", "cost", cap, 2.0, Range(4, 6, 10)).verdict == verdict


ROW = {
    **{"teacher": "m", "role": "writer", "requests": 10, "cached": 4, "asked_again": 1},
    **{"failed": 2, "tokens": 900, "cost": 0.5, "worth": 2.0},
}
ACCOUNTS = {
    "nodes": {
        "synthesize.inject": [{**ROW, "task": "answer"}, {**ROW, "task": "ask"}],
        "synthesize.tell": [{**ROW, "task": "answer"}],
    },
    "accepted": {"synthesize": {"synthetic_conversations": 8}},
}


def test_costs_are_summed_by_task_and_told_for_each_accepted_record() -> None:
    answered, asked = costs(ACCOUNTS)
    assert (answered.task, answered.requests, answered.worth) == ("answer", 20, 4.0)
    assert asked.for_each == 0.25
    (whole,) = costs(ACCOUNTS, by_task=False)
    assert whole.for_each == 0.75
    assert len(told([answered, asked])) == 4
    assert cost_figure(ACCOUNTS).series[0].y == (0.75,)


def test_free_teachers_are_drawn_by_their_requests() -> None:
    free = json.loads(json.dumps(ACCOUNTS).replace('"worth": 2.0', '"worth": 0.0'))
    assert cost_figure(free).series[0].y == (30 / 8,)
    assert cost_figure({}).series[0].y == ()
