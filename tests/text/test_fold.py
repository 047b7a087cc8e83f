from kyara_kedro.text.fold import fold, is_cjk, tokens


def test_width_case_and_script_are_folded() -> None:
    assert fold("臺灣ＰＹＴＨＯＮ") == fold("臺湾Python")
    assert fold("國語辭典") == fold("国语辞典")


def test_tokens_are_ideographs_and_words() -> None:
    assert tokens("用Python 3.11寫程式！") == ["用", "python", "3", "11", "写", "程", "式"]


def test_ideographs() -> None:
    assert all(map(is_cjk, "中㐀𠀀"))
    assert not any(map(is_cjk, "aあ。１"))
