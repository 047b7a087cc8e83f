import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.knowledge.bm25 import SparseEncoder, average_length, terms


def shared(one: str, other: str) -> int:
    return len(set(terms(one).tolist()) & set(terms(other).tolist()))


def test_chinese_terms_are_characters_and_pairs() -> None:
    assert len(terms("知識庫")) == 5
    assert len(terms("知識，庫")) == 4
    assert shared("知識庫", "知識") == 3


def test_other_terms_are_words() -> None:
    assert len(terms("Large language models, 2024")) == 4
    assert len(terms("用Python寫")) == 3
    assert len(terms("")) == len(terms("，。 !")) == 0


def test_script_width_and_case_do_not_matter() -> None:
    assert terms("臺灣大學ＰＹＴＨＯＮ").tolist() == terms("臺湾大学python").tolist()


def test_passage_weights_follow_the_formula() -> None:
    vector = SparseEncoder(average_length=4.0, k1=1.2, b=0.75).passage("cat cat dog")
    length = 3 / 4
    expected = sorted(tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length)) for tf in (2.0, 1.0))
    assert sorted(vector.values.tolist()) == pytest.approx(expected)


def test_query_weights_are_counts() -> None:
    assert sorted(SparseEncoder.query("cat cat dog").values.tolist()) == [1.0, 2.0]


@given(st.text())
def test_indices_are_unique_and_ordered(text: str) -> None:
    vector = SparseEncoder(100.0).passage(text)
    assert vector.indices.dtype == np.uint32
    assert (np.diff(vector.indices.astype(np.int64)) > 0).all()
    assert vector.indices.shape == vector.values.shape
    assert (vector.values > 0).all()


@given(st.lists(st.text(), min_size=1))
def test_average_length_is_near_the_mean(texts: list[str]) -> None:
    mean = max(1.0, sum(len(terms(text)) for text in texts) / len(texts))
    assert mean / 1.25 < average_length(texts) < mean * 1.25
