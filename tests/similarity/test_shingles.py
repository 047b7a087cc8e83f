from itertools import chain

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.similarity.shingles import chunks, token_spans, tokenise
from kyara_kedro.text.fold import fold, tokens

AWKWARD = st.sampled_from(
    [
        "臺灣",
        "台湾",
        "ＡＢＣ",
        "ﬁsh",
        "e\u0301te",
        "a\u0345\u0301",
        "か\u0345\u3099",
        "①②",
        "㍿",
        "ｶﾞ",
        "한국",
        "\u1112\u1161",
        "……",
        "ß",
        "İ",
        "a_b",
        "\n",
        "\U0002ebe1",
    ]
)
TEXT = st.lists(st.one_of(st.text(max_size=8), AWKWARD), max_size=8).map("".join)


@given(st.lists(TEXT, max_size=6))
@settings(deadline=None)
def test_tokens_are_those_of_fold(texts):
    table = tokenise(texts)
    expected = [tokens(text) for text in texts]
    assert table.lengths.tolist() == [len(found) for found in expected]
    flat = list(chain.from_iterable(expected))
    names = {}
    for token, value in zip(flat, table.hashes.tolist(), strict=True):
        assert names.setdefault(value, token) == token
    assert len(names) == len(set(names.values()))
    letters = "".join(map(chr, table.letters.tolist()))
    assert letters == "".join(flat)


@given(TEXT)
def test_spans_name_the_same_tokens_and_literal_text(text):
    spans = zip(tokens(text), token_spans(text).tolist(), strict=True)
    assert all(token in fold(text[a:b]) or b - a == 1 for token, (a, b) in spans)


def test_ngrams_stay_inside_their_text():
    grams, offsets = tokenise(["一二三四", "二三", "", "a b c"]).ngrams(2)
    assert np.diff(offsets).tolist() == [3, 1, 0, 2]
    assert grams[1] == grams[3]
    assert len(set(grams.tolist())) == 5


def test_chunks_cover_texts_in_order():
    texts = ["x" * size for size in (5, 0, 20, 3, 3)]
    parts = list(chunks(texts, 8))
    assert [text for part in parts for text in texts[part]] == texts
    assert [part.stop - part.start for part in parts] == [2, 1, 2]
    assert list(chunks([])) == []
