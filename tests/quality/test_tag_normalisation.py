from itertools import chain, combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.quality.tag_map import EDITED, read_tag_map, row_id, write_tag_map
from kyara_kedro.quality.tag_normalisation import (
    STEPS,
    NormalisationOptions,
    _grams,
    apply_tag_map,
    build_tag_map,
    implications,
    minimum_frequency,
    rule_key,
    spelled_alike,
    tf_idf,
)
from kyara_kedro.records import TAG_MAP, TAGS


def raw(*given):
    return pl.DataFrame(
        {"id": [f"{n:04}" for n in range(len(given))], "raw_tags": list(given), "tagger": "t"},
        schema={"id": pl.String, "raw_tags": pl.List(pl.String), "tagger": pl.String},
    )


def built(table, near=None, **options):
    return build_tag_map(table, NormalisationOptions(**options), near=near)


def mapped(table, near=None, **options):
    found = TAG_MAP.validate(built(table, near, **options).tag_map)
    assert (found["final"].fill_null("") == found["found"].fill_null("")).all()
    return {row["raw"]: (row["final"], row["step"]) for row in found.iter_rows(named=True)}


@pytest.mark.parametrize(
    ("queries", "least"), [(1, 2), (30_604, 2), (30_605, 3), (306_044, 20), (1_000_000, 66)]
)
def test_frequency_is_the_papers_scaled(queries, least):
    assert minimum_frequency(queries) == least


def test_rare_tags_are_dropped_by_the_number_of_their_queries():
    assert mapped(raw(["翻譯", "怪", "怪"], ["翻譯"])) == {
        "翻譯": ("翻譯", "unchanged"),
        "怪": (None, "frequency"),
    }


@pytest.mark.parametrize(
    "same",
    [
        ["數據分析", "数据分析", "數據 分析", "數據的分析"],
        ["Data Analysis", "data-analysis", "ｄａｔａ＿ａｎａｌｙｓｉｓ"],
        ["法律", "法律類", "法律相關", "相關法律", "法律相關的"],
        ["recipe", "Recipes"],
        ["text translation", "Texts: translating"],
        ["C++ 語言", "c++語言"],
    ],
)
def test_rules(same):
    assert len({rule_key(name) for name in same}) == 1


def test_rules_keep_other_words_apart():
    names = ["的", "類", "class", "clas", "人類學", "C", "C 語言", "C++", "C#", "++", "🎉", "!"]
    assert len({rule_key(name) for name in names}) == len(names)


def test_merging_goes_to_the_most_frequent():
    table = raw(["翻譯類"], ["翻譯類"], ["翻譯"], ["翻譯"], ["翻譯"])
    assert mapped(table) == {"翻譯": ("翻譯", "unchanged"), "翻譯類": ("翻譯", "rule")}
    assert mapped(raw(["翻譯類"], ["翻譯"]), frequency=1)["翻譯類"][0] == "翻譯"


def pairs(left, right):
    return {(int(a), int(b)) for a, b in zip(left, right, strict=True) if a != b}


NAMES = st.lists(st.text("翻譯寫作詩文ab ", min_size=1, max_size=6), unique=True, max_size=30)


@settings(max_examples=60, deadline=None)
@given(NAMES, st.sampled_from([0.1, 0.25, 0.4]))
def test_clusters_are_dbscans(names, distance):
    """The connected parts of the near pairs, against scikit-learn's own over all pairs."""
    from sklearn.cluster import DBSCAN
    from sklearn.feature_extraction.text import TfidfVectorizer

    names = [name for name in names if name.strip()]
    if len(names) < 2:
        return
    alike = TfidfVectorizer(analyzer=_grams, sublinear_tf=True).fit_transform(names).toarray()
    assert np.allclose(alike @ alike.T, (tf_idf(names) @ tf_idf(names).T).toarray())
    labels = DBSCAN(eps=distance + 1e-9, min_samples=2, metric="cosine").fit_predict(alike)
    by_rule = {}
    for name in sorted(names):
        by_rule.setdefault(rule_key(name), name)
    found = mapped(raw(*([name] for name in sorted(by_rule.values()))), frequency=1, distance=0)
    assert all(final == name for name, (final, _) in found.items())
    near = pairs(*spelled_alike(names, distance))
    parts = list(range(len(names)))
    for a, b in sorted(near):
        low, high = sorted((parts[a], parts[b]))
        parts = [low if part == high else part for part in parts]
    for a, b in combinations(range(len(names)), 2):
        assert (parts[a] == parts[b]) == (labels[a] == labels[b] >= 0)


def test_meaning_without_an_encoder_is_spelling_and_with_one_is_meaning():
    table = raw(
        *[["旅遊規劃建議"]] * 3, *[["旅遊規劃的建議事項"]] * 2, *[["煮飯"]] * 4, *[["烹飪"]] * 2
    )
    by_spelling = mapped(table, distance=0.5)
    assert by_spelling["旅遊規劃的建議事項"] == ("旅遊規劃建議", "semantic")
    assert by_spelling["烹飪"] == ("烹飪", "unchanged")
    asked = []

    def near(names, distance):
        asked.append(distance)
        return np.array([names.index("烹飪")]), np.array([names.index("煮飯")])

    assert mapped(table, near)["烹飪"] == ("煮飯", "semantic")
    assert mapped(table, near, distance=0.1)["旅遊規劃的建議事項"][1] == "unchanged"
    assert mapped(table, near, distance=0)["烹飪"][1] == "unchanged"
    assert asked == [0.05, 0.1]


def test_the_embedded_taggers_own_names_are_not_taken_for_spellings_of_each_other():
    from kyara_kedro.quality.tags import GROUNDED
    from kyara_kedro.text.intentions import FALLBACK, FORMS, INTENTS, TOPICS

    names = [*INTENTS, *FORMS, *TOPICS, FALLBACK, GROUNDED]
    found = mapped(raw(*([name] for name in names)), frequency=1)
    assert {step for _, step in found.values()} == {"unchanged"}


def test_a_large_vocabulary_needs_no_matrix_of_all_pairs():
    rng = np.random.default_rng(1)
    letters = np.array([chr(0x4E00 + n) for n in range(600)])
    names = sorted({"".join(rng.choice(letters, 4)) for _ in range(30_000)})
    left, right = spelled_alike([*names, names[0] + "的"], 0.1)
    assert (0, len(names)) in pairs(left, right)
    assert len(left) < 3 * len(names)


def test_association_merges_what_is_nearly_always_implied():
    table = raw(*[["代數", "數學"]] * 40, *[["數學"]] * 10, *[["詩"]] * 5)
    found = mapped(table)
    assert found["代數"] == ("數學", "association")
    assert found["數學"] == ("數學", "unchanged")
    assert mapped(table, support=41)["代數"] == ("代數", "unchanged")


def test_tags_that_imply_each_other_become_one():
    assert mapped(raw(*[["甲乙", "丙丁"]] * 40)) == {
        "丙丁": ("丙丁", "unchanged"),
        "甲乙": ("丙丁", "association"),
    }


def test_association_is_recursive():
    """What 丙 implies is seen once 甲 counts as 乙: 99 of its 100 queries have one of them."""
    table = raw(*[["甲", "乙"]] * 60, *[["丙", "甲", "乙"]] * 50, *[["丙", "乙"]] * 49, ["丙"])
    assert {final for final, _ in mapped(table).values()} == {"乙"}
    late = raw(
        *[["甲", "乙"]] * 995,
        *[["甲"]] * 5,
        *[["丙", "甲"]] * 5,
        *[["丙", "乙"]] * 95,
        *[["乙"]] * 9,
    )
    assert mapped(late)["丙"] == ("乙", "association")


def by_brute_force(queries, support, confidence):
    """Every association rule of one tag on the left, of all frequent sets of any size."""
    tags = sorted({tag for query in queries for tag in query})

    def count(items):
        return sum(set(items) <= set(query) for query in queries)

    sizes = range(2, len(tags) + 1)
    found = set()
    for items in chain.from_iterable(combinations(tags, size) for size in sizes):
        together = count(items)
        if together < support:
            continue
        for tag in items:
            if together >= confidence * count([tag]):
                found |= {(tag, other) for other in items if other != tag}
    return found


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sets(st.sampled_from("甲乙丙丁戊"), max_size=4), max_size=30),
    st.integers(1, 6),
    st.sampled_from([0.6, 0.75, 0.9, 1.0]),
)
def test_pairs_are_all_that_a_miner_of_item_sets_can_merge_by(queries, support, confidence):
    from scipy.sparse import csr_array

    tags = "甲乙丙丁戊"
    held = csr_array(
        np.array([[tag in query for tag in tags] for query in queries] or [[0] * 5], int)
    )
    options = NormalisationOptions(support=support, confidence=confidence)
    found = {(tags[a], tags[b]) for a, b in pairs(*implications(held, options))}
    assert found == by_brute_force(queries, support, confidence)


def edit(tag_map, **changes):
    """The map after a person has changed the file."""
    lines = write_tag_map(tag_map).decode("utf-8-sig").splitlines()
    for raw_tag, final in changes.items():
        place = [n for n, line in enumerate(lines) if line.startswith(f"{raw_tag},")]
        row = lines[place[0]].split(",") if place else [raw_tag, "", "", "", "", "", ""]
        row[1] = final
        lines[place[0] if place else len(lines) :] = [
            ",".join(row),
            *(lines[place[0] + 1 :] if place else []),
        ]
    return read_tag_map("\r\n".join(lines).encode("utf-8-sig"), "tag_map.csv")


def test_edits_by_a_person_outlive_the_next_runs():
    table = raw(*[["翻譯"]] * 3, *[["翻譯類"]] * 2, *[["詩"]] * 3, ["罕見"])
    first = built(table).tag_map
    by_hand = edit(first, 翻譯="語言轉換", 詩="", 罕見="罕見", 沒有了="翻譯")
    again, left = build_tag_map(table, earlier=by_hand)
    TAG_MAP.validate(again)
    finals = dict(again.select("raw", "final").iter_rows())
    assert finals == {
        "翻譯": "語言轉換",
        "翻譯類": "語言轉換",
        "詩": None,
        "罕見": "罕見",
        "沒有了": "翻譯",
    }
    steps = dict(again.select("raw", "step").iter_rows())
    assert [name for name, step in steps.items() if step == EDITED] == [
        "翻譯",
        "詩",
        "罕見",
        "沒有了",
    ]
    assert steps["翻譯類"] == "rule"
    assert dict(again.select("raw", "found").iter_rows())["翻譯"] == "翻譯"
    assert dict(again.select("raw", "count").iter_rows())["沒有了"] == 0
    assert left[EDITED] == 2
    third = read_tag_map(write_tag_map(again), "tag_map.csv")
    assert build_tag_map(table, earlier=third).tag_map.equals(again)
    fewer = build_tag_map(raw(["詩"], ["詩"]), earlier=third).tag_map
    assert dict(fewer.select("raw", "final").iter_rows())["罕見"] == "罕見"
    undone = third.filter(pl.col("raw") != "詩")
    back = build_tag_map(table, earlier=undone).tag_map
    assert dict(back.select("raw", "final").iter_rows())["詩"] == "詩"


def test_the_map_shows_the_most_frequent_first_with_an_example_of_each():
    examples = pl.DataFrame({"tag": ["詩"], "explanation": ["要求寫詩"]})
    found = build_tag_map(raw(["詩", "歌"], ["歌"], ["歌"], ["詩"]), examples=examples).tag_map
    assert found.select("raw", "count", "explanation").rows() == [
        ("歌", 3, ""),
        ("詩", 2, "要求寫詩"),
    ]
    row = found.row(0, named=True)
    assert row["id"] == row_id(row["raw"], row["final"], row["step"])


def test_steps_count_what_they_leave():
    table = raw(
        *[["翻譯"], ["翻譯類"], ["代數", "數學"]] * 40, ["怪"], *[["數學"]] * 2, *[["旅遊規劃"]] * 2
    )
    left = built(table).left
    assert list(left) == list(STEPS)
    assert left == {"frequency": 5, "rule": 4, "semantic": 4, "association": 3, EDITED: 3}


def test_apply():
    table = raw(["翻譯類", "詩", "翻譯"], ["怪"], [])
    tag_map = TAG_MAP.frame(
        {"raw": name, "final": final, "step": "rule", "count": 1, "explanation": "", "id": name}
        for name, final in {"翻譯類": "翻譯", "翻譯": "翻譯", "詩": "詩", "怪": None}.items()
    )
    one, other, none = TAGS.validate(apply_tag_map(table, tag_map)).to_dicts()
    assert (one["tags"], one["complexity"], one["tagger"]) == (["翻譯", "詩"], 2, "t")
    assert (other["tags"], other["complexity"], other["raw_tags"]) == ([], 0, ["怪"])
    assert none["tags"] == []


def test_no_tags_at_all():
    assert mapped(raw()) == {}
    assert mapped(raw([])) == {}
    assert apply_tag_map(raw([]), TAG_MAP.frame())["complexity"].to_list() == [0]
    assert apply_tag_map(raw(), TAG_MAP.frame()).height == 0
