import random
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.records import DUPLICATE, SIMILAR_PAIR
from kyara_kedro.shards import Shard
from kyara_kedro.similarity.guards import claims
from kyara_kedro.similarity.lexical import LexicalOptions, find_pairs, join_pairs, one_slip
from kyara_kedro.similarity.resolve import resolve
from kyara_kedro.similarity.shingles import shortened, tokenise
from kyara_kedro.similarity.sketches import band_length, sketch
from kyara_kedro.text.fold import match_key, tokens

TEXT = (
    "臺灣的夜市文化源於日治時期的攤販聚集，戰後隨著都市發展逐漸形成今日的規模，"
    "各地夜市也發展出自己的特色。"
)
OPTIONS = LexicalOptions()


def frame(texts, quality=None, labels=None):
    return pl.DataFrame(
        {
            "id": [f"{number:04}" for number in range(len(texts))],
            "text": texts,
            "quality": quality or [0.5] * len(texts),
            "label": labels or [0] * len(texts),
        },
        schema={"id": pl.String, "text": pl.String, "quality": pl.Float64, "label": pl.Int64},
    )


def pairs(table, options=OPTIONS, size=10_000):
    frames = [table[start : start + size] for start in range(0, table.height or 1, size)]
    return SIMILAR_PAIR.validate(find_pairs(frames, options))


def removed(texts, quality=None):
    found = resolve(pairs(frame(texts, quality)), {"lexical": OPTIONS.threshold})
    return {
        int(row["removed_id"]): (int(row["kept_id"]), row["method"])
        for row in DUPLICATE.validate(found).iter_rows(named=True)
    }


def grams(text, n):
    words = tokens(text)
    return {tuple(words[start : start + n]) for start in range(len(words) - n + 1)}


def likeness(one, other):
    """What the pair table promises, said once more and slowly."""
    shorter = min(len(tokens(one)), len(tokens(other)))
    if claims(one) != claims(other):
        return 0.0
    found = 0.0
    if shorter >= OPTIONS.minimum_tokens:
        n = 2 if shorter < OPTIONS.short_tokens else 3
        first, second = grams(one, n), grams(other, n)
        found = len(first & second) / len(first | second)
    if OPTIONS.slip_tokens <= shorter < 20 and found < OPTIONS.threshold:
        found = max(found, one_slip(match_key(one), match_key(other)))
    return found


def corpus(seed, count):
    rng = random.Random(seed)
    words = [chr(0x4E00 + 3 * rng.randrange(900)) for _ in range(120)]
    words += ["and", "water", "river", "3", "30"]
    head = words[:30]
    texts = []
    while len(texts) < count:
        if texts and rng.random() < 0.6:
            letters = rng.choice(texts).split(" ")
            for _ in range(rng.randrange(1, 6)):
                letters[rng.randrange(len(letters))] = rng.choice(words)
        else:
            length = rng.choice([rng.randrange(8, 22), rng.randrange(20, 110)])
            letters = [rng.choice(words) for _ in range(length)]
            letters = head * (rng.random() < 0.4) + letters
        texts.append(" ".join(letters))
    return texts


def test_copies_across_script_width_case_glyphs_and_punctuation():
    texts = [
        "臺灣的首都是臺北，對嗎？",
        "台湾的首都是台北对吗",
        "ABC 是什麼？！",
        "ａｂｃ是什麼",
        "羣峯間住著妳",
        "群峰间住着你",
    ]
    assert removed(texts) == {1: (0, "exact"), 3: (2, "exact"), 5: (4, "exact")}


def test_empty_and_letterless_texts_never_collide():
    assert removed(["", "", "！！！", "！！！", "🙂", "🙂"]) == {}


def test_no_texts():
    assert removed([]) == {}


@pytest.mark.parametrize("edit", [("各地", "全國"), ("今日", "現在"), ("，戰後", "。後來")])
def test_lightly_edited_copies_are_found(edit):
    assert removed([TEXT, TEXT.replace(*edit)]).keys() == {1}


@pytest.mark.parametrize(
    "edit",
    ["赫圖羅究竟是什麼東西呢", "赫羅圖究竟是什麼東呢", "大赫羅圖究竟是什麼東西呢"],
)
def test_short_questions_with_a_slip_are_found(edit):
    assert len(removed(["赫羅圖究竟是什麼東西呢", edit])) == 1


def test_another_letter_asks_another_question():
    assert removed(["左嘴角上面有痣的男人", "右嘴角上面有痣的男人"]) == {}


def test_the_shortest_texts_are_compared_exactly_only():
    assert removed(["今天天氣如何", "明天天氣如何", "今天，天氣如何？"]) == {0: (2, "exact")}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("小明有三十顆蘋果，他每天吃掉兩顆，請問幾天之後會吃完？", "四十"),
        ("一輛火車以時速三十公里行駛，請問行駛到下一站要多少時間？", "50"),
        ("這條古老的石板路上總共住著三十戶人家，門前都種了花", "二十"),
    ],
)
def test_other_numbers_never_merge(one, other):
    changed = one.replace("三十", other)
    assert removed([one, changed]) == {}
    assert len(removed([one, one.replace("三十", "30")])) == 1


def test_equal_numbers_written_differently_merge():
    one = "小明有三十顆蘋果，他每天早上和晚上都吃掉一些，請問要過多久之後才會吃完全部的蘋果？"
    assert len(removed([one, one.replace("三十", "30")])) == 1


def test_negation_never_merges():
    assert removed([TEXT, TEXT.replace("也發展出", "未發展出")]) == {}
    assert removed(["3.5 公里", "35 公里"]) == {}


def test_the_best_of_five_copies_stays():
    copies = [TEXT.replace("今日", word) for word in ("今日", "現在", "今天", "當代", "目前")]
    found = removed(copies, quality=[0.1, 0.2, 0.9, 0.3, 0.4])
    assert set(found) == {0, 1, 3, 4}
    assert {kept for kept, _ in found.values()} == {2}


def test_missing_quality_ranks_last_then_length_then_id():
    assert removed([TEXT, TEXT + "！"], quality=[None, 0.0]) == {0: (1, "exact")}
    assert removed([TEXT, TEXT + "！"], quality=[float("nan"), 0.0]) == {0: (1, "exact")}
    assert removed([TEXT, TEXT + "！"]) == {0: (1, "exact")}
    assert removed([TEXT, TEXT]) == {1: (0, "exact")}


def test_texts_of_other_labels_are_not_compared():
    near = TEXT.replace("今日", "現在")
    table = frame([TEXT, TEXT, near, near], labels=[0, 1, 0, 1])
    found = pairs(table).select("first_id", "second_id").rows()
    assert sorted(map(sorted, found)) == [["0000", "0002"], ["0001", "0003"]]


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
)
def test_pairs_are_those_that_comparing_everything_gives(seed):
    texts = corpus(seed, 140)
    table = frame(texts)
    found = {
        frozenset((int(row["first_id"]), int(row["second_id"]))): row["similarity"]
        for row in pairs(table).filter(method="lexical").iter_rows(named=True)
    }
    copies = set(pairs(table).filter(method="exact")["second_id"].cast(pl.Int64))
    apart = [n for n in range(len(texts)) if n not in copies]
    truth = {
        frozenset(pair): value
        for pair in combinations(apart, 2)
        if (value := likeness(*(texts[n] for n in pair))) >= OPTIONS.floor
    }
    assert found == pytest.approx(truth)
    assert len(truth) > 30


def test_very_many_short_texts_are_found_by_sketches(monkeypatch):
    table = frame(corpus(5, 400))
    joined = pairs(table)
    monkeypatch.setattr("kyara_kedro.similarity.lexical.MANY_SHORT", 0)
    sketched = pairs(table)
    assert set(sketched.rows()) <= set(joined.rows())
    near = pl.col("similarity") >= OPTIONS.threshold
    assert sketched.filter(near).equals(joined.filter(near))


def test_texts_that_share_rare_words_only_are_no_crowd_of_copies():
    rng = random.Random(3)
    letters = [chr(point) for point in range(0x4E00, 0x5E00, 3)]
    texts = ["".join(rng.sample(letters, 30)) + "龘靐齉" for _ in range(200)]
    texts.append(texts[17][:5] + texts[17][6:])
    assert set(removed(texts)) in ({17}, {200})


def test_how_the_texts_come_makes_no_difference():
    table = frame(corpus(7, 150))
    whole = pairs(table)
    assert pairs(table, size=7).equals(whole)
    assert pairs(table.sample(fraction=1, shuffle=True, seed=2)).equals(whole)


def test_a_template_is_no_copy_and_copies_of_a_template_are_found():
    rng = random.Random(1)
    letters = [chr(point) for point in range(0x4E00, 0x5E00, 3)]
    texts = [TEXT + "".join(rng.sample(letters, 60)) for _ in range(300)]
    texts.append(texts[17].replace("夜市文化", "夜間文化"))
    assert set(removed(texts)) in ({17}, {300})


def test_a_crowd_of_copies_costs_no_square_and_leaves_the_best():
    rng = random.Random(2)
    words = [chr(point) for point in range(0x4E00, 0x5E00, 3)]
    words = [word for word in words if claims(word) == claims("")]
    base = rng.sample(words, 200)
    texts = []
    for _ in range(400):
        letters = list(base)
        letters[rng.randrange(200)] = rng.choice(words)
        texts.append("".join(letters))
    table = frame(texts, quality=[n == 123 for n in range(400)])
    found = pairs(table)
    assert found.height < 400 * 399 / 4
    gone = resolve(found, {"lexical": OPTIONS.threshold})
    assert gone.height == 399
    assert set(gone["kept_id"]) == {"0123"}


@settings(deadline=None)
@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_one_slip(one, other):
    def around(text):
        for n in range(len(text) + 1):
            yield text[:n] + text[n + 1 :]
            yield text[:n] + text[n : n + 2][::-1] + text[n + 2 :]
            yield from (text[:n] + letter + text[n:] for letter in "abc")

    apart = one != other and other in set(around(one))
    longest = max(len(one), len(other))
    assert one_slip(one, other) == (1 - 1 / longest if apart else 0)


@settings(deadline=None)
@given(st.lists(st.text("ab山水", max_size=5), min_size=1, max_size=5))
def test_texts_one_slip_apart_share_a_shortened_hash(texts):
    owners, keys = shortened(tokenise(texts))
    held = [set(keys[owners == n].tolist()) for n in range(len(texts))]
    for one, other in combinations(range(len(texts)), 2):
        if one_slip(match_key(texts[one]), match_key(texts[other])):
            assert held[one] & held[other]


def test_sketches_estimate_jaccard():
    rng = np.random.default_rng(0)
    universe = rng.integers(0, 2**63, 400, dtype=np.uint64) * np.uint64(2)
    for size in (4, 30, 400):
        apart = size // 4
        sets = []
        for _ in range(200):
            both = rng.permutation(universe)[:size]
            sets += [both[apart:], both[:-apart]]
        offsets = np.concatenate([[0], np.cumsum([len(one) for one in sets])])
        values = sketch(np.concatenate(sets), offsets.astype(np.int64), 128)
        truth = (size - 2 * apart) / size
        agreed = (values[::2] == values[1::2]).mean(axis=1)
        assert abs(agreed.mean() - truth) < 0.02
        # no more than independent hash functions would let them scatter
        assert agreed.std() < 1.2 * np.sqrt(truth * (1 - truth) / 128)


def test_bands_are_as_long_as_recall_allows():
    assert band_length(0.7, 128) == 4
    assert band_length(1.0, 128) == 128
    assert [band_length(share, 128) for share in (0.1, 0.5, 0.9)] == sorted(
        band_length(share, 128) for share in (0.1, 0.5, 0.9)
    )


def test_a_floor_above_the_threshold_is_refused():
    with pytest.raises(ValueError, match=r"floor 0\.9 is above the threshold 0\.7"):
        LexicalOptions(floor=0.9)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 3), st.integers(0, 90))
def test_shards_together_find_what_one_search_finds(seed, total, copies):
    rng = random.Random(seed)
    texts = corpus(seed, 120)
    texts += [f"{texts[0]} {rng.choice(texts[:20])[:8]}" for _ in range(copies)]  # a crowd
    table = frame(texts, [rng.random() for _ in texts])
    parts = [find_pairs([table], OPTIONS, Shard(number, total)) for number in range(1, total + 1)]
    assert join_pairs([table], parts).equals(find_pairs([table], OPTIONS))


def test_each_shard_compares_a_share_of_the_candidates():
    table = frame(corpus(1, 200))
    near = [
        find_pairs([table], OPTIONS, Shard(number, 3)).filter(method="lexical").height
        for number in (1, 2, 3)
    ]
    assert sum(near) == find_pairs([table], OPTIONS).filter(method="lexical").height
    assert min(near) > 0
