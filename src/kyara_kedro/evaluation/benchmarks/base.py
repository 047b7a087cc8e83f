"""What every benchmark is: questions to send to a model, and a rule that scores what comes back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from kyara_kedro.content import Message, content_id
from kyara_kedro.errors import UserError
from kyara_kedro.records import BENCHMARK_ITEM, BENCHMARK_QUESTION


@dataclass(frozen=True)
class Question:
    """A row of ``records.BENCHMARK_QUESTION``.

    Attributes:
        item_id: Name of the item within its benchmark. Variants of one question carry a suffix
            ``#...`` and count as one cluster.
        question: The question itself.
        choices: Possible answers of a multiple-choice question, else empty.
        answer: The right answer; for a choice its letter or its text.
        aliases: Other forms of the right answer.
        stratum: Part of the benchmark, such as a subject.
        language: BCP 47 tag.
    """

    item_id: str
    question: str
    answer: str
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    stratum: str = "all"
    language: str = "zh-Hant-TW"


@dataclass(frozen=True)
class Request:
    """One question as it goes to the model.

    Attributes:
        benchmark: Name of the benchmark.
        item_id: Name of the item within it.
        messages: The conversation that the model is to continue.
        gold: The accepted answers, the preferred one first.
        stratum: Part of the benchmark, such as a subject.
    """

    benchmark: str
    item_id: str
    messages: tuple[Message, ...]
    gold: tuple[str, ...]
    stratum: str


class Task(ABC):
    """A benchmark: requests for any model, and a scorer for its outputs.

    Args:
        name: Name of the benchmark in all tables.
        questions: The items.

    Raises:
        UserError: an item id occurs twice.
    """

    version: str
    """Name and number of the scorer with a hash of its prompts, on every row that it writes."""

    def __init__(self, name: str, questions: Iterable[Question]) -> None:
        self.name = name
        self.questions: dict[str, Question] = {}
        for question in questions:
            if self.questions.setdefault(question.item_id, question) is not question:
                raise UserError(
                    f"benchmark '{name}': item id '{question.item_id}' occurs twice; rename one"
                )

    @abstractmethod
    def messages(self, question: Question) -> tuple[Message, ...]:
        """The conversation that asks a question."""

    @abstractmethod
    def gold(self, question: Question) -> tuple[str, ...]:
        """The accepted answers, the preferred one first."""

    @abstractmethod
    def score_output(self, question: Question, output: str) -> dict[str, float] | None:
        """Score one output: metric to value, or None when it holds no answer.

        Must hold for any text that a model can write.
        """

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, the main one first."""

    def requests(self) -> Iterator[Request]:
        """The requests, in the order of the questions."""
        for question in self.questions.values():
            yield Request(
                self.name,
                question.item_id,
                self.messages(question),
                self.gold(question),
                question.stratum,
            )

    def score(self, outputs: pl.DataFrame) -> pl.DataFrame:
        """Score the outputs of any number of models.

        Args:
            outputs: Rows of ``records.MODEL_OUTPUT``; those of other benchmarks and of items that
                are not in this task are left alone.

        Returns:
            Rows of ``records.BENCHMARK_ITEM``, one an output and metric. An output without an
            answer counts as 0 and is marked; an item without an output has no row.
        """
        mine = outputs.filter(
            pl.col("benchmark") == self.name, pl.col("item_id").is_in(list(self.questions))
        )
        rows = mine.select("item_id", "model", "output").iter_rows()
        return BENCHMARK_ITEM.frame(row for found in rows for row in self._rows(*found))

    def _rows(self, item_id: str, model: str, output: str) -> Iterator[dict[str, Any]]:
        question = self.questions[item_id]
        values = self.score_output(question, output)
        for metric in self.metrics:
            yield item_row(
                self.name,
                item_id,
                model,
                metric,
                value=0.0 if values is None else values[metric],
                no_answer=values is None,
                stratum=question.stratum,
                scorer_version=self.version,
            )


def item_row(benchmark: str, item_id: str, model: str, metric: str, **rest: Any) -> dict[str, Any]:
    """A row of ``records.BENCHMARK_ITEM``; ``rest`` are the columns beyond its key."""
    return {
        "id": content_id("benchmark item", benchmark, item_id, model, metric),
        "benchmark": benchmark,
        "item_id": item_id,
        "model": model,
        "metric": metric,
        **rest,
    }


def questions_of(rows: pl.DataFrame) -> list[Question]:
    """Read rows of ``records.BENCHMARK_QUESTION``, which may be of one benchmark only."""
    return [
        Question(
            item_id=row["item_id"],
            question=row["question"],
            answer=row["answer"],
            choices=tuple(row["choices"]),
            aliases=tuple(row["aliases"]),
            stratum=row["stratum"],
            language=row["language"],
        )
        for row in BENCHMARK_QUESTION.validate(rows).iter_rows(named=True)
    ]


def cluster(item_id: str) -> str:
    """The question that an item asks: its id without the suffix of a variant."""
    return item_id.partition("#")[0]


def wording(wordings: Mapping[str, Sequence[str]], language: str, key: str) -> str:
    """Choose one of a language's wordings by a key, the same one on any machine."""
    of_language = wordings["en" if language.partition("-")[0] == "en" else "zh-TW"]
    return of_language[int(content_id("wording", key)[:8], 16) % len(of_language)]


def scorer_version(name: str, *content: Any) -> str:
    """``name@`` and 8 digits of the hash of what the scorer shows to models."""
    return f"{name}@{content_id(*content)[:8]}"


def one_turn(content: str) -> tuple[Message, ...]:
    """A conversation of a single user turn."""
    return (Message(role="user", content=content),)
