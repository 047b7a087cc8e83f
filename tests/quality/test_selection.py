from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.errors import UserError
from kyara_kedro.quality.selection import SelectionOptions, select
from kyara_kedro.records import QUALITY, TAGS


def tables(rows):
    """Conversations, tags and quality from (tags, score, source, language) rows."""
    ids = [f"{number:04}" for number in range(len(rows))]
    conversations = pl.DataFrame(
        {"id": ids, "source": [row[2] for row in rows], "language": [row[3] for row in rows]},
        schema={"id": pl.String, "source": pl.String, "language": pl.String},
    )
    tags = TAGS.frame(
        {"id": name, "raw_tags": [], "tags": list(row[0]), "complexity": len(row[0]), "tagger": "t"}
        for name, row in zip(ids, rows, strict=True)
    )
    quality = QUALITY.frame(
        {"id": name, "score": row[1], "aspects": [], "scorer": "s"}
        for name, row in zip(ids, rows, strict=True)
    )
    return conversations, tags, quality


def chosen(rows, **options):
    result = select(*tables(rows), SelectionOptions(**options))
    reasons = dict(result.drops.select("record_id", "reason").iter_rows())
    assert sorted([*result.ids, *reasons]) == [f"{n:04}" for n in range(len(rows))]
    assert len(reasons) == result.drops.height
    return [int(name) for name in result.ids], reasons


def row(tags, score, source="s", language="zh"):
    return (tags, score, source, language)


def test_each_cluster_gives_its_best():
    rows = [
        row("a", 0.9),
        row("a", 0.8),
        row("a", 0.7),
        row("b", 0.3),
        row("b", 0.2),
        row("b", 0.1),
    ]
    ids, reasons = chosen(rows, budget=4)
    assert ids == [0, 1, 3, 4]
    assert set(reasons.values()) == {"over_quota"}


def test_small_clusters_leave_their_share_to_diverse_queries():
    rows = [row("a", 0.9), *[row("b", 0.5)] * 3, row("bcd", 0.1), row("bc", 0.4), row("b", 0.5)]
    ids, _ = chosen(rows, budget=6)
    assert 0 in ids and 4 in ids and 5 in ids


def test_low_scores_stay_out_even_below_budget():
    ids, reasons = chosen([row("a", 0.9), row("a", 0.4)], budget=2, min_score=0.5)
    assert ids == [0]
    assert reasons == {"0001": "below_min_score"}


def test_one_source_does_not_take_over():
    rows = [*[row("a", 0.9, "big")] * 20, *[row("a", 0.1, f"small{n}") for n in range(5)]]
    ids, reasons = chosen(rows, budget=8, max_source_share=0.5)
    sources = Counter(rows[n][2] for n in ids)
    assert len(ids) == 8
    assert sources["big"] == 4
    assert reasons["0019"] == "over_source_share"


def test_shares_hold_of_what_is_selected_not_of_what_was_hoped_for():
    rows = [*[row("a", 0.9, "big")] * 50, *[row("a", 0.5, "small")] * 3]
    ids, _ = chosen(rows, budget=40, max_source_share=0.5)
    assert Counter(rows[n][2] for n in ids) == {"big": 3, "small": 3}


def test_language_targets_bound_a_language():
    rows = [*[row("a", 0.9, language="en")] * 10, *[row("a", 0.5, language="zh")] * 10]
    ids, reasons = chosen(rows, budget=10, language_targets={"en": 0.3})
    assert Counter(rows[n][3] for n in ids) == {"en": 3, "zh": 7}
    assert reasons["0009"] == "over_quota"


def test_budget_as_a_share_and_untagged_rows():
    ids, _ = chosen([row("", 0.5)] * 10, budget=0.5)
    assert ids == [0, 1, 2, 3, 4]


def test_more_clusters_than_budget():
    ids, reasons = chosen([row(name, 0.1 * n) for n, name in enumerate("abcdef")], budget=2)
    assert ids == [4, 5]
    assert set(reasons.values()) == {"over_budget"}


def test_impossible_bounds_are_told():
    with pytest.raises(UserError, match=r"max_source_share=0\.4"):
        chosen([row("a", 0.5)] * 3, budget=2, max_source_share=0.4)


def test_conversations_without_tags_or_score_are_told():
    conversations, tags, quality = tables([row("a", 0.5)])
    with pytest.raises(UserError, match="0000 has no score"):
        select(conversations, tags, quality.clear())
    with pytest.raises(UserError, match="0000 has no tags"):
        select(conversations, tags.clear(), quality)


def test_nothing_to_select_from():
    assert chosen([], budget=5) == ([], {})


def test_a_reviewer_overrides_scores_and_bounds_within_the_budget():
    rows = [row("a", 0.9), row("a", 0.8), row("a", 0.1), row("a", 0.7)]
    result = select(
        *tables(rows),
        SelectionOptions(budget=2, min_score=0.5),
        accepted={"0002", "gone"},
        rejected={"0000": "r1: wrong", "lost": ""},
    )
    assert result.ids == ["0001", "0002"]
    assert ("0000", "rejected_by_reviewer", "r1: wrong") in result.drops.rows()
    assert result.drops.height == 2


def test_a_record_is_not_accepted_and_rejected():
    with pytest.raises(UserError, match="0000 is accepted and rejected"):
        select(*tables([row("a", 0.9)]), accepted=["0000"], rejected={"0000": ""})


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["", "a", "ab", "b", "cab", "d"]),
        st.floats(0, 1),
        st.sampled_from("xyz"),
        st.sampled_from(["zh", "en"]),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(
    ROWS,
    st.integers(1, 30) | st.floats(0.1, 1.0),
    st.sampled_from([1.0, 0.6, 0.5]),
    st.sampled_from([{}, {"en": 0.25}]),
)
def test_bounds_hold_and_every_record_is_accounted_for(rows, budget, share, targets):
    options = {"budget": budget, "max_source_share": share, "language_targets": targets}
    try:
        ids, reasons = chosen(rows, min_score=0.2, **options)
    except UserError:
        return
    wanted = budget if isinstance(budget, int) else max(1, round(budget * len(rows)))
    eligible = sum(value[1] >= 0.2 for value in rows)
    assert len(ids) <= wanted
    if share == 1.0 and not targets:
        assert len(ids) == min(wanted, eligible)
    for part in Counter(rows[n][2] for n in ids).values():
        assert part <= share * len(ids)
    assert sum(rows[n][3] == "en" for n in ids) <= targets.get("en", 1.0) * len(ids)
    assert all(
        (reason == "below_min_score") == (rows[int(n)][1] < 0.2) for n, reason in reasons.items()
    )
    assert chosen(rows, min_score=0.2, **options) == (ids, reasons)
