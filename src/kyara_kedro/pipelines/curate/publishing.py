"""What there is to say about the refined corpus, and the folder that others load it from."""

from typing import Any

import polars as pl

from kyara_kedro.datasets.publication import Publication
from kyara_kedro.datasets.table import Frames, batches
from kyara_kedro.reporting import dataset_card as card
from kyara_kedro.reporting.charts import Figure
from kyara_kedro.reporting.publication import published_rows

_STAGES = (
    ("ingest", "documents", "文件 documents"),
    ("ingest", "conversations", "公開對話 published"),
    ("synthesize", "passages", "段落 passages"),
    ("synthesize", "questions", "問題 questions"),
    ("synthesize", "evolutions", "演化問題 evolved"),
    ("synthesize", "total", "合成對話 written"),
    ("dedup", "conversations", "去重 distinct"),
    ("curate", "conversations", "挑選 selected"),
)
"""Pipelines and flows from documents to selected conversations, and what they are called."""


def describe_corpus(
    refined_conversations: pl.DataFrame,
    tag_table: pl.DataFrame,
    tag_map: pl.DataFrame,
    quality: pl.DataFrame,
    curate_summary: dict[str, Any],
    *drops: pl.DataFrame,
) -> tuple[dict[str, Any], str]:
    """Summarise the refined corpus as numbers, and as a card in both languages."""
    dropped = pl.concat(drops)
    summary = card.dataset_summary(
        refined_conversations, tag_table, tag_map, quality, dropped, curate_summary["selection"]
    )
    return summary, card.dataset_card(summary)


def draw_corpus(
    refined_conversations: pl.DataFrame,
    tag_table: pl.DataFrame,
    quality: pl.DataFrame,
    ingest_summary: dict[str, Any],
    synthesize_summary: dict[str, Any],
    dedup_summary: dict[str, Any],
    curate_summary: dict[str, Any],
) -> card.Pictures:
    """Draw what the refined corpus holds, and what became of everything on the way to it."""
    summaries = {
        "ingest": ingest_summary,
        "synthesize": synthesize_summary,
        "dedup": dedup_summary,
        "curate": curate_summary,
    }
    stages = [(label, *_in_and_out(summaries[pipeline][flow])) for pipeline, flow, label in _STAGES]
    used = [stage for stage in stages if stage[1]]
    return card.draw(refined_conversations, tag_table, quality, used)


def _in_and_out(flow: dict[str, Any]) -> tuple[int, int]:
    if "attempts" in flow:
        return flow["attempts"], flow["written"]
    return flow["in"], flow["out"]


def publish_corpus(
    refined_conversations: pl.DataFrame,
    tag_table: pl.DataFrame,
    quality: pl.DataFrame,
    dataset_card: str,
    *pictures: Figure,
) -> Publication:
    """Put rows, card and pictures together into a data set that can be uploaded as it is."""
    rows = published_rows(refined_conversations.lazy(), tag_table, quality)
    named = dict(zip(card.SHOWN, pictures, strict=True))
    return Publication(dataset_card, named, Frames(lambda: batches(rows)))
