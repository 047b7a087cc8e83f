"""From the tags that a tagger wrote to the tags that are counted: InsTag's four steps.

The paper (arXiv 2308.07074, section 3.2; its code does not hold them) gives: drop rare tags, unify
by rules, merge tags of near meaning, merge tags that imply one another. The map from raw to final
is a table that a person can edit; edits outlive the next run.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from kyara_kedro.content import content_id
from kyara_kedro.options import Options
from kyara_kedro.records import TAG_MAP, TAGS
from kyara_kedro.text.fold import fold

Encode = Callable[[Sequence[str]], NDArray[np.float32]]

FREQUENCY, RULE, SEMANTIC, ASSOCIATION = "frequency", "rule", "semantic", "association"
UNCHANGED, EDITED = "unchanged", "edited"

_LOG = logging.getLogger(__name__)
_PAPER_QUERIES, _PAPER_FREQUENCY = 306_044, 20
_AFFIXES = re.compile(fold(r"^(?:相關的?|有關)|(?:相關|之類|類型?|的|之)+$|(?<=.)[的之](?=.)"))
_SPACE = re.compile(r"(?<=[^\x00-\x7f]) | (?=[^\x00-\x7f])")
_PLURAL = re.compile(r"(?<=[a-z]{3})(?<!s)s\b")


class NormalisationOptions(Options):
    """How far tags are merged.

    Attributes:
        frequency: A tag given less often is dropped; null for the paper's alpha scaled to the
            number of queries, max(2, ceil(20 n / 306,044)).
        distance: DBSCAN's eps, a cosine distance. The paper's 0.05 belongs to its sentence
            encoder; 0.35 to the TF-IDF of character n-grams that stands in for one.
        support: Fewest queries in which two tags meet before one may imply the other.
        confidence: Smallest share of a tag's queries that also carry the tag that it implies.
    """

    frequency: int | None = Field(None, ge=1)
    distance: float = Field(0.35, ge=0, lt=1)
    support: int = Field(40, ge=1)
    confidence: float = Field(0.99, gt=0, le=1)


_DEFAULT = NormalisationOptions()


def minimum_frequency(queries: int) -> int:
    """The paper's alpha = 20 for 306,044 queries, scaled."""
    return max(2, ceil(_PAPER_FREQUENCY * queries / _PAPER_QUERIES))


def build_tag_map(
    raw: pl.DataFrame,
    options: NormalisationOptions = _DEFAULT,
    edited: pl.DataFrame | None = None,
    encode: Encode | None = None,
) -> pl.DataFrame:
    """Map each raw tag to its final tag, or to null when it is dropped.

    Args:
        raw: Columns id and raw_tags.
        options: How far tags are merged.
        edited: An earlier map. Its edited rows, told by their step or by an id that no longer fits
            their content, decide over whatever the steps find.
        encode: Tags to unit vectors, shape [tags, dimensions]; without it tags are compared by
            their characters alone, which finds spellings and not synonyms.

    Returns:
        A table of :data:`kyara_kedro.records.TAG_MAP`, one row a raw tag, ordered by it, with the
        last step that changed the tag.
    """
    given = raw.select("id", pl.col("raw_tags").alias("tag")).explode("tag").drop_nulls().unique()
    counts = dict(given.group_by("tag").len().sort("tag").iter_rows())
    floor = options.frequency or minimum_frequency(raw.height)
    frequent = [tag for tag, count in counts.items() if count >= floor]

    final: dict[str, str] = {tag: tag for tag in frequent}
    steps = {tag: UNCHANGED if tag in final else FREQUENCY for tag in counts}
    merges: list[tuple[str, Callable[[Mapping[str, int]], Mapping[str, str]]]] = [
        (RULE, _same_by_rule),
        (SEMANTIC, lambda tags: _same_by_meaning(tags, options.distance, encode)),
        (ASSOCIATION, lambda tags: _implied(_renamed(given, final), tags, options)),
    ]
    for step, merge in merges:
        held = _renamed(given, final).group_by("tag").len().sort("tag")
        target = merge(dict(held.iter_rows()))
        for tag, name in final.items():
            if target.get(name, name) != name:
                final[tag], steps[tag] = target[name], step

    edits = {} if edited is None else _edits(edited)
    whole: dict[str, str | None] = {tag: final.get(tag) for tag in counts}
    for tag, now in whole.items():
        if tag in edits or now in edits:
            whole[tag] = edits[tag] if tag in edits else edits[str(now)]
            steps[tag] = EDITED if tag in edits else steps[tag]
    return TAG_MAP.frame(_row(tag, whole[tag], steps[tag], counts[tag]) for tag in counts)


def apply_tag_map(raw: pl.DataFrame, tag_map: pl.DataFrame, tagger: str) -> pl.DataFrame:
    """Rename tags; a query keeps each final tag once, in the order in which it was given.

    Args:
        raw: Columns id and raw_tags.
        tag_map: A table of :data:`kyara_kedro.records.TAG_MAP`.
        tagger: Who gave the raw tags.

    Returns:
        A table of :data:`kyara_kedro.records.TAGS`, in the order of ``raw``; complexity is the
        number of final tags.
    """
    final = dict(tag_map.select("raw", "final").iter_rows())
    return TAGS.frame(
        {
            "id": row_id,
            "raw_tags": given,
            "tags": (
                kept := list(dict.fromkeys(name for tag in given if (name := final.get(tag))))
            ),
            "complexity": len(kept),
            "tagger": tagger,
        }
        for row_id, given in raw.select("id", "raw_tags").iter_rows()
    )


def rule_key(tag: str) -> str:
    """What tags that differ by writing alone share: script, case, signs, plural, 的/之/類/相關."""
    words = _SPACE.sub("", re.sub(r"[\W_]+", " ", fold(tag))).strip()
    return _PLURAL.sub("", _AFFIXES.sub("", words).strip()) or words


def _row(raw: str, final: str | None, step: str, count: int) -> dict[str, Any]:
    return {
        "id": content_id("tag map", raw, final, step),
        "raw": raw,
        "final": final,
        "step": step,
        "count": count,
    }


def _edits(tag_map: pl.DataFrame) -> dict[str, str | None]:
    return {
        row["raw"]: row["final"]
        for row in tag_map.iter_rows(named=True)
        if row["step"] == EDITED
        or row["id"] != content_id("tag map", row["raw"], row["final"], row["step"])
    }


def _renamed(given: pl.DataFrame, final: Mapping[str, str]) -> pl.DataFrame:
    """The (id, tag) pairs under their names of now, dropped tags gone."""
    names = pl.DataFrame(
        list(final.items()), schema={"tag": pl.String, "final": pl.String}, orient="row"
    )
    return given.join(names, on="tag").select("id", tag="final").unique()


def _same_by_rule(tags: Mapping[str, int]) -> dict[str, str]:
    groups: dict[str, list[str]] = {}
    for tag in tags:
        groups.setdefault(rule_key(tag), []).append(tag)
    return _to_most_frequent(groups.values(), tags)


def _same_by_meaning(
    tags: Mapping[str, int], distance: float, encode: Encode | None
) -> dict[str, str]:
    """DBSCAN over the tags' vectors, two tags making a cluster."""
    from sklearn.cluster import DBSCAN
    from sklearn.feature_extraction.text import TfidfVectorizer

    names = list(tags)
    if len(names) < 2 or not distance:
        return {}
    if encode is None:
        _LOG.info("%d tags are compared by their characters: no encoder is configured", len(names))
    vectors = (
        encode(names)
        if encode
        else TfidfVectorizer(
            analyzer="char_wb", ngram_range=(1, 3), preprocessor=rule_key, sublinear_tf=True
        ).fit_transform(names)
    )
    labels = DBSCAN(eps=distance, min_samples=2, metric="cosine").fit_predict(vectors)
    groups: dict[int, list[str]] = {}
    for name, label in zip(names, labels.tolist(), strict=True):
        if label >= 0:
            groups.setdefault(label, []).append(name)
    return _to_most_frequent(groups.values(), tags)


def _implied(
    given: pl.DataFrame, tags: Mapping[str, int], options: NormalisationOptions
) -> dict[str, str]:
    """Merge A into B where nearly every query with A has B as well.

    A tag can only be merged into one tag, so of the frequent item sets that FP-growth lists the
    pairs are all that matter; they are counted directly. Two tags that imply each other merge into
    the more frequent.
    """
    pairs = (
        given.join(given, on="id", suffix="_implied")
        .filter(pl.col("tag") != pl.col("tag_implied"))
        .group_by("tag", "tag_implied")
        .agg(together=pl.len())
        .filter(pl.col("together") >= options.support)
        .sort("together", "tag", "tag_implied", descending=[True, False, False])
    )
    target: dict[str, str] = {}
    for tag, implied, together in pairs.iter_rows():
        larger = (tags[implied], tag) > (tags[tag], implied)
        if tag not in target and larger and together >= options.confidence * tags[tag]:
            target[tag] = implied
    return {tag: _last(tag, target) for tag in target}


def _last(tag: str, target: Mapping[str, str]) -> str:
    while tag in target:
        tag = target[tag]
    return tag


def _to_most_frequent(groups: Iterable[list[str]], tags: Mapping[str, int]) -> dict[str, str]:
    return {
        tag: min(group, key=lambda member: (-tags[member], member))
        for group in groups
        for tag in group
    }
