"""The refined set: the best of every kind, within a budget.

Each cluster (main tag) first gets an equal share of the budget for its best conversations; what
small clusters leave over is filled by InsTag's diversity passes (arXiv 2308.07074, algorithm 1),
which prefer queries with many tags and never take two of the same tags in one pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl
from pydantic import Field

from kyara_kedro.errors import UserError
from kyara_kedro.options import Options

UNTAGGED = ""
REJECTED = "rejected_by_reviewer"
BELOW_MIN_SCORE, OVER_QUOTA = "below_min_score", "over_quota"
OVER_SOURCE_SHARE, OVER_BUDGET = "over_source_share", "over_budget"


class SelectionOptions(Options):
    """How much is selected, and of what at most.

    Attributes:
        budget: Number of conversations, or as a fraction their share of the pool.
        min_score: Lowest quality score.
        max_source_share: Largest share of the selection from one source.
        language_targets: Largest share of the selection in each language; a language that is not
            named is not bounded.
    """

    budget: int | float = Field(0.5, gt=0)
    min_score: float = Field(0.0, ge=0, le=1)
    max_source_share: float = Field(1.0, gt=0, le=1)
    language_targets: Mapping[str, float] = Field(default_factory=dict)


_DEFAULT = SelectionOptions()


class Selection(NamedTuple):
    """What was selected and why the rest was not.

    Attributes:
        ids: The selected conversations, sorted.
        drops: Columns record_id, reason and detail, one row for each other conversation.
    """

    ids: list[str]
    drops: pl.DataFrame


def select(
    conversations: pl.DataFrame,
    tags: pl.DataFrame,
    quality: pl.DataFrame,
    options: SelectionOptions = _DEFAULT,
    *,
    accepted: Collection[str] = (),
    rejected: Mapping[str, str] = MappingProxyType({}),
) -> Selection:
    """Select conversations by quality within quotas.

    The budget is met exactly wherever the pool and the bounds on sources and languages allow;
    where they do not, the selection shrinks until its shares hold.

    Args:
        conversations: A table of :data:`kyara_kedro.records.CONVERSATION`.
        tags: A table of :data:`kyara_kedro.records.TAGS`, one row a conversation.
        quality: A table of :data:`kyara_kedro.records.QUALITY`, one row a conversation.
        options: How much is selected, and of what at most.
        accepted: Ids that are selected whatever their score and the bounds; they count into the
            budget first. Ids that the pool lacks are ignored.
        rejected: Ids that are not selected, each with the detail of its drop; likewise.

    Raises:
        UserError: A conversation has no tags or no score, no selection satisfies the bounds,
            or an id is both accepted and rejected.
    """
    for name in sorted(rejected.keys() & set(accepted)):
        raise UserError(f"selection: conversation {name} is accepted and rejected; decide for one")
    pool = _pool(conversations, tags, quality).with_columns(
        accepted=pl.col("id").is_in(list(accepted)), rejected=pl.col("id").is_in(list(rejected))
    )
    fit = pl.col("accepted") | (pl.col("score") >= options.min_score)
    eligible = pool.filter(fit & ~pl.col("rejected"))
    budget = options.budget
    wanted = budget if isinstance(budget, int) else max(1, round(budget * pool.height))
    size = max(min(int(wanted), eligible.height), eligible.filter("accepted").height)
    picker = _Picker(eligible, options)
    while len(chosen := picker.pick(size)) < size:
        size = len(chosen)
    if eligible.height and not chosen:
        raise UserError(
            f"selection: no set holds max_source_share={options.max_source_share} and "
            f"language_targets={dict(options.language_targets)} with the sources "
            f"{sorted(eligible['source'].unique())}; raise a share"
        )
    low = [
        (row["id"], BELOW_MIN_SCORE, f"score {row['score']:.3f} < {options.min_score}")
        for row in pool.filter(~fit & ~pl.col("rejected")).iter_rows(named=True)
    ]
    unwanted = [(name, REJECTED, rejected[name]) for name in pool.filter("rejected")["id"]]
    dropped = sorted([*unwanted, *low, *picker.reasons(set(chosen), size)])
    return Selection(
        sorted(chosen),
        pl.DataFrame(
            dropped,
            schema={"record_id": pl.String, "reason": pl.String, "detail": pl.String},
            orient="row",
        ),
    )


def _pool(conversations: pl.DataFrame, tags: pl.DataFrame, quality: pl.DataFrame) -> pl.DataFrame:
    """Conversations with tags, cluster and score, the best first."""
    pool = (
        conversations.select("id", "source", "language")
        .join(tags.select("id", "tags"), on="id", how="left")
        .join(quality.select("id", "score"), on="id", how="left")
        .with_columns(cluster=pl.col("tags").list.first().fill_null(UNTAGGED))
        .sort("score", "id", descending=[True, False])
    )
    for name in ("tags", "score"):
        lacking = pool.filter(pl.col(name).is_null())
        if lacking.height:
            raise UserError(
                f"selection: conversation {lacking['id'][0]} has no {name}; tag and score the "
                "same conversations that are selected from"
            )
    return pool.with_columns(place=pl.int_range(pl.len()).over("cluster"))


class _Picker:
    """Greedy selection from a pool sorted by score, for budgets of any size."""

    def __init__(self, pool: pl.DataFrame, options: SelectionOptions) -> None:
        self._rows: list[dict[str, Any]] = pool.to_dicts()
        self._options = options
        self._clusters = pool["cluster"].n_unique()

    def pick(self, size: int) -> list[str]:
        """Choose up to ``size`` conversations whose shares of ``size`` hold."""
        taken: dict[str, None] = {}
        used: Counter[tuple[str, str]] = Counter()
        quota = self._quota(size)
        for row in self._rows:
            if row["accepted"]:
                taken[row["id"]] = None
                used.update(self._bounds(row))
        by_place = sorted(
            (row for row in self._rows if row["place"] < quota),
            key=lambda row: (row["place"], -row["score"], row["id"]),
        )
        for row in by_place:
            self._take(row, size, taken, used)
        for row in self._diverse([row for row in self._rows if row["id"] not in taken]):
            if len(taken) == size:
                break
            self._take(row, size, taken, used)
        return list(taken)

    def reasons(self, chosen: set[str], size: int) -> Iterator[tuple[str, str, str]]:
        """Say why each conversation of the pool that was not chosen was not."""
        used = Counter(
            bound for row in self._rows if row["id"] in chosen for bound in self._bounds(row)
        )
        quota = self._quota(size)
        for row in self._rows:
            if row["id"] in chosen:
                continue
            source, language = (("source", row["source"]), ("language", row["language"]))
            if used[source] >= self._most(source, size) and self._most(source, size) < size:
                yield (
                    row["id"],
                    OVER_SOURCE_SHARE,
                    (f"source '{row['source']}' holds {used[source]} of {size}"),
                )
            elif used[language] >= self._most(language, size) and self._most(language, size) < size:
                yield (
                    row["id"],
                    OVER_QUOTA,
                    (f"language {row['language']} holds {used[language]} of {size}"),
                )
            elif row["place"] >= quota:
                yield (
                    row["id"],
                    OVER_QUOTA,
                    (f"place {row['place'] + 1} in '{row['cluster']}', quota {quota}"),
                )
            else:
                yield row["id"], OVER_BUDGET, f"score {row['score']:.3f}, budget {size}"

    def _quota(self, size: int) -> int:
        return max(1, size // max(1, self._clusters))

    def _bounds(self, row: Mapping[str, Any]) -> tuple[tuple[str, str], tuple[str, str]]:
        return ("source", row["source"]), ("language", row["language"])

    def _most(self, bound: tuple[str, str], size: int) -> int:
        kind, name = bound
        share = (
            self._options.max_source_share
            if kind == "source"
            else self._options.language_targets.get(name, 1.0)
        )
        return int(share * size + 1e-9)

    def _take(
        self,
        row: Mapping[str, Any],
        size: int,
        taken: dict[str, None],
        used: Counter[tuple[str, str]],
    ) -> None:
        bounds = self._bounds(row)
        if row["id"] in taken:
            return
        if len(taken) < size and all(used[bound] < self._most(bound, size) for bound in bounds):
            taken[row["id"]] = None
            used.update(bounds)

    @staticmethod
    def _diverse(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Order rows by InsTag's passes.

        In a pass, most tags first, a row is taken if it adds a tag that the pass has not seen.
        Rows of one tag set compete only with each other, so passes run over tag sets. Rows without
        tags come last.
        """
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in rows:
            groups.setdefault(tuple(sorted(row["tags"])), []).append(row)
        untagged = groups.pop((), [])
        order = sorted(groups, key=lambda tags: (-len(tags), -groups[tags][0]["score"], tags))
        waiting = {tags: iter(groups[tags]) for tags in order}
        while waiting:
            seen: set[str] = set()
            for tags in list(waiting):
                if seen.issuperset(tags):
                    continue
                for row in waiting[tags]:
                    seen.update(tags)
                    yield row
                    break
                else:
                    del waiting[tags]
        yield from untagged
