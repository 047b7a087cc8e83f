"""Texts that say the same in other words, by the vectors of an encoder."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from kyara_kedro.similarity.claims import ClaimDigests
from kyara_kedro.similarity.embeddings import Encoder, embed
from kyara_kedro.similarity.pairs import Pairs, connected, pair_table
from kyara_kedro.similarity.resolve import rank
from kyara_kedro.similarity.semantic import SemanticSearchOptions, similar_pairs
from kyara_kedro.similarity.text_file import TextFile

Rows = NDArray[np.int64]

logger = logging.getLogger("kyara_kedro")

_EQUAL = 1 - 1e-9


class SemanticOptions(SemanticSearchOptions):
    """When two texts count as saying the same.

    Attributes:
        threshold: Smallest cosine of near-duplicates.
        floor: Pairs are looked for, and kept, from this cosine on.
    """

    threshold: float = Field(0.95, gt=0, le=1)
    floor: float = Field(0.9, gt=0, le=1)


def find_pairs(
    frames: Iterable[pl.DataFrame], encoder: Encoder, folder: Path, options: SemanticOptions
) -> pl.DataFrame:
    """Find near-duplicates in meaning in a stream of texts.

    Pairs whose numbers, arithmetic signs or negations differ are none, however near their vectors.

    Args:
        frames: As :func:`kyara_kedro.similarity.lexical.find_pairs` takes them.
        encoder: Makes the vectors.
        folder: Where vectors are kept, so that none is made twice.
        options: When two texts say the same.

    Returns:
        A table of :data:`kyara_kedro.records.SIMILAR_PAIR`, the better text of each pair first.
    """
    texts, columns = TextFile(), []

    def contents() -> Iterator[list[str]]:
        for frame in frames:
            said = frame["text"].to_list()
            texts.append(said)
            length = frame["text"].str.len_chars().cast(pl.Int64)
            columns.append(frame.select("id", "quality", "label", characters=length))
            yield said

    found = similar_pairs(embed(contents(), encoder, folder), options.floor, options)
    if options.mode == "approximate":
        logger.info("semantic pairs: recall %.4f, measured on a sample of rows", found.recall)
    table = pl.concat(columns)
    ranks = rank(table["id"], table["quality"], table["characters"].to_numpy())
    pairs = _around_the_best(found.pairs, ranks)
    labels = table["label"].rank("dense").to_numpy()
    alike = labels[pairs.left] == labels[pairs.right]
    pairs = _taken(pairs, alike)
    claimed = ClaimDigests(texts, len(table))
    pairs = _taken(pairs, claimed(pairs.left) == claimed(pairs.right))
    return pair_table("semantic", table["id"], ranks, pairs)


def _around_the_best(pairs: Pairs, ranks: Rows) -> Pairs:
    """Let the best of texts with one vector stand for all of them, in every pair."""
    equal = pairs.similarity >= _EQUAL
    group = connected(pairs.left[equal], pairs.right[equal], len(ranks))
    order = np.lexsort((ranks, group))
    firsts = np.diff(group[order], prepend=-1) > 0
    best = order[firsts][group]
    members = np.flatnonzero(best != np.arange(len(ranks)))
    left = np.concatenate([best[pairs.left[~equal]], best[members]])
    right = np.concatenate([best[pairs.right[~equal]], members])
    similarity = np.concatenate([pairs.similarity[~equal], np.ones(len(members))])
    low, high = np.minimum(left, right), np.maximum(left, right)
    order = np.lexsort((-similarity, high, low))
    order = order[low[order] != high[order]]
    first = (np.diff(low[order], prepend=-1) > 0) | (np.diff(high[order], prepend=-1) != 0)
    return _taken(Pairs(low, high, similarity), order[first])


def _taken(pairs: Pairs, chosen: Rows | NDArray[np.bool_]) -> Pairs:
    return Pairs(pairs.left[chosen], pairs.right[chosen], pairs.similarity[chosen])
