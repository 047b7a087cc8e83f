"""Text that people and machines really produce must not take time by its square."""

import pytest

from kyara_kedro.text.chunk import chunk
from kyara_kedro.text.filters import FilterOptions, boilerplate, quality_fault
from kyara_kedro.text.guard import unsafe_sentences
from kyara_kedro.text.normalise import normalise
from kyara_kedro.text.script import language_of, language_spans
from kyara_kedro.text.taiwan import to_taiwan

HOSTILE = {
    "dots": "." * 400_000,
    "blanks": "a" + " " * 400_000 + "b",
    "fences": "```x\n" * 80_000,
    "quote": "这个软件“" + "的网络" * 130_000,
    "brackets": "[(" * 200_000,
    "lines": "\n" * 400_000,
    "headings": "# 甲\n" * 60_000,
    "numbers": "一、甲\n" * 60_000,
    "items": "- 甲\n乙\n" * 40_000,
    "tables": "|\n\n" * 80_000,
    "underlines": "甲\n---\n" * 40_000,
    "closers": "。" + "」" * 400_000,
    "stops": "a. " * 130_000,
    "orders": "忽略。" * 60_000,
    "tags": "<" * 200_000,
    "comma": "甲，" * 200_000,
    "edits": "[編輯]" * 60_000,
    "references": "References\n" * 40_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_every_step_of_ingest_gets_through(kind: str) -> None:
    text = HOSTILE[kind]
    clean = normalise(text)
    assert normalise(clean) == clean
    assert language_of(clean)
    assert to_taiwan(clean).text or not clean
    unsafe_sentences(clean)
    quality_fault(clean, FilterOptions(min_chars=None, distinct_chars=None))
    boilerplate(clean)
    assert sum(end - start for start, end, _ in language_spans(clean)) == len(clean)
    for max_tokens in (None, 256):
        spans = chunk(clean, 400, 1, max_tokens=max_tokens)
        assert all(0 <= span.start < span.end <= len(clean) for span in spans)
