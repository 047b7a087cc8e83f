"""A training stage in MLflow: a run of its own below that of the pipeline."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Self

from kyara_kedro.content import content_id
from kyara_kedro.reporting.charts import Figure, line_chart
from kyara_kedro.tracking.run import Status, TrackedRun, end_elsewhere
from kyara_kedro.tracking.spool import new_key
from kyara_kedro.tracking.target import Tracking
from kyara_kedro.training.chat import template
from kyara_kedro.training.job import StageJob

_POINTS = 400
"""Most points of a line in a picture."""
_SETTINGS = ("recipe", "peft", "machine", "launcher", "checkpoint")
_FAMILIES = {
    "loss": ("loss", "eval_"),
    "accuracy": ("mean_token_accuracy", "rewards/accuracies"),
    "gradient": ("grad_norm",),
    "learning_rate": ("learning_rate",),
    "speed": ("tokens_per_second",),
    "mfu": ("mfu",),
    "memory": ("memory_gb",),
    "rewards": ("rewards/",),
    "logps": ("logps/",),
    "health": ("health/",),
}
