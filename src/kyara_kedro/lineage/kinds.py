"""The kinds of records, the tables that hold them, and the columns by which they name each other.

Everything that ``kedro explain`` follows is declared here once: the walk from a record to its
sources, the walk from a source to what was made of it, and the check of whole tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from kyara_kedro.records import (
    BENCHMARK_QUESTION,
    CONVERSATION,
    DOCUMENT,
    LABELLED_PAIR,
    LABELLED_RATING,
    PERSONA,
    PREFERENCE,
    PROMPT,
    PROTECTED_TEXT,
)

QUESTION_KEY, OUTPUT_KEY = "question_key", "output_key"
_ITEM = pl.col("item_id").str.replace(r"#\d+$", "")
"""The question of a benchmark item; one that is scored in parts has the part after a ``#``."""
DERIVED: Mapping[str, pl.Expr] = {
    QUESTION_KEY: pl.concat_str("benchmark", _ITEM, separator="/"),
    OUTPUT_KEY: pl.concat_str("benchmark", _ITEM, "model", separator="/"),
}
"""Keys that tables do not store but hold the parts of."""


class Term(NamedTuple):
    """A name as people read it, in both languages."""

    zh: str
    en: str

    def __str__(self) -> str:
        return f"{self.zh} {self.en}"


@dataclass(frozen=True)
class Link:
    """A column that names records of another kind.

    Attributes:
        column: The column; ids, or lists of ids.
        to: The kind that is named.
        by: The column of that kind's tables that holds what is named.
        tables: Those of the kind's tables in which it may be; all by default.
        needed: Whether what is named has to be there.
    """

    column: str
    to: str
    by: str = "id"
    tables: tuple[str, ...] = ()
    needed: bool = True


@dataclass(frozen=True)
class Note:
    """A table that says something about records of a kind.

    Attributes:
        name: What it is, for JSON.
        term: What it is, for people.
        table: The table.
        column: Its column that names the record.
        shown: Its columns that are told, the most telling first.
        by: The record's column that is named.
    """

    name: str
    term: Term
    table: str
    column: str
    shown: tuple[str, ...]
    by: str = "id"


@dataclass(frozen=True)
class Kind:
    """One kind of record.

    Attributes:
        name: What it is, for JSON and in keys.
        term: What it is, for people.
        tables: The tables that a record of this kind passes through, in their order.
        homes: Those of the tables that together hold every record; all by default.
        links: What names its sources. Of several links with one column, each value fits one.
        notes: What other tables say about it.
        shown: Its columns that are told.
        texts: Its columns that hold what it says: text, or lists of messages.
        names: Columns by which people may ask for it beside its id.
    """

    name: str
    term: Term
    tables: tuple[str, ...]
    homes: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    notes: tuple[Note, ...] = ()
    shown: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def found_in(self) -> tuple[str, ...]:
        """The tables in which every record is found."""
        return self.homes or self.tables


class Read(NamedTuple):
    """What a table of rows as they were read is made from.

    Attributes:
        source: Catalog entry of the files.
        record: Name of the record that a row is to become.
    """

    source: str
    record: str


RAW: Mapping[str, Read] = {
    "document_rows": Read("raw_documents", DOCUMENT.name),
    "open_conversation_rows": Read("raw_conversations", CONVERSATION.name),
    "open_preference_rows": Read("raw_preferences", PREFERENCE.name),
    "persona_rows": Read("raw_personas", PERSONA.name),
    "prompt_rows": Read("raw_prompts", PROMPT.name),
    "benchmark_rows": Read("raw_benchmarks", BENCHMARK_QUESTION.name),
    "protected_rows": Read("raw_protected", PROTECTED_TEXT.name),
    "labelled_rows": Read("raw_labelled", LABELLED_PAIR.name),
    "rating_rows": Read("raw_labelled", LABELLED_RATING.name),
}
"""Tables of rows as they were read."""

FILES = ("raw_suites", "raw_results")
"""Inputs of which no table of rows is kept: what comes from them names its file."""

TASKS = "harness_questions"
"""Questions of lm-evaluation-harness: their source is the published task and its version."""


def _raw(column: str, *tables: str) -> Link:
    return Link(column, "row", by="place", tables=tables)


_ANSWERS = ("candidate", "model_output")

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "row",
            Term("原始資料列", "raw row"),
            tuple(RAW),
            shown=("reason", "detail"),
            names=("place",),
        ),
        Kind(
            "document",
            Term("文件", "document"),
            ("documents",),
            links=(_raw("source", "document_rows"),),
            shown=("title", "source", "url", "licence", "language"),
            texts=("title", "text"),
        ),
        Kind(
            "passage",
            Term("段落", "passage"),
            ("passages",),
            links=(Link("document_id", "document"),),
            shown=("passage_id", "title", "start", "end", "licence", "language"),
            texts=("text",),
            names=("passage_id",),
        ),
        Kind(
            "persona",
            Term("人物", "persona"),
            ("personas",),
            links=(_raw("source", "persona_rows"),),
            shown=("language", "licence"),
            texts=("text",),
        ),
        Kind(
            "prompt",
            Term("使用者提示", "prompt"),
            ("prompts",),
            links=(_raw("source", "prompt_rows"),),
            shown=("category", "language", "licence"),
            texts=("text",),
        ),
        Kind(
            "question",
            Term("問題", "question"),
            ("questions",),
            links=(
                Link("parent", "question"),
                Link("passage_ids", "passage", by="passage_id"),
            ),
            shown=("kind", "operation", "round", "answer", "evidence", "language"),
            texts=("text",),
        ),
        Kind(
            "search_query",
            Term("檢索詞", "search query"),
            ("search_queries",),
            links=(Link("question_id", "question"),),
            shown=("rank",),
            texts=("text",),
        ),
        Kind(
            "reference",
            Term("參考文件", "reference"),
            ("references",),
            links=(
                Link("question_id", "question"),
                Link("passage_id", "passage", by="passage_id"),
            ),
            shown=("rank", "retrieval_score", "relevant", "evidence"),
            texts=("summary",),
        ),
        Kind(
            "math_problem",
            Term("數學題", "mathematics problem"),
            ("math_problems",),
            links=(Link("persona_id", "persona"),),
            shown=("answer", "solutions", "agreed", "difficulty", "teachers", "conversation_id"),
            texts=("problem",),
        ),
        Kind(
            "conversation",
            Term("對話", "conversation"),
            (
                *("knowledge_conversations", "rag_conversations", "document_conversations"),
                *("math_conversations", "dialogue_conversations", "told_conversations"),
                *("magpie_conversations", "synthetic_conversations", "open_conversations"),
                *("pooled_conversations", "base_conversations", "reviewed_conversations"),
                *("refined_conversations", "sft_base_rows", "sft_refine_rows"),
            ),
            homes=("synthetic_conversations", "open_conversations", "reviewed_conversations"),
            links=(
                Link("parents", "question"),
                Link("parents", "passage"),
                Link("parents", "document"),
                Link("parents", "persona"),
                Link("parents", "conversation"),
                _raw("parents", "open_conversation_rows"),
                Link("passage_ids", "passage", by="passage_id"),
                Link("id", "math_problem", by="conversation_id", needed=False),
            ),
            notes=(
                Note(
                    "duplicate",
                    Term("重複", "copy of"),
                    "duplicates",
                    "removed_id",
                    ("kept_id", "method", "similarity", "group_id"),
                ),
                Note(
                    "contamination",
                    Term("評測洩漏", "leaked item"),
                    "contamination",
                    "record_id",
                    ("benchmark", "item_id", "part", "coverage", "start", "end", "evidence"),
                ),
                Note(
                    "tags",
                    Term("標籤", "tags"),
                    "tags",
                    "id",
                    ("tags", "raw_tags", "complexity", "tagger"),
                ),
                Note("quality", Term("品質", "quality"), "quality", "id", ("score", "scorer")),
                Note("scores", Term("分項分數", "scores"), "raw_scores", "id", ("aspects",)),
                Note(
                    "decision",
                    Term("人工審閱", "review decision"),
                    "review_decisions",
                    "outcome_id",
                    ("decision", "reason", "reviewer", "decided_at", "origin", "status"),
                ),
            ),
            shown=(
                "source",
                "language",
                "rounds",
                "tokens",
                "teacher",
                "prompt_version",
                "licence",
            ),
            texts=("messages",),
        ),
        Kind(
            "candidate",
            Term("候選回答", "candidate response"),
            ("candidate_responses",),
            links=(Link("prompt_id", "prompt"),),
            shown=("contestant", "teacher", "family", "licence"),
            texts=("messages", "response"),
        ),
        Kind(
            "verdict",
            Term("判定", "verdict"),
            ("verdicts", "stage_verdicts", "labelled_verdicts"),
            links=(
                *(
                    Link(side, to, needed=False)
                    for side in ("first_id", "second_id")
                    for to in _ANSWERS
                ),
                *(Link("prompt_id", to, needed=False) for to in ("prompt", "labelled_pair")),
            ),
            shown=(
                *("verdict", "problem", "first_contestant", "second_contestant", "judge"),
                *("judge_family", "first_chars", "second_chars"),
            ),
            texts=("reason",),
        ),
        Kind(
            "generation",
            Term("自我對弈回答", "self-play generation"),
            ("self_play_generations",),
            links=(Link("conversation_id", "conversation"),),
            shown=("method", "iteration", "sample", "model", "tokens", "stopped", "fault"),
            texts=("output",),
        ),
        Kind(
            "preference",
            Term("偏好對", "preference pair"),
            (
                *("open_preferences", "rlaif_preferences", "self_play_preferences"),
                *("sppo_preferences", "pooled_preferences", "preferences", "dpo_pairs"),
            ),
            homes=("pooled_preferences", "open_preferences", "preferences"),
            links=(
                Link("parents", "prompt"),
                Link("parents", "candidate"),
                Link("parents", "conversation"),
                Link("parents", "generation"),
                _raw("parents", "open_preference_rows"),
            ),
            notes=(
                Note(
                    "contamination",
                    Term("評測洩漏", "leaked item"),
                    "preference_contamination",
                    "record_id",
                    ("benchmark", "item_id", "part", "coverage", "start", "end", "evidence"),
                ),
            ),
            shown=(
                *("source", "kind", "margin", "score_chosen", "score_rejected", "p_chosen"),
                *("p_rejected", "judge", "judged_orders", "licence"),
            ),
            texts=("prompt", "prefix", "chosen", "rejected"),
        ),
        Kind(
            "benchmark_question",
            Term("評測題", "benchmark question"),
            (
                *("benchmark_questions", "suite_questions", "own_questions", "imported_questions"),
                *("harness_questions", "evaluation_questions"),
            ),
            links=(
                Link("source", "question"),
                Link("source", "passage"),
                Link("source", "conversation"),
                _raw("source", "benchmark_rows"),
            ),
            shown=("benchmark", "item_id", "kind", "choices", "answer", "stratum", "licence"),
            texts=("question",),
            names=("item_id",),
        ),
        Kind(
            "model_output",
            Term("模型輸出", "model output"),
            ("generated_outputs", "imported_outputs", "model_outputs"),
            links=(Link(QUESTION_KEY, "benchmark_question", by=QUESTION_KEY),),
            notes=(
                Note(
                    "score",
                    Term("成績", "score"),
                    "benchmark_items",
                    OUTPUT_KEY,
                    ("metric", "value", "no_answer", "scorer_version"),
                    by=OUTPUT_KEY,
                ),
                Note(
                    "judgement",
                    Term("評分", "judgement"),
                    "judgements",
                    OUTPUT_KEY,
                    ("verdict", "value", "opponent", "swapped", "judge", "prompt_version", "text"),
                    by=OUTPUT_KEY,
                ),
            ),
            shown=("benchmark", "item_id", "model", "tokens", "stopped"),
            texts=("messages", "output"),
        ),
        Kind(
            "judgement",
            Term("評分", "judgement"),
            ("judgements", "imported_judgements", "labelled_judgements"),
            links=(
                Link(OUTPUT_KEY, "model_output", by=OUTPUT_KEY, needed=False),
                Link(QUESTION_KEY, "benchmark_question", by=QUESTION_KEY, needed=False),
                Link("item_id", "labelled_rating", needed=False),
            ),
            shown=(
                *("benchmark", "item_id", "model", "opponent", "swapped", "verdict", "value"),
                *("problem", "judge", "judge_family", "prompt_version", "judged_at"),
            ),
            texts=("text",),
        ),
        Kind(
            "benchmark_item",
            Term("評測成績", "benchmark item"),
            ("benchmark_items", "imported_items", "harness_items"),
            links=(
                Link(OUTPUT_KEY, "model_output", by=OUTPUT_KEY, needed=False),
                Link(QUESTION_KEY, "benchmark_question", by=QUESTION_KEY),
            ),
            shown=(
                *("benchmark", "item_id", "model", "metric", "value", "weight", "no_answer"),
                *("stratum", "scorer_version"),
            ),
        ),
        Kind(
            "protected_text",
            Term("受保護文字", "protected text"),
            ("protected_texts",),
            links=(_raw("source", "protected_rows"),),
            shown=("benchmark", "item_id", "licence"),
            texts=("text",),
            names=("item_id",),
        ),
        Kind(
            "labelled_pair",
            Term("人工比較", "labelled pair"),
            ("labelled_pairs",),
            links=(_raw("source", "labelled_rows"),),
            shown=("data_set", "label", "labels", "first_contestant", "second_contestant"),
            texts=("prompt", "first", "second"),
        ),
        Kind(
            "labelled_rating",
            Term("人工評分", "labelled rating"),
            ("labelled_ratings",),
            links=(_raw("source", "rating_rows"),),
            shown=("data_set", "rating", "contestant"),
            texts=("prompt", "answer", "reference"),
        ),
    )
}
"""Every kind that tables hold, sources first."""

DROPS = (
    *("ingest_drops", "synthesize_drops", "dedup_drops", "curate_drops", "preference_drops"),
    *("labelled_verdict_drops", "labelled_judgement_drops", "train_drops", "evaluate_drops"),
)
"""Where records that do not go on are, in the order of the pipelines."""


@dataclass(frozen=True)
class Stage:
    """A training stage: what it learns, and where its rows and its model are told.

    Attributes:
        name: The stage; also the folder of its models and tokens.
        learns: Kind of its rows.
        table: The table that they are chosen from.
    """

    name: str
    learns: str
    table: str

    @property
    def tokens(self) -> str:
        """Table of the rows that were chosen, and whether each is held out for validation."""
        return f"{self.name}_tokens"

    @property
    def model(self) -> str:
        """Catalog entry of the model."""
        return f"{self.name}_model"


STAGES = (
    Stage("sft_base", "conversation", "base_conversations"),
    Stage("sft_refine", "conversation", "refined_conversations"),
    Stage("dpo", "preference", "preferences"),
)

PAIRS = ("lexical_pairs", "semantic_pairs")
"""Pairs of conversations that are similar, whether or not one of them was dropped for it."""

TABLES = tuple(
    dict.fromkeys(
        [
            *RAW,
            *(table for kind in KINDS.values() for table in kind.tables),
            *(note.table for kind in KINDS.values() for note in kind.notes),
            *DROPS,
            *PAIRS,
        ]
    )
)
"""Every table that is read."""

MODELS = ("base_model", *(stage.model for stage in STAGES), "exported_model")
"""Catalog entries of models, in the order in which they are made."""
