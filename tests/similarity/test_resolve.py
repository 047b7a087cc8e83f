import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.records import DUPLICATE, SIMILAR_PAIR
from kyara_kedro.similarity.resolve import rank, remove_followers, resolve

THRESHOLDS = {"lexical": 0.7, "semantic": 0.9}
EDGE = st.tuples(
    st.integers(0, 14),
    st.integers(0, 14),
    st.sampled_from(["lexical", "semantic"]),
    st.sampled_from([0.5, 0.7, 0.8, 0.9, 1.0]),
)


def table(edges):
    """Pairs whose first is the lower number; copies are numbered from 100 on."""
    rows = [
        {
            "id": f"{one}-{other}-{method}",
            "first_id": f"{one:03}",
            "second_id": f"{other:03}",
            "method": method,
            "similarity": similarity,
        }
        for one, other, method, similarity in edges
    ]
    return SIMILAR_PAIR.validate(SIMILAR_PAIR.frame(rows))


def distinct(edges):
    seen = {}
    for one, other, method, similarity in edges:
        if one != other:
            seen.setdefault((min(one, other), max(one, other), method), similarity)
    return [(*key, value) for key, value in seen.items()]


def leaders(edges, thresholds=THRESHOLDS):
    """The leader rule, said slowly."""
    counted = {(a, b) for a, b, method, value in edges if value >= thresholds[method]}
    kept = []
    for record in range(15):
        if not any((leader, record) in counted for leader in kept):
            kept.append(record)
    return kept


@settings(deadline=None)
@given(st.lists(EDGE, max_size=40))
def test_the_leader_rule(edges):
    edges = distinct(edges)
    found = DUPLICATE.validate(resolve(table(edges), THRESHOLDS))
    kept = {f"{record:03}" for record in leaders(edges)}
    everyone = {f"{record:03}" for record in range(15)}
    assert set(found["removed_id"]) == everyone - kept
    assert set(found["kept_id"]) <= kept
    value = {(f"{a:03}", f"{b:03}", m): v for a, b, m, v in edges}
    for row in found.iter_rows(named=True):
        assert value[row["kept_id"], row["removed_id"], row["method"]] == row["similarity"]
        rivals = [
            v
            for (a, b, m), v in value.items()
            if a in kept and b == row["removed_id"] and m == row["method"]
        ]
        assert row["similarity"] == max(rivals)


@settings(deadline=None)
@given(st.lists(EDGE, max_size=40), st.randoms(use_true_random=False))
def test_no_group_is_lost_and_order_and_repetition_change_nothing(edges, rng):
    edges = distinct(edges)
    found = resolve(table(edges), THRESHOLDS)
    shuffled = list(edges)
    rng.shuffle(shuffled)
    assert resolve(table(shuffled), THRESHOLDS).equals(found)
    gone = set(found["removed_id"])
    assert set(found["group_id"]).isdisjoint(gone)
    members = found.group_by("group_id").agg("removed_id")
    assert sum(map(len, members["removed_id"].to_list())) == len(gone)
    left = table([edge for edge in edges if not {f"{n:03}" for n in edge[:2]} & gone])
    assert resolve(left, THRESHOLDS).is_empty()


def test_a_threshold_chosen_anew_needs_no_other_search():
    edges = [(0, 1, "lexical", 0.75), (0, 2, "lexical", 0.72), (1, 2, "lexical", 0.95)]
    assert dict(resolve(table(edges), {"lexical": 0.7}).select("removed_id", "kept_id").rows()) == {
        "001": "000",
        "002": "000",
    }
    assert resolve(table(edges), {"lexical": 0.9})["removed_id"].to_list() == ["002"]
    assert resolve(table(edges), {}).is_empty()


def test_copies_follow_the_best_of_them():
    edges = [
        (0, 5, "lexical", 0.8),
        (5, 100, "exact", 1.0),
        (0, 101, "exact", 1.0),
        (7, 102, "exact", 1.0),
    ]
    rows = resolve(table(edges), THRESHOLDS).select("removed_id", "kept_id", "method", "similarity")
    assert rows.rows() == [
        ("005", "000", "lexical", 0.8),
        ("100", "000", "lexical", 0.8),
        ("101", "000", "exact", 1.0),
        ("102", "007", "exact", 1.0),
    ]


def test_a_lexical_neighbour_stands_before_a_semantic_one():
    edges = [(0, 2, "semantic", 0.99), (1, 2, "lexical", 0.71)]
    row = resolve(table(edges), THRESHOLDS).row(0, named=True)
    assert (row["kept_id"], row["method"], row["group_id"]) == ("001", "lexical", "000")


def test_pairs_in_a_circle_are_refused():
    edges = table([(0, 1, "lexical", 1.0), (1, 2, "lexical", 1.0)])
    back = edges.with_columns(first_id=pl.lit("002"), second_id=pl.lit("000")).head(1)
    with pytest.raises(ValueError, match="in a circle"):
        resolve(pl.concat([edges, back]), THRESHOLDS)


def test_rank_is_by_quality_then_length_then_id():
    ids = pl.Series(["b", "a", "d", "c", "e"])
    quality = pl.Series([0.5, 0.5, None, 0.9, float("nan")])
    lengths = np.array([3, 3, 9, 1, 2])
    assert rank(ids, quality, lengths).tolist() == [2, 1, 3, 0, 4]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 12)), max_size=40), st.integers(2, 4))
def test_followers_are_those_of_the_leader_rule(entries, modulus):
    entries = sorted(set(entries))
    buckets = np.array([bucket for bucket, _ in entries], np.int64)
    members = np.array([member for _, member in entries], np.int64)

    def similarity(kept, candidate):
        return np.where((kept + candidate) % modulus == 0, 0.9, 0.0)

    met = {
        (one, other)
        for bucket, one in entries
        for again, other in entries
        if bucket == again and one < other and (one + other) % modulus == 0
    }
    kept = []
    for member in sorted(set(members.tolist())):
        if not any((leader, member) in met for leader in kept):
            kept.append(member)
    found = remove_followers(buckets, members, similarity)
    assert set(found.removed.tolist()) == set(members.tolist()) - set(kept)
    pairs = list(zip(found.kept.tolist(), found.removed.tolist(), strict=True))
    assert all(pair in met and pair[0] in kept for pair in pairs)


def test_a_long_chain_is_resolved():
    count = 3_000
    edges = [(n, n + 1, "lexical", 0.8) for n in range(count)]
    random.Random(0).shuffle(edges)
    rows = pl.DataFrame(edges, schema=["a", "b", "method", "similarity"], orient="row")
    names = rows.select(
        id=pl.format("{}", "a"),
        first_id=pl.format("{}", "a"),
        second_id=pl.format("{}", "b"),
        method="method",
        similarity="similarity",
    )
    found = resolve(names, THRESHOLDS)
    assert set(found["removed_id"]) == {str(n) for n in range(1, count + 1, 2)}
