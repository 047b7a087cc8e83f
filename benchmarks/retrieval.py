"""Retrieval: what people's questions find, and how quickly, beside plain BM25 libraries.

DRCD's development set: 1,000 paragraphs are the passages, 3,524 questions by people each know their
paragraph. Both halves of the articles were in view when settings were chosen (k1, the weight of
words, the words that only ask), so neither is a clean test; they show that the gain is not of a few
articles. Titles count for ours and for the peers. "Plain" is bm25s with k1 1.2 and b 0.75 over the
same characters, pairs and words, all folded alike; it and rank_bm25 get lists of tokens ready made,
while ours starts from text. qdrant-client's local mode searches the very vectors that ours made.

Speed is counted in queries a CPU second, for the machine may be shared; 100,000 passages are
measured by ``knowledge_scale.py`` in a process of its own.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import knowledge_scale
import numpy as np
import opencc
import polars as pl
from harness import Benchmark, ProgramError, execute, scratch, table
from peers import Peer, interpreter

from kyara_kedro.knowledge.bm25 import SparseEncoder
from kyara_kedro.knowledge.client import ServerIndex
from kyara_kedro.knowledge.index import Fusion, Narrow, Query
from kyara_kedro.knowledge.store import KnowledgeOptions, KnowledgeStore
from kyara_kedro.text.fold import fold

LEXICAL = Peer("lexical", ("bm25s==0.3.16", "rank-bm25==0.2.2"))
DEPTH = 10
MEASURES = ("recall_at_1", "recall_at_5", "mrr_at_10")
SLOW_QUERIES = 40
"""What qdrant-client's local mode gets."""
_CJK = r"\u3005-\u3007\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_RUN = re.compile(rf"([{_CJK}]+)|[^\W_{_CJK}]+")


def tokens(text: str) -> list[str]:
    """Characters and their pairs, and words, of a folded text."""
    found = []
    for run in _RUN.finditer(fold(text)):
        found += [*run[0], *map("".join, pairwise(run[0]))] if run[1] else [run[0]]
    return found


def ranks(found: Sequence[Sequence[str]], gold: Sequence[str]) -> np.ndarray:
    """Rank of each question's own passage, DEPTH when it is not found."""
    return np.array(
        [
            list(names).index(own) if own in names else DEPTH
            for names, own in zip(found, gold, strict=True)
        ]
    )


def quality(found: np.ndarray) -> tuple[float, float, float]:
    """Recall at 1 and 5 and MRR at 10."""
    reciprocal = np.where(found < DEPTH, 1 / (found + 1), 0)
    return float((found < 1).mean()), float((found < 5).mean()), float(reciprocal.mean())


def lists(hits: pl.DataFrame, queries: int) -> list[list[str]]:
    """Passage ids of each query."""
    rows: list[list[str]] = [[] for _ in range(queries)]
    for number, name in hits.select("query", "passage_id").iter_rows():
        rows[number].append(name)
    return rows


def overlap(one: Sequence[Sequence[str]], other: Sequence[Sequence[str]]) -> float:
    """Mean share of the ten best that both found."""
    shares = [len({*a} & {*b}) / max(len(a), 1) for a, b in zip(one, other, strict=True)]
    return float(np.mean(shares))


def timed(store: KnowledgeStore, queries: Sequence[str]) -> tuple[pl.DataFrame, float]:
    """Hits and the CPU seconds of the best of three searches."""
    store.search(queries[:20])
    seconds = []
    for _ in range(3):
        busy = time.process_time()
        found = store.search(queries, DEPTH)
        seconds.append(time.process_time() - busy)
    return found, min(seconds)


def client_lists(store: KnowledgeStore, queries: Sequence[str]) -> tuple[list[list[str]], float]:
    """What qdrant-client's local mode finds with the same vectors, and its CPU seconds."""
    from qdrant_client import QdrantClient

    with tempfile.TemporaryDirectory() as folder:
        options = KnowledgeOptions(kind="local", path=Path(folder))
        with KnowledgeStore(options) as local:
            store.copy_to(local)
        client = QdrantClient(path=folder)
        index = ServerIndex(client, options.collection, "local mode")
        vectors = SparseEncoder.queries(queries, index.counts())
        busy = time.process_time()
        hits = index.search([Query(vector) for vector in vectors], DEPTH, Fusion(), Narrow())
        busy = time.process_time() - busy
        client.close()
    return [[hit.passage_id for hit in row] for row in hits], busy


class Corpus:
    """DRCD's development set.

    Attributes:
        passages: What the knowledge base is built from.
        texts: What the peers index.
        queries: The questions.
        gold: For each question its passage's id.
        in_b: For each question whether its article is in half B.
    """

    def __init__(self) -> None:
        paragraphs, asked = (
            knowledge_scale.corpus("paragraphs"),
            knowledge_scale.corpus("questions"),
        )
        self.passages = pl.DataFrame(paragraphs).select(
            passage_id="doc_id",
            document_id="article_id",
            title="title",
            text="text",
            language=pl.lit("zh-Hant-TW"),
        )
        self.texts = [f"{row['title']}\n{row['text']}" for row in paragraphs]
        self.queries = [row["query"] for row in asked]
        self.gold = [row["doc_id"] for row in asked]
        articles = sorted({row["article_id"] for row in paragraphs})
        half = {article: bool(number % 2) for number, article in enumerate(articles)}
        own = {row["doc_id"]: half[row["article_id"]] for row in paragraphs}
        self.in_b = np.array([own[name] for name in self.gold])


class Ours(NamedTuple):
    """What ours found and what it cost."""

    found: list[list[str]]
    simplified: list[list[str]]
    cpu: float
    local: list[list[str]]
    local_cpu: float
    client: list[list[str]]
    client_cpu: float
    changed_by_rebuild: bool


def measure_ours(corpus: Corpus, folder: Path) -> Ours:
    """Search with every index, and after a rebuild that went another way."""
    queries, count = corpus.queries, len(corpus.queries)
    simplify = opencc.OpenCC("t2s").convert
    with KnowledgeStore(KnowledgeOptions(path=folder / "edge")) as store:
        store.build(corpus.passages)
        hits, cpu = timed(store, queries)
        simplified = store.search(list(map(simplify, queries)), DEPTH)
        client, client_cpu = client_lists(store, queries[:SLOW_QUERIES])
    with KnowledgeStore(KnowledgeOptions(path=folder / "again")) as again:
        again.build(corpus.passages[500:])
        again.build(corpus.passages[::-1])
        changed = not again.search(queries, DEPTH).equals(hits)
    with KnowledgeStore(KnowledgeOptions(kind="local", path=Path(":memory:"))) as local:
        local.build(corpus.passages)
        local_hits, local_cpu = timed(local, queries)
    return Ours(
        lists(hits, count),
        lists(simplified, count),
        cpu,
        lists(local_hits, count),
        local_cpu,
        client,
        client_cpu,
        changed,
    )


def measure_peers(corpus: Corpus, folder: Path) -> tuple[np.ndarray, dict[str, Any]] | None:
    """Ranks of bm25s and the peers' seconds, None when they cannot be had."""
    for file, rows in (("passages", corpus.texts), ("queries", corpus.queries)):
        lines = (json.dumps(tokens(text), ensure_ascii=False) for text in rows)
        (folder / f"{file}.jsonl").write_text("\n".join(lines), "utf-8")
    python = interpreter(LEXICAL)
    if python is None:
        return None
    try:
        figures = execute([python, LEXICAL.runner, folder])
    except ProgramError as error:
        print(f"SKIPPED {LEXICAL.name}: {error}", flush=True)
        return None
    names = corpus.passages["passage_id"].to_list()
    rows = [json.loads(line) for line in (folder / "found.jsonl").read_text().splitlines()]
    return ranks([[names[number] for number in row] for row in rows], corpus.gold), figures


def main() -> None:
    """Measure and print."""
    bench = Benchmark.start("retrieval", __doc__.splitlines()[0])
    corpus = Corpus()
    with scratch() as folder:
        ours, peers = measure_ours(corpus, folder), measure_peers(corpus, folder)
    own, in_b = ranks(ours.found, corpus.gold), corpus.in_b
    simplified = ranks(ours.simplified, corpus.gold)
    rows = [("ours", own), ("ours, half A", own[~in_b]), ("ours, half B", own[in_b])]
    rows.append(("ours, Simplified questions", simplified))
    asked = len(corpus.queries)
    speeds = {"ours, embedded": asked / ours.cpu, "ours, local": asked / ours.local_cpu}
    if peers:
        plain, figures = peers
        rows += [("bm25s", plain), ("bm25s, half B", plain[in_b])]
        speeds |= {"bm25s": asked / figures["cpu"], "rank_bm25": 1 / figures["rank_bm25_cpu"]}
    speeds["qdrant-client local mode"] = SLOW_QUERIES / ours.client_cpu
    table(("", "recall@1", "recall@5", "MRR@10"), [(what, *quality(found)) for what, found in rows])
    first = speeds["ours, embedded"]
    shown = [(what, speed, first / speed) for what, speed in speeds.items()]
    table((f"{corpus.passages.height:,} passages", "queries/CPU s", "embedded is"), shown)
    for what, speed in speeds.items():
        bench.figure(f"queries per CPU s: {what}", speed)

    for name, value, bar in zip(MEASURES, quality(own), (0.942, 0.992, 0.963), strict=True):
        bench.at_least(name, value, bar)
    loss = quality(own)[0] - quality(simplified)[0]
    bench.at_most("simplified_questions_lose", loss, 0.005)
    for number, name in enumerate(MEASURES):
        if peers:
            gain = quality(own)[number] - quality(peers[0])[number]
            bench.at_least(f"{name}_over_plain", gain, 0)
        else:
            bench.skipped(f"{name}_over_plain", 0, "no peer")
    bench.at_least("overlap_with_local", overlap(ours.found, ours.local), 0.99)
    bench.at_least("overlap_with_client", overlap(ours.found[:SLOW_QUERIES], ours.client), 0.99)
    bench.at_most("changed_by_rebuild", float(ours.changed_by_rebuild), 0)
    if peers:
        bench.at_least("speed_over_bm25s", first / speeds["bm25s"], 1.5)
    else:
        bench.skipped("speed_over_bm25s", 1.5, "no peer")

    whole = 20_000 if bench.quick else 100_000
    scale = knowledge_scale.measure(whole)
    searched, built = scale["queries"] / scale["search_cpu"], whole / scale["build_cpu"]
    table(
        (f"{whole:,} passages", "queries/CPU s", "built/CPU s", "disk MB", "peak MB"),
        [("ours, embedded", searched, built, scale["disk_mb"], scale["rss_mb"])],
    )
    bench.at_least("queries_per_cpu_second", searched, 500)
    bench.at_least("passages_per_cpu_second", built, 1_500)
    bench.finish()


if __name__ == "__main__":
    main()
