"""What every benchmark is: questions to send to a model, and a rule that scores what comes back."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import polars as pl

from kyara_kedro.content import Message, content_id
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.metrics import metric
from kyara_kedro.records import BENCHMARK_ITEM, EVALUATION_QUESTION, JUDGEMENT

Row = Mapping[str, Any]
Rows = Sequence[Row]
Chapter = Literal["general", "alignment", "own"]
"""The table of the report that a benchmark stands in."""


@dataclass(frozen=True)
class Question:
    """A question of a benchmark.

    Attributes:
        item_id: Name of the item within its benchmark. Variants of one question carry a suffix
            ``#...`` and count as one cluster.
        question: The question itself.
        choices: Possible answers of a multiple-choice question, else empty.
        answer: The right answer; for a choice its letter or its text. Empty where a judge decides.
        aliases: Other forms of the right answer.
        stratum: Part of the benchmark, such as a subject.
        language: BCP 47 tag.
        details: What the benchmark's protocol needs besides; JSON can hold it.
    """

    item_id: str
    question: str
    answer: str = ""
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    stratum: str = "all"
    language: str = "zh-Hant-TW"
    details: Mapping[str, Any] = field(default_factory=dict)


class Decoding(NamedTuple):
    """How a benchmark's protocol has its questions answered.

    Attributes:
        temperature: 0 takes the most probable token.
        max_tokens: Longest answer in tokens.
    """

    temperature: float
    max_tokens: int


@dataclass(frozen=True)
class Request:
    """One question as it goes to the model.

    Attributes:
        benchmark: Name of the benchmark.
        item_id: Name of the item within it.
        messages: The conversation that the model is to continue. Where ``after`` names an item,
            that item's conversation and the answer to it come first.
        gold: The accepted answers, the preferred one first.
        stratum: Part of the benchmark, such as a subject.
        decoding: As the protocol says; None leaves it to the parameters of the run.
        after: The item whose answer this one follows.
    """

    benchmark: str
    item_id: str
    messages: tuple[Message, ...]
    gold: tuple[str, ...]
    stratum: str
    decoding: Decoding | None = None
    after: str | None = None


@dataclass(frozen=True)
class Trial:
    """One thing to ask a judge about an output, or about one and its opponent's.

    Attributes:
        benchmark: Name of the benchmark.
        item_id: Name of the item within it; the rows of what is said carry it.
        model: Who wrote the output.
        task: What the judge is asked: a key of the teachers' tasks.
        language: Language of the judge's prompt.
        inputs: The task's inputs.
        opponent: Who wrote the other output; empty where there is none.
        swapped: Whether the opponent's output is shown first.
        chars: Length of the output in characters.
        opponent_chars: That of the other one.
    """

    benchmark: str
    item_id: str
    model: str
    task: str
    language: str
    inputs: Mapping[str, Any]
    opponent: str = ""
    swapped: bool = False
    chars: int = 0
    opponent_chars: int | None = None


class Averaging(NamedTuple):
    """How items become a score.

    Attributes:
        by: ``items``: the weighted mean of all. ``strata``: the mean over the strata's means.
            ``groups``: the mean over the groups', each the mean of its strata's.
        groups: Stratum to group; a stratum that is missing here is left out of ``groups`` means.
        also: Stratum to another group that is shown besides and changes no average.
    """

    by: Literal["items", "strata", "groups"] = "items"
    groups: Mapping[str, str] = {}
    also: Mapping[str, str] = {}


class Task(ABC):
    """A benchmark: requests for any model, and a scorer for its outputs.

    Args:
        name: Name of the benchmark in all tables.
        questions: The items.

    Raises:
        UserError: an item id occurs twice.
    """

    kind: ClassVar[str]
    """Name of the protocol, by which tables and files refer to it."""
    title: ClassVar[str]
    """Name for people, as the leaderboards write it."""
    chapter: ClassVar[Chapter] = "own"
    further_parts: ClassVar[tuple[str, ...]] = ()
    """Parts that it is published in beside its ``questions``; see :meth:`read`."""
    version: str
    """Name and number of the scorer with a hash of its prompts, on every row that it writes."""
    averaging: Averaging = Averaging()

    def __init__(self, name: str, questions: Iterable[Question]) -> None:
        self.name = name
        self.questions: dict[str, Question] = {}
        for question in questions:
            if self.questions.setdefault(question.item_id, question) is not question:
                raise UserError(
                    f"benchmark '{name}': item id '{question.item_id}' occurs twice; rename one"
                )

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read the questions from the files in which the benchmark is published.

        Args:
            parts: Rows of each file: ``questions``, and what else the benchmark has, such as
                ``references`` or ``baseline``.

        Raises:
            UserError: a part is missing, or a row lacks something; names the part, row and field.
        """
        raise UserError(f"benchmark '{cls.kind}' has no published files; its questions are made")

    def check(self) -> None:  # noqa: B027 - most need nothing else
        """See that there is all that judging an answer takes, before anybody is asked.

        Raises:
            UserError: something is missing; names the item.
        """

    @abstractmethod
    def messages(self, question: Question) -> tuple[Message, ...]:
        """The conversation that asks a question."""

    def gold(self, question: Question) -> tuple[str, ...]:
        """The accepted answers, the preferred one first."""
        return (question.answer, *question.aliases)

    def decoding(self, question: Question) -> Decoding | None:
        """How the protocol has a question answered; None leaves it to the run's parameters."""
        return None

    def score_output(self, question: Question, output: str) -> dict[str, float] | None:
        """Score one output: metric to value, or None when it holds no answer.

        A metric that says nothing about an output may be missing. Must hold for any text that a
        model can write.
        """
        raise NotImplementedError(f"{self.kind} is scored by a judge")

    def score_by(self, question: Question, output: str, model: str) -> dict[str, float] | None:
        """Score one output where the rule depends on the model's name; here it does not."""
        return self.score_output(question, output)

    def weight(self, question: Question, name: str) -> float:
        """How much a question counts in the mean of a metric."""
        return 1.0

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, the main one first; keys of ``metrics.METRICS``."""

    def requests(self) -> Iterator[Request]:
        """The requests, in the order of the questions; one follows the item that it is after."""
        for question in self.questions.values():
            yield Request(
                self.name,
                question.item_id,
                self.messages(question),
                self.gold(question),
                question.stratum,
                self.decoding(question),
            )

    def expected(self) -> dict[str, int]:
        """How many items each metric has when a model has answered everything.

        A metric that an answered item may lack is not named.
        """
        return dict.fromkeys(self.metrics, len(self.questions))

    def trials(self, outputs: pl.DataFrame) -> Iterator[Trial]:
        """What a judge is to be asked about outputs; nothing where a rule scores them.

        Args:
            outputs: Rows of ``records.MODEL_OUTPUT``, perhaps of other benchmarks too.
        """
        return iter(())

    def score(self, outputs: pl.DataFrame, judgements: pl.DataFrame | None = None) -> pl.DataFrame:
        """Score the outputs of any number of models.

        Args:
            outputs: Rows of ``records.MODEL_OUTPUT``; those of other benchmarks and of items that
                are not in this task are left alone.
            judgements: Rows of ``records.JUDGEMENT`` about them, for benchmarks with a judge.

        Returns:
            Rows of ``records.BENCHMARK_ITEM``, one an output and metric. An output without an
            answer counts as 0 in every share and is marked; an item without an output, or whose
            judgements have no verdict, has no row.
        """
        mine = outputs.filter(
            pl.col("benchmark") == self.name, pl.col("item_id").is_in(list(self.questions))
        )
        rows = mine.select("item_id", "model", "output").iter_rows()
        return BENCHMARK_ITEM.frame(row for found in rows for row in self._rows(*found))

    def official(
        self, items: pl.DataFrame, judgements: pl.DataFrame
    ) -> dict[tuple[str, str], tuple[float, float]]:
        """Intervals as the benchmark's own scorer prints them, where it has any.

        Args:
            items: Rows of ``records.BENCHMARK_ITEM`` of this benchmark.
            judgements: Rows of ``records.JUDGEMENT`` of this benchmark.

        Returns:
            (metric, model) to the lower and upper end, in the unit of the metric.
        """
        return {}

    def bears_on(self, item_id: str, name: str) -> bool:
        """Whether the judgement of an item counts for a metric."""
        return True

    def judged(self, judgements: pl.DataFrame) -> pl.DataFrame:
        """The rows of ``records.JUDGEMENT`` that are about this benchmark."""
        return judgements.filter(pl.col("benchmark") == self.name)

    def _rows(self, item_id: str, model: str, output: str) -> Iterator[dict[str, Any]]:
        question = self.questions[item_id]
        values = self.score_by(question, output, model)
        if values is None:
            values = {name: 0.0 for name in self.metrics if metric(name).scale == "share"}
            no_answer = True
        else:
            no_answer = False
        for name in self.metrics:
            if name in values:
                yield self.item(
                    question,
                    model,
                    name,
                    values[name],
                    weight=self.weight(question, name),
                    no_answer=no_answer,
                )

    def item(
        self,
        question: Question,
        model: str,
        name: str,
        value: float,
        *,
        item_id: str | None = None,
        weight: float = 1.0,
        no_answer: bool = False,
    ) -> dict[str, Any]:
        """A row of ``records.BENCHMARK_ITEM`` about a question or one of its variants."""
        return item_row(
            self.name,
            item_id or question.item_id,
            model,
            name,
            value=value,
            weight=weight,
            no_answer=no_answer,
            stratum=question.stratum,
            scorer_version=self.version,
        )


def item_row(
    benchmark: str, item_id: str, model: str, name: str, *, weight: float = 1.0, **rest: Any
) -> dict[str, Any]:
    """A row of ``records.BENCHMARK_ITEM``; ``rest`` are the columns beyond its key and weight."""
    return {
        "id": content_id("benchmark item", benchmark, item_id, model, name),
        "benchmark": benchmark,
        "item_id": item_id,
        "model": model,
        "metric": name,
        "weight": weight,
        **rest,
    }


def question_row(
    benchmark: str, kind: str, question: Question, *, source: str, licence: str
) -> dict[str, Any]:
    """A row of ``records.EVALUATION_QUESTION``."""
    return {
        "id": content_id("evaluation question", benchmark, kind, question.item_id),
        "benchmark": benchmark,
        "kind": kind,
        "item_id": question.item_id,
        "question": question.question,
        "choices": list(question.choices),
        "answer": question.answer,
        "aliases": list(question.aliases),
        "stratum": question.stratum,
        "details": json.dumps(dict(question.details), ensure_ascii=False, sort_keys=True),
        "source": source,
        "language": question.language,
        "licence": licence,
    }


def questions_of(rows: pl.DataFrame) -> list[Question]:
    """Read rows of ``records.EVALUATION_QUESTION``, which may be of one benchmark only."""
    return [
        Question(
            item_id=row["item_id"],
            question=row["question"],
            answer=row["answer"],
            choices=tuple(row["choices"]),
            aliases=tuple(row["aliases"]),
            stratum=row["stratum"],
            language=row["language"],
            details=json.loads(row["details"]),
        )
        for row in EVALUATION_QUESTION.validate(rows).iter_rows(named=True)
    ]


def plain_questions(benchmark_questions: pl.DataFrame) -> pl.DataFrame:
    """Turn rows of ``records.BENCHMARK_QUESTION``, choice or open, into evaluation questions."""
    rows = benchmark_questions.with_columns(details=pl.lit("{}"))
    return rows.select(list(EVALUATION_QUESTION.columns))


def part_of(parts: Mapping[str, Rows], kind: str, name: str = "questions") -> Rows:
    """The rows of one of a benchmark's published files.

    Raises:
        UserError: there are none.
    """
    if not parts.get(name):
        raise UserError(f"benchmark '{kind}': give its {name}; the part '{name}' is missing")
    return parts[name]


def field_of(row: Row, part: str, number: int, *names: str) -> Any:
    """The first of the named fields that a published row has.

    Args:
        row: The row.
        part: The file it is from, for the message.
        number: Of the row, from 1 on.
        names: Names of the field.

    Raises:
        UserError: it has none of them.
    """
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise UserError(f"{part}, row {number}: there is no field {' or '.join(map(repr, names))}")


def silent(outputs: pl.DataFrame, benchmark: str) -> set[tuple[str, str]]:
    """Item and model of the outputs of a benchmark that hold nothing."""
    empty = outputs.filter(
        pl.col("benchmark") == benchmark, pl.col("output").str.strip_chars() == ""
    )
    return set(empty.select("item_id", "model").iter_rows())


def no_judgements() -> pl.DataFrame:
    """An empty table of ``records.JUDGEMENT``."""
    return JUDGEMENT.frame()


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
