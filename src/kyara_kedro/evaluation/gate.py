"""Whether a model becomes the champion: rules over scores, with reasons for a person to read.

A rule can hold, be broken, or be undecided because there are too few items for the difference in
question. A model is promoted when all rules hold, kept back when one is broken, and otherwise the
verdict is that the evidence does not suffice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, Self

import polars as pl
from pydantic import Field, NonNegativeFloat, model_validator

from kyara_kedro.evaluation.scores import WHOLE
from kyara_kedro.options import Options

Verdict = Literal["promote", "hold", "inconclusive"]
Outcome = Literal["holds", "broken", "undecided"]


class Rule(Options):
    """What one metric of one benchmark must show.

    Attributes:
        benchmark: Name of the benchmark.
        metric: Name of the metric; more is better.
        must_improve: A baseline that the model must beat: the lower confidence bound of the
            difference is above 0.
        must_not_regress: A baseline that the model must not fall behind: the lower confidence
            bound of the difference is above ``-margin``.
        margin: How much worse counts as no worse.
        floor: Lowest score allowed.
        max_parse_failures: Largest share of outputs without an answer that could be read, and of
            judgements without a verdict.
        min_items: Fewest items, or pairs of them, that are believed; fewer leave it undecided.
    """

    benchmark: str
    metric: str
    must_improve: str | None = None
    must_not_regress: str | None = None
    margin: NonNegativeFloat = 0.0
    floor: float | None = None
    max_parse_failures: float | None = Field(None, ge=0, le=1)
    min_items: int = Field(10, ge=1)

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        asked = (self.must_improve, self.must_not_regress, self.floor, self.max_parse_failures)
        if all(condition is None for condition in asked):
            raise ValueError(
                f"rule for {self.benchmark}/{self.metric} asks for nothing; give must_improve, "
                "must_not_regress, floor or max_parse_failures"
            )
        return self


class GateOptions(Options):
    """The promotion gate.

    Attributes:
        rules: What must hold, all of it.
        champion: Name under which the present champion takes part in the comparisons. Rules
            against it do not apply while there is none.
        allow_rules_corpus: Whether a model may be promoted that learned from a corpus written by
            rules instead of language models, as in the embedded default.
    """

    rules: tuple[Rule, ...] = (
        Rule(
            benchmark="held_out", metric="exact_match", must_improve="base", floor=0.2, min_items=20
        ),
        Rule(benchmark="held_out", metric="exact_match", must_not_regress="champion", margin=0.15),
        Rule(benchmark="held_out", metric="stopped", floor=0.8),
    )
    champion: str = "champion"
    allow_rules_corpus: bool = False


class Finding(NamedTuple):
    """What became of one condition.

    Attributes:
        outcome: Whether the condition holds.
        reason: The condition and the numbers, in Chinese and English.
        numbers: What was looked at.
    """

    outcome: Outcome
    reason: str
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Decision:
    """The verdict with everything it was based on.

    Attributes:
        verdict: ``promote``, ``hold`` or ``inconclusive``.
        reasons: One line a condition, those that decided first.
        numbers: One mapping a condition: its rule, outcome and the values compared.
        model: The model that was judged.
        fingerprint: What determined its weights.
    """

    verdict: Verdict
    reasons: list[str]
    numbers: list[dict[str, Any]] = field(default_factory=list)
    model: str = ""
    fingerprint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The decision as JSON can hold it."""
        return asdict(self)


def decide(
    model: str,
    scores: pl.DataFrame,
    comparisons: pl.DataFrame,
    options: GateOptions,
    *,
    has_champion: bool,
    fingerprint: str = "",
    rules_corpus: bool = False,
) -> Decision:
    """Apply the gate to a model.

    Args:
        model: The candidate's name.
        scores: Rows of ``records.BENCHMARK_SCORE``; over fewer items than expected, undecided.
        comparisons: Rows of ``records.COMPARISON``.
        options: The rules.
        has_champion: Whether there is a champion yet.
        fingerprint: What determined the model's weights, for the record.
        rules_corpus: Whether the model learned from a corpus written by rules.
    """
    evidence = _Evidence(model, scores.filter(pl.col("part") == WHOLE), comparisons)
    findings = [
        finding
        for rule in options.rules
        for finding in evidence.apply(rule, None if has_champion else options.champion)
    ]
    if not findings:
        nothing = "沒有任何規則適用 · no rule applies"
        findings.append(Finding("undecided", nothing, {"condition": "rules"}))
    if rules_corpus and not options.allow_rules_corpus:
        findings.append(
            Finding(
                "broken",
                "語料由規則產生，但 allow_rules_corpus 設為 false · the corpus was written by "
                "rules, and allow_rules_corpus is off",
                {"condition": "allow_rules_corpus"},
            )
        )
    order: tuple[Outcome, ...] = ("broken", "undecided", "holds")
    findings.sort(key=lambda finding: order.index(finding.outcome))
    verdicts: dict[Outcome, Verdict] = {
        "broken": "hold",
        "undecided": "inconclusive",
        "holds": "promote",
    }
    marks = {"broken": "✗", "undecided": "?", "holds": "✓"}
    return Decision(
        verdict=verdicts[findings[0].outcome],
        reasons=[f"{marks[finding.outcome]} {finding.reason}" for finding in findings],
        numbers=[{**finding.numbers, "outcome": finding.outcome} for finding in findings],
        model=model,
        fingerprint=fingerprint,
    )


@dataclass(frozen=True)
class _Evidence:
    """The rows that speak about one model."""

    model: str
    scores: pl.DataFrame
    comparisons: pl.DataFrame

    def apply(self, rule: Rule, absent: str | None) -> Iterator[Finding]:
        """Check each condition of a rule; those against the absent champion do not apply."""
        if rule.floor is not None or rule.max_parse_failures is not None:
            yield from self._absolute(rule)
        for condition in ("must_improve", "must_not_regress"):
            baseline: str | None = getattr(rule, condition)
            if baseline is not None and baseline != absent:
                yield self._against(rule, condition, baseline)

    def _absolute(self, rule: Rule) -> Iterator[Finding]:
        found = self._only(self.scores, rule)
        if found is None:
            yield _absent(rule, "floor", "沒有分數", "there is no score")
            return
        if (there := found["items"] + found["unread"]) < found["expected"]:
            said = f"{there} / {found['expected']}"
            yield _absent(rule, "items", f"只有 {said} 題有輸出", f"outputs for {said} items only")
            return
        if found["items"] < rule.min_items:
            said = f"{found['items']} < {rule.min_items}"
            yield _absent(rule, "items", f"題數太少：{said}", f"too few items: {said}")
        if rule.floor is not None:
            yield _finding(rule, "floor", found["score"] >= rule.floor, found["score"], rule.floor)
        if rule.max_parse_failures is not None:
            share = (found["no_answer"] + found["unread"]) / (found["items"] + found["unread"])
            holds = share <= rule.max_parse_failures
            yield _finding(rule, "max_parse_failures", holds, share, rule.max_parse_failures)

    def _against(self, rule: Rule, condition: str, baseline: str) -> Finding:
        found = self._only(self.comparisons.filter(pl.col("baseline") == baseline), rule)
        name = f"{condition} {baseline}"
        if found is None:
            return _absent(
                rule, name, f"沒有與 {baseline} 的比較", f"no comparison with {baseline}"
            )
        wanted = self._comparable(rule, baseline)
        if found["items"] < wanted:
            said = f"{found['items']} / {wanted}"
            return _absent(
                rule, name, f"只有 {said} 題可供配對比較", f"only {said} items are paired"
            )
        if found["items"] < rule.min_items:
            said = f"{found['items']} < {rule.min_items}"
            return _absent(rule, name, f"題數太少：{said}", f"too few items: {said}")
        bar = 0.0 if condition == "must_improve" else -rule.margin
        outcome: Outcome = "undecided"
        if found["low"] > bar:
            outcome = "holds"
        elif found["high"] <= bar:
            outcome = "broken"
        numbers = {key: found[key] for key in ("difference", "low", "high", "p_value", "items")}
        said = (
            f"{_subject(rule, condition)} {baseline} · {found['difference']:+.3f} "
            f"[{found['low']:+.3f}, {found['high']:+.3f}]，{_WORDS[outcome]} {bar:+.3f}"
        )
        return Finding(outcome, said, _numbers(rule, name) | numbers | {"bar": bar})

    def _comparable(self, rule: Rule, baseline: str) -> int:
        """How many pairs there are when only judgements without a verdict are missing."""
        both = [self._only(self.scores, rule, name) for name in (self.model, baseline)]
        known = [row for row in both if row]
        expected: int = max((row["expected"] for row in known), default=0)
        return expected - sum(int(row["unread"]) for row in known)

    def _only(
        self, rows: pl.DataFrame, rule: Rule, model: str | None = None
    ) -> dict[str, Any] | None:
        found = rows.filter(
            pl.col("model") == (model or self.model),
            pl.col("benchmark") == rule.benchmark,
            pl.col("metric") == rule.metric,
        )
        return found.row(0, named=True) if found.height else None


_WORDS: dict[Outcome, str] = {
    "holds": "區間高於 interval above",
    "broken": "區間不高於 interval not above",
    "undecided": "無法判定，區間跨過 undecided, interval spans",
}
_CONDITIONS = {
    "must_improve": "須優於 must improve over",
    "must_not_regress": "不得劣於 must not regress from",
    "floor": "不得低於 floor",
    "max_parse_failures": "無法判讀比例上限 max_parse_failures",
    "items": "題數 items",
}


def _finding(rule: Rule, condition: str, holds: bool, value: float, bar: float) -> Finding:
    sign = ("≥" if holds else "<") if condition == "floor" else ("≤" if holds else ">")
    said = f"{_subject(rule, condition)} · {value:.3f} {sign} {bar:.3f}"
    numbers = _numbers(rule, condition) | {"value": value, "bar": bar}
    return Finding("holds" if holds else "broken", said, numbers)


def _absent(rule: Rule, condition: str, chinese: str, english: str) -> Finding:
    said = f"{_subject(rule, condition.split(maxsplit=1)[0])} · {chinese} {english}"
    return Finding("undecided", said, _numbers(rule, condition))


def _subject(rule: Rule, condition: str) -> str:
    return f"{rule.benchmark}/{rule.metric} {_CONDITIONS[condition]}"


def _numbers(rule: Rule, condition: str) -> dict[str, Any]:
    return {"benchmark": rule.benchmark, "metric": rule.metric, "condition": condition}
