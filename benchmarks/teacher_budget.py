"""Caps in tokens, money and requests that the server's own account never shows passed.

1,000 rows with 64 in flight, answers of 10 to 1,200 characters of which 1,000 are allowed, so that
nobody can know beforehand what a request will cost. Each cap is about 40 % of the whole. The same
with a server that also breaks and cuts answers, which are billed all the same. Afterwards a second
run without the cap must pay for the rest, and only for that. A cap that is the ledger's, not one
run's, has to hold for two runs at once and across kills as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness import (
    Benchmark,
    Run,
    execute,
    ours,
    ours_command,
    run_and_kill,
    run_together,
    scratch,
    server,
    table,
)

ROWS, IN_FLIGHT, MAX_TOKENS = 1000, 64, 1000
PRICE_PROMPT, PRICE_COMPLETION = 1.0, 2.0
"""For a million tokens."""
FAULTS = {"share_429": 0.03, "share_500": 0.02, "share_malformed": 0.03, "share_truncated": 0.02}


@dataclass(frozen=True)
class Case:
    """One cap and the server that it is tried on."""

    name: str
    unit: str
    cap: float
    faults: dict[str, float] = field(default_factory=dict)
    per: str = "run"
    quick: bool = False


CASES = (
    Case("tokens", "tokens", 700_000, quick=True),
    Case("money", "cost", 0.95),
    Case("requests", "requests", 400),
    Case("money_of_two_runs", "cost", 0.95, per="ledger", quick=True),
    Case("tokens_faulty", "tokens", 700_000, FAULTS),
    Case("money_faulty", "cost", 0.95, FAULTS, quick=True),
)


@dataclass(frozen=True)
class Trial:
    """What came of a cap: the runs under it, and one without it on the same ledger."""

    capped: list[Run]
    rest: Run

    @staticmethod
    def cost(stats: Mapping[str, Any]) -> float:
        """Money by the server's counts."""
        prompt, completion = stats["paid_prompt_tokens"], stats["paid_completion_tokens"]
        return float(prompt * PRICE_PROMPT + completion * PRICE_COMPLETION) / 1e6

    def counted(self, kind: str) -> int:
        """What the server counted during the runs under the cap."""
        return int(sum(run.stats[kind] for run in self.capped))

    def spent(self, unit: str) -> float:
        """The same in the unit of the cap."""
        if unit == "cost":
            return sum(self.cost(run.stats) for run in self.capped)
        if unit == "tokens":
            return self.counted("paid_prompt_tokens") + self.counted("paid_completion_tokens")
        return self.counted("requests")

    @property
    def paid_beyond(self) -> int:
        """What was paid beyond one answer a row and the broken ones."""
        runs = [run.stats for run in (*self.capped, self.rest)]
        paid = sum(one["paid"] - one["malformed"] - one["truncated"] for one in runs)
        return int(paid - ROWS)

    @property
    def stopped(self) -> bool:
        """Whether the last run under the cap said of some rows that they were not sent."""
        return bool(self.capped[-1].said["statuses"].get("deferred"))


def try_cap(case: Case, seed: int) -> Trial:
    """Run under the cap, twice when it is the ledger's, and then without it."""
    settings: dict[str, object] = {
        "max_tokens": MAX_TOKENS,
        "price_prompt": PRICE_PROMPT,
        "price_completion": PRICE_COMPLETION,
    }
    with (
        server(latency=0.02, answer_least=10, answer=1200, seed=seed, **case.faults) as at,
        scratch() as folder,
    ):
        ledger = folder / "ledger.db"
        cap = case.cap if case.unit == "cost" else int(case.cap)
        budget = {f"budget_{case.unit}": cap, "budget_per": case.per}
        capped = [
            ours(at, ROWS, IN_FLIGHT, ledger=ledger, **budget, **settings)
            for _ in range(2 if case.per == "ledger" else 1)
        ]
        return Trial(capped, ours(at, ROWS, IN_FLIGHT, ledger=ledger, **settings))


def cap_of_the_ledger(benchmark: Benchmark) -> None:
    """Two runs at once, and a run that is killed and started again, under one cap in money."""
    cap, lines = 0.95, []
    for name in ("two_runs_at_once", "killed_five_times"):
        with server(latency=0.1, answer_least=10, answer=1200, seed=4) as at, scratch() as folder:
            commands = [
                ours_command(
                    at,
                    folder / "ledger.db",
                    ROWS,
                    IN_FLIGHT,
                    out=folder / f"{number}.jsonl",
                    max_tokens=MAX_TOKENS,
                    price_prompt=PRICE_PROMPT,
                    price_completion=PRICE_COMPLETION,
                    budget_cost=cap,
                    budget_per="ledger",
                )
                for number in range(2)
            ]
            execute([*commands[0], "--rows=1"])
            if name == "two_runs_at_once":
                run_together(commands)
            else:
                for _ in range(5):
                    run_and_kill(at, commands[0], 0.25)
                execute(commands[0])
            spent = Trial.cost(at.stats())
        lines.append((name, cap, spent, spent / cap))
        benchmark.at_most(f"{name}_share_used", spent / cap, 1.0)
    print(f"## A cap of the ledger: {ROWS:,} rows, {IN_FLIGHT} in flight, 100 ms\n")
    table(("", "cap", "spent by the server's account", "share used"), lines)


def main() -> None:
    benchmark = Benchmark.start("teacher_budget", __doc__)
    seeds = (1,) if benchmark.quick else (1, 2, 3)
    lines = []
    for case in [case for case in CASES if case.quick or not benchmark.quick]:
        worst, least, beyond, missing, stopped = 0.0, 1.0, 0, 0, 0
        for seed in seeds:
            trial = try_cap(case, seed)
            used = trial.spent(case.unit) / case.cap
            worst, least = max(worst, used), min(least, used)
            beyond = max(beyond, trial.paid_beyond)
            missing = max(missing, ROWS - trial.rest.rows)
            stopped += trial.stopped
            statuses = trial.capped[-1].said["statuses"]
            lines.append(
                (
                    case.name,
                    seed,
                    case.cap,
                    used,
                    trial.capped[-1].rows,
                    ", ".join(f"{count} {status}" for status, count in sorted(statuses.items())),
                    trial.rest.rows,
                    trial.rest.stats["paid"],
                    trial.paid_beyond,
                )
            )
        benchmark.figure(f"{case.name}_least_share_used", least)
        benchmark.at_most(f"{case.name}_share_used", worst, 1.0)
        benchmark.at_most(f"{case.name}_paid_twice", beyond, 0)
        benchmark.at_most(f"{case.name}_rows_missing_at_the_end", missing, 0)
        benchmark.at_least(f"{case.name}_runs_stopped", stopped, len(seeds))
    print(f"## Caps: {ROWS:,} rows, {IN_FLIGHT} in flight, answers of random sizes\n")
    table(
        (
            "cap",
            "seed",
            "of",
            "share used",
            "rows",
            "statuses",
            "rows in all",
            "paid by the last run",
            "paid twice",
        ),
        lines,
    )
    cap_of_the_ledger(benchmark)
    benchmark.finish()


if __name__ == "__main__":
    main()
