"""From the tags that a tagger wrote to the tags that are counted: InsTag's four steps.

The paper (arXiv:2308.07074, section 3.2; its code does not hold them) gives: drop rare tags, unify
by rules, merge tags of near meaning, merge tags that imply one another. What a person has written
into the map decides over all of them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from kyara_kedro.options import Options
from kyara_kedro.quality.tag_map import EDITED, row_id
from kyara_kedro.records import TAG_MAP, TAGS
from kyara_kedro.text.fold import fold
from kyara_kedro.text.stem import stem

Places = NDArray[np.int64]
Near = Callable[[Sequence[str], float], tuple[Places, Places]]
"""Finds the pairs of tags within a cosine distance, as two arrays of places."""

UNCHANGED, FREQUENCY, RULE = "unchanged", "frequency", "rule"
SEMANTIC, ASSOCIATION = "semantic", "association"
STEPS = (FREQUENCY, RULE, SEMANTIC, ASSOCIATION, EDITED)

_LOG = logging.getLogger(__name__)
_PAPER_QUERIES, _PAPER_FREQUENCY = 306_044, 20
_PAPER_DISTANCE, _SPELLING_DISTANCE = 0.05, 0.25
_AFFIXES = re.compile(fold(r"^(?:相關的?|有關)|(?:相關|之類|類型?|的|之)+$|(?<=.)[的之](?=.)"))
_SIGNS = re.compile(r"(?<![^\W_])(?<![+#])[+#]+|[^\w+#]+|_+")
"""Everything but letters, digits, and the signs that tell C++ and C# from C."""
_SPACE = re.compile(r"(?<=[^\x00-\x7f]) | (?=[^\x00-\x7f])")
_WORD = re.compile(r"(?<![^\W])[a-z]{3,}(?![^\W]|[+#])")
_ROWS = 1_024


class NormalisationOptions(Options):
    """How far tags are merged.

    Attributes:
        frequency: A tag given less often is dropped; null for the paper's alpha scaled to the
            number of queries, max(2, ceil(20 n / 306,044)).
        distance: DBSCAN's eps, a cosine distance; null for the paper's 0.05 with an encoder, and
            0.25 with the TF-IDF of character n-grams that stands in for one.
        support: Fewest queries in which two tags meet before one may imply the other.
        confidence: Smallest share of a tag's queries that also carry the tag that it implies.
    """

    frequency: int | None = Field(None, ge=1)
    distance: float | None = Field(None, ge=0, lt=1)
    support: int = Field(40, ge=1)
    confidence: float = Field(0.99, gt=0.5, le=1)


_DEFAULT = NormalisationOptions()


class Normalisation(NamedTuple):
    """What became of the raw tags.

    Attributes:
        tag_map: A table of :data:`kyara_kedro.records.TAG_MAP`, the most frequent first.
        left: Different tags that are left after each of :data:`STEPS`.
    """

    tag_map: pl.DataFrame
    left: dict[str, int]


def minimum_frequency(queries: int) -> int:
    """The paper's alpha = 20 for 306,044 queries, scaled."""
    return max(2, ceil(_PAPER_FREQUENCY * queries / _PAPER_QUERIES))


def build_tag_map(
    raw: pl.DataFrame,
    options: NormalisationOptions = _DEFAULT,
    *,
    earlier: pl.DataFrame | None = None,
    examples: pl.DataFrame | None = None,
    near: Near | None = None,
) -> Normalisation:
    """Map each raw tag to its final tag, or to null when it is dropped.

    Args:
        raw: Columns id and raw_tags.
        options: How far tags are merged.
        earlier: An earlier map. Its edited rows decide over whatever the steps find, and stay in
            the map even when nobody gives their tag any more.
        examples: Columns tag and explanation, an example for each tag.
        near: Finds tags of near meaning; without it tags are compared by their characters alone,
            which finds spellings and not synonyms.
    """
    names, held = _table(raw)
    counts = _counts(held)
    floor = options.frequency or minimum_frequency(raw.height)
    final = np.where(counts >= floor, np.arange(len(names)), -1)
    step = np.where(final >= 0, UNCHANGED, FREQUENCY).astype(object)
    merges: list[tuple[str, Callable[[Any], Places]]] = [
        (RULE, lambda held: _same_by_rule(names, _counts(held))),
        (SEMANTIC, lambda held: _same_by_meaning(names, _counts(held), options.distance, near)),
        (ASSOCIATION, lambda held: _implied(held, options)),
    ]
    left = {FREQUENCY: _distinct(final)}
    for name, merge in merges:
        kept = np.flatnonzero(final >= 0)
        target = merge(_renamed(held, final))[final[kept]]
        step[kept[target != final[kept]]] = name
        final[kept] = target
        left[name] = _distinct(final)
    found = pl.DataFrame(
        {
            "raw": names,
            "found": [names[place] if place >= 0 else None for place in final.tolist()],
            "step": step.tolist(),
            "count": counts,
        },
        schema={"raw": pl.String, "found": pl.String, "step": pl.String, "count": pl.Int64},
    )
    table = _with_examples(_edited(found, earlier), examples)
    left[EDITED] = table.filter(pl.col("count") > 0)["final"].drop_nulls().n_unique()
    return Normalisation(table, left)


def apply_tag_map(raw: pl.DataFrame, tag_map: pl.DataFrame) -> pl.DataFrame:
    """Rename tags; a query keeps each final tag once, in the order in which it was given.

    Args:
        raw: Columns id, raw_tags and tagger.
        tag_map: A table of :data:`kyara_kedro.records.TAG_MAP`.

    Returns:
        A table of :data:`kyara_kedro.records.TAGS`, in the order of ``raw``; complexity is the
        number of final tags.
    """
    renamed = pl.element().replace_strict(
        tag_map["raw"], tag_map["final"], default=None, return_dtype=pl.String
    )
    kept = pl.col("raw_tags").list.eval(renamed.drop_nulls().unique(maintain_order=True))
    return raw.select(
        "id", "raw_tags", tags=kept, complexity=kept.list.len().cast(pl.Int32), tagger="tagger"
    ).select(TAGS.schema.names())


def rule_key(tag: str) -> str:
    """What tags share that differ by writing alone.

    That is width, script, case and signs; 的, 之, 類 and 相關 in Chinese, and endings in English.
    """
    words = _SPACE.sub("", " ".join(_SIGNS.sub(" ", fold(tag)).split())) or fold(tag)
    bare = _AFFIXES.sub("", words).strip() or words
    return _WORD.sub(lambda word: stem(word[0]), bare)


def spelled_alike(names: Sequence[str], distance: float) -> tuple[Places, Places]:
    """Pairs within a cosine distance by the TF-IDF of their characters' n-grams.

    Two unit vectors whose product reaches t share a gram of the head of either: its rarest grams,
    up to where the rest is shorter than t (Cauchy and Schwarz). So common grams make no candidates.
    """
    least = 1 - distance - 1e-9
    vectors = tf_idf(names)
    vectors = vectors[:, np.argsort(_counts(vectors), kind="stable")]
    heads, rests = _heads(vectors, least)
    other = vectors.T.tocsr()
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(names), _ROWS):
        shared = (heads[start : start + _ROWS] @ other).tocoo()
        rows, columns = shared.row.astype(np.int64) + start, shared.col.astype(np.int64)
        hopeful = shared.data + rests[rows] >= least
        rows, columns = rows[hopeful], columns[hopeful]
        alike = np.asarray(vectors[rows].multiply(vectors[columns]).sum(axis=1)).ravel()
        left.append(rows[alike >= least])
        right.append(columns[alike >= least])
    return np.concatenate(left), np.concatenate(right)


def _heads(vectors: Any, least: float) -> tuple[Any, NDArray[np.float64]]:
    """The heads of unit vectors, whose columns are in order, and how long the rest of each is."""
    heads = vectors.copy()
    heads.sort_indices()
    squares = heads.data**2
    before = np.cumsum(squares) - squares
    ends = np.concatenate([[0.0], np.cumsum(squares)])
    before -= np.repeat(ends[heads.indptr[:-1]], np.diff(heads.indptr))
    heads.data[before > 1 - least**2] = 0
    heads.eliminate_zeros()
    rests = np.sqrt(np.maximum(0, 1 - np.asarray(heads.multiply(heads).sum(axis=1)).ravel()))
    return heads, rests


def tf_idf(names: Sequence[str]) -> Any:
    """Unit vectors of the n-grams of names, (1 + ln tf) (1 + ln((1 + n) / (1 + df))); sparse."""
    from scipy.sparse import csr_array

    columns: dict[str, int] = {}
    grams = [[columns.setdefault(gram, len(columns)) for gram in _grams(name)] for name in names]
    lengths = [len(one) for one in grams]
    rows = np.repeat(np.arange(len(names)), lengths)
    flat = np.fromiter((gram for one in grams for gram in one), np.int64, sum(lengths))
    shape = (len(names), len(columns))
    counts = csr_array((np.ones(len(flat)), (rows, flat)), shape=shape)
    counts.sum_duplicates()
    weights = 1 + np.log((1 + len(names)) / (1 + _counts(counts)))
    counts.data = (1 + np.log(counts.data)) * weights[counts.indices]
    norms = np.sqrt(counts.multiply(counts).sum(axis=1))
    counts.data /= np.repeat(norms, np.diff(counts.indptr))
    return counts


def _grams(tag: str) -> list[str]:
    """Three characters, of Chinese one and two as well: those of Latin tell too little apart."""
    key = rule_key(tag)
    padded = f" {key} "
    short = (padded[at : at + size] for size in (1, 2) for at in range(len(padded) - size + 1))
    long = (padded[at : at + 3] for at in range(len(padded) - 2))
    return [*(gram for gram in short if not gram.isascii()), *long]


def implications(held: Any, options: NormalisationOptions = _DEFAULT) -> tuple[Places, Places]:
    """Tags and the tags that they imply: the association rules of one tag on either side.

    A map of names can use no others: what {A, C} implies says nothing about A alone. Of rules with
    one tag on the left, those with several on the right add nothing, since A -> {B, C} is never
    more frequent or sure than A -> B. So the pairs that FP-growth (Han et al. 2000) would list are
    counted directly, as a product of the sparse matrix with itself.

    Args:
        held: Which query has which tag, a sparse matrix of ones, shape [queries, tags].
        options: Support and confidence.

    Returns:
        Places of tags, and of what each implies.
    """
    counts = _counts(held)
    common = np.flatnonzero(counts >= options.support)
    columns = held[:, common]
    together = (columns.T @ columns).tocoo()
    tag, implied = common[together.row], common[together.col]
    sure = together.data >= np.maximum(options.support, options.confidence * counts[tag] - 1e-9)
    sure &= tag != implied
    return tag[sure], implied[sure]


def _table(raw: pl.DataFrame) -> tuple[list[str], Any]:
    """The raw tags in order, and which query has which: sparse ones, shape [queries, tags]."""
    from scipy.sparse import csr_array

    given = (
        raw.select(query=pl.int_range(pl.len()), tag="raw_tags")
        .explode("tag", empty_as_null=False)
        .drop_nulls()
    )
    names = given["tag"].unique().sort()
    places = given["tag"].replace_strict(names, np.arange(len(names)), return_dtype=pl.Int64)
    ones = np.ones(len(given), np.int32)
    shape = (raw.height, len(names))
    return names.to_list(), _binary(
        csr_array((ones, (given["query"].to_numpy(), places.to_numpy())), shape=shape)
    )


def _binary(held: Any) -> Any:
    held.sum_duplicates()
    held.data[:] = 1
    return held


def _renamed(held: Any, final: Places) -> Any:
    """Who has which tag under the names of now, dropped tags gone."""
    from scipy.sparse import csr_array

    kept = np.flatnonzero(final >= 0)
    shape = (len(final), len(final))
    names = csr_array((np.ones(len(kept), np.int32), (kept, final[kept])), shape=shape)
    return _binary((held @ names).tocsr())


def _counts(held: Any) -> Places:
    """In how many queries each tag is."""
    return np.bincount(held.indices, minlength=held.shape[1])


def _distinct(final: Places) -> int:
    return len(np.unique(final[final >= 0]))


def _same_by_rule(names: Sequence[str], counts: Places) -> Places:
    groups: dict[str, int] = {}
    live = np.flatnonzero(counts)
    labels = [groups.setdefault(rule_key(names[place]), len(groups)) for place in live.tolist()]
    return _to_most_frequent(live, np.array(labels, np.int64), counts)


def _same_by_meaning(
    names: Sequence[str], counts: Places, distance: float | None, near: Near | None
) -> Places:
    """DBSCAN (Ester et al. 1996) whose clusters begin at two tags.

    With so few every tag of a cluster is a core point, so the clusters are the connected parts of
    the graph of near pairs, and no matrix of all pairs is needed.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    live = np.flatnonzero(counts)
    if distance is None:
        distance = _PAPER_DISTANCE if near else _SPELLING_DISTANCE
    if len(live) < 2 or not distance:
        return np.arange(len(names))
    if near is None:
        _LOG.info("%d tags are compared by their characters: no encoder is configured", len(live))
    left, right = (near or spelled_alike)([names[place] for place in live.tolist()], distance)
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(len(live), len(live)))
    _, labels = connected_components(graph, directed=False)
    return _to_most_frequent(live, labels, counts)


def _implied(held: Any, options: NormalisationOptions) -> Places:
    """Merge A into B where nearly every query with A has B as well, until none is left.

    B is the more frequent of the two, so that there are no circles; of several the surest, then the
    most frequent.
    """
    final = np.arange(held.shape[1])
    while True:
        now = _renamed(held, final)
        counts = _counts(now)
        tag, implied = implications(now, options)
        wider = (counts[implied] > counts[tag]) | (
            (counts[implied] == counts[tag]) & (implied < tag)
        )
        tag, implied = tag[wider], implied[wider]
        if not len(tag):
            return final
        met = np.asarray(now[:, tag].multiply(now[:, implied]).sum(axis=0)).ravel()
        order = np.lexsort((implied, -counts[implied], -met, tag))
        tag, first = np.unique(tag[order], return_index=True)
        target = np.arange(len(final))
        target[tag] = implied[order][first]
        while (target[target] != target).any():
            target = target[target]
        final = target[final]


def _to_most_frequent(members: Places, labels: Places, counts: Places) -> Places:
    """Send the members of each group to its most frequent one, the first by name of several."""
    target = np.arange(len(counts))
    if len(members):
        order = np.lexsort((members, -counts[members], labels))
        _, first, group = np.unique(labels[order], return_index=True, return_inverse=True)
        target[members[order]] = members[order][first][group]
    return target


def _edited(found: pl.DataFrame, earlier: pl.DataFrame | None) -> pl.DataFrame:
    """Let what a person has written decide, also over tags that the steps send to an edited one."""
    columns = {"raw": pl.String, "by_hand": pl.String}
    edits = pl.DataFrame(schema=columns)
    if earlier is not None:
        edits = earlier.filter(step=EDITED).select("raw", by_hand="final")
    edits = edits.with_columns(edited=True)
    followed = edits.rename({"raw": "found", "by_hand": "follows", "edited": "follows_edit"})
    return (
        found.join(edits, on="raw", how="full", coalesce=True)
        .join(followed, on="found", how="left")
        .select(
            "raw",
            pl.when("edited")
            .then("by_hand")
            .when("follows_edit")
            .then("follows")
            .otherwise("found")
            .alias("final"),
            pl.when("edited").then(pl.lit(EDITED)).otherwise("step").alias("step"),
            pl.col("count").fill_null(0),
            "found",
        )
    )


def _with_examples(table: pl.DataFrame, examples: pl.DataFrame | None) -> pl.DataFrame:
    if examples is None:
        examples = pl.DataFrame(schema={"tag": pl.String, "explanation": pl.String})
    ordered = (
        table.join(examples.select(raw="tag", explanation="explanation"), on="raw", how="left")
        .with_columns(pl.col("explanation").fill_null(""))
        .sort("count", "raw", descending=[True, False])
    )
    ids = [row_id(*row) for row in ordered.select("raw", "final", "step").iter_rows()]
    return ordered.with_columns(id=pl.Series("id", ids, pl.String)).select(TAG_MAP.schema.names())
