import pytest

from kyara_kedro.text.length import estimate_tokens


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("", 0, 0),
        ("好", 1, 1),
        ("知識庫的文件先切成段落，再轉成向量。" * 10, 100, 180),
        ("The quick brown fox jumps over the lazy dog. " * 10, 90, 120),
        ("1234567890", 10, 10),
    ],
)
def test_estimate(text: str, low: int, high: int) -> None:
    assert low <= estimate_tokens(text) <= high
