"""Copies and leaked benchmark items out, the best of each group kept."""

from typing import Any

import polars as pl

from kyara_kedro.params import DedupParams
from kyara_kedro.pipelines.balance import Flow, close
from kyara_kedro.prompts.rag_format import has_references, question_of
from kyara_kedro.quality.heuristics import score
from kyara_kedro.records import drops
from kyara_kedro.similarity import contamination as leaks
from kyara_kedro.similarity import resolve

PIPELINE = "dedup"


def pool_conversations(open_rows: pl.DataFrame, synthetic_rows: pl.DataFrame) -> pl.DataFrame:
    """Put open and synthetic conversations into one table, ordered by id."""
    return pl.concat([open_rows, synthetic_rows]).sort("id")


def find_contamination(
    pool: pl.DataFrame, benchmark_questions: pl.DataFrame, params: DedupParams
) -> pl.DataFrame:
    """Find conversations that contain a benchmark's question, in any script."""
    return leaks.find_contamination(whole_texts(pool), benchmark_questions, params.contamination)


def find_duplicates(
    pool: pl.DataFrame, contamination: pl.DataFrame, params: DedupParams
) -> pl.DataFrame:
    """Find exact and lexical copies among the clean conversations; the best of a group stays.

    What is in Simplified Chinese stays only when no copy is in another script.
    Conversations with reference documents are compared among themselves, by question and answer,
    for an answer with references and one without are two lessons.
    """
    clean = pool.filter(~pl.col("id").is_in(contamination["record_id"].to_list()))
    simplified = clean.select("id", simplified=pl.col("language") == "zh-Hans-CN")
    ranks = score(clean).join(simplified, on="id")
    ranks = ranks.select("id", quality=pl.col("score") - pl.col("simplified"))
    texts = compared_texts(clean).join(ranks, on="id")
    return pl.concat(
        [
            resolve.find_duplicates(group.drop("references"), params.lexical)
            for _, group in texts.sort("id").group_by("references", maintain_order=True)
        ]
        or [resolve.find_duplicates(texts.drop("references"), params.lexical)]
    )


def keep_distinct(
    pool: pl.DataFrame, duplicates: pl.DataFrame, contamination: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Drop what was found, with the copy or the benchmark item that it is.

    Returns:
        The base corpus, the drops and the counts.
    """
    hits = contamination.sort("coverage", "id", descending=[True, False])
    leaked = hits.unique("record_id", keep="first", maintain_order=True)
    dropped = [
        (
            row["record_id"],
            "contaminated",
            f"{row['benchmark']} {row['item_id']}: {row['evidence']}",
        )
        for row in leaked.iter_rows(named=True)
    ]
    dropped += [
        (
            row["removed_id"],
            f"{row['method']}_duplicate",
            f"of {row['kept_id']}, similarity {row['similarity']:.3f}",
        )
        for row in duplicates.iter_rows(named=True)
    ]
    table = drops(PIPELINE, dropped)
    base = pool.filter(~pl.col("id").is_in(table["record_id"].to_list()))
    table, summary = close([Flow("conversations", pool.height, base.height, table)])
    return base, table, summary


def whole_texts(conversations: pl.DataFrame) -> pl.DataFrame:
    """Everything that is said in each conversation, columns id and text."""
    contents = pl.col("messages").list.eval(pl.element().struct.field("content"))
    return conversations.select("id", text=contents.list.join("\n"))


def compared_texts(conversations: pl.DataFrame) -> pl.DataFrame:
    """What copies are told by: all turns, prompts with references reduced to their question.

    Returns:
        Columns id, text and references (whether the conversation shows any).
    """
    rows = []
    for row_id, messages in conversations.select("id", "messages").iter_rows():
        turns = [turn["content"] for turn in messages]
        rows.append(
            {
                "id": row_id,
                "text": "\n".join(question_of(turn) for turn in turns),
                "references": any(has_references(turn) for turn in turns),
            }
        )
    schema = {"id": pl.String, "text": pl.String, "references": pl.Boolean}
    return pl.DataFrame(rows, schema=schema)
