import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.text.fold import fold, is_cjk, simplified, tokens, width_and_case

AWKWARD = st.sampled_from(
    ["臺灣", "ＡＢＣ", "ﬁsh", "e\u0301te", "①", "㍿", "ｶﾞ", "ß", "İ", "…", "\ud800"]
)
TEXT = st.lists(st.one_of(st.text(max_size=8), AWKWARD), max_size=8).map("".join)


def test_width_case_and_script_are_folded() -> None:
    assert fold("臺灣ＰＹＴＨＯＮ") == fold("臺湾Python")
    assert fold("國語辭典") == fold("国语辞典")


@pytest.mark.parametrize(
    "variants",
    ["著着", "藉借", "覆复復", "妳你", "羣群", "峯峰", "衛卫衞", "砲炮", "帳賬账", "裏裡里"],
)
def test_glyph_variants_are_one(variants: str) -> None:
    assert len({fold(glyph) for glyph in variants}) == 1


@settings(deadline=None)
@given(TEXT)
def test_long_texts_fold_like_short_ones(text: str) -> None:
    long = text + "長" * 200
    assert fold(long) == width_and_case(long).translate(simplified())


def test_tokens_are_ideographs_and_words() -> None:
    assert tokens("用Python 3.11寫程式！") == ["用", "python", "3", "11", "写", "程", "式"]


def test_ideographs() -> None:
    assert all(map(is_cjk, "中㐀𠀀"))
    assert not any(map(is_cjk, "aあ。１"))
