import pytest

from kyara_kedro.similarity.guards import claims, claims_of


@pytest.mark.parametrize(
    "same",
    [
        ["三十", "30", "３０", "叁拾", "thirty", "3十", "30.0"],
        ["一億三千萬", "130,000,000", "1.3億", "130000000"],
        ["二〇二四年", "兩千零二十四年", "2024 年"],
        ["三點五", "3.5", "3.50"],
        ["百分之五十", "50%", "５０％"],
        ["twenty-five", "25", "二十五", "廿五".replace("廿", "二十")],
        ["two thousand and ten", "2010"],
        ["三萬億", "3000000000000"],
    ],
)
def test_values_are_equal_however_they_are_written(same):
    assert len({claims(text)[:2] for text in same}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3.5 公里", "35 公里"),
        ("先 2 後 3", "先 3 後 2"),
        ("x = -5", "x = 5"),
        ("3+5", "3×5"),
        ("什麼是 C？", "什麼是 C++？"),
        ("World War I", "World War II"),
        ("two apples", "three apples"),
        ("可以吃", "不可以吃"),
        ("you can", "you can't"),
        ("有藥可治", "無藥可治"),
        ("1" + "0" * 40, "1" + "0" * 39 + "1"),
    ],
)
def test_texts_that_say_something_else_differ(one, other):
    assert claims(one) != claims(other)


@pytest.mark.parametrize(
    "word", ["特別", "非常", "類別", "分別", "notebook", "often", "nothingness"]
)
def test_words_that_only_look_like_a_negation_or_number(word):
    assert claims(word) == ((), (), 0)


def test_a_rule_above_a_number_is_no_sign():
    assert claims("---\n3 公里") == claims("3 公里")


def test_texts_are_read_apart():
    texts = ["共 3", "000 元", "百分之", "五十", "n't", "can", "'t", "x -", "5", ""]
    assert claims_of(texts) == [claims(text) for text in texts]


def test_endless_numerals_are_read():
    assert claims("億" * 5_000).numbers != claims("億" * 5_001).numbers
