"""Decisions of reviewers, and the page on which they are made."""

import logging
from collections.abc import Iterator

import polars as pl

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.errors import UserError
from kyara_kedro.params import CurateParams
from kyara_kedro.quality import decisions
from kyara_kedro.reporting.review_page import LARGE, ReviewOptions, ReviewTables, review_page

logger = logging.getLogger("kyara_kedro")

_TOLD = 3


def apply_decisions(
    base_conversations: pl.DataFrame, raw_decisions: list[SourceFile]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read what reviewers decided and put edited texts in their place.

    Returns:
        Every decision with what came of it, and the conversations, as many as came in.

    Raises:
        UserError: a file is not text.
    """
    lines = (line for file in raw_decisions for line in _lines(file))
    reviewed = decisions.decide(base_conversations, decisions.parse(lines))
    _tell(reviewed.decisions)
    return reviewed.decisions, reviewed.conversations


def _lines(file: SourceFile) -> Iterator[tuple[str, str]]:
    """The lines of a file that are not blank, and where they stand."""
    try:
        text = file.path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file.path} is not a file of decisions: byte {error.start} is not UTF-8; export the "
            "decisions again from the review page"
        ) from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{file.name}#{number}", line


def _tell(table: pl.DataFrame) -> None:
    """Say what came of the decisions, and which ones need a look."""
    if table.is_empty():
        return
    count = table.group_by("status").len().sort("status")
    told = ", ".join(f"{status} {number:,}" for status, number in count.iter_rows())
    logger.info("decisions: %s lines: %s", f"{table.height:,}", told)
    for status in ("invalid", "stale"):
        found = table.filter(status=status)
        for origin, detail in found.select("origin", "detail").head(_TOLD).iter_rows():
            logger.warning("decisions: %s is %s: %s", origin, status, detail)
        if found.height > _TOLD:
            logger.warning("decisions: %d more are %s", found.height - _TOLD, status)


def draw_review(
    reviewed_conversations: pl.DataFrame,
    tag_table: pl.DataFrame,
    quality: pl.DataFrame,
    curate_drops: pl.DataFrame,
    review_decisions: pl.DataFrame,
    duplicates: pl.DataFrame,
    questions: pl.DataFrame,
    references: pl.DataFrame,
    passages: pl.DataFrame,
    documents: pl.DataFrame,
    params: CurateParams,
) -> str:
    """Draw the page on which people decide about conversations."""
    tables = ReviewTables(
        reviewed_conversations,
        tag_table,
        quality,
        curate_drops,
        review_decisions,
        duplicates,
        questions,
        references,
        passages,
        documents,
    )
    return _page(tables, params.review)


def _page(tables: ReviewTables, options: ReviewOptions) -> str:
    """The page, with a warning where it is large."""
    page = review_page(tables, options)
    if (size := len(page.encode())) > LARGE:
        logger.warning(
            "the review page has %.0f MB and opens slowly: a curate.review.sample below %d is "
            "quicker to work with",
            size / 1e6,
            options.sample,
        )
    return page
