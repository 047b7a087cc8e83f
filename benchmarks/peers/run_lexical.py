"""bm25s and rank_bm25: index token lists from JSON lines and search them.

Argument: a folder with ``passages.jsonl`` and ``queries.jsonl``, one list of tokens a line.
Indexing and searching are timed, reading is not. The ten best of each query by bm25s are written
to ``found.jsonl``.
"""

import json
import sys
import time
from pathlib import Path

import bm25s
from rank_bm25 import BM25Okapi

FOLDER = Path(sys.argv[1])
SLOW_PASSAGES, SLOW_QUERIES = 1_000, 100
"""What rank_bm25 gets."""


def read(name: str) -> list[list[str]]:
    """Lists of tokens of a file."""
    with (FOLDER / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


passages, queries = read("passages.jsonl"), read("queries.jsonl")
figures: dict[str, float] = {"rows": len(queries)}

started, busy = time.perf_counter(), time.process_time()
index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
index.index(passages, show_progress=False)
figures["bm25s_index_cpu"] = time.process_time() - busy

runs = []
for _ in range(3):
    started, busy = time.perf_counter(), time.process_time()
    found, _ = index.retrieve(queries, k=10, show_progress=False)
    runs.append((time.perf_counter() - started, time.process_time() - busy))
figures["seconds"], figures["cpu"] = (
    min(seconds for seconds, _ in runs),
    min(cpu for _, cpu in runs),
)
with (FOLDER / "found.jsonl").open("w", encoding="utf-8") as out:
    out.writelines(json.dumps(row.tolist()) + "\n" for row in found)

slow = BM25Okapi(passages[:SLOW_PASSAGES], k1=1.2, b=0.75)
busy = time.process_time()
for query in queries[:SLOW_QUERIES]:
    scores = slow.get_scores(query)
    scores.argsort()[::-1][:10]
figures["rank_bm25_cpu"] = (time.process_time() - busy) / SLOW_QUERIES
print(json.dumps(figures))
