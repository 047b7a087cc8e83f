"""Copies and leaked benchmark items out, the best of each group kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from kyara_kedro.datasets.encoder import TextEncoder
from kyara_kedro.datasets.table import Frames, batches
from kyara_kedro.errors import UserError
from kyara_kedro.params import DedupParams
from kyara_kedro.pipelines.balance import Flow, close
from kyara_kedro.prompts.rag_format import has_references, question_of
from kyara_kedro.quality.heuristics import score
from kyara_kedro.records import SIMILAR_PAIR, drops
from kyara_kedro.reporting.contamination_page import contamination_page
from kyara_kedro.shards import Shard
from kyara_kedro.similarity import contamination, lexical, meaning
from kyara_kedro.similarity.contamination import ContaminationOptions
from kyara_kedro.similarity.embeddings import fill
from kyara_kedro.similarity.protected import all_questions, conversation_texts, worst_leaks
from kyara_kedro.similarity.resolve import resolve

PIPELINE = "dedup"


def pool_conversations(open_rows: pl.LazyFrame, synthetic_rows: pl.DataFrame) -> Frames:
    """Put open and synthetic conversations into one table."""

    def frames() -> Iterator[pl.DataFrame]:
        yield from batches(open_rows)
        yield synthetic_rows

    return Frames(frames)


def find_contamination(
    pool: pl.LazyFrame,
    benchmark_questions: pl.DataFrame,
    suite_questions: pl.DataFrame,
    protected_texts: pl.DataFrame,
    options: ContaminationOptions,
) -> pl.DataFrame:
    """Find conversations that contain a benchmark's question or a protected text, in any script."""
    texts = (conversation_texts(frame) for frame in batches(pool))
    questions = all_questions(benchmark_questions, suite_questions, protected_texts)
    return contamination.find_contamination(texts, questions, options)


def take_texts(pool: pl.LazyFrame, leaks: pl.DataFrame) -> Frames:
    """Take from clean conversations what they are compared by, and how good they are.

    What is in Simplified Chinese stays only when no copy is in another script. Conversations with
    reference documents are compared among themselves, by question and answer, for an answer with
    references and one without are two lessons.
    """
    leaked = leaks.select(id="record_id").unique()

    def frames() -> Iterator[pl.DataFrame]:
        for frame in batches(pool):
            clean = frame.join(leaked, on="id", how="anti", maintain_order="left")
            simplified = clean["language"] == "zh-Hans-CN"
            yield compared_texts(clean).with_columns(
                quality=score(clean)["score"] - simplified.cast(pl.Float64)
            )

    return Frames(frames)


def find_lexical_pairs(compared_texts: pl.LazyFrame, params: DedupParams) -> pl.DataFrame:
    """Find exact copies, and near-duplicates by the n-grams that they share."""
    return lexical.find_pairs(batches(compared_texts), params.lexical)


def compare_texts(
    compared_texts: pl.LazyFrame, params: DedupParams, *, shard: Shard
) -> pl.DataFrame:
    """Find the copies and near-duplicates of one shard of the candidates."""
    return lexical.find_pairs(batches(compared_texts), params.lexical, shard)


def join_lexical_pairs(compared_texts: pl.LazyFrame, *parts: pl.DataFrame) -> pl.DataFrame:
    """Put together what the shards have found: the pairs that one search finds."""
    return lexical.join_pairs(batches(compared_texts), parts)


def embed_texts(
    compared_texts: pl.LazyFrame,
    lexical_pairs: pl.DataFrame,
    text_encoder: TextEncoder | None,
    embeddings: Path,
    params: DedupParams,
    *,
    shard: Shard,
) -> int:
    """Make the vectors of one shard of the texts, which stay where the search looks for them.

    Returns:
        How many texts it has.
    """
    if params.semantic is None:
        return 0
    encoder, texts = _distinct_texts(compared_texts, lexical_pairs, text_encoder)
    said = (list(filter(shard.holds, frame["text"])) for frame in batches(texts))
    return fill(said, encoder, embeddings)


def find_semantic_pairs(
    compared_texts: pl.LazyFrame,
    lexical_pairs: pl.DataFrame,
    text_encoder: TextEncoder | None,
    embeddings: Path,
    params: DedupParams,
    *_embedded: int,
) -> pl.DataFrame:
    """Find near-duplicates in meaning, among texts that are no exact copies.

    Raises:
        UserError: they are wanted, but there is no encoder.
    """
    if params.semantic is None:
        return SIMILAR_PAIR.frame()
    encoder, texts = _distinct_texts(compared_texts, lexical_pairs, text_encoder)
    return meaning.find_pairs(batches(texts), encoder, embeddings, params.semantic)


def _distinct_texts(
    compared_texts: pl.LazyFrame, lexical_pairs: pl.DataFrame, text_encoder: TextEncoder | None
) -> tuple[TextEncoder, pl.LazyFrame]:
    """The encoder, and the texts that are no exact copies."""
    if text_encoder is None:
        raise UserError(
            "dedup.semantic needs an encoder: give the catalog entry 'text_encoder' a model, or "
            "set dedup.semantic to null"
        )
    copies = lexical_pairs.filter(method="exact").select(id="second_id")
    texts = compared_texts.join(copies.lazy(), on="id", how="anti", maintain_order="left")
    return text_encoder, texts


def choose_survivors(
    lexical_pairs: pl.DataFrame, semantic_pairs: pl.DataFrame, params: DedupParams
) -> pl.DataFrame:
    """Let the best of each group stay, and name for every other one what stands for it."""
    thresholds = {"lexical": params.lexical.threshold}
    if params.semantic:
        thresholds["semantic"] = params.semantic.threshold
    return resolve(pl.concat([lexical_pairs, semantic_pairs]), thresholds)


def keep_distinct(
    pool: pl.LazyFrame, duplicates: pl.DataFrame, leaks: pl.DataFrame
) -> tuple[Frames, pl.DataFrame, dict[str, Any]]:
    """Drop what was found, with the copy or the benchmark item that it is.

    Returns:
        The base corpus, the drops and the counts.
    """
    dropped = [(name, "contaminated", told) for name, told in worst_leaks(leaks).items()]
    dropped += [
        (
            row["removed_id"],
            f"{row['method']}_duplicate",
            f"of {row['kept_id']}, similarity {row['similarity']:.3f}",
        )
        for row in duplicates.iter_rows(named=True)
    ]
    table = drops(PIPELINE, dropped)
    gone = table.select(id="record_id")
    base = pool.join(gone.lazy(), on="id", how="anti", maintain_order="left")
    entered, left = (frame.select(pl.len()).collect().item() for frame in (pool, base))
    table, summary = close([Flow("conversations", entered, left, table)])
    return Frames(lambda: batches(base)), table, summary


def compared_texts(conversations: pl.DataFrame) -> pl.DataFrame:
    """What copies are told by: all turns, prompts with references reduced to their question.

    Returns:
        Columns id, text and label (whether the conversation shows references).
    """
    turns = [[turn["content"] for turn in messages] for messages in conversations["messages"]]
    return conversations.select(
        "id",
        pl.Series("text", ["\n".join(map(question_of, said)) for said in turns], pl.String),
        pl.Series("label", [any(map(has_references, said)) for said in turns], pl.Boolean),
    )


def draw_contamination(
    leaks: pl.DataFrame,
    pool: pl.LazyFrame,
    benchmark_questions: pl.DataFrame,
    suite_questions: pl.DataFrame,
    protected_texts: pl.DataFrame,
    options: ContaminationOptions,
) -> str:
    """Draw the audit page: what was found of each benchmark, and where."""
    found = pool.join(leaks.lazy().select(id="record_id").unique(), on="id", how="semi").collect()
    questions = all_questions(benchmark_questions, suite_questions, protected_texts)
    texts = conversation_texts(found).join(found.select("id", "source"), on="id")
    boilerplate = contamination.ContaminationIndex(questions, options).boilerplate
    return contamination_page(leaks, questions, texts, boilerplate)
