"""Benchmarks whose outputs a judge rates one by one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import polars as pl

from kyara_kedro.content import Message
from kyara_kedro.evaluation.benchmarks.base import (
    Chapter,
    Question,
    Task,
    Trial,
    cluster,
    no_judgements,
    one_turn,
    silent,
)
from kyara_kedro.records import BENCHMARK_ITEM


class Rated(Task):
    """Outputs that a judge rates; ``score`` is the rating, the mean where there are more judges."""

    chapter: ClassVar[Chapter] = "alignment"
    metrics: tuple[str, ...] = ("score",)
    judged_by: ClassVar[str]
    """What the judge is asked: a key of the teachers' tasks."""

    def messages(self, question: Question) -> tuple[Message, ...]:
        """One user turn that holds the question alone."""
        return one_turn(question.question)

    @abstractmethod
    def shown(self, item_id: str, outputs: Mapping[str, str]) -> Mapping[str, Any] | None:
        """What the judge sees: the inputs of its task, or None when an output lacks for it.

        Args:
            item_id: The item whose output is to be rated.
            outputs: All outputs of the model, by their items.
        """

    def values(self, item_id: str, rating: float | None) -> dict[str, float]:
        """Metric to value of an item that a judge has seen; None when it gave no rating."""
        return {} if rating is None else {"score": rating}

    def trials(self, outputs: pl.DataFrame) -> Iterator[Trial]:
        """One trial an output."""
        mine = outputs.filter(pl.col("benchmark") == self.name)
        for (model,), own in mine.group_by("model", maintain_order=True):
            said = dict(own.select("item_id", "output").iter_rows())
            for item_id, output in said.items():
                question = self.questions.get(cluster(item_id))
                inputs = None if question is None else self.shown(item_id, said)
                if question is not None and inputs is not None:
                    yield Trial(
                        self.name,
                        item_id,
                        str(model),
                        self.judged_by,
                        question.language,
                        inputs,
                        chars=len(output),
                    )

    def score(self, outputs: pl.DataFrame, judgements: pl.DataFrame | None = None) -> pl.DataFrame:
        """Turn ratings into items; one that judges could not rate is left out of ``score``.

        Args:
            outputs: Rows of ``records.MODEL_OUTPUT``, which tell what held no answer; may be empty.
            judgements: Rows of ``records.JUDGEMENT``.

        Returns:
            Rows of ``records.BENCHMARK_ITEM``.
        """
        said = self.judged(no_judgements() if judgements is None else judgements)
        rated = said.group_by("item_id", "model", maintain_order=True).agg(pl.col("value").mean())
        empty = silent(outputs, self.name)
        return BENCHMARK_ITEM.frame(
            self.item(
                question,
                model,
                name,
                value,
                item_id=item_id,
                no_answer=(item_id, model) in empty,
            )
            for item_id, model, rating in rated.iter_rows()
            if (question := self.questions.get(cluster(item_id))) is not None
            for name, value in self.values(item_id, rating).items()
        )
