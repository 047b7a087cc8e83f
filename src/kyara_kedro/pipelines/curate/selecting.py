"""The refined corpus: chosen within bounds, with a reason for every row that was not."""

import logging
from typing import Any

import polars as pl

from kyara_kedro.params import CurateParams
from kyara_kedro.pipelines.balance import Flow, close
from kyara_kedro.quality.decisions import overrides
from kyara_kedro.quality.selection import select
from kyara_kedro.records import drops

logger = logging.getLogger("kyara_kedro")

PIPELINE = "curate"


def select_conversations(
    reviewed_conversations: pl.DataFrame | pl.LazyFrame,
    tag_table: pl.DataFrame,
    quality: pl.DataFrame,
    review_decisions: pl.DataFrame,
    lexical_pairs: pl.DataFrame,
    semantic_pairs: pl.DataFrame,
    params: CurateParams,
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Select the best of each tag within the budget, in the wanted languages, and as reviewers say.

    Returns:
        The refined corpus, the drops and the counts, with what was asked for and reached.
    """
    accepted, rejected = overrides(review_decisions)
    rows = reviewed_conversations.lazy()
    in_language = pl.col("language").is_in(list(params.languages))
    said = pl.col("id").is_in([*accepted, *rejected])
    eligible = in_language | said
    without = quality.lazy().filter(pl.col("score").is_null() & ~said)
    unscored = rows.filter(eligible).join(without, on="id", how="semi").select("id").collect()
    selection = select(
        rows.filter(eligible).join(unscored.lazy(), on="id", how="anti", maintain_order="left"),
        tag_table,
        quality.with_columns(pl.col("score").fill_null(0.0)),
        params.selection,
        accepted=accepted,
        rejected=rejected,
        pairs=pl.concat([lexical_pairs, semantic_pairs]),
    )
    report = selection.report
    logger.info(
        "selection: %s of %s asked for, from %s tags%s",
        *(f"{number:,}" for number in (report["reached"], report["asked"])),
        f"{len(report['clusters']):,}",
        "".join(f"; {note}" for note in report["notes"]),
    )
    chosen = pl.LazyFrame({"id": selection.ids}, schema={"id": pl.String})
    refined = rows.join(chosen, on="id", how="semi").sort("id").collect()
    unwanted = rows.filter(~eligible).select("id", "language").collect()
    dropped = drops(
        PIPELINE,
        [
            *((name, "language_not_wanted", language) for name, language in unwanted.iter_rows()),
            *((name, "unscored", "no scorer gave it a value") for name in unscored["id"]),
            *selection.drops.iter_rows(),
        ],
    )
    entered = rows.select(pl.len()).collect().item()
    table, summary = close([Flow("conversations", entered, refined.height, dropped)])
    return refined, table, summary | {"selection": report}
