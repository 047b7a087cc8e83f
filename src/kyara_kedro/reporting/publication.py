"""The rows of a corpus as others read them: few columns, in types that every reader knows."""

from __future__ import annotations

from typing import Any

import polars as pl

from kyara_kedro.records import IDS, MESSAGES, SCORE

DATA_FILES = "data/train-*.parquet"
"""Where the published rows lie, beside the card."""

_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.String,
    "messages": MESSAGES,
    "source": pl.String,
    "language": pl.String,
    "teacher": pl.String,
    "licence": pl.String,
    "rounds": pl.Int32,
    "tokens": pl.Int32,
    "tags": IDS,
    "quality": SCORE,
}
PUBLISHED = pl.Schema(_COLUMNS)
_DTYPES = {pl.String(): "string", pl.Int32(): "int32", pl.Float64(): "float64"}


def published_rows(
    conversations: pl.LazyFrame, tags: pl.DataFrame, quality: pl.DataFrame
) -> pl.LazyFrame:
    """Each conversation with its tags and its quality, in the order of the conversations.

    Args:
        conversations: A table of :data:`kyara_kedro.records.CONVERSATION`.
        tags: A table of :data:`kyara_kedro.records.TAGS`.
        quality: A table of :data:`kyara_kedro.records.QUALITY`.

    Returns:
        A table of the schema :data:`PUBLISHED`.
    """
    more = tags.select("id", "tags").join(quality.select("id", quality="score"), on="id")
    joined = conversations.join(more.lazy(), on="id", how="left", maintain_order="left")
    return joined.select(*PUBLISHED)


def features() -> list[dict[str, Any]]:
    """The columns as the ``dataset_info`` of a data set card lists them."""
    return [_feature(name, dtype) for name, dtype in PUBLISHED.items()]


def _feature(name: str, dtype: Any) -> dict[str, Any]:
    if dtype == MESSAGES:
        fields = [_feature(field.name, field.dtype) for field in dtype.inner.fields]
        return {"name": name, "list": fields}
    if dtype == IDS:
        return {"name": name, "list": _DTYPES[pl.String()]}
    return {"name": name, "dtype": _DTYPES[dtype]}
