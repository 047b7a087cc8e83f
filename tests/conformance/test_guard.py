"""The Taiwan guard on text that people wrote, and on sentences that exist in both scripts."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kyara_kedro.text.script import script_share

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import taiwan_guard

    if not taiwan_guard.PARAGRAPHS.is_file():
        pytest.skip(f"{taiwan_guard.PARAGRAPHS} is absent; set KYARA_CONFORMANCE_DATA")
    yield taiwan_guard
    sys.path.remove(str(ROOT / "benchmarks"))


pytestmark = pytest.mark.conformance


@pytest.mark.parametrize(
    ("corpus", "share"),
    [
        ("drcd", 0.002),
        ("drcd questions", 0.002),
        ("ud gsd", 0.004),  # it calls a program 編程語言 and 操作系統
        ("tmmlu", 0.002),
    ],
)
def test_text_from_taiwan_is_left_alone(benchmark: Any, corpus: str, share: float) -> None:
    texts = benchmark.human_texts()[corpus]
    changed = benchmark.changes(texts)
    shown = "\n".join(f"{c.kind}: {c.before} -> {c.after}" for found in changed for c in found)
    assert len(changed) <= share * len(texts), shown


def test_ambiguous_words_are_reported_in_few_texts(benchmark: Any) -> None:
    texts = benchmark.human_texts()["drcd"]
    assert sum(bool(benchmark.leaks(text)) for text in texts) <= 0.08 * len(texts)


def test_simplified_text_becomes_traditional_better_than_by_opencc(benchmark: Any) -> None:
    pairs = benchmark.parallel_sentences()
    accuracy = {
        name: benchmark.accuracy(convert, pairs) for name, convert in benchmark.WAYS.items()
    }
    assert accuracy["guard"] >= 0.994
    assert accuracy["guard"] > max(rate for name, rate in accuracy.items() if name != "guard")


def test_what_was_simplified_and_came_back_is_what_it_was(benchmark: Any) -> None:
    pairs = benchmark.round_trip(benchmark.human_texts()["drcd"][:300])
    accuracy = {
        name: benchmark.accuracy(convert, pairs) for name, convert in benchmark.WAYS.items()
    }
    assert accuracy["guard"] > accuracy["s2tw"] > 0.99


def test_what_the_guard_returns_proves_traditional_and_stays(benchmark: Any) -> None:
    converted = [
        benchmark.WAYS["guard"](simplified) for simplified, _ in benchmark.parallel_sentences()
    ]
    assert [text for text in converted if script_share(text).simplified] == []
    assert benchmark.changes(converted) == []
