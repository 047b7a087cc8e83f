import json

import polars as pl
import pytest
from pydantic import ValidationError

from kyara_kedro.evaluation.benchmarks.base import item_row
from kyara_kedro.evaluation.comparison import compare
from kyara_kedro.evaluation.gate import Decision, GateOptions, Rule, decide
from kyara_kedro.evaluation.scores import benchmark_scores
from kyara_kedro.records import BENCHMARK_ITEM, BENCHMARK_SCORE, COMPARISON

RULES = (
    Rule(benchmark="b", metric="accuracy", must_improve="base", floor=0.5, max_parse_failures=0.1),
    Rule(benchmark="b", metric="accuracy", must_not_regress="champion", margin=0.1),
)
OPTIONS = GateOptions(rules=RULES)


def _items(no_answer: int = 0, **right: str) -> pl.DataFrame:
    """Items of some models from runs such as "60+40-": 60 right ones, then 40 wrong ones."""
    rows = []
    for model, runs in right.items():
        values = [float(run[-1] == "+") for run in runs.split() for _ in range(int(run[:-1]))]
        for i, value in enumerate(values):
            row = item_row(
                "b",
                f"q{i}",
                model,
                "accuracy",
                value=value,
                no_answer=model == "new" and i < no_answer,
                stratum="all",
                scorer_version="s-1",
            )
            rows.append(row)
    return BENCHMARK_ITEM.frame(rows)


def _decide(
    items: pl.DataFrame,
    options: GateOptions = OPTIONS,
    *,
    champion: bool = True,
    rules_corpus: bool = False,
    **columns: int,
) -> Decision:
    scores = benchmark_scores(items).with_columns(**{k: pl.lit(v) for k, v in columns.items()})
    return decide(
        "new",
        scores,
        compare(items),
        options,
        has_champion=champion,
        rules_corpus=rules_corpus,
    )


def test_a_model_that_meets_every_rule_is_promoted() -> None:
    decision = _decide(_items(base="20+ 180-", champion="140+ 60-", new="150+ 50-"))
    assert decision.verdict == "promote"
    assert len(decision.reasons) == 4 and all(reason.startswith("✓") for reason in decision.reasons)


def test_a_model_that_falls_behind_the_champion_is_held() -> None:
    decision = _decide(_items(base="20+ 180-", champion="190+ 10-", new="120+ 80-"))
    assert decision.verdict == "hold"
    assert decision.reasons[0].startswith("✗") and "champion" in decision.reasons[0]


def test_a_model_below_the_floor_is_held() -> None:
    decision = _decide(_items(base="0+ 200-", champion="80+ 120-", new="90+ 110-"))
    assert decision.verdict == "hold"
    assert "0.450 < 0.500" in decision.reasons[0]


def test_a_model_no_better_than_the_base_is_held() -> None:
    decision = _decide(_items(base="190+ 10-", champion="150+ 50-", new="150+ 50-"))
    assert decision.verdict == "hold"
    assert "must improve" in decision.reasons[0]


def test_too_many_outputs_without_an_answer_hold_a_model() -> None:
    items = _items(no_answer=30, base="20+ 180-", champion="140+ 60-", new="150+ 50-")
    decision = _decide(items)
    assert decision.verdict == "hold"
    assert "0.150 > 0.100" in decision.reasons[0]


def test_judgements_without_a_verdict_are_failures_but_not_missing() -> None:
    items = _items(base="20+ 180-", champion="140+ 60-", new="150+ 50-")
    assert _decide(items, expected=210, unread=10).verdict == "promote"
    decision = _decide(items, expected=230, unread=30)
    assert decision.verdict == "hold"
    assert "0.130 > 0.100" in decision.reasons[0]
    assert _decide(items, expected=230, unread=10).verdict == "inconclusive"


def test_few_items_decide_nothing() -> None:
    decision = _decide(_items(base="1+ 5-", champion="4+ 2-", new="5+ 1-"))
    assert decision.verdict == "inconclusive"
    assert {number["outcome"] for number in decision.numbers} == {"undecided", "holds"}


@pytest.mark.parametrize("condition", ["must_improve", "must_not_regress"])
def test_few_pairs_decide_nothing(condition: str) -> None:
    rule = {"benchmark": "b", "metric": "accuracy", condition: "base", "min_items": 20}
    options = GateOptions(rules=(Rule.model_validate(rule),))
    decision = _decide(_items(base="12-", new="12+"), options)
    assert decision.verdict == "inconclusive" and "12 < 20" in decision.reasons[0]
    assert _decide(_items(base="24-", new="24+"), options).verdict == "promote"


def test_the_first_champion_needs_only_floor_and_base() -> None:
    items = _items(base="20+ 180-", new="150+ 50-")
    assert _decide(items, champion=False).verdict == "promote"
    assert _decide(items, champion=True).verdict == "inconclusive"
    worse = _items(base="150+ 50-", new="150+ 50-")
    assert _decide(worse, champion=False).verdict == "inconclusive"


def test_missing_outputs_and_scores_are_no_evidence() -> None:
    items = _items(base="20+ 180-", champion="140+ 60-", new="150+ 50-")
    decision = _decide(items, expected=250)
    assert decision.verdict == "inconclusive"
    assert "200 / 250" in decision.reasons[0]
    other = GateOptions(rules=(Rule(benchmark="other", metric="accuracy", floor=0.1),))
    assert _decide(items, other).verdict == "inconclusive"


def test_no_applicable_rule_is_no_evidence() -> None:
    items = _items(new="200+")
    assert _decide(items, GateOptions(rules=())).verdict == "inconclusive"
    only_champion = GateOptions(rules=RULES[1:])
    assert _decide(items, only_champion, champion=False).verdict == "inconclusive"


def test_a_corpus_written_by_rules_is_held_unless_allowed() -> None:
    items = _items(base="20+ 180-", champion="140+ 60-", new="150+ 50-")
    assert _decide(items, rules_corpus=True).verdict == "hold"
    allowed = GateOptions(rules=RULES, allow_rules_corpus=True)
    assert _decide(items, allowed, rules_corpus=True).verdict == "promote"


def test_a_decision_can_be_stored() -> None:
    decision = _decide(_items(base="20+ 180-", champion="140+ 60-", new="150+ 50-"))
    stored = json.loads(json.dumps(decision.to_dict()))
    assert Decision(**stored) == decision
    assert {"low", "high", "p_value", "bar"} <= set(stored["numbers"][-1])


def test_a_rule_asks_for_something() -> None:
    with pytest.raises(ValidationError, match="asks for nothing"):
        Rule(benchmark="b", metric="accuracy")


def test_too_few_items_are_no_evidence() -> None:
    rule = Rule(benchmark="held_out", metric="exact_match", floor=0.2, min_items=20)
    row = {
        "id": "s",
        "benchmark": "held_out",
        "model": "dpo",
        "metric": "exact_match",
        "part": "all",
        "score": 1.0,
        "low": 0.5,
        "high": 1.0,
        "items": 4,
        "no_answer": 0,
        "unread": 0,
        "scorer_version": "v",
    }
    options = GateOptions(rules=(rule,))
    for items, verdict in ((4, "inconclusive"), (20, "promote")):
        scores = BENCHMARK_SCORE.frame([row | {"items": items, "expected": items}])
        decision = decide("dpo", scores, COMPARISON.frame(), options, has_champion=False)
        assert decision.verdict == verdict
