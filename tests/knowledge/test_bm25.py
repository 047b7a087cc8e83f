import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.knowledge.bm25 import SparseEncoder, SparseVector, average_length, term_total
from kyara_kedro.knowledge.counts import TermCounter, TermCounts
from kyara_kedro.text.fold import fold, fold_many

ENCODER = SparseEncoder(average_length=100, k1=0.9, b=0.75)


def vector(text: str) -> SparseVector:
    return ENCODER.passages([text])[0]


def terms(text: str) -> set[int]:
    return set(vector(text).indices.tolist())


def counts(*texts: str) -> TermCounts:
    counter = TermCounter(TermCounts())
    counter.add([found.indices for found in ENCODER.passages(texts)])
    return counter.counts()


def test_chinese_terms_are_characters_and_pairs() -> None:
    assert len(terms("知識庫")) == 5
    assert len(terms("知識，庫")) == 4
    assert len(terms("知識庫") & terms("知識")) == 3


def test_other_terms_are_words() -> None:
    assert len(terms("Large language models, 2024")) == 4
    assert len(terms("用Python寫")) == 3
    assert len(terms("")) == len(terms("，。 !")) == 0
    assert not terms("ab") & terms("a b")


def test_script_width_and_case_do_not_matter() -> None:
    one, other = ENCODER.passages(["臺灣大學ＰＹＴＨＯＮ", "臺湾大学python"])
    assert one.indices.tolist() == other.indices.tolist()
    assert one.values.tolist() == other.values.tolist()


def test_passage_weights_follow_the_formula() -> None:
    found = SparseEncoder(average_length=4.0, k1=1.2, b=0.75).passages(["cat cat dog"])[0]
    length = 3 / 4
    expected = sorted(tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length)) for tf in (2.0, 1.0))
    assert sorted(found.values.tolist()) == pytest.approx(expected, abs=0.005)


def test_query_weights_are_inverse_document_frequencies() -> None:
    known = counts("cat", "cat dog", "bird")
    found = dict(
        zip(
            ("cat", "dog"),
            (SparseEncoder.queries([word], known)[0] for word in ("cat", "dog")),
            strict=True,
        )
    )
    assert found["cat"].values.tolist() == pytest.approx([3 * np.log(1 + 1.5 / 2.5)], abs=0.001)
    assert found["dog"].values.tolist() == pytest.approx([3 * np.log(1 + 2.5 / 1.5)], abs=0.001)
    assert not len(SparseEncoder.queries(["fish"], known)[0].indices)


def test_a_query_is_without_the_words_that_only_ask() -> None:
    known = counts("玉山是什麼山", "誰在哪裡", "哪吒")

    def asked(text: str) -> list[int]:
        return SparseEncoder.queries([text], known)[0].indices.tolist()

    assert asked("玉山是什麼？") == asked("玉山是什么") == asked("請問，玉山是，")
    assert asked("什麼") == sorted(terms("什麼") & set(known.terms.tolist()))
    assert len(asked("哪吒")) == 3


@given(st.lists(st.text(), max_size=4))
def test_many_texts_are_folded_like_one(texts: list[str]) -> None:
    folded = fold_many(texts)
    assert "".join(map(chr, folded.points.tolist())) == "".join(f"{fold(text)}\n" for text in texts)
    assert folded.lengths.tolist() == [len(fold(text)) for text in texts]


def test_marks_that_join_are_folded_with_their_text() -> None:
    texts = ["e\u0301", "\u0301e", "ｶﾞ", "\u1100\u1161", "ﬁn", "\U000e0100", "İ"]
    joined = "".join(map(chr, fold_many(texts).points.tolist()))
    assert joined == "".join(f"{fold(text)}\n" for text in texts)
    assert unicodedata.is_normalized("NFC", joined)


@given(st.lists(st.text(), max_size=5))
def test_indices_are_unique_and_ordered(texts: list[str]) -> None:
    for found, text in zip(ENCODER.passages(texts), texts, strict=True):
        assert found.indices.dtype == np.uint32
        assert (np.diff(found.indices.astype(np.int64)) > 0).all()
        assert found.indices.shape == found.values.shape
        assert (found.values > 0).all()
        assert found.indices.tolist() == vector(text).indices.tolist()
        assert found.values.tolist() == vector(text).values.tolist()


ALPHABET = st.text("天地玄黃宇宙洪荒 ab1，", min_size=1, max_size=60)


@given(st.lists(ALPHABET, min_size=1, max_size=8), ALPHABET, st.sampled_from([0.0, 0.9, 1.2, 10.0]))
def test_scores_are_sums_without_rounding(texts: list[str], query: str, k1: float) -> None:
    passages = SparseEncoder(20, k1, 0.75).passages(texts)
    asked = SparseEncoder.queries([query * 50], counts(*texts))[0]
    for passage in passages:
        assert (passage.values == passage.values.astype(np.float16)).all()
        shared, left, right = np.intersect1d(asked.indices, passage.indices, return_indices=True)
        products = asked.values[left] * passage.values[right]
        exact = (asked.values[left].astype(float) * passage.values[right].astype(float)).sum()
        for order in (slice(None), slice(None, None, -1)):
            total = np.float32(0)
            for product in products[order]:
                total += product
            assert float(total) == exact, shared


@given(st.lists(st.text(), min_size=1))
def test_average_length_is_near_the_mean(texts: list[str]) -> None:
    total = sum(term_total([text]) for text in texts)
    assert term_total(texts) == total
    mean = max(1.0, total / len(texts))
    assert mean / 1.25 < average_length(total, len(texts)) < mean * 1.25


SETS = st.lists(st.sets(st.integers(0, 50), max_size=6), max_size=12)


@given(SETS, SETS, SETS)
def test_counts_are_those_of_the_passages_that_are_left(
    first: list[set[int]], gone: list[set[int]], more: list[set[int]]
) -> None:
    def arrays(sets: list[set[int]]) -> list[np.ndarray]:
        return [np.array(sorted(terms), np.uint32) for terms in sets]

    counter = TermCounter(TermCounts())
    counter.add(arrays(first + gone))
    counter = TermCounter(TermCounts.from_bytes(counter.counts().to_bytes()))
    counter.add(arrays(gone), sign=-1)
    counter.add(arrays(more))
    found, left = counter.counts(), first + more
    assert found.passages == len(left)
    expected = {term: sum(term in terms for terms in left) for term in range(51)}
    assert found.of(np.arange(51, dtype=np.uint32)).tolist() == list(expected.values())
    assert (found.holding > 0).all()
