"""The shape of every table that crosses a pipeline, in one place.

A :class:`Record` is a Kedro dataset validator: catalog entries name one
(``validator: kyara_kedro.records.DOCUMENT``) and every load and save of that table is checked
against it. A table that does not fit is refused with its column, the id of the first offending
row and the rule that it breaks.

Ids are content hashes (xxh3-128, 32 hex digits), so equal input gives equal ids on any machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

import polars as pl

from kyara_kedro.content import content_id

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)

ROLES = ("system", "user", "assistant")
MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
IDS = pl.List(pl.String)
CALLS = pl.List(
    pl.Struct(
        {"task": pl.String, "teacher": pl.String, "prompt_version": pl.String, "key": pl.String}
    )
)
"""The calls that made a record, in their order; ``key`` finds the reply in the ledger."""


class RecordError(ValueError):
    """A table does not have the shape that its record declares."""


@dataclass(frozen=True)
class Rule:
    """A condition that every row of a column meets.

    Attributes:
        column: The column the rule speaks about.
        holds: Boolean expression, true for a good row.
        text: The rule in words, completing "<column> must ...".
    """

    column: str
    holds: pl.Expr
    text: str


@dataclass(frozen=True)
class Record:
    """The declared shape of one table: columns, types, nullability and rules.

    Attributes:
        name: The record's name in messages and documentation.
        columns: Column name to polars type, in the order in which they are stored.
        nullable: Columns that may hold nulls; all others must be filled.
        rules: Conditions beyond type and nullability.
    """

    name: str
    columns: Mapping[str, pl.DataType | type[pl.DataType]]
    nullable: frozenset[str] = frozenset()
    rules: tuple[Rule, ...] = field(default=())

    @property
    def schema(self) -> pl.Schema:
        """Polars schema of the table."""
        return pl.Schema(self.columns)

    def frame(self, rows: Iterable[Mapping[str, Any]] = ()) -> pl.DataFrame:
        """Build a table of this shape from rows; without rows, an empty one."""
        return pl.DataFrame(list(rows), schema=self.schema, orient="row")

    def validate(self, data: Frame) -> Frame:
        """Check a table and return it unchanged; of a lazy one, only the ids are held in memory.

        Raises:
            RecordError: naming the column, the first offending row's id and the broken rule.
        """
        self._check_columns(data.lazy().collect_schema())
        checks = [*self._not_null(), *self.rules]
        repeated = pl.col("id").is_duplicated()
        ids = data.lazy().select(repeated.sum(), example=pl.col("id").filter(repeated).first())
        count, example = ids.collect().row(0)
        if count:
            raise self._error("id", example, "be unique", count)
        broken = data.lazy().select(
            *(self._count(i, rule) for i, rule in enumerate(checks)),
            *(self._example(i, rule) for i, rule in enumerate(checks)),
        )
        found = broken.collect(engine="streaming").row(0, named=True)
        for i, rule in enumerate(checks):
            if found[f"{i}:count"]:
                raise self._error(
                    rule.column, found[f"{i}:example"], rule.text, found[f"{i}:count"]
                )
        return data

    def _not_null(self) -> list[Rule]:
        return [
            Rule(name, pl.col(name).is_not_null(), "not be null")
            for name in self.columns
            if name not in self.nullable
        ] + [
            Rule(
                name, pl.col(name).list.eval(pl.element().is_not_null()).list.all(), "hold no null"
            )
            for name, dtype in self.columns.items()
            if isinstance(dtype, pl.List)
        ]

    @staticmethod
    def _count(number: int, rule: Rule) -> pl.Expr:
        return rule.holds.fill_null(True).not_().sum().alias(f"{number}:count")

    @staticmethod
    def _example(number: int, rule: Rule) -> pl.Expr:
        broken = rule.holds.fill_null(True).not_()
        return pl.col("id").filter(broken).first().alias(f"{number}:example")

    def _error(self, column: str, row: str | None, text: str, rows: int) -> RecordError:
        return RecordError(
            f"{self.name}: column '{column}', row id {row}: must {text} "
            f"({rows} row{'s' if rows > 1 else ''} break{'' if rows > 1 else 's'} this rule)"
        )

    def _check_columns(self, schema: pl.Schema) -> None:
        expected = self.schema
        missing = [name for name in expected if name not in schema]
        extra = [name for name in schema if name not in expected]
        if missing or extra:
            problem = f"lacks {missing}" if missing else f"has undeclared {extra}"
            raise RecordError(f"{self.name}: the table {problem}; columns are {list(expected)}")
        for name, dtype in expected.items():
            if schema[name] != dtype:
                raise RecordError(
                    f"{self.name}: column '{name}' must be {dtype}, but is {schema[name]}"
                )


def _filled(column: str) -> Rule:
    return Rule(column, pl.col(column).str.strip_chars().str.len_chars() > 0, "not be blank")


def _one_of(column: str, allowed: Sequence[str]) -> Rule:
    return Rule(column, pl.col(column).is_in(list(allowed)), f"be one of {list(allowed)}")


def _between(column: str, low: float, high: float) -> Rule:
    return Rule(column, pl.col(column).is_between(low, high), f"lie in [{low}, {high}]")


def _at_least(column: str, low: float) -> Rule:
    return Rule(column, pl.col(column) >= low, f"be at least {low}")


def _matches(column: str, pattern: str, text: str) -> Rule:
    return Rule(column, pl.col(column).str.contains(pattern), text)


def _messages(column: str, last: str) -> tuple[Rule, ...]:
    roles = pl.col(column).list.eval(pl.element().struct.field("role").fill_null("null"))
    contents = pl.col(column).list.eval(pl.element().struct.field("content"))
    joined = roles.list.join(" ")
    turn = "user assistant"
    pattern = rf"^(system )?({turn} )*" + (f"{turn}$" if last == "assistant" else "user$")
    filled = (pl.element().str.strip_chars().str.len_chars() > 0).fill_null(False)
    return (
        Rule(
            column,
            joined.str.contains(pattern),
            f"alternate user and assistant after an optional system turn and end with {last}",
        ),
        Rule(column, contents.list.eval(filled).list.all(), "have no blank turn"),
    )


Language = Literal["zh-Hant-TW", "zh-Hans-CN", "zh", "en", "ja", "other"]
LANGUAGES = get_args(Language)
SCORE = pl.Float64

DOCUMENT = Record(
    "document",
    {
        "id": pl.String,
        "title": pl.String,
        "text": pl.String,
        "source": pl.String,
        "licence": pl.String,
        "url": pl.String,
        "language": pl.String,
    },
    nullable=frozenset({"url"}),
    rules=(_filled("title"), _filled("text"), _one_of("language", LANGUAGES)),
)
"""A text as it is after cleaning, in its own language."""

PASSAGE = Record(
    "passage",
    {
        "id": pl.String,
        "passage_id": pl.String,
        "document_id": pl.String,
        "title": pl.String,
        "text": pl.String,
        "start": pl.Int64,
        "end": pl.Int64,
        "language": pl.String,
        "licence": pl.String,
    },
    rules=(
        _filled("text"),
        _matches("passage_id", r"^id_[0-9a-f]{8,32}$", "be 'id_' and 8 or more hex digits"),
        Rule("passage_id", pl.col("passage_id").is_unique(), "be unique in the knowledge base"),
        Rule(
            "end",
            pl.col("end") - pl.col("start") == pl.col("text").str.len_chars(),
            "be start plus the text's length in characters",
        ),
        _at_least("start", 0),
    ),
)
"""A slice of a document, as it is retrieved, shown and cited."""

Operation = Literal[
    "constrain",
    "deepen",
    "concretise",
    "reason",
    "breadth",
    "several_questions",
    "step_by_step",
    "structured_output",
    "scenario",
    "complicate_input",
]
OPERATIONS = ("none", *get_args(Operation))

QUESTION = Record(
    "question",
    {
        "id": pl.String,
        "text": pl.String,
        "passage_ids": IDS,
        "kind": pl.String,
        "operation": pl.String,
        "parent": pl.String,
        "round": pl.Int32,
        "language": pl.String,
        "answer": pl.String,
        "evidence": pl.String,
        "calls": CALLS,
    },
    nullable=frozenset({"parent", "answer", "evidence"}),
    rules=(
        _filled("text"),
        _one_of("operation", OPERATIONS),
        Rule("passage_ids", pl.col("passage_ids").list.len() > 0, "name a passage"),
        Rule(
            "parent",
            (pl.col("operation") == "none") == pl.col("parent").is_null(),
            "be there exactly when the question is evolved",
        ),
        _at_least("round", 0),
    ),
)
"""A question that a passage answers: a root question, or one evolved from its `parent`."""

SEARCH_QUERY = Record(
    "search query",
    {
        "id": pl.String,
        "question_id": pl.String,
        "text": pl.String,
        "rank": pl.Int32,
        "calls": CALLS,
    },
    rules=(_filled("text"), _at_least("rank", 0)),
)
"""A wording that a question is searched with; rank 0 is the question itself."""

REFERENCE = Record(
    "reference",
    {
        "id": pl.String,
        "question_id": pl.String,
        "passage_id": pl.String,
        "rank": pl.Int32,
        "retrieval_score": SCORE,
        "relevant": pl.Boolean,
        "evidence": pl.String,
        "summary": pl.String,
        "calls": CALLS,
    },
    nullable=frozenset({"evidence", "summary"}),
    rules=(
        _at_least("rank", 0),
        Rule(
            "evidence",
            pl.col("relevant").not_() | pl.col("evidence").is_not_null(),
            "be quoted when the passage is relevant",
        ),
    ),
)
"""A passage that was retrieved for a question, and what the checker found in it."""

CONVERSATION = Record(
    "conversation",
    {
        "id": pl.String,
        "messages": MESSAGES,
        "source": pl.String,
        "language": pl.String,
        "rounds": pl.Int32,
        "tokens": pl.Int32,
        "teacher": pl.String,
        "prompt_version": pl.String,
        "parents": IDS,
        "passage_ids": IDS,
        "calls": CALLS,
        "licence": pl.String,
    },
    nullable=frozenset({"teacher", "prompt_version"}),
    rules=(
        *_messages("messages", last="assistant"),
        _one_of("language", LANGUAGES),
        Rule(
            "rounds",
            pl.col("messages")
            .list.eval((pl.element().struct.field("role") == "user").cast(pl.Int32))
            .list.sum()
            == pl.col("rounds"),
            "count the user's turns",
        ),
        _at_least("tokens", 1),
        Rule("parents", pl.col("parents").list.len() > 0, "say where the row comes from"),
    ),
)
"""A conversation to train on: `parents` say what it was made from, `calls` who wrote it."""

PREFERENCE = Record(
    "preference",
    {
        "id": pl.String,
        "kind": pl.String,
        "prompt": MESSAGES,
        "prefix": pl.String,
        "chosen": pl.String,
        "rejected": pl.String,
        "score_chosen": SCORE,
        "score_rejected": SCORE,
        "margin": SCORE,
        "p_chosen": SCORE,
        "p_rejected": SCORE,
        "source": pl.String,
        "judge": pl.String,
        "judged_orders": pl.Int32,
        "parents": IDS,
        "licence": pl.String,
    },
    nullable=frozenset(
        {"prefix", "score_chosen", "score_rejected", "margin", "p_chosen", "p_rejected", "judge"}
    ),
    rules=(
        _one_of("kind", ("conversation", "continuation")),
        *_messages("prompt", last="user"),
        _filled("chosen"),
        Rule("rejected", pl.col("chosen") != pl.col("rejected"), "differ from chosen"),
        Rule(
            "prefix",
            (pl.col("kind") == "continuation") == pl.col("prefix").is_not_null(),
            "be there exactly for a continuation",
        ),
        _between("p_chosen", 0.0, 1.0),
        _between("p_rejected", 0.0, 1.0),
        _between("judged_orders", 0, 2),
    ),
)
"""Two answers to one prompt, or two continuations of one text, and which is better."""

MATH_PROBLEM = Record(
    "mathematics problem",
    {
        "id": pl.String,
        "persona_id": pl.String,
        "problem": pl.String,
        "answer": pl.String,
        "solutions": pl.Int32,
        "agreed": pl.Int32,
        "difficulty": pl.Float64,
        "teachers": IDS,
        "conversation_id": pl.String,
    },
    nullable=frozenset({"answer", "conversation_id"}),
    rules=(_filled("problem"), _between("difficulty", 0.0, 1.0), _at_least("agreed", 0)),
)
"""A problem that a persona posed, and how its solutions voted."""

PERSONA = Record(
    "persona",
    {
        "id": pl.String,
        "text": pl.String,
        "source": pl.String,
        "language": pl.String,
        "licence": pl.String,
    },
    rules=(_filled("text"),),
)
"""Somebody who poses problems."""

PROMPT = Record(
    "prompt",
    {
        "id": pl.String,
        "text": pl.String,
        "category": pl.String,
        "source": pl.String,
        "language": pl.String,
        "licence": pl.String,
    },
    nullable=frozenset({"category"}),
    rules=(_filled("text"),),
)
"""A request without an answer, which contestants answer."""

BENCHMARK_QUESTION = Record(
    "benchmark question",
    {
        "id": pl.String,
        "benchmark": pl.String,
        "item_id": pl.String,
        "kind": pl.String,
        "question": pl.String,
        "choices": pl.List(pl.String),
        "answer": pl.String,
        "aliases": pl.List(pl.String),
        "stratum": pl.String,
        "source": pl.String,
        "language": pl.String,
        "licence": pl.String,
    },
    rules=(
        _filled("question"),
        _filled("answer"),
        _one_of("kind", ("choice", "open")),
        Rule(
            "choices",
            (pl.col("kind") == "choice") == (pl.col("choices").list.len() > 1),
            "hold two or more choices exactly for a choice question",
        ),
    ),
)
"""A question of a user's own benchmark; no training record may hold it."""

EVALUATION_QUESTION = Record(
    "evaluation question",
    {
        "id": pl.String,
        "benchmark": pl.String,
        "kind": pl.String,
        "item_id": pl.String,
        "question": pl.String,
        "choices": pl.List(pl.String),
        "answer": pl.String,
        "aliases": pl.List(pl.String),
        "stratum": pl.String,
        "details": pl.String,
        "source": pl.String,
        "language": pl.String,
        "licence": pl.String,
    },
    rules=(_filled("question"), _filled("kind")),
)
"""A question of any benchmark: its kind names the protocol, ``details`` is JSON for it alone."""

PROTECTED_TEXT = Record(
    "protected text",
    {
        "id": pl.String,
        "benchmark": pl.String,
        "item_id": pl.String,
        "text": pl.String,
        "source": pl.String,
        "language": pl.String,
        "licence": pl.String,
    },
    rules=(_filled("text"),),
)
"""A text that no training record may hold."""

COMPARED_TEXT = Record(
    "compared text",
    {"id": pl.String, "text": pl.String, "label": pl.Boolean, "quality": SCORE},
)
"""What duplicates are searched among; only texts of the same `label` are compared."""

METHODS = ("exact", "lexical", "semantic")
DECISIONS = ("accept", "reject", "edit")

SIMILAR_PAIR = Record(
    "similar pair",
    {
        "id": pl.String,
        "first_id": pl.String,
        "second_id": pl.String,
        "method": pl.String,
        "similarity": SCORE,
    },
    rules=(
        _one_of("method", METHODS),
        _between("similarity", 0.0, 1.0),
        Rule("second_id", pl.col("first_id") != pl.col("second_id"), "be another record"),
    ),
)
"""Two records that resemble each other, from a floor below the threshold on."""

DUPLICATE = Record(
    "duplicate",
    {
        "id": pl.String,
        "removed_id": pl.String,
        "kept_id": pl.String,
        "method": pl.String,
        "similarity": SCORE,
        "group_id": pl.String,
    },
    rules=(
        _one_of("method", METHODS),
        _between("similarity", 0.0, 1.0),
        Rule("removed_id", pl.col("removed_id").is_unique(), "be removed once"),
        Rule("kept_id", pl.col("kept_id") != pl.col("removed_id"), "be another record"),
    ),
)
"""A record that was removed, and the one of its group that it resembles and that stays."""

CONTAMINATION = Record(
    "contamination",
    {
        "id": pl.String,
        "record_id": pl.String,
        "benchmark": pl.String,
        "item_id": pl.String,
        "part": pl.String,
        "coverage": SCORE,
        "start": pl.Int64,
        "end": pl.Int64,
        "evidence": pl.String,
    },
    rules=(
        _matches(
            "part", r"^question(\+options)?(\+answer)?$", "say which parts of the item are there"
        ),
        _between("coverage", 0.0, 1.0),
        _at_least("start", 0),
        Rule(
            "end",
            pl.col("end") - pl.col("start") == pl.col("evidence").str.len_chars(),
            "be start plus the evidence's length in characters",
        ),
        _filled("evidence"),
    ),
)
"""A benchmark's item that a record holds, with the literal stretch of the record."""

DROP = Record(
    "drop",
    {
        "id": pl.String,
        "record_id": pl.String,
        "pipeline": pl.String,
        "reason": pl.String,
        "detail": pl.String,
    },
    rules=(
        _matches("reason", r"^[a-z][a-z0-9_]*$", "be a snake_case word"),
        Rule("record_id", pl.col("record_id").is_unique(), "have exactly one reason"),
    ),
)
"""A record that does not go on, with its one reason."""

RAW_TAGS = Record(
    "raw tags",
    {"id": pl.String, "raw_tags": IDS, "tagger": pl.String, "fault": pl.String},
    nullable=frozenset({"fault"}),
    rules=(Rule("raw_tags", pl.col("raw_tags").list.len() > 0, "hold a tag"),),
)
"""The tags of a conversation as they were given, and why a teacher's reply was of no use."""

TAG_EXAMPLE = Record(
    "tag example",
    {"id": pl.String, "tag": pl.String, "explanation": pl.String, "conversation_id": pl.String},
    rules=(_filled("tag"), Rule("tag", pl.col("tag").is_unique(), "have one example")),
)
"""A raw tag with its explanation and a conversation that has it."""

TAGS = Record(
    "tags",
    {"id": pl.String, "raw_tags": IDS, "tags": IDS, "complexity": pl.Int32, "tagger": pl.String},
    rules=(
        Rule("complexity", pl.col("tags").list.len() == pl.col("complexity"), "count the tags"),
    ),
)
"""The final tags of a conversation."""

TAG_MAP = Record(
    "tag map",
    {
        "raw": pl.String,
        "final": pl.String,
        "step": pl.String,
        "count": pl.Int64,
        "found": pl.String,
        "explanation": pl.String,
        "id": pl.String,
    },
    nullable=frozenset({"final", "found"}),
    rules=(_filled("raw"), _at_least("count", 0)),
)
"""What a raw tag became, by which step; people edit `final`."""

ASPECTS = pl.List(pl.Struct({"aspect": pl.String(), "value": pl.Float64()}))

RAW_SCORES = Record(
    "raw scores",
    {
        "id": pl.String,
        "language": pl.String,
        "scores": pl.List(
            pl.Struct(
                {
                    "scorer": pl.String,
                    "name": pl.String,
                    "value": pl.Float64,
                    "reason": pl.String,
                    "detail": pl.String,
                }
            )
        ),
        "aspects": ASPECTS,
    },
    rules=(
        Rule(
            "scores",
            pl.col("scores")
            .list.eval(
                pl.element().struct.field("value").is_null()
                == pl.element().struct.field("reason").is_not_null()
            )
            .list.all(),
            "have a value or a reason why there is none",
        ),
    ),
)
"""What every scorer said of a conversation, or why it said nothing."""

QUALITY = Record(
    "quality",
    {"id": pl.String, "score": SCORE, "aspects": ASPECTS, "scorer": pl.String},
    nullable=frozenset({"score"}),
    rules=(
        _between("score", 0.0, 1.0),
        Rule(
            "score",
            pl.col("score").is_null() == (pl.col("scorer") == ""),
            "be there exactly when a scorer is named",
        ),
    ),
)
"""One score of a conversation, in [0, 1], with all its parts."""

DECISION = Record(
    "decision",
    {
        "id": pl.String,
        "record_id": pl.String,
        "decision": pl.String,
        "messages": MESSAGES,
        "reason": pl.String,
        "reviewer": pl.String,
        "decided_at": pl.String,
        "page": pl.String,
        "origin": pl.String,
        "status": pl.String,
        "outcome_id": pl.String,
        "detail": pl.String,
    },
    nullable=frozenset(
        {"record_id", "decision", "messages", "reason", "reviewer", "decided_at", "page"}
        | {"outcome_id"}
    ),
    rules=(
        _one_of("decision", DECISIONS),
        _one_of("status", ("applies", "followed", "superseded", "repeated", "stale", "invalid")),
        Rule(
            "messages",
            pl.col("decision").ne_missing("edit") | pl.col("messages").is_not_null(),
            "be there for an edit",
        ),
        Rule(
            "outcome_id",
            pl.col("status").is_in(["applies", "followed"]) == pl.col("outcome_id").is_not_null(),
            "be there exactly when the decision counts",
        ),
    ),
)
"""A line of a file of decisions. ``status`` says what came of it: it *applies* to the record
``outcome_id``; it is an edit that was *followed* by a decision about the edited text; it is
*superseded* by a later one about the same record, or *repeated* in another file; its record is
gone (*stale*); the line is *invalid*."""

CANDIDATE = Record(
    "candidate response",
    {
        "id": pl.String,
        "prompt_id": pl.String,
        "messages": MESSAGES,
        "response": pl.String,
        "contestant": pl.String,
        "teacher": pl.String,
        "family": pl.String,
        "licence": pl.String,
    },
    rules=(*_messages("messages", last="user"), _filled("response")),
)
"""A contestant's answer to a prompt."""

_WON = ("A", "B", "C")

GENERATION = Record(
    "generation",
    {
        "id": pl.String,
        "conversation_id": pl.String,
        "method": pl.String,
        "iteration": pl.Int32,
        "sample": pl.Int32,
        "model": pl.String,
        "max_tokens": pl.Int32,
        "output": pl.String,
        "tokens": pl.Int32,
        "stopped": pl.Boolean,
        "fault": pl.String,
    },
    nullable=frozenset({"fault"}),
    rules=(
        _one_of("method", ("self_play", "sppo")),
        _at_least("iteration", 0),
        _at_least("sample", 0),
        _at_least("max_tokens", 1),
    ),
)
"""What the tuned model wrote in self-play or SPPO."""

VERDICT = Record(
    "verdict",
    {
        "id": pl.String,
        "prompt_id": pl.String,
        "first_id": pl.String,
        "second_id": pl.String,
        "first_contestant": pl.String,
        "second_contestant": pl.String,
        "first_family": pl.String,
        "second_family": pl.String,
        "first_chars": pl.Int32,
        "second_chars": pl.Int32,
        "verdict": pl.String,
        "problem": pl.String,
        "judge": pl.String,
        "judge_family": pl.String,
        "reason": pl.String,
    },
    nullable=frozenset({"verdict", "problem"}),
    rules=(
        _one_of("verdict", _WON),
        Rule(
            "problem",
            pl.col("verdict").is_null() == pl.col("problem").is_not_null(),
            "say why there is no verdict, and only then",
        ),
        Rule("second_id", pl.col("first_id") != pl.col("second_id"), "be another answer"),
    ),
)
"""Which of two answers a judge prefers, in one of the two orders."""

FIRST_WON = pl.col("verdict").replace_strict(
    {"A": 1.0, "C": 0.5, "B": 0.0}, default=None, return_dtype=pl.Float64
)
"""1 where the answer shown first won, 0 where the other did, 0.5 for a tie, else null."""

LABELLED_PAIR = Record(
    "labelled pair",
    {
        "id": pl.String,
        "data_set": pl.String,
        "prompt": pl.String,
        "first": pl.String,
        "second": pl.String,
        "label": pl.String,
        "labels": pl.List(pl.String),
        "first_contestant": pl.String,
        "second_contestant": pl.String,
        "source": pl.String,
        "language": pl.String,
        "licence": pl.String,
    },
    rules=(
        _filled("prompt"),
        _one_of("label", _WON),
        Rule("labels", pl.col("labels").list.len() > 0, "hold what each annotator said"),
    ),
)
"""Two answers that people have compared."""

LABELLED_RATING = Record(
    "labelled rating",
    {
        "id": pl.String,
        "data_set": pl.String,
        "prompt": pl.String,
        "answer": pl.String,
        "reference": pl.String,
        "rating": SCORE,
        "contestant": pl.String,
        "source": pl.String,
        "language": pl.String,
        "licence": pl.String,
    },
    nullable=frozenset({"reference"}),
    rules=(_filled("prompt"), Rule("rating", pl.col("rating").is_finite(), "be a finite number")),
)
"""An answer that people have scored."""

CONTESTANT_RATING = Record(
    "contestant rating",
    {
        "id": pl.String,
        "contestant": pl.String,
        "family": pl.String,
        "answers": pl.Int64,
        "verdicts": pl.Int64,
        "win_rate": SCORE,
        "strength": SCORE,
        "low": SCORE,
        "high": SCORE,
        "component": pl.Int64,
        "regularised": pl.Boolean,
    },
    rules=(_between("win_rate", 0.0, 1.0), _at_least("answers", 0)),
)
"""How strong a contestant is, by Bradley and Terry, with a 95 % interval."""

JUDGE_RELIABILITY = Record(
    "judge reliability",
    {
        "id": pl.String,
        "judge": pl.String,
        "data_set": pl.String,
        "measure": pl.String,
        "value": SCORE,
        "low": SCORE,
        "high": SCORE,
        "expected": SCORE,
        "cases": pl.Int64,
        "flagged": pl.Boolean,
    },
    nullable=frozenset({"data_set", "value", "low", "high", "expected"}),
    rules=(_between("value", -1.0, 1.0), _at_least("cases", 1)),
)
"""One measure of how far a judge can be trusted."""

REPLY = Record(
    "reply",
    {
        "id": pl.String,
        "request_id": pl.String,
        "teacher": pl.String,
        "task": pl.String,
        "prompt_version": pl.String,
        "text": pl.String,
        "finish_reason": pl.String,
        "served_by": pl.String,
        "prompt_tokens": pl.Int64,
        "cached_tokens": pl.Int64,
        "completion_tokens": pl.Int64,
        "cost": pl.Float64,
        "latency": pl.Float64,
        "received_at": pl.String,
        "top_logprobs": pl.String,
    },
    rules=(_at_least("prompt_tokens", 0), _at_least("completion_tokens", 0), _at_least("cost", 0)),
)
"""A reply in the ledger, as it is exported."""

TRAINING_CURVE = Record(
    "training curve",
    {
        "id": pl.String,
        "stage": pl.String,
        "step": pl.Int64,
        "metric": pl.String,
        "value": pl.Float64,
    },
    rules=(_at_least("step", 0),),
)
"""A value of a metric at an optimiser step of a stage."""

MODEL_OUTPUT = Record(
    "model output",
    {
        "id": pl.String,
        "benchmark": pl.String,
        "item_id": pl.String,
        "model": pl.String,
        "messages": MESSAGES,
        "output": pl.String,
        "stopped": pl.Boolean,
        "tokens": pl.Int32,
    },
    rules=(*_messages("messages", last="user"), _at_least("tokens", 0)),
)
"""What a model answered to an item."""

JUDGEMENT = Record(
    "judgement",
    {
        "id": pl.String,
        "benchmark": pl.String,
        "item_id": pl.String,
        "model": pl.String,
        "opponent": pl.String,
        "swapped": pl.Boolean,
        "verdict": pl.String,
        "value": pl.Float64,
        "problem": pl.String,
        "chars": pl.Int64,
        "opponent_chars": pl.Int64,
        "judge": pl.String,
        "judge_family": pl.String,
        "prompt_version": pl.String,
        "judged_at": pl.String,
        "text": pl.String,
    },
    nullable=frozenset({"opponent", "verdict", "value", "problem", "chars", "opponent_chars"}),
    rules=(
        Rule(
            "problem",
            pl.col("value").is_null() == pl.col("problem").is_not_null(),
            "say why there is no value, and only then",
        ),
    ),
)
"""What a judge said of one output, or of one and its opponent's.

``swapped``: the opponent was shown first. ``verdict`` is in the judge's own form, ``value`` what it
means for the model: a rating, or 1 for a win, 0.5 for a tie, 0 for a loss and what lies between.
``chars`` are the lengths of what was compared.
"""

BENCHMARK_ITEM = Record(
    "benchmark item",
    {
        "id": pl.String,
        "benchmark": pl.String,
        "item_id": pl.String,
        "model": pl.String,
        "metric": pl.String,
        "value": pl.Float64,
        "weight": pl.Float64,
        "no_answer": pl.Boolean,
        "stratum": pl.String,
        "scorer_version": pl.String,
    },
    rules=(
        Rule("value", pl.col("value").is_finite(), "be a finite number"),
        Rule("weight", pl.col("weight") > 0, "be above 0"),
    ),
)
"""How a model did on one item by one metric."""

BENCHMARK_SCORE = Record(
    "benchmark score",
    {
        "id": pl.String,
        "benchmark": pl.String,
        "model": pl.String,
        "metric": pl.String,
        "part": pl.String,
        "score": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "official_low": pl.Float64,
        "official_high": pl.Float64,
        "items": pl.Int64,
        "expected": pl.Int64,
        "no_answer": pl.Int64,
        "unread": pl.Int64,
        "scorer_version": pl.String,
    },
    nullable=frozenset({"official_low", "official_high"}),
    rules=(_at_least("items", 1), _at_least("no_answer", 0), _at_least("unread", 0)),
)
"""A metric's mean over a benchmark (part ``all``), or over one of its groups or strata.

``items`` of ``expected`` were scored; ``no_answer`` of them held none, ``unread`` are judgements
without a verdict. The official interval is there where the benchmark has one of its own.
"""

COMPARISON = Record(
    "comparison",
    {
        "id": pl.String,
        "benchmark": pl.String,
        "metric": pl.String,
        "model": pl.String,
        "baseline": pl.String,
        "difference": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "p_value": pl.Float64,
        "items": pl.Int64,
    },
    rules=(_between("p_value", 0.0, 1.0),),
)
"""The difference of two models in a metric, with its interval and p-value after Holm."""


def drops(pipeline: str, rows: Iterable[tuple[str, str, str]]) -> pl.DataFrame:
    """Build a drop table from (record id, reason, detail) triples."""
    names, reasons, details = tuple(zip(*rows, strict=True)) or ((), (), ())
    return pl.DataFrame(
        {
            "id": [content_id("drop", pipeline, name) for name in names],
            "record_id": names,
            "pipeline": pl.repeat(pipeline, len(names), dtype=pl.String, eager=True),
            "reason": reasons,
            "detail": details,
        },
        schema=DROP.schema,
    )
