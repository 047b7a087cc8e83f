"""What the preflight found: numbers, checks and a sample, as a table and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Literal, NamedTuple

from kyara_kedro.errors import UserError
from kyara_kedro.reporting.terminal import aligned, shortened

Severity = Literal["fail", "warn"]
_WIDTH = 160


class Finding(NamedTuple):
    """What a check came to.

    Attributes:
        check: Its name.
        severity: Whether a fault stops the stage.
        fault: What is wrong and how to mend it, in one line; None where nothing is.
        looked: Whether it was made; those that run the network are not after a fault without it.
    """

    check: str
    severity: Severity
    fault: str | None
    looked: bool = True

    @property
    def verdict(self) -> str:
        """One word for the table."""
        if not self.looked:
            return "not run"
        return "ok" if self.fault is None else self.severity


@dataclass(frozen=True)
class Numbers:
    """What a stage is about to do.

    Attributes:
        rows: Rows to learn from.
        held_out: Rows that are only validated on.
        dropped: Rows that were left out before, by reason.
        tokens: Tokens of the rows to learn from.
        learned_share: Share of the tokens that are learned, the others being read.
        sequences: Sequences that go through the network in an epoch.
        fill: Share of their room that is filled; None where each holds one row.
        processes: Processes that share the work.
        sequences_a_step: Sequences of an optimiser step, over all processes.
        rows_a_step: Rows of an optimiser step.
        tokens_a_step: Tokens of an optimiser step.
        epochs: Passes over the rows.
        steps: Optimiser steps.
        warmup_steps: Those over which the learning rate rises.
        first_loss: Loss of the first batch before the first step; None where it was not computed.
        expected_loss: What it is to be compared with: the logarithm of the vocabulary for a
            supervised stage, the value of the formula at the reference for a preference stage.
        memory_gb: Memory of a device that the stage needs, as calculated.
        device_memory_gb: Memory that a device has.
        seconds: Time that the stage takes, as calculated; None where the device is not known.
    """

    rows: int
    held_out: int
    dropped: Mapping[str, int]
    tokens: int
    learned_share: float
    sequences: int
    fill: float | None
    processes: int
    sequences_a_step: int
    rows_a_step: float
    tokens_a_step: float
    epochs: float
    steps: int
    warmup_steps: int
    first_loss: float | None
    expected_loss: float | None
    memory_gb: float
    device_memory_gb: float
    seconds: float | None


@dataclass(frozen=True)
class Preflight:
    """What is known of a stage before its first step.

    Attributes:
        stage: Its name.
        numbers: What it is about to do.
        findings: What each check came to.
        sample: Rows of the first batch: how their id begins, and exactly what is learned of them,
            with the control tokens; ``…`` stands for what is read and not learned.
    """

    stage: str
    numbers: Numbers
    findings: tuple[Finding, ...]
    sample: tuple[tuple[str, str], ...] = field(default=())

    @property
    def faults(self) -> list[Finding]:
        """The findings that stop the stage."""
        return [found for found in self.findings if found.severity == "fail" and found.fault]

    @property
    def warnings(self) -> list[Finding]:
        """The findings that do not."""
        return [found for found in self.findings if found.severity == "warn" and found.fault]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it; a loss that is no number is None there."""
        numbers = asdict(self.numbers)
        loss = self.numbers.first_loss
        return {
            "stage": self.stage,
            "numbers": numbers
            if loss is None or isfinite(loss)
            else numbers | {"first_loss": None},
            "checks": [
                {"check": found.check, "verdict": found.verdict, "fault": found.fault}
                for found in self.findings
            ],
            "sample": [{"row": row, "learned": text} for row, text in self.sample],
        }

    def table(self) -> str:
        """All of it for a person; checks without a fault share a line."""
        good = [found.check for found in self.findings if found.verdict == "ok"]
        unmade = [found.check for found in self.findings if found.verdict == "not run"]
        lines = [
            *_number_lines(self.numbers),
            ("checks", f"{len(good)} of {len(self.findings)} ok"),
            *((found.verdict, f"{found.check}: {found.fault}") for found in self.faults),
            *((found.verdict, f"{found.check}: {found.fault}") for found in self.warnings),
            *([("not run", ", ".join(unmade))] if unmade else []),
            *(("learned", f"{row}  {shortened(text, _WIDTH)}") for row, text in self.sample),
        ]
        return f"{self.stage}: preflight\n{aligned(lines)}"


class PreflightError(UserError):
    """A stage would go wrong, and was stopped before its first step.

    Attributes:
        preflight: All that was found.
    """

    def __init__(self, preflight: Preflight) -> None:
        first, *others = preflight.faults
        more = f" (and {len(others)} more: {', '.join(o.check for o in others)})" if others else ""
        super().__init__(f"{preflight.stage}: {first.fault}{more}")
        self.preflight = preflight


def _number_lines(numbers: Numbers) -> list[tuple[str, str]]:
    n = numbers
    dropped = ", ".join(f"{reason} {count:,}" for reason, count in sorted(n.dropped.items()))
    fill = "" if n.fill is None else f", filled to {n.fill:.1%}"
    lines = [
        ("rows", f"{n.rows:,} to learn from, {n.held_out:,} held out"),
        ("dropped", dropped or "none"),
        ("tokens", f"{n.tokens:,}, {n.learned_share:.1%} of them learned"),
        ("sequences", f"{n.sequences:,} an epoch{fill}"),
        (
            "step",
            f"{n.sequences_a_step:,} sequences, about {n.rows_a_step:,.0f} rows or "
            f"{n.tokens_a_step:,.0f} tokens, on {_some(n.processes, 'process', 'processes')}",
        ),
        (
            "steps",
            f"{n.steps:,} in {_some(n.epochs, 'epoch', 'epochs')}, {n.warmup_steps:,} of warm-up",
        ),
        ("memory", f"{n.memory_gb:.2f} of {n.device_memory_gb:.1f} GB, as calculated"),
        ("first loss", _loss(n)),
    ]
    if n.seconds is not None:
        lines.append(("time", f"about {_duration(n.seconds)}, as calculated"))
    return lines


def _loss(numbers: Numbers) -> str:
    if numbers.first_loss is None:
        return "not computed"
    return f"{numbers.first_loss:.4f}, to compare with {numbers.expected_loss:.4f}"


def _some(count: float, one: str, several: str) -> str:
    return f"{count:,g} {one if count == 1 else several}"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
