"""The course of a stage: every logged number, on disk as it happens."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

Point = dict[str, Any]
Listener = Callable[[int, Mapping[str, float]], None]

MEASURED = frozenset({"tokens_per_second", "mfu", "memory_gb"})
"""Numbers of the machine, which differ from run to run and are no part of the curve."""
_VALIDATED = re.compile(r"eval_(.+)_loss")
_IGNORED = re.compile(r"epoch|step|eval_num_tokens|.*_(runtime|per_second)")


class CurveFile:
    """Logged numbers as JSON lines: ``{"step": 5, "loss": 2.1, ...}``.

    Args:
        path: The file, made when the first line is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the numbers of one step."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def cut(self, step: int) -> None:
        """Forget what was logged after a step, since training goes on from there."""
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step]
        part = self._path.with_suffix(".part")
        part.write_text("".join(f"{line}\n" for line in kept), "utf-8")
        part.replace(self._path)

    def points(self, stage: str) -> list[Point]:
        """Points {stage, step, metric, value} in the order of the training."""
        return [
            {"stage": stage, "step": step, "metric": metric, "value": value}
            for step, metrics in self.steps()
            for metric, value in metrics.items()
            if metric not in MEASURED
        ]

    def steps(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Each logged step with its numbers."""
        for metrics in map(json.loads, self._lines()):
            yield metrics.pop("step"), metrics

    def _lines(self) -> Iterator[str]:
        """The whole lines; the last one of a killed writer may be none."""
        if self._path.exists():
            for line in self._path.read_text("utf-8").splitlines(keepends=True):
                if line.endswith("\n"):
                    yield line.rstrip("\n")


class Recorder(TrainerCallback):  # type: ignore[misc]
    """Writes the curve and moves the progress bar.

    Args:
        curve: Where the numbers go.
        bar: A tqdm bar.
        listener: Who else is told the numbers of a step.
        real_share: Share of the counted tokens that are no padding.
        flops_per_token: Floating-point operations of training on one token.
        peak_flops: What the devices can do in a second, all together; None where unknown.
    """

    def __init__(
        self,
        curve: CurveFile,
        bar: Any,
        listener: Listener | None,
        real_share: float,
        flops_per_token: float,
        peak_flops: float | None,
    ) -> None:
        self._curve = curve
        self._bar = bar
        self._listener = listener
        self._real = real_share
        self._flops = flops_per_token
        self._peak = peak_flops
        self._since = time.perf_counter()
        self._tokens: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock and the bar."""
        self._bar.total = state.max_steps
        self._bar.update(state.global_step)
        self._since = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move the bar."""
        self._bar.update()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """Keep the numbers of a step."""
        if "train_runtime" in logs:
            return
        metrics = _named(logs)
        if "loss" in metrics:
            metrics |= self._measured(metrics)
            self._bar.set_postfix(loss=f"{metrics['loss']:.3f}", refresh=False)
        if state.is_world_process_zero:
            self.record(state.global_step, metrics)

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write numbers of a step and tell the listener."""
        self._curve.append(step, metrics)
        if self._listener:
            self._listener(step, metrics)

    def _measured(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Memory, and the speed since the last time."""
        measured = {"memory_gb": _peak_memory()}
        now, before = time.perf_counter(), self._tokens
        if before is not None:
            speed = self._real * (metrics["num_tokens"] - before) / (now - self._since)
            measured["tokens_per_second"] = speed
            if self._peak:
                measured["mfu"] = speed * self._flops / self._peak
        self._since, self._tokens = now, metrics["num_tokens"]
        return measured


def _named(logs: Mapping[str, float]) -> dict[str, float]:
    """Numbers that are told, those of a validation as ``validation/<source>/<metric>``."""
    told = {name: float(value) for name, value in logs.items() if not _IGNORED.fullmatch(name)}
    source = next((match[1] for match in map(_VALIDATED.fullmatch, told) if match), None)
    if source is None:
        return told
    own = {f"eval_{source}_loss": "loss"}
    return {
        f"validation/{source}/{own.get(name, name.removeprefix('eval_'))}": value
        for name, value in told.items()
    }


def _peak_memory() -> float:
    """Most memory that the device, or else this process, has held, in GB."""
    import resource

    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 1e9)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
