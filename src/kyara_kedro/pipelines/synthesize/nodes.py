"""The end of synthesis: everything together, and the counts."""

from typing import Any

import polars as pl

from kyara_kedro.params import SynthesizeParams
from kyara_kedro.pipelines.balance import Flow, close
from kyara_kedro.pipelines.synthesize.conversations import (
    dialogue_seeds,
    knowledge_attempts,
    rag_attempts,
)
from kyara_kedro.pipelines.synthesize.questions import planned_evolutions


def merge_conversations(
    knowledge: pl.DataFrame,
    rag: pl.DataFrame,
    document: pl.DataFrame,
    math: pl.DataFrame,
    dialogue: pl.DataFrame,
) -> pl.DataFrame:
    """Put the strategies' conversations into one table, ordered by id."""
    return pl.concat([knowledge, rag, document, math, dialogue]).sort("id")


def close_synthesize(
    passages: pl.DataFrame,
    documents: pl.DataFrame,
    personas: pl.DataFrame,
    roots: pl.DataFrame,
    root_drops: pl.DataFrame,
    questions: pl.DataFrame,
    evolution_drops: pl.DataFrame,
    retrieval: dict[str, float],
    knowledge: pl.DataFrame,
    knowledge_drops: pl.DataFrame,
    rag: pl.DataFrame,
    rag_drops: pl.DataFrame,
    document: pl.DataFrame,
    document_drops: pl.DataFrame,
    math: pl.DataFrame,
    math_drops: pl.DataFrame,
    dialogue: pl.DataFrame,
    dialogue_drops: pl.DataFrame,
    params: SynthesizeParams,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Merge the drops and check every strategy: attempts are conversations plus drops."""
    asked = roots["passage_ids"].list.first().n_unique()
    evolutions = sum(1 for _ in planned_evolutions(roots, params))
    attempts = sum(1 for _ in knowledge_attempts(questions, params))
    shown = sum(1 for _ in rag_attempts(questions, params))
    seeds = dialogue_seeds(questions, passages).height
    drops, summary = close(
        [
            Flow("passages", passages.height, asked, root_drops),
            Flow("evolutions", evolutions, questions.height - roots.height, evolution_drops),
            Flow("knowledge", attempts, knowledge.height, knowledge_drops),
            Flow("rag", shown, rag.height, rag_drops),
            Flow("document", documents.height, document.height, document_drops),
            Flow("math", personas.height, math.height, math_drops),
            Flow("dialogue", seeds, dialogue.height, dialogue_drops),
        ]
    )
    return drops, summary | {"retrieval": retrieval}
