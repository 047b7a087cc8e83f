import pytest

from kyara_kedro.text.repetition import distinct_4


def test_distinct_4_falls_with_repetition() -> None:
    assert distinct_4("山" * 43) == pytest.approx(1 / 40)
    assert distinct_4("玉山是臺灣最高的山") == 1
    assert distinct_4("玉 山 高") is None
