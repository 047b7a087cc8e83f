"""What lm-evaluation-harness has asked and scored, as a benchmark among the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from kyara_kedro.content import Message
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import Averaging, Question, Request, Task
from kyara_kedro.evaluation.benchmarks.tmmluplus import GROUPS_66, GROUPS_67
from kyara_kedro.records import BENCHMARK_ITEM

PREFIX = "lm-eval/"
"""What the names of all its benchmarks begin with: TMMLU+ by log-probabilities is not ours."""
TMMLUPLUS = f"{PREFIX}tmmluplus"


class HarnessTask(Task):
    """A benchmark that lm-evaluation-harness runs; details are its ``metrics`` and ``version``."""

    kind = "harness"
    title = "lm-evaluation-harness"
    chapter = "general"
    metrics: tuple[str, ...] = ()

    def __init__(self, name: str, questions: Iterable[Question]) -> None:
        super().__init__(name, questions)
        details = next((question.details for question in self.questions.values()), {})
        self.metrics = tuple(details.get("metrics", ()))
        self.version = str(details.get("version", "lm-eval"))
        if name.startswith(TMMLUPLUS):
            self.averaging = Averaging("groups", GROUPS_67 if name.endswith("-67") else GROUPS_66)

    def messages(self, question: Question) -> tuple[Message, ...]:
        """Refuse: lm-evaluation-harness asks these questions itself."""
        raise UserError(f"benchmark '{self.name}' is asked and scored by lm-evaluation-harness")

    def requests(self) -> Iterator[Request]:
        """Nothing: the questions have been asked."""
        return iter(())

    def score(self, outputs: pl.DataFrame, judgements: pl.DataFrame | None = None) -> pl.DataFrame:
        """Nothing: its items are there."""
        return BENCHMARK_ITEM.frame()
