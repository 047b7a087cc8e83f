"""Search queries, retrieval and the judgement of each retrieved passage on its own."""

from typing import Any

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.knowledge.store import KnowledgeStore
from kyara_kedro.params import SynthesizeParams
from kyara_kedro.pipelines.asking import answers
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import REFERENCE, SEARCH_QUERY
from kyara_kedro.teachers.base import Teacher, ask
from kyara_kedro.teachers.tasks import Queries, Relevance

_RRF = 60


def expand_queries(
    questions: pl.DataFrame, writer: Teacher, prompts: PromptLibrary
) -> pl.DataFrame:
    """Turn each question into search queries; the question itself is always the first."""
    requests = [
        ask(prompts, row["id"], "expand_query", row["language"], question=row["text"])
        for row in questions.iter_rows(named=True)
    ]
    completions = answers(writer, requests, "search queries")
    rows = []
    for question in questions.iter_rows(named=True):
        parsed = completions[question["id"]].parsed
        more = parsed.queries if isinstance(parsed, Queries) else []
        texts = list(dict.fromkeys([question["text"], *more]))
        rows += [
            {
                "id": content_id("query", question["id"], rank),
                "question_id": question["id"],
                "text": text,
                "rank": rank,
            }
            for rank, text in enumerate(texts)
            if text.strip()
        ]
    return SEARCH_QUERY.frame(rows)


def retrieve(queries: pl.DataFrame, store: KnowledgeStore, limit: int) -> pl.DataFrame:
    """Search with every query and fuse the lists of each question by reciprocal ranks.

    Args:
        queries: Table of ``records.SEARCH_QUERY``.
        store: The knowledge base.
        limit: Passages for each question.

    Returns:
        Columns question_id, passage_id, rank (from 0) and score (reciprocal rank fusion, Cormack et
        al. 2009, k = 60).
    """
    hits = store.search(queries["text"].to_list(), limit)
    return (
        hits.join(
            queries.select("question_id").with_row_index("query"),
            left_on=pl.col("query").cast(pl.UInt32),
            right_on="query",
        )
        .with_columns(score=1.0 / (_RRF + 1 + pl.col("rank")))
        .group_by("question_id", "passage_id")
        .agg(pl.col("score").sort().sum())  # in one order, for the same sum to the last digit
        .sort("question_id", "score", "passage_id", descending=[False, True, False])
        .with_columns(rank=pl.int_range(pl.len()).over("question_id"))
        .filter(pl.col("rank") < limit)
    )


def find_references(
    questions: pl.DataFrame,
    search_queries: pl.DataFrame,
    passages: pl.DataFrame,
    knowledge_base: KnowledgeStore,
    writer: Teacher,
    prompts: PromptLibrary,
    params: SynthesizeParams,
) -> tuple[pl.DataFrame, dict[str, float]]:
    """Retrieve passages for each question and judge each one alone: relevant with evidence, or not.

    Evidence that is not literally in its passage makes the judgement void: the passage counts as
    irrelevant.

    Returns:
        The references, and how well retrieval found each question's own source: recall at 1 and
        at ``params.references``.
    """
    found = retrieve(search_queries, knowledge_base, params.references)
    joined = found.join(
        questions.select("id", "language", "passage_ids", question="text"),
        left_on="question_id",
        right_on="id",
    ).join(passages.select("passage_id", "title", "text"), on="passage_id")
    joined = joined.sort("question_id", "rank")
    requests = [
        ask(
            prompts,
            f"{row['question_id']}:{row['passage_id']}",
            "judge_passage",
            row["language"],
            question=row["question"],
            title=row["title"],
            text=row["text"],
        )
        for row in joined.iter_rows(named=True)
    ]
    completions = answers(writer, requests, "relevance")
    rows = []
    for row in joined.iter_rows(named=True):
        parsed = completions[f"{row['question_id']}:{row['passage_id']}"].parsed
        rows.append(_reference(row, parsed if isinstance(parsed, Relevance) else None))
    return REFERENCE.frame(rows), _recall(joined, questions.height, params.references)


def _reference(row: dict[str, Any], judged: Relevance | None) -> dict[str, Any]:
    supported = bool(judged and judged.relevant and judged.evidence.strip())
    quoted = supported and judged is not None and judged.evidence in row["text"]
    return {
        "id": content_id("reference", row["question_id"], row["passage_id"]),
        "question_id": row["question_id"],
        "passage_id": row["passage_id"],
        "rank": row["rank"],
        "retrieval_score": row["score"],
        "relevant": quoted,
        "evidence": judged.evidence if quoted and judged else None,
        "summary": judged.summary if quoted and judged else None,
    }


def _recall(joined: pl.DataFrame, questions: int, limit: int) -> dict[str, float]:
    own = joined.filter(pl.col("passage_id").is_in(pl.col("passage_ids")))
    at_one = own.filter(pl.col("rank") == 0)["question_id"].n_unique()
    total = max(questions, 1)
    return {
        "recall_at_1": at_one / total,
        f"recall_at_{limit}": own["question_id"].n_unique() / total,
    }
