"""Text that people and machines really produce must not take time by its square."""

import pytest

from kyara_kedro.text.chunk import chunk
from kyara_kedro.text.guard import unsafe_sentences
from kyara_kedro.text.normalise import normalise
from kyara_kedro.text.script import language_of
from kyara_kedro.text.taiwan import to_taiwan

HOSTILE = {
    "dots": "." * 400_000,
    "blanks": "a" + " " * 400_000 + "b",
    "fences": "```x\n" * 80_000,
    "quote": "这个软件“" + "的网络" * 130_000,
    "brackets": "[(" * 200_000,
    "lines": "\n" * 400_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_every_step_of_ingest_gets_through(kind: str) -> None:
    text = HOSTILE[kind]
    clean = normalise(text)
    assert normalise(clean) == clean
    assert language_of(clean)
    assert to_taiwan(clean).text or not clean
    unsafe_sentences(clean)
    spans = chunk(clean, 400, 1)
    assert all(0 <= span.start < span.end <= len(clean) for span in spans)
