"""Text of 300 to 20,000 characters is normalised and cut into passages at 30 MB/s on one core.

Documents are put together from Chinese Wikipedia paragraphs (DRCD) and English news and Wikipedia
sentences (UD PUD), the lengths drawn evenly on a logarithmic scale: ``chinese``, clean paragraphs;
``pages``, the same with CRLF, ideographic indents, doubled blanks and zero-width characters, of
which nearly every line is rewritten; ``mixed``, Markdown with headings, lists, tables, code, and
Chinese and English paragraphs by turns; ``english``. Without the corpora, the project's sample.

``python benchmarks/text_speed.py`` (data: ``KYARA_CONFORMANCE_DATA``)
"""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import harness
import peers

from kyara_kedro.text.chunk import chunk, sentences
from kyara_kedro.text.filters import FilterOptions, boilerplate, quality_fault
from kyara_kedro.text.guard import unsafe_sentences
from kyara_kedro.text.length import estimate_tokens
from kyara_kedro.text.normalise import normalise
from kyara_kedro.text.script import language_of, language_spans

ROOT = Path(__file__).resolve().parents[1]
CORPORA = ROOT / os.environ.get("KYARA_CONFORMANCE_DATA", "../shared/data") / "corpora"
SAMPLE = ROOT / "data" / "01_raw" / "sample" / "documents"
SHORTEST, LONGEST = 300, 20_000
CHARS, TOKENS, OVERLAP = 400, 300, 1
PEER_OVERLAP = 40
"""Characters; about one sentence of the texts."""
BAR = 30
KINDS = ("chinese", "pages", "mixed", "english")
SPLITTERS = peers.Peer(
    "splitters", ("langchain-text-splitters==1.1.3", "semantic-text-splitter==0.33.1")
)


def paragraphs() -> tuple[list[str], list[str]]:
    """Chinese and English paragraphs."""
    if CORPORA.is_dir():
        chinese = [row["text"] for row in rows(CORPORA / "drcd_dev_paragraphs.jsonl.gz")]
        told = [row["en"] for row in rows(CORPORA / "ud_pud_hant_en.jsonl.gz")]
    else:
        print(f"{CORPORA}: no such folder; the project's sample instead\n")
        files = sorted(SAMPLE.rglob("*.md"))
        chinese = [part for file in files for part in file.read_text().split("\n\n")[1:]]
        told = [json.loads(line)["text"] for line in (SAMPLE / "english.jsonl").open()]
    return chinese, [" ".join(told[i : i + 5]) for i in range(0, len(told), 5)]


def rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def endless(parts: list[str], seed: int) -> Iterator[str]:
    chosen = random.Random(seed)
    while True:
        yield from chosen.sample(parts, len(parts))


def documents(kind: str, total: int) -> list[str]:
    """Documents of a kind, of about `total` characters together."""
    chinese, english = paragraphs()
    sizes = random.Random(f"sizes {kind}")
    zh, en = endless(chinese, 1), endless(english, 2)
    found: list[str] = []
    while sum(map(len, found)) < total:
        size = round(math.exp(sizes.uniform(math.log(SHORTEST), math.log(LONGEST))))
        parts: list[str] = []
        while sum(map(len, parts)) < size:
            parts.append(part(kind, len(parts), zh, en))
        joint = "\r\n" if kind == "pages" else "\n\n"
        found.append(joint.join(parts)[:size])
    return found


def part(kind: str, number: int, zh: Iterator[str], en: Iterator[str]) -> str:
    """One paragraph of a document, or a heading with a block."""
    if kind == "chinese":
        return next(zh)
    if kind == "english":
        return next(en)
    if kind == "pages":
        return f"　　{next(zh)} ".replace("，", "，\u200b", 1).replace("。", "。  ", 2)
    if number % 5:
        return next(en if number % 2 else zh)
    items = [sentence.strip() for sentence in next(zh).split("，")[:4]]
    blocks = (
        "\n".join(f"- {item}" for item in items),
        "\n".join(["| 甲 | 乙 |", "|---|---|", *(f"| {item} | 1 |" for item in items)]),
        "```python\nfor row in rows:\n    print(row)\n```",
    )
    return f"## 第 {number} 段\n\n{blocks[number // 5 % 3]}"


def megabytes(texts: list[str]) -> float:
    return sum(len(text.encode()) for text in texts) / 1e6


def rate(step: Callable[[str], object], texts: list[str], repetitions: int) -> float:
    """MB of UTF-8 a CPU second of this process, of the fastest of some repetitions."""
    step(texts[0])
    found = []
    for _ in range(repetitions):
        started = time.process_time()
        for text in texts:
            step(text)
        found.append(time.process_time() - started)
    return megabytes(texts) / min(found)


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    benchmark = harness.Benchmark.start("text_speed", __doc__.partition("\n")[0])
    total, repetitions = (300_000, 2) if benchmark.quick else (2_000_000, 3)
    texts = {kind: documents(kind, total) for kind in KINDS}
    texts["all"] = [text for kind in KINDS for text in texts[kind]]
    for kind, some in texts.items():
        print(f"{kind}: {len(some)} documents, {megabytes(some):.1f} MB")
    print("\nMB of UTF-8 a second of CPU, one core\n")
    options = FilterOptions()
    steps: dict[str, Callable[[str], object]] = {
        "normalise + chunk": lambda text: chunk(normalise(text), CHARS, OVERLAP),
        "normalise": normalise,
        "chunk": lambda text: chunk(text, CHARS, OVERLAP),
        "chunk, estimated tokens": lambda text: chunk(text, CHARS, OVERLAP, max_tokens=TOKENS),
        "sentences": sentences,
        "estimate_tokens": estimate_tokens,
        "unsafe_sentences": unsafe_sentences,
        "quality_fault": lambda text: quality_fault(text, options),
        "boilerplate": boilerplate,
        "language_of": language_of,
        "language_spans": language_spans,
    }
    rates = {
        name: {kind: rate(step, some, repetitions) for kind, some in texts.items()}
        for name, step in steps.items()
    }
    cut = {kind: rates["chunk"][kind] for kind in texts}
    for kind, some in texts.items():
        for name, found in peer_rates([normalise(text) for text in some], repetitions).items():
            rates.setdefault(f"{name} (peer)", {})[kind] = found
    harness.table(
        ("step", *texts),
        [(name, *(found[kind] for kind in found)) for name, found in rates.items()],
    )
    for name, found in rates.items():
        benchmark.figure(name, found["all"])
    for kind in ("chinese", "pages", "mixed", "all"):
        benchmark.at_least(f"normalise + chunk, {kind}", rates["normalise + chunk"][kind], BAR)
    for name in rates:
        if name.endswith("(peer)"):
            ratio = harness.median(cut[kind] / rates[name][kind] for kind in KINDS)
            benchmark.figure(f"chunk beside {name}", ratio)
            print(f"chunk beside {name}: {ratio:.2f}x, median of the kinds")
    benchmark.finish()


def peer_rates(texts: list[str], repetitions: int) -> dict[str, float]:
    """MB a CPU second of each peer; nothing, and a line, when they cannot be run."""
    python = peers.interpreter(SPLITTERS)
    if python is None:
        return {}
    with harness.scratch() as folder:
        path = folder / "texts.jsonl"
        path.write_text("\n".join(json.dumps(text) for text in texts), encoding="utf-8")
        program = (python, SPLITTERS.runner, f"--texts={path}", f"--chars={CHARS}")
        shape = (f"--overlap={PEER_OVERLAP}", f"--repetitions={repetitions}")
        try:
            said = harness.execute((*program, *shape))
        except harness.ProgramError as error:
            print(f"SKIPPED {SPLITTERS.name}: {error}", flush=True)
            return {}
    return {
        name: megabytes(texts) / seconds
        for name, seconds in said.items()
        if name not in ("tree_cpu", "wall")
    }


if __name__ == "__main__":
    main()
