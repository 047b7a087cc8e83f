"""Cuts the texts of a JSONL file with langchain-text-splitters and semantic-text-splitter."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from langchain_text_splitters import RecursiveCharacterTextSplitter
from semantic_text_splitter import TextSplitter

SEPARATORS = ["\n\n", "\n", "。", "！", "？", "；", ". ", "! ", "? ", "，", " ", ""]


def seconds(cut: Callable[[str], object], texts: list[str], repetitions: int) -> float:
    """Least CPU seconds of this process for cutting all texts once."""
    found = []
    for _ in range(repetitions):
        started = time.process_time()
        for text in texts:
            cut(text)
        found.append(time.process_time() - started)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--chars", type=int, required=True)
    parser.add_argument("--overlap", type=int, required=True)
    parser.add_argument("--repetitions", type=int, required=True)
    options = parser.parse_args()
    lines = options.texts.read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line) for line in lines]
    langchain = RecursiveCharacterTextSplitter(
        separators=SEPARATORS,
        keep_separator="end",
        chunk_size=options.chars,
        chunk_overlap=options.overlap,
        add_start_index=True,
    )
    semantic = TextSplitter(options.chars, overlap=options.overlap)
    cuts: dict[str, Callable[[str], object]] = {
        "langchain-text-splitters": lambda text: langchain.create_documents([text]),
        "semantic-text-splitter": semantic.chunk_indices,
    }
    print(
        json.dumps({name: seconds(cut, texts, options.repetitions) for name, cut in cuts.items()})
    )


if __name__ == "__main__":
    main()
