"""Watches over a training, and stops it before it ruins the model."""

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from kyara_kedro.training.checkpointing import newest
from kyara_kedro.training.errors import TrainingError
from kyara_kedro.training.options import AlarmOptions, DPOOptions, SFTOptions, SPPOOptions
from kyara_kedro.training.probes import Probe, Prober, Question, choose
from kyara_kedro.training.tokens import Conversations, Pairs
from kyara_kedro.training.vitals import Alarm, Preference, Vitals, chosen_fall

LOGGER = logging.getLogger(__name__)

_PROBES = "probes.json"
_SAMPLE = 512
"""Pairs whose chosen answers are measured for their mean length."""

Recipe = SFTOptions | DPOOptions | SPPOOptions
Record = Callable[[int, Mapping[str, float]], None]


class HealthError(TrainingError):
    """A stage is stopped: going on would ruin the model."""


class HealthMonitor(TrainerCallback):  # type: ignore[misc]
    """Measures, warns and stops.

    The answers that the model gives before the first step are kept in the workspace, since a
    resumed training has no other way to know them. All processes of a training ask and measure
    the same, as sharded weights need, and the first one's judgement counts, so they stop together.

    Args:
        stage: Its name, for the log and errors.
        recipe: How it trains.
        options: What is alarming.
        data: What it learns from.
        tokenizer: The model's.
        record: Takes a step and what was measured at it, in the first process: ``health/...``,
            and ``alarm/...`` of what is beyond a limit.
    """

    def __init__(
        self,
        stage: str,
        recipe: Recipe,
        options: AlarmOptions,
        data: Conversations | Pairs,
        tokenizer: Any,
        record: Record,
    ) -> None:
        self._stage = stage
        self._options = options
        self._data = data
        self._tokenizer = tokenizer
        self._record = record
        self._preference: Preference | None = None
        if isinstance(data, Pairs) and not isinstance(recipe, SFTOptions):
            self._preference = Preference(recipe.beta, _chosen_tokens(data))
        self._vitals = Vitals(options, recipe.max_grad_norm, self._preference)
        self._warned: set[str] = set()
        self._probes: list[Probe] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Let the model answer before its first step, and look at what a resumed one has logged."""
        for entry in state.log_history:
            self._vitals.logged(entry["step"], entry)
        self._prober = Prober(self._tokenizer, self._options.max_new_tokens, args.bf16)
        self._probes = self._first_answers(args, named["model"])
        if self._probes:
            self._start, self._expected = (
                self._prober.describe(answers)
                for answers in (
                    [probe.said for probe in self._probes],
                    [probe.question.answer for probe in self._probes],
                )
            )

    def _first_answers(self, args: Any, model: Any) -> list[Probe]:
        """Those that are kept, or new ones, which are kept from now on."""
        file, first = Path(args.output_dir, _PROBES), args.process_index == 0
        kept: list[Probe] | None = _agreed(_read(file) if first else None)
        if kept is not None:
            return kept
        questions = choose(self._data, self._options.probes)
        probes = self._prober.begin(model, questions) if questions else []
        if first:
            _write(file, probes)
        return probes

    def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Let the model answer again, every so many steps and after the last one.

        Raises:
            HealthError: a symptom is severe.
        """
        step = state.global_step
        if self._probes and (step % self._options.probe_steps == 0 or step >= state.max_steps):
            now = self._prober.measure(named["model"], self._probes)
            measured = {f"health/{name}": value for name, value in now._asdict().items()}
            self._tell(args, step, measured)
            self._heed(self._vitals.probed(step, now, self._start, self._expected), args)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """Look at the numbers of a step.

        Raises:
            HealthError: a symptom is severe.
        """
        step = state.global_step
        if self._preference and "rewards/chosen" in logs:
            fall = chosen_fall(logs, self._preference)
            self._tell(args, step, {"health/chosen_fall": fall})
        self._heed(self._vitals.logged(step, logs), args)

    def _tell(self, args: Any, step: int, metrics: Mapping[str, float]) -> None:
        if args.process_index == 0 and all(map(math.isfinite, metrics.values())):
            self._record(step, metrics)

    def _heed(self, alarms: list[Alarm], args: Any) -> None:
        for alarm in _agreed(alarms):
            self._tell(args, alarm.step, {f"alarm/{alarm.symptom}": alarm.value})
            if alarm.severe:
                checkpoint = newest(Path(args.output_dir))
                left = f"step {checkpoint.step}" if checkpoint else "none yet"
                raise HealthError(
                    f"{self._stage}: {alarm} (learning_rate is {args.learning_rate:g}); "
                    f"last checkpoint: {left}"
                )
            if alarm.symptom not in self._warned and args.process_index == 0:
                LOGGER.warning("%s: %s", self._stage, alarm)
            self._warned.add(alarm.symptom)


def _chosen_tokens(data: Pairs) -> float:
    """Mean length of chosen answers, of pairs that lie evenly in the data."""
    numbers = np.linspace(0, len(data) - 1, min(_SAMPLE, len(data))).round().astype(int)
    return float(np.mean([len(data.row(int(number)).chosen_ids) for number in numbers]))


def _agreed(value: Any) -> Any:
    """What the first process says, in all of them."""
    box = [value]
    broadcast_object_list(box)
    return box[0]


def _read(file: Path) -> list[Probe] | None:
    if not file.is_file():
        return None
    return [
        Probe(**{**row, "question": Question(**row["question"])})
        for row in json.loads(file.read_text("utf-8"))
    ]


def _write(file: Path, probes: list[Probe]) -> None:
    part = file.with_suffix(".part")
    part.write_text(json.dumps([asdict(probe) for probe in probes]), "utf-8")
    part.replace(file)
