"""The preflight: all checks in their order, and what a person wants to know beside them."""

import logging
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, NamedTuple

from kyara_kedro.training.chat import IGNORED, Encoded
from kyara_kedro.training.job import StageJob
from kyara_kedro.training.options import SFTOptions
from kyara_kedro.training.preflight import batch_checks as batch
from kyara_kedro.training.preflight import network_checks as network
from kyara_kedro.training.preflight import plan_checks as plan
from kyara_kedro.training.preflight import row_checks as rows
from kyara_kedro.training.preflight.flight import Flight, untouched
from kyara_kedro.training.preflight.report import (
    Finding,
    Numbers,
    Preflight,
    PreflightError,
    Severity,
)
from kyara_kedro.training.tokens import Conversations, Kind, Pairs

logger = logging.getLogger("kyara_kedro")

_SHOWN = 3


class Check(NamedTuple):
    """A question to a stage.

    Attributes:
        ask: Answers with the fault and how to mend it, in one line, or None.
        kind: What the stage must learn from for the question to make sense; None is anything.
        severity: Whether a fault stops the stage.
    """

    ask: Callable[[Flight], str | None]
    kind: Kind | None = None
    severity: Severity = "fail"

    @property
    def name(self) -> str:
        """What the table calls it."""
        return self.ask.__name__.removeprefix("check_")


AT_REST = (
    Check(rows.check_something_to_learn),
    Check(rows.check_lengths),
    Check(rows.check_one_bos),
    Check(rows.check_turns_end),
    Check(rows.check_answers_learned),
    Check(rows.check_template),
    Check(rows.check_system),
    Check(rows.check_answers_differ, "pairs"),
    Check(rows.check_preferred, "pairs"),
    Check(rows.check_forbidden),
    Check(rows.check_vocabulary),
    Check(network.check_master_weights),
    Check(network.check_trainable),
    Check(network.check_tied),
    Check(network.check_dropout),
    Check(network.check_stop_token),
    Check(network.check_padding_side),
    Check(network.check_start),
    Check(plan.check_processes),
    Check(plan.check_memory, severity="warn"),
    Check(plan.check_warmup, severity="warn"),
    Check(plan.check_step, severity="warn"),
    Check(batch.check_columns),
)
"""Checks that run nothing through the network."""

IN_MOTION = (
    Check(batch.check_rows_arrive),
    Check(batch.check_boundaries, "conversations"),
    Check(batch.check_packing, "conversations"),
    Check(batch.check_row_alone, "conversations"),
    Check(batch.check_first_loss, "conversations"),
    Check(batch.check_reference, "pairs"),
    Check(batch.check_preference_loss, "pairs"),
)
"""Checks that look at the first batch; made only if the others found nothing, so that none of them
ends in an error of the libraries."""


def preflight(job: StageJob, tokens: Conversations | Pairs, trainer: Any) -> Preflight:
    """Look at a stage before its first step, with the very objects that it will train with.

    Nothing changes: random numbers, weights, modes and metrics are left as they were. Every
    process of the stage calls this at the same place, with ``trainer.model`` not yet wrapped, and
    all of them stop when one finds a fault. The first one logs the table.

    Args:
        job: What the stage is told.
        tokens: What it learns from.
        trainer: Trainer of TRL, complete but not started.

    Raises:
        PreflightError: something would go wrong.
    """
    flight = Flight(job, tokens, trainer)
    with untouched(trainer):
        found = _shared(_asked(flight, AT_REST))
        flown = not any(one.severity == "fail" and one.fault for one in found)
        found += _shared(_asked(flight, IN_MOTION, looked=flown))
        report = Preflight(
            stage=job.stage,
            numbers=_numbers(flight, flown),
            findings=tuple(found),
            sample=tuple(_sample(flight)) if flown else (),
        )
    if trainer.is_world_process_zero():
        logger.log(logging.ERROR if report.faults else logging.INFO, "%s", report.table())
    if report.faults:
        raise PreflightError(report)
    return report


def _asked(flight: Flight, checks: Iterable[Check], looked: bool = True) -> list[Finding]:
    return [
        Finding(one.name, one.severity, one.ask(flight) if looked else None, looked)
        for one in checks
        if one.kind in (None, flight.job.data.kind)
    ]


def _shared(findings: list[Finding]) -> list[Finding]:
    """What each check came to in any of the processes."""
    from accelerate.utils import gather_object

    together = gather_object([findings])
    return [
        next((one for one in column if one.fault), column[0])
        for column in zip(*together, strict=True)
    ]


def _numbers(flight: Flight, flown: bool) -> Numbers:
    args, data = flight.trainer.args, flight.job.data
    recipe = flight.job.recipe
    rows_a_sequence, tokens_a_row = flight.rows_a_sequence, data.tokens / data.rows
    step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    packed = isinstance(recipe, SFTOptions) and recipe.packing
    return Numbers(
        rows=data.rows,
        held_out=data.held_out,
        dropped=flight.job.dropped,
        tokens=data.tokens,
        learned_share=flight.learned_share,
        sequences=len(flight.loader.dataset),
        fill=rows_a_sequence * tokens_a_row / recipe.max_length if packed else None,
        processes=args.world_size,
        sequences_a_step=step,
        rows_a_step=rows_a_sequence * step,
        tokens_a_step=tokens_a_row * rows_a_sequence * step,
        epochs=args.num_train_epochs,
        steps=flight.steps,
        warmup_steps=args.get_warmup_steps(flight.steps),
        first_loss=flight.first_loss if flown else None,
        expected_loss=batch.expected_loss(flight) if flown else None,
        memory_gb=flight.cost.total_gb,
        device_memory_gb=flight.memory_gb,
        seconds=flight.cost.seconds,
    )


def _sample(flight: Flight) -> Iterable[tuple[str, str]]:
    """What is learned of some rows of the first batch, by the rows' ids."""
    sides = ("",) if flight.job.data.kind == "conversations" else (" chosen", " rejected")
    for item in flight.items(flight.batch)[:_SHOWN]:
        number = flight.find(item)
        name = "unknown" if number is None else flight.tokens.ids[number][:12]
        for side, document in zip(sides, item, strict=True):
            yield name + side, _learned(flight, document.tokens)


def _learned(flight: Flight, row: Encoded) -> str:
    """The tokens of a row that are learned, decoded, and ``…`` for the others."""
    runs = groupby(range(len(row.labels)), lambda place: row.labels[place] != IGNORED)
    return "".join(
        flight.text(row.input_ids[list(places)]) if learned else "…" for learned, places in runs
    )
