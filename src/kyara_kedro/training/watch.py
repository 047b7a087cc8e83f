"""A training stage in MLflow: a run of its own below that of the pipeline."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from kyara_kedro.content import content_id
from kyara_kedro.reporting.charts import Figure, line_chart
from kyara_kedro.tracking.run import Status, TrackedRun
from kyara_kedro.tracking.target import Tracking
from kyara_kedro.training.chat import template
from kyara_kedro.training.job import StageJob
from kyara_kedro.training.tokens import TokensRef, open_tokens

_POINTS = 300
"""Most points of a line in a picture."""
_SETTINGS = {"recipe", "peft", "machine", "launcher", "checkpoint"}
_ALIKE = {"loss": "loss", "accuracy": "accuracy", "accuracies": "accuracy"}
"""Endings of metrics that belong in one picture."""
_COUNTERS = {"num_tokens"}
"""Metrics that only rise: a picture says nothing of them."""


class StageWatch:
    """Tells MLflow what a stage does, in its process, and in the first of several.

    Args:
        tracking: Where, see :meth:`Tracking.below`; its key is the ``run_id`` of the stage's model.
        job: The stage.
    """

    def __init__(self, tracking: Tracking, job: StageJob) -> None:
        profile = _profile(job.data)
        tags = {
            "stage": job.stage,
            "fingerprint": job.fingerprint,
            "start": job.start.fingerprint,
            "base": job.start.base,
            "chat_template": content_id(template()),
            "device": _device(job.machine.device),
        }
        self.key = tracking.key
        self._run = TrackedRun(tracking, job.stage, tags)
        self._run.params(job.model_dump(mode="json", include=_SETTINGS))
        name = "pairs" if job.data.kind == "pairs" else "conversations"
        self._run.data(name, job.data.digest, job.data.path, profile)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log points of a step: loss, speed, memory, rewards and all else that is measured."""
        self._run.metrics(step, metrics)

    def artifact(self, path: Path) -> None:
        """Keep a copy of a file, such as the preflight."""
        self._run.file(path)

    def finish(self, status: Status, error: str | None = None) -> None:
        """Draw the curves and end the run; MLflow gets a minute for what it does not have."""
        for name, figure in curves(self._run.history()):
            self._run.text(f"{name}.svg", figure.svg(), "curves")
        self._run.end(status, error)


def curves(history: Mapping[str, list[tuple[int, float]]]) -> Iterator[tuple[str, Figure]]:
    """Pictures of a training, one a family of metrics.

    Args:
        history: The points of each metric, (step, value). All kinds of loss are one family, all
            accuracies another, and so are metrics with the same name before a slash, such as
            ``rewards/chosen``.

    Yields:
        The family and its picture.
    """
    for name, metrics in groupby(sorted(sorted(set(history) - _COUNTERS), key=_family), _family):
        lines = {metric: _thinned(history[metric]) for metric in metrics}
        yield name, line_chart(name.replace("_", " "), lines, x_label="步 step")


def _family(metric: str) -> str:
    alike = (family for ending, family in _ALIKE.items() if metric.endswith(ending))
    return next(alike, metric.partition("/")[0])


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most so many points as a picture can show, the last one among them."""
    stride = -(-len(points) // _POINTS)
    return points[::-1][::stride][::-1]


def _profile(data: TokensRef) -> dict[str, object]:
    """The counts of a store of tokens, by source too."""
    store = open_tokens(data)
    counts = store.sources.filter(~store.held_out).value_counts(sort=True)
    return {
        "rows": data.rows,
        "held_out": data.held_out,
        "tokens": data.tokens,
        "sources": dict(counts.iter_rows()),
    }


def _device(wanted: str) -> str:
    """The name of the processor that does the work."""
    import platform

    import torch

    if wanted != "cpu" and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"cpu ({platform.machine()})"
