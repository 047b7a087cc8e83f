import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.records import DUPLICATE
from kyara_kedro.similarity.exact import exact_groups
from kyara_kedro.similarity.guards import claims
from kyara_kedro.similarity.lexical import LexicalOptions, band_length, sketch
from kyara_kedro.similarity.resolve import find_duplicates, remove_followers
from kyara_kedro.similarity.shingles import tokenise
from kyara_kedro.text.fold import tokens

TEXT = (
    "臺灣的夜市文化源於日治時期的攤販聚集，戰後隨著都市發展逐漸形成今日的規模，"
    "各地夜市也發展出自己的特色。"
)


def frame(texts, quality=None):
    return pl.DataFrame(
        {
            "id": [f"{number:04}" for number in range(len(texts))],
            "text": texts,
            "quality": quality or [0.5] * len(texts),
        },
        schema={"id": pl.String, "text": pl.String, "quality": pl.Float64},
    )


def removed(texts, quality=None, **options):
    found = DUPLICATE.validate(find_duplicates(frame(texts, quality), LexicalOptions(**options)))
    return {
        int(row["removed_id"]): (int(row["kept_id"]), row["method"])
        for row in found.iter_rows(named=True)
    }


def grams(text, n):
    words = tokens(text)
    return {tuple(words[start : start + n]) for start in range(len(words) - n + 1)}


def jaccard(one, other):
    n = 2 if min(len(tokens(one)), len(tokens(other))) < 60 else 3
    first, second = grams(one, n), grams(other, n)
    return len(first & second) / len(first | second)


def test_copies_across_script_width_case_and_punctuation():
    texts = ["臺灣的首都是臺北，對嗎？", "台湾的首都是台北对吗", "ABC 是什麼？！", "ａｂｃ是什麼"]
    assert removed(texts) == {1: (0, "exact"), 3: (2, "exact")}


def test_empty_and_letterless_texts_never_collide():
    assert removed(["", "", "！！！", "！！！", "🙂", "🙂"]) == {}
    assert exact_groups(["", "…", "a"]).tolist()[:2] == [-1, -1]


def test_no_texts():
    assert removed([]) == {}


@pytest.mark.parametrize("edit", [("各地", "全國"), ("今日", "現在"), ("，戰後", "。後來")])
def test_lightly_edited_copies_are_found(edit):
    assert removed([TEXT, TEXT.replace(*edit)]).keys() == {1}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("小明有三十顆蘋果，他每天吃掉兩顆，請問幾天之後會吃完全部的蘋果？",) * 2,
        ("一輛火車以時速 60 公里行駛，請問行駛 3 小時之後一共走了多少公里？",) * 2,
    ],
)
def test_other_numbers_never_merge(one, other):
    for number in ("三十", "60", "3"):
        if number in other:
            other = other.replace(number, "四十", 1)
            break
    assert jaccard(one, other) > 0.7
    assert removed([one, other]) == {}


def test_equal_numbers_written_differently_merge():
    one = "小明有三十顆蘋果，他每天早上和晚上都吃掉一些，請問要過多久之後才會吃完全部的蘋果？"
    assert removed([one, one.replace("三十", "30")]).keys() == {1}


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


def test_chains_keep_what_resembles_nothing_kept():
    start = [chr(0x4E00 + 7 * number) for number in range(200, 250)]
    chain = [
        "".join(start[shift:] + [chr(0x6000 + 5 * n) for n in range(shift)]) for shift in (0, 6, 12)
    ]
    assert jaccard(chain[0], chain[1]) >= 0.7 > jaccard(chain[0], chain[2])
    assert removed(chain, quality=[0.9, 0.5, 0.1]).keys() == {1}


def corpus(seed, count):
    rng = random.Random(seed)
    words = [chr(0x4E00 + 3 * rng.randrange(900)) for _ in range(120)]
    head = "".join(words[:30])
    texts = []
    while len(texts) < count:
        if texts and rng.random() < 0.5:
            letters = list(rng.choice(texts))
            for _ in range(rng.randrange(1, 6)):
                letters[rng.randrange(len(letters))] = rng.choice(words)
        else:
            letters = [rng.choice(words) for _ in range(rng.randrange(12, 110))]
            letters = list(head) * (rng.random() < 0.5) + letters
        texts.append("".join(letters))
    return texts


@pytest.mark.parametrize("seed", range(4))
def test_same_result_as_comparing_every_pair(seed):
    texts = corpus(seed, 220)
    ranked = sorted(range(len(texts)), key=lambda n: (-len(texts[n]), n))
    kept, expected = [], set()
    for number in ranked:
        copies = [
            other
            for other in kept
            if claims(texts[other]) == claims(texts[number])
            and jaccard(texts[other], texts[number]) >= 0.7
        ]
        expected.add(number) if copies else kept.append(number)
    assert set(removed(texts)) == expected


def test_a_template_is_no_copy_and_copies_of_a_template_are_found():
    rng = random.Random(1)
    letters = [chr(point) for point in range(0x4E00, 0x5E00, 3)]
    texts = [TEXT + "".join(rng.sample(letters, 60)) for _ in range(300)]
    texts.append(texts[17].replace("夜市文化", "夜間文化"))
    assert set(removed(texts)) == {17} or set(removed(texts)) == {300}


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 12)), max_size=40), st.integers(2, 4))
def test_leader_rule(entries, modulus):
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


def test_sketches_estimate_jaccard():
    rng = np.random.default_rng(0)
    universe = rng.integers(0, 2**63, 400, dtype=np.uint64)
    for size in (30, 400):
        apart = size // 4
        pairs = []
        for _ in range(200):
            both = rng.permutation(universe)[:size]
            pairs += [both[apart:], both[:-apart]]
        offsets = np.concatenate([[0], np.cumsum([len(pair) for pair in pairs])])
        values = sketch(np.concatenate(pairs), offsets.astype(np.int64), 128)
        truth = (size - 2 * apart) / size
        assert abs((values[::2] == values[1::2]).mean() - truth) < 0.02


def test_bands_are_as_long_as_recall_allows():
    assert band_length(0.7, 128) == 4
    assert band_length(1.0, 128) == 128
    assert [band_length(share, 128) for share in (0.1, 0.5, 0.9)] == sorted(
        band_length(share, 128) for share in (0.1, 0.5, 0.9)
    )


def test_same_bytes_for_any_order_of_rows():
    texts = frame(corpus(3, 120))
    assert find_duplicates(texts).equals(
        find_duplicates(texts.sample(fraction=1, shuffle=True, seed=2))
    )


def test_chunk_borders_do_not_matter(monkeypatch):
    texts = corpus(5, 100)
    whole = removed(texts)
    monkeypatch.setattr(
        "kyara_kedro.similarity.resolve.chunks", lambda given: [slice(0, 40), slice(40, len(given))]
    )
    assert removed(texts) == whole
    assert tokenise(texts).lengths.sum() == sum(len(tokens(text)) for text in texts)
