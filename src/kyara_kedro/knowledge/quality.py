"""How well a knowledge base finds the passages that questions were written from."""

from collections.abc import Collection, Sequence

import polars as pl

from kyara_kedro.knowledge.store import KnowledgeStore, Mode

_DEEP = 10
_MARGIN = 0.005
"""Recall@1 that a hybrid search may lose by chance before it is called worse."""


def retrieval_quality(
    store: KnowledgeStore,
    questions: Sequence[str],
    own_passages: Sequence[Collection[str]],
    limit: int,
) -> dict[str, float | str]:
    """Measure a knowledge base by questions whose source is known.

    Args:
        store: The knowledge base.
        questions: What is asked.
        own_passages: For each question, the passages that it was written from; one is enough.
        limit: The k of the second recall.

    Returns:
        `<mode>_recall_at_1`, `<mode>_recall_at_<limit>` and `<mode>_mrr_at_10`, for mode "sparse"
        and, when the store is hybrid, "hybrid"; and "advice", one line, when hybrid finds the own
        passage first less often than sparse alone.
    """
    found: dict[str, float | str] = {}
    modes: tuple[Mode, ...] = ("sparse", "hybrid") if store.is_hybrid else ("sparse",)
    for mode in modes:
        ranks = _own_ranks(store.search(questions, max(limit, _DEEP), mode), own_passages)
        total = max(len(questions), 1)
        found |= {
            f"{mode}_recall_at_1": float((ranks < 1).sum() / total),
            f"{mode}_recall_at_{limit}": float((ranks < limit).sum() / total),
            f"{mode}_mrr_at_{_DEEP}": float((1 / (ranks.filter(ranks < _DEEP) + 1)).sum() / total),
        }
    if store.is_hybrid:
        sparse, hybrid = float(found["sparse_recall_at_1"]), float(found["hybrid_recall_at_1"])
        if hybrid < sparse - _MARGIN:
            found["advice"] = (
                f"hybrid search finds the own passage first for {hybrid:.1%} of the questions, "
                f"sparse alone for {sparse:.1%}: take 'dense' off the knowledge base, raise "
                "'sparse_weight' or use a stronger multilingual model"
            )
    return found


def _own_ranks(hits: pl.DataFrame, own_passages: Sequence[Collection[str]]) -> pl.Series:
    """Rank of the first own passage, for each question that found one."""
    own = pl.DataFrame(
        {"passage_id": [list(passages) for passages in own_passages]},
        schema={"passage_id": pl.List(pl.String)},
    ).with_row_index("query")
    pairs = own.explode("passage_id").with_columns(pl.col("query").cast(pl.Int64))
    joined = hits.join(pairs, on=["query", "passage_id"])
    return joined.group_by("query", maintain_order=True).agg(pl.col("rank").min())["rank"]
