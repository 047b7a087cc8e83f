"""What the data set card says about the result."""

from typing import Any

import polars as pl

from kyara_kedro.reporting import dataset_card as card
from kyara_kedro.reporting.charts import Figure


def describe_corpus(
    refined_conversations: pl.DataFrame,
    tag_table: pl.DataFrame,
    quality: pl.DataFrame,
    ingest_drops: pl.DataFrame,
    synthesize_drops: pl.DataFrame,
    dedup_drops: pl.DataFrame,
    curate_drops: pl.DataFrame,
) -> tuple[dict[str, Any], str, Figure, Figure]:
    """Summarise the refined corpus as numbers, as a card in both languages, and as pictures."""
    dropped = pl.concat([ingest_drops, synthesize_drops, dedup_drops, curate_drops])
    summary = card.dataset_summary(refined_conversations, tag_table, quality, dropped)
    return (
        summary,
        card.dataset_card(summary),
        card.language_distribution(refined_conversations),
        card.round_distribution(refined_conversations),
    )


def draw_waterfall(
    ingest_summary: dict[str, Any],
    synthesize_summary: dict[str, Any],
    dedup_summary: dict[str, Any],
    curate_summary: dict[str, Any],
) -> Figure:
    """Draw how many conversations each pipeline takes in and hands on."""
    read, kept = ingest_summary["conversations"]["in"], ingest_summary["conversations"]["out"]
    total = synthesize_summary["total"]
    return card.drop_waterfall(
        [
            ("ingest", read, kept),
            ("synthesize", kept + total["attempts"], kept + total["written"]),
            *(
                (name, summary["conversations"]["in"], summary["conversations"]["out"])
                for name, summary in (("dedup", dedup_summary), ("curate", curate_summary))
            ),
        ]
    )
