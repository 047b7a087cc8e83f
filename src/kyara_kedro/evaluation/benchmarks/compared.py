"""Benchmarks whose outputs a judge compares with a baseline's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar, NamedTuple

import polars as pl

from kyara_kedro.content import Message
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import Chapter, Question, Task, Trial, one_turn


class Game(NamedTuple):
    """One comparison of an output with the baseline's.

    Attributes:
        suffix: What its item id ends with, where a question has several.
        swapped: Whether the baseline's output is shown first.
    """

    suffix: str
    swapped: bool


class Compared(Task):
    """Outputs that a judge compares with those in ``baseline`` of the questions' details.

    ``baseline_model`` beside them says whose they are.
    """

    chapter: ClassVar[Chapter] = "alignment"
    judged_by: ClassVar[str]
    """What the judge is asked: a key of the teachers' tasks."""
    baseline: ClassVar[str]
    """Whose the baseline's outputs are where the questions do not say."""

    @abstractmethod
    def games(self, question: Question, output: str) -> Iterable[Game]:
        """The comparisons of one output."""

    def messages(self, question: Question) -> tuple[Message, ...]:
        """One user turn that holds the question alone."""
        return one_turn(question.question)

    def check(self) -> None:
        """See that each question has the baseline's output, see :meth:`Task.check`."""
        for question in self.questions.values():
            self._baseline(question)

    def trials(self, outputs: pl.DataFrame) -> Iterator[Trial]:
        """One trial a game.

        Raises:
            UserError: the baseline's output is not known.
        """
        for question, model, output in self.answered(outputs):
            baseline = self._baseline(question)
            for game in self.games(question, output):
                first, second = (baseline, output) if game.swapped else (output, baseline)
                yield Trial(
                    self.name,
                    question.item_id + game.suffix,
                    model,
                    self.judged_by,
                    question.language,
                    {"prompt": question.question, "answer_a": first, "answer_b": second},
                    opponent=question.details.get("baseline_model", self.baseline),
                    swapped=game.swapped,
                    chars=len(output),
                    opponent_chars=len(baseline),
                )

    def _baseline(self, question: Question) -> str:
        found = question.details.get("baseline")
        if not isinstance(found, str):
            raise UserError(
                f"benchmark '{self.name}', item '{question.item_id}': the baseline's output is "
                f"missing; put {self.kind}.baseline.jsonl beside the questions"
            )
        return found

    def answered(self, outputs: pl.DataFrame) -> Iterator[tuple[Question, str, str]]:
        """Question, model and text of the outputs that are about this benchmark."""
        mine = outputs.filter(
            pl.col("benchmark") == self.name, pl.col("item_id").is_in(list(self.questions))
        )
        for item_id, model, output in mine.select("item_id", "model", "output").iter_rows():
            yield self.questions[item_id], model, output
