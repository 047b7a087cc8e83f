"""Retrieval: what people's questions find, and how quickly, beside plain BM25 libraries.

DRCD's development set: 1,000 paragraphs are the passages, 3,524 questions by people each know their
paragraph. Settings were chosen on the articles of half A and only measured on half B; titles count
for ours and for the peers. "Plain" is bm25s with its defaults' k1 and b over the same characters,
pairs and words, all folded alike; it and rank_bm25 get lists of tokens ready made, while ours
starts from text. qdrant-client's local mode searches the very vectors that ours made.

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

import knowledge_scale
import numpy as np
import opencc
import polars as pl
from harness import Benchmark, ProgramError, execute, table
from peers import Peer, interpreter

from kyara_kedro.knowledge.bm25 import SparseEncoder
from kyara_kedro.knowledge.client import ServerIndex
from kyara_kedro.knowledge.index import Fusion, Narrow, Query
from kyara_kedro.knowledge.store import KnowledgeOptions, KnowledgeStore
from kyara_kedro.text.fold import fold

LEXICAL = Peer("lexical", ("bm25s==0.3.16", "rank-bm25==0.2.2"))
DEPTH = 10
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


def main() -> None:
    """Measure and print."""
    bench = Benchmark.start("retrieval", __doc__.splitlines()[0])
    paragraphs, asked = knowledge_scale.corpus("paragraphs"), knowledge_scale.corpus("questions")
    passages = pl.DataFrame(paragraphs).select(
        passage_id="doc_id",
        document_id="article_id",
        title="title",
        text="text",
        language=pl.lit("zh-Hant-TW"),
    )
    queries, gold = [row["query"] for row in asked], [row["doc_id"] for row in asked]
    simplify = opencc.OpenCC("t2s").convert
    articles = sorted({row["article_id"] for row in paragraphs})
    half_b = {article for number, article in enumerate(articles) if number % 2}
    article = {row["doc_id"]: row["article_id"] for row in paragraphs}
    in_b = np.array([article[own] in half_b for own in gold])

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with KnowledgeStore(KnowledgeOptions(path=folder / "edge")) as store:
            store.build(passages)
            hits, cpu = timed(store, queries)
            ours = lists(hits, len(queries))
            simplified = lists(store.search(list(map(simplify, queries)), DEPTH), len(queries))
            client, client_cpu = client_lists(store, queries[:SLOW_QUERIES])
        with KnowledgeStore(KnowledgeOptions(path=folder / "again")) as again:
            again.build(passages[500:])
            again.build(passages[::-1])
            changed = again.search(queries, DEPTH)
        local_options = KnowledgeOptions(kind="local", path=Path(":memory:"))
        with KnowledgeStore(local_options) as local:
            local.build(passages)
            local_hits, local_cpu = timed(local, queries)

        texts = [f"{row['title']}\n{row['text']}" for row in paragraphs]
        for file, rows in (("passages", texts), ("queries", queries)):
            lines = (json.dumps(tokens(text), ensure_ascii=False) for text in rows)
            (folder / f"{file}.jsonl").write_text("\n".join(lines), "utf-8")
        python, peer = interpreter(LEXICAL), None
        try:
            peer = python and execute([python, LEXICAL.runner, folder])
        except ProgramError as error:
            print(f"SKIPPED {LEXICAL.name}: {error}", flush=True)
        plain = None
        if peer:
            names = passages["passage_id"].to_list()
            numbers = map(json.loads, (folder / "found.jsonl").read_text().splitlines())
            plain = ranks([[names[number] for number in row] for row in numbers], gold)

    own = ranks(ours, gold)
    rows = [("ours", own), ("ours, half A", own[~in_b]), ("ours, half B", own[in_b])]
    rows.append(("ours, Simplified questions", ranks(simplified, gold)))
    if plain is not None:
        rows += [("bm25s", plain), ("bm25s, half B", plain[in_b])]
    table(("", "recall@1", "recall@5", "MRR@10"), [(what, *quality(r)) for what, r in rows])
    speeds = [("ours, embedded", len(queries) / cpu), ("ours, local", len(queries) / local_cpu)]
    if peer:
        speeds.append(("bm25s", len(queries) / peer["cpu"]))
        speeds.append(("rank_bm25", 1 / peer["rank_bm25_cpu"]))
    speeds.append(("qdrant-client local mode", SLOW_QUERIES / client_cpu))
    table(
        ("1,000 passages", "queries/CPU s", "ours is"),
        [(n, s, speeds[0][1] / s) for n, s in speeds],
    )

    recall1, recall5, mrr = quality(own)
    bench.at_least("recall_at_1", recall1, 0.942)
    bench.at_least("recall_at_5", recall5, 0.992)
    bench.at_least("mrr_at_10", mrr, 0.963)
    loss = recall1 - quality(ranks(simplified, gold))[0]
    bench.at_most("simplified_questions_lose", loss, 0.005)
    for number, what in enumerate(("recall_at_1", "recall_at_5", "mrr_at_10")):
        if plain is None:
            bench.skipped(f"{what}_over_plain", 0, "no peer")
        else:
            bench.at_least(f"{what}_over_plain", quality(own)[number] - quality(plain)[number], 0)
    bench.at_least("overlap_with_local", overlap(ours, lists(local_hits, len(queries))), 0.99)
    bench.at_least("overlap_with_client", overlap(ours[:SLOW_QUERIES], client), 0.99)
    bench.at_most("rows_changed_by_rebuild", float(not changed.equals(hits)), 0)
    if peer:
        bench.at_least("speed_over_bm25s", peer["cpu"] / cpu, 1.5)
    else:
        bench.skipped("speed_over_bm25s", 1.5, "no peer")
    for what, value in speeds:
        bench.figure(f"queries per CPU s: {what}", value)

    whole = 20_000 if bench.quick else 100_000
    figures = knowledge_scale.measure(whole)
    searched, built = figures["queries"] / figures["search_cpu"], whole / figures["build_cpu"]
    table(
        (f"{whole:,} passages", "queries/CPU s", "built/CPU s", "disk MB", "peak MB"),
        [("ours, embedded", searched, built, figures["disk_mb"], figures["rss_mb"])],
    )
    bench.at_least("queries_per_cpu_second", searched, 500)
    bench.at_least("passages_per_cpu_second", built, 1_500)
    bench.finish()


if __name__ == "__main__":
    main()
