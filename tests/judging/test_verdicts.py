import pytest

from kyara_kedro.judging.verdicts import parse_verdict, win_probability


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("甲較好。\n[[A]]", "A"),
        ("結論：［［Ｂ］］", "B"),
        ("[[ c ]]", "C"),
        ("[[A]] 因為甲答對了。" + "理由" * 300, "A"),
        ("格式是 [[A]]、[[B]] 或 [[C]]。" + "分析" * 300 + "\n[[B]]", "B"),
        ("[[A]]" + "分析" * 300 + "再想想，[[B]]", "B"),
        ("[[A]] 或者 [[B]]", None),
        ("甲較好", None),
        ("[A]", None),
        ("", None),
        ("[[B]]" + " " * 30_000, None),
    ],
)
def test_parse_verdict(text, verdict):
    assert parse_verdict(text) == verdict


@pytest.mark.parametrize(
    ("forward", "swapped", "probability"),
    [
        ("A", "B", 1.0),
        ("B", "A", 0.0),
        ("A", "A", 0.5),
        ("B", "B", 0.5),
        ("C", "B", 0.5),
        ("A", "C", 0.5),
        ("C", "C", 0.5),
        ("A", None, 1.0),
        ("B", None, 0.0),
        ("C", None, 0.5),
    ],
)
def test_win_probability(forward, swapped, probability):
    assert win_probability(forward, swapped) == probability
