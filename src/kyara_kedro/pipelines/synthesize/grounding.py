"""Search queries, retrieval, and the judgement of each retrieved passage on its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.knowledge.store import KnowledgeStore
from kyara_kedro.pipelines.asking import Call
from kyara_kedro.pipelines.synthesize.desk import Desk, Shelf, chain
from kyara_kedro.pipelines.synthesize.harvest import Row
from kyara_kedro.pipelines.synthesize.questions import Judgements
from kyara_kedro.records import REFERENCE, SEARCH_QUERY
from kyara_kedro.teachers.tasks import Queries, Relevance

_RRF = 60
_QUERIES = 5
"""Most queries beside the question itself, as many as the prompt asks for."""


@dataclass
class Grounds:
    """What was found for each question.

    Attributes:
        queries: Rows of ``records.SEARCH_QUERY``.
        references: Rows of ``records.REFERENCE`` by question, in the order of retrieval.
        calls: The calls that expanded each question's query.
        void: References without a judgement that counts.
    """

    queries: list[Row] = field(default_factory=list)
    references: dict[str, list[Row]] = field(default_factory=dict)
    calls: dict[str, list[Call]] = field(default_factory=dict)
    void: set[str] = field(default_factory=set)

    def relevant(self, question: Row) -> list[Row]:
        """The references that bear on a question."""
        return [row for row in self.references.get(question["id"], []) if row["relevant"]]

    def distractors(self, question: Row) -> list[Row]:
        """The references that were judged not to bear on a question; a void judgement is none."""
        rows = self.references.get(question["id"], [])
        return [row for row in rows if not row["relevant"] and row["id"] not in self.void]

    def tables(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """All queries and all references."""
        rows = (row for rows in self.references.values() for row in rows)
        references = REFERENCE.frame(rows).sort("question_id", "rank")
        return SEARCH_QUERY.frame(self.queries), references


def remembered(
    earlier: pl.DataFrame, questions: Sequence[Row], passages: Shelf, limit: int
) -> dict[str, list[Row]]:
    """What an earlier run retrieved for questions, where all the passages are still there."""
    names = [question["id"] for question in questions]
    found: dict[str, list[Row]] = {}
    wanted = earlier.filter(pl.col("question_id").is_in(names), pl.col("rank") < limit)
    for row in wanted.sort("question_id", "rank").iter_rows(named=True):
        found.setdefault(row["question_id"], []).append(row)
    return {
        question: rows
        for question, rows in found.items()
        if len(rows) == limit and all(row["passage_id"] in passages for row in rows)
    }


def ground(
    desk: Desk,
    questions: Sequence[Row],
    passages: Shelf,
    store: KnowledgeStore,
    judgements: Judgements,
    earlier: pl.DataFrame,
    grounds: Grounds,
) -> None:
    """Expand questions to queries, retrieve passages and have each one judged alone.

    Args:
        desk: Teachers and parameters.
        questions: Rows of ``records.QUESTION``.
        passages: By passage id.
        store: The knowledge base.
        judgements: What was judged before is not asked again.
        earlier: References of an earlier run: its questions are not searched again, unless
            everything is to be.
        grounds: Takes what is found.
    """
    params = desk.params.references
    known = {} if params.refresh else remembered(earlier, questions, passages, params.passages)
    queries = _expanded(desk, questions, grounds)
    new = queries.filter(~pl.col("question_id").is_in(list(known)))
    found = retrieve(new, store, params.passages)
    by_id = {question["id"]: question for question in questions}
    retrieved = [row for name in by_id for row in known.get(name, ())] + list(
        found.iter_rows(named=True)
    )
    pairs = [(by_id[row["question_id"]], passages[row["passage_id"]]) for row in retrieved]
    judgements.ask(pairs, "relevance")
    for row, (question, passage) in zip(retrieved, pairs, strict=True):
        reference = _reference(row, question, passage, judgements)
        grounds.references.setdefault(question["id"], []).append(reference)
        if not reference["relevant"] and not judgements.denied(question, passage):
            grounds.void.add(reference["id"])


def _expanded(desk: Desk, questions: Sequence[Row], grounds: Grounds) -> pl.DataFrame:
    """Turn each question into search queries; the question itself is always the first."""
    requests = [
        desk.ask(row["id"], "expand_query", row["language"], question=row["text"])
        for row in questions
    ]
    completions = desk.write(requests, "search queries")
    rows = []
    for question in questions:
        completion = completions[question["id"]]
        parsed = completion.parsed
        more = parsed.queries[:_QUERIES] if isinstance(parsed, Queries) else []
        grounds.calls[question["id"]] = chain(completion) if more else []
        texts = dict.fromkeys(text.strip() for text in [question["text"], *more])
        rows += [
            {
                "id": content_id("query", question["id"], rank),
                "question_id": question["id"],
                "text": text,
                "rank": rank,
                "calls": grounds.calls[question["id"]] if rank else [],
            }
            for rank, text in enumerate(filter(None, texts))
        ]
    grounds.queries += rows
    return SEARCH_QUERY.frame(rows)


def retrieve(queries: pl.DataFrame, store: KnowledgeStore, limit: int) -> pl.DataFrame:
    """Search with every query and fuse the lists of each question by reciprocal ranks.

    Args:
        queries: Table of ``records.SEARCH_QUERY``.
        store: The knowledge base.
        limit: Passages for each question.

    Returns:
        Columns question_id, passage_id, rank (from 0) and retrieval_score (reciprocal rank fusion,
        Cormack et al. 2009, k = 60), ordered by question and rank.
    """
    hits = store.search(queries["text"].to_list(), limit)
    return (
        hits.join(
            queries.select("question_id").with_row_index("query"),
            left_on=pl.col("query").cast(pl.UInt32),
            right_on="query",
        )
        .with_columns(retrieval_score=1.0 / (_RRF + 1 + pl.col("rank")))
        .group_by("question_id", "passage_id")
        .agg(
            pl.col("retrieval_score").sort().sum()
        )  # in one order, for the same sum to the last digit
        .sort("question_id", "retrieval_score", "passage_id", descending=[False, True, False])
        .with_columns(rank=pl.int_range(pl.len(), dtype=pl.Int32).over("question_id"))
        .filter(pl.col("rank") < limit)
    )


def _reference(row: Row, question: Row, passage: Row, judgements: Judgements) -> Row:
    completion = judgements.completion(question, passage)
    evidence = judgements.evidence(question, passage)
    summary = completion.parsed.summary if isinstance(completion.parsed, Relevance) else None
    return {
        "id": content_id("reference", question["id"], passage["passage_id"]),
        "question_id": question["id"],
        "passage_id": passage["passage_id"],
        "rank": row["rank"],
        "retrieval_score": row["retrieval_score"],
        "relevant": evidence is not None,
        "evidence": evidence,
        "summary": summary if evidence is not None else None,
        "calls": chain(completion),
    }
