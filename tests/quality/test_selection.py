from collections import Counter
from itertools import combinations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.quality.selection import SelectionOptions, select
from kyara_kedro.records import QUALITY, SIMILAR_PAIR, TAGS


def tables(rows):
    """Conversations, tags and quality from (tags, score, source, language, teacher) rows."""
    ids = [f"{number:04}" for number in range(len(rows))]
    conversations = pl.DataFrame(
        {
            "id": ids,
            "source": [row[2] for row in rows],
            "language": [row[3] for row in rows],
            "teacher": [row[4] for row in rows],
        },
        schema=dict.fromkeys(("id", "source", "language", "teacher"), pl.String),
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


def alike(*pairs):
    """Pairs of row numbers, each with the same similarity."""
    return SIMILAR_PAIR.frame(
        {
            "id": content_id(*pair),
            "first_id": f"{pair[0]:04}",
            "second_id": f"{pair[1]:04}",
            "method": "lexical",
            "similarity": 0.65,
        }
        for pair in pairs
    )


def selected(rows, pairs=(), accepted=(), rejected=(), **options):
    result = select(
        *tables(rows),
        SelectionOptions(**options),
        pairs=alike(*pairs),
        accepted=[f"{n:04}" for n in accepted],
        rejected={f"{n:04}": "told so" for n in rejected},
    )
    reasons = dict(result.drops.select("record_id", "reason").iter_rows())
    assert sorted([*result.ids, *reasons]) == [f"{n:04}" for n in range(len(rows))]
    assert len(reasons) == result.drops.height
    assert not result.drops["detail"].is_null().any()
    return result


def chosen(rows, **options):
    result = selected(rows, **options)
    reasons = {int(name): reason for name, reason, _ in result.drops.iter_rows()}
    return [int(name) for name in result.ids], reasons


def details(result):
    return {int(name): detail for name, _, detail in result.drops.iter_rows()}


def row(tags, score, source="s", language="zh", teacher=None):
    return (tags, score, source, language, teacher)


def test_each_cluster_gives_its_best():
    rows = [row("a", 0.9), row("a", 0.8), row("a", 0.7), row("b", 0.3), row("b", 0.2)]
    rows.append(row("b", 0.1))
    result = selected(rows, budget=4)
    assert result.ids == ["0000", "0001", "0003", "0004"]
    assert result.drops.rows() == [
        ("0002", "over_quota", "'a' gave 2 of its 3; score 0.7"),
        ("0005", "over_budget", "score 0.1, 4 selected"),
    ]
    assert result.report["clusters"] == [
        {"cluster": "a", "available": 3, "taken": 2, "mean_score": 0.85},
        {"cluster": "b", "available": 3, "taken": 2, "mean_score": 0.25},
    ]
    assert result.report["notes"] == []


def test_what_a_small_cluster_leaves_goes_to_the_others():
    rows = [row("a", 0.1), *[row("b", 0.5)] * 5, *[row("c", 0.9)] * 5]
    ids, _ = chosen(rows, budget=7)
    assert Counter(rows[n][0] for n in ids) == {"a": 1, "b": 3, "c": 3}


def test_new_tags_go_before_a_little_more_quality():
    rows = [row("ab", 0.62), row("ab", 0.61), row("ac", 0.6), row("ad", 0.5)]
    assert chosen(rows, budget=2)[0] == [0, 2]
    assert chosen(rows, budget=2, new_tag_bonus=0)[0] == [0, 1]


def test_low_scores_stay_out_even_below_budget():
    result = selected([row("a", 0.9), row("a", 0.4996)], budget=2, min_score=0.5)
    assert result.drops.rows() == [("0001", "below_min_score", "score 0.499 < 0.5")]
    assert (result.report["asked"], result.report["reached"]) == (2, 1)
    assert result.report["notes"] == ["no more than 1 of the 2 conversations can be selected"]


def test_one_source_does_not_take_over():
    rows = [*[row("a", 0.9, "big")] * 20, *[row("a", 0.1, f"small{n}") for n in range(5)]]
    ids, reasons = chosen(rows, budget=8, max_source_share=0.5)
    assert Counter(rows[n][2] for n in ids)["big"] == 4
    assert len(ids) == 8
    assert reasons[19] == "over_source_share"


def test_one_teacher_does_not_take_over_but_published_data_may():
    rows = [*[row("a", 0.9, teacher="t")] * 9, row("a", 0.5, teacher="u"), *[row("a", 0.1)] * 9]
    ids, reasons = chosen(rows, budget=10, max_teacher_share=0.2)
    assert Counter(rows[n][4] for n in ids) == {"t": 2, "u": 1, None: 7}
    assert reasons[8] == "over_teacher_share"


def test_shares_hold_of_what_is_selected_not_of_what_was_hoped_for():
    rows = [*[row("a", 0.9, "big")] * 50, *[row("a", 0.5, "small")] * 3]
    result = selected(rows, budget=40, max_source_share=0.5)
    assert Counter(rows[int(n)][2] for n in result.ids) == {"big": 3, "small": 3}
    assert result.report["notes"] == [
        "the shares hold for no more: source 'big' may have 50%, source 'small' may have 50%"
    ]


def test_the_budget_is_reached_where_the_best_first_would_block_it():
    rows = [
        *[row("a", 0.9, "one", teacher="t")] * 2,
        *[row("a", 0.8, "one", teacher="u")] * 2,
        *[row("a", 0.7, "two", teacher="t")] * 2,
    ]
    ids, _ = chosen(rows, budget=4, max_source_share=0.5, max_teacher_share=0.5)
    assert ids == [2, 3, 4, 5]


def test_language_targets_are_aimed_at_by_largest_remainders():
    rows = [row("a", 0.9, language=name) for name in ["en"] * 10 + ["zh"] * 10 + ["ja"] * 10]
    result = selected(rows, budget=10, language_targets={"en": 0.25, "zh": 0.44})
    assert Counter(rows[int(n)][3] for n in result.ids) == {"en": 3, "zh": 4, "ja": 3}
    assert set(result.drops["reason"]) == {"over_budget"}
    assert result.report["notes"] == []
    assert result.report["languages"][0] == {
        "language": "zh", "available": 10, "taken": 4, "share": 0.4, "target": 0.44
    }  # fmt: skip


def test_a_better_row_of_a_full_language_is_told_what_it_lost_to():
    rows = [row("a", score, language="en") for score in (0.9, 0.8, 0.7)]
    rows += [row("b", 0.85, language="en"), row("c", 0.1, language="zh"), row("c", 0.05)]
    result = selected(rows, budget=3, language_targets={"en": 0.67, "zh": 0.33})
    assert result.drops.rows() == [
        (
            "0001",
            "over_language_share",
            "language en holds 2 of 3, the share aimed at; score 0.8",
        ),
        (
            "0002",
            "over_language_share",
            "language en holds 2 of 3, the share aimed at; score 0.7",
        ),
        ("0005", "over_budget", "score 0.05, 3 selected"),
    ]


def test_a_language_that_is_short_leaves_its_places_to_the_others():
    rows = [row("a", 0.5, language="zh-Hant-TW")] * 2
    rows += [row("a", 0.9, language="en")] * 20 + [row("a", 0.9, language="zh")] * 20
    targets = {"zh-Hant-TW": 0.6, "en": 0.3, "zh": 0.1}
    result = selected(rows, budget=10, language_targets={**targets, "ja": 0.0})
    assert Counter(rows[int(n)][3] for n in result.ids) == {"zh-Hant-TW": 2, "en": 6, "zh": 2}
    assert result.report["notes"] == [
        "zh-Hant-TW: 2 of the 6 aimed at",
        "ja: the pool has none",
    ]


def test_a_language_is_short_when_its_only_source_is_full():
    rows = [row("a", 0.9, "one", "zh")] * 8 + [row("a", 0.5, "two", "en")] * 8
    options = {"max_source_share": 0.5, "language_targets": {"zh": 0.8, "en": 0.2}}
    result = selected(rows, budget=10, **options)
    assert Counter(rows[int(n)][3] for n in result.ids) == {"zh": 5, "en": 5}
    assert result.report["notes"] == ["zh: 5 of the 8 aimed at"]


def test_the_best_of_near_copies_stands_for_them():
    rows = [row("a", 0.7), row("b", 0.9), row("a", 0.6), row("c", 0.5)]
    result = selected(rows, [(0, 1), (0, 2)], budget=3)
    assert result.ids == ["0001", "0002", "0003"]
    assert result.drops.rows() == [("0000", "similar_to_selected", "of 0001, similarity 0.65")]


def test_copies_fill_what_nothing_else_can():
    rows = [row("a", 0.9), row("a", 0.8), row("a", 0.1)]
    result = selected(rows, [(0, 1)], budget=3)
    assert result.ids == ["0000", "0001", "0002"]
    assert result.report["copies"] == 1
    assert result.report["notes"] == [
        "1 resemble better ones, for there was nothing else to select"
    ]


def test_the_single_teacher_has_the_best_rows_for_the_whole_budget():
    rows = [row("a", 1.0, teacher="rare")]
    rows += [row("a", score, teacher="strong") for score in (0.9, 0.8, 0.1)]
    rows += [row("a", 0.7, teacher="weak")] * 5 + [row("a", 0.95)]
    result = selected(rows, budget=2, single_teacher="best")
    assert result.ids == ["0001", "0002"]
    assert details(result)[0] == "by 'rare', not 'strong'"
    assert details(result)[9] == "by nobody, not 'strong'"
    assert selected(rows, budget=9, single_teacher="weak").ids == [f"{n:04}" for n in range(4, 9)]
    with pytest.raises(UserError, match=r"'gpt'.*\['rare', 'strong', 'weak'\]"):
        selected(rows, single_teacher="gpt")
    with pytest.raises(UserError, match="none by a teacher"):
        selected([row("a", 0.5)], single_teacher="best")


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


@pytest.mark.parametrize(
    "options",
    [
        {"budget": 1.5},
        {"language_targets": {"zh": 0.7, "en": 0.4}},
        {"language_targets": {"klingon": 0.1}},
        {"single_teacher": "t", "max_teacher_share": 0.5},
    ],
)
def test_settings_that_cannot_be_meant(options):
    with pytest.raises(ValidationError):
        SelectionOptions(**options)


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


def test_accepted_rows_are_taken_beyond_every_bound():
    rows = [row("a", 0.1, "s", teacher="t")] * 4 + [row("a", 0.9, "other", teacher="u")]
    options = {"min_score": 0.5, "max_source_share": 0.2, "language_targets": {"en": 1.0}}
    result = selected(rows, [(0, 1)], accepted=[0, 1, 2], budget=2, **options)
    assert result.ids == ["0000", "0001", "0002"]
    assert "the reviewers accepted 3" in result.report["notes"]
    single = selected(rows, accepted=[0], budget=2, single_teacher="u")
    assert single.ids == ["0000", "0004"]


def test_a_record_is_not_accepted_and_rejected():
    with pytest.raises(UserError, match="0000 is accepted and rejected"):
        select(*tables([row("a", 0.9)]), accepted=["0000"], rejected={"0000": ""})


ROW = st.tuples(
    st.sampled_from(["", "a", "ab", "b", "cab", "d"]),
    st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.8, 1.0]) | st.floats(0, 1),
    st.sampled_from("xyz"),
    st.sampled_from(["zh", "en", "ja"]),
    st.sampled_from(["t", "u", None]),
)
ROWS = st.lists(ROW, max_size=40)
OPTIONS = st.fixed_dictionaries(
    {
        "budget": st.integers(1, 30) | st.floats(0.1, 1.0),
        "max_source_share": st.sampled_from([1.0, 0.6, 0.5]),
        "max_teacher_share": st.sampled_from([1.0, 0.5]),
        "language_targets": st.sampled_from([{}, {"en": 0.25}, {"zh": 0.7, "en": 0.3}]),
    }
)
PAIRS = st.sets(st.tuples(st.integers(0, 39), st.integers(0, 39)).filter(lambda p: p[0] < p[1]))


def existing(pairs, rows):
    return sorted(pair for pair in pairs if pair[1] < len(rows))


@settings(max_examples=60, deadline=None)
@given(ROWS, PAIRS, OPTIONS)
def test_bounds_hold_and_every_record_is_accounted_for(rows, pairs, options):
    try:
        ids, reasons = chosen(rows, pairs=existing(pairs, rows), min_score=0.2, **options)
    except UserError:
        return
    budget = options["budget"]
    wanted = budget if isinstance(budget, int) else max(1, round(budget * len(rows)))
    eligible = sum(value[1] >= 0.2 for value in rows)
    assert len(ids) <= wanted
    if options["max_source_share"] == options["max_teacher_share"] == 1.0:
        assert len(ids) == min(wanted, eligible)
    for part in Counter(rows[n][2] for n in ids).values():
        assert part <= options["max_source_share"] * len(ids)
    for teacher, part in Counter(rows[n][4] for n in ids).items():
        assert teacher is None or part <= options["max_teacher_share"] * len(ids)
    assert all((why == "below_min_score") == (rows[n][1] < 0.2) for n, why in reasons.items())


@settings(max_examples=40, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=9), st.integers(1, 9))
def test_no_larger_selection_within_the_budget_holds_the_shares(rows, budget):
    def holds(some):
        sources = Counter(rows[n][2] for n in some)
        teachers = Counter(rows[n][4] for n in some if rows[n][4])
        return all(2 * part <= len(some) for part in [*sources.values(), *teachers.values()])

    sizes = range(min(budget, len(rows)), 0, -1)
    best = next((n for n in sizes if any(map(holds, combinations(range(len(rows)), n)))), 0)
    options = {"budget": budget, "max_source_share": 0.5, "max_teacher_share": 0.5}
    if best:
        assert len(chosen(rows, **options)[0]) == best
    else:
        with pytest.raises(UserError, match="raise a share"):
            chosen(rows, **options)


@settings(max_examples=60, deadline=None)
@given(ROWS, PAIRS, st.integers(1, 40))
def test_the_best_of_every_group_survives_and_copies_come_last(rows, pairs, budget):
    pairs = existing(pairs, rows)
    ids, reasons = chosen(rows, pairs=pairs, budget=budget)
    rank = {n: (-rows[n][1], n) for n in range(len(rows))}
    follows = set()
    for n in sorted(rank, key=rank.__getitem__):
        near = {a if b == n else b for a, b in pairs if n in (a, b)}
        if any(rank[other] < rank[n] and other not in follows for other in near):
            follows.add(n)
    leaders = set(rank) - follows
    if len(leaders) <= budget:
        assert leaders <= set(ids)
    else:
        assert not follows & set(ids)
    for n, reason in reasons.items():
        better = any(
            n in p and set(p) - {n} <= set(ids) and rank[n] > min(map(rank.get, p)) for p in pairs
        )
        assert (reason == "similar_to_selected") == better


@settings(max_examples=40, deadline=None)
@given(ROWS, PAIRS, OPTIONS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows, pairs, options, random):
    pairs = alike(*existing(pairs, rows))
    made = tables(rows)

    def outcome(*shuffled, pairs):
        try:
            return select(*shuffled, SelectionOptions(**options), pairs=pairs)
        except UserError as error:
            return str(error)

    def mixed(table):
        return table[random.sample(range(table.height), table.height)]

    first = outcome(*made, pairs=pairs)
    second = outcome(*map(mixed, made), pairs=mixed(pairs))
    assert type(first) is type(second)
    if isinstance(first, str):
        assert first == second
    else:
        assert first.ids == second.ids
        assert first.drops.equals(second.drops)
        assert first.report == second.report
