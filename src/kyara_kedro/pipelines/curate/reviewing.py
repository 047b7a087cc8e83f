"""Decisions of reviewers, and the page on which they are made."""

import logging
from collections.abc import Iterator
from typing import Any

import polars as pl
from kedro.io import CatalogProtocol

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.datasets.table import Frames, batches
from kyara_kedro.errors import UserError
from kyara_kedro.quality import decisions
from kyara_kedro.reporting.review_page import LARGE, ReviewOptions, ReviewTables, review_page
from kyara_kedro.similarity.contamination import ContaminationOptions, find_contamination
from kyara_kedro.similarity.protected import all_questions, conversation_texts, worst_leaks

logger = logging.getLogger("kyara_kedro")

SHOWN = (
    *("reviewed_conversations", "tags", "quality", "curate_drops", "review_decisions"),
    *("duplicates", "questions", "references", "passages", "documents"),
)
"""The catalog's names of the tables of :class:`ReviewTables`, in their order."""

_TOLD = 3


def apply_decisions(
    base_conversations: pl.LazyFrame,
    raw_decisions: list[SourceFile],
    benchmark_questions: pl.DataFrame,
    suite_questions: pl.DataFrame,
    protected_texts: pl.DataFrame,
    options: ContaminationOptions,
) -> tuple[pl.DataFrame, Frames]:
    """Read what reviewers decided and put edited texts in their place.

    Benchmarks are looked for in edited texts as in all others before: one that holds a question is
    not taken, and what it was edited from stays.

    Returns:
        Every decision with what came of it, and the conversations, as many as came in.

    Raises:
        UserError: a file is not text.
    """
    said = decisions.parse(line for file in raw_decisions for line in _lines(file))
    reviewed = decisions.decide(base_conversations, said)
    questions = all_questions(benchmark_questions, suite_questions, protected_texts)
    while reviewed.edited.height:
        texts = conversation_texts(reviewed.edited)
        leaks = worst_leaks(find_contamination(texts, questions, options))
        if not leaks:
            break
        said = decisions.without(said, reviewed.decisions, leaks)  # what they hid counts now
        reviewed = decisions.decide(base_conversations, said)
    _tell(reviewed.decisions)
    return reviewed.decisions, Frames(lambda: batches(reviewed.conversations))


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


def draw_review(*tables_and_params: Any) -> str:
    """Draw the page on which people decide about conversations.

    Args:
        tables_and_params: The tables of :class:`ReviewTables` in their order, then the parameters.
    """
    *tables, params = tables_and_params
    return page(ReviewTables(*tables), params.review)


def page(tables: ReviewTables, options: ReviewOptions) -> str:
    """The page, with a warning where it is large."""
    text = review_page(tables, options)
    if (size := len(text.encode())) > LARGE:
        logger.warning(
            "the review page has %.0f MB and opens slowly: lower curate.review.sample (%d)",
            size / 1e6,
            options.sample,
        )
    return text


def load_tables(catalog: CatalogProtocol[Any, Any]) -> ReviewTables:
    """Load what the page tells about, as the last run left it.

    Raises:
        UserError: a table is not there yet.
    """
    for name in SHOWN:
        if not catalog.exists(name):
            raise UserError(f"'{name}' is not there yet: run `kedro run --pipeline=curate` first")
    return ReviewTables(*map(catalog.load, SHOWN))
