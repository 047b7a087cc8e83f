"""semhash and FAISS: pairs of vectors whose cosine reaches 0.9, with one thread.

Arguments: which of the two; a ``.npy`` file of unit vectors; how many rows of it; the ``.npy`` file
of pairs to write, shape [pairs, 2], lower row first. semhash gets the vectors as they are (its
``from_embeddings``, for which no encoder is run) with a record of its own for each row, builds its
usearch index with its own settings and is asked for each row's neighbours as its
``self_deduplicate`` asks; the grouping after that is not on the clock. FAISS trains an inverted
file of 4 sqrt(n) lists on what it samples, and searches 8 of them for each row by range.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

THRESHOLD, PROBES = 0.9, 8


def memory_mb(field: str) -> float:
    """Memory that the process holds (``VmRSS``) or held at most (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(field))) / 1e3


def with_semhash(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and their neighbours."""
    from semhash import SemHash

    records = [str(row) for row in range(len(vectors))]
    index = SemHash.from_embeddings(vectors, records, model=None).index
    found = index.query_threshold(index.vectors, threshold=THRESHOLD)
    counts = [len(neighbours) for neighbours, _ in found]
    return np.repeat(np.arange(len(vectors)), counts), np.concatenate([each for each, _ in found])


def with_faiss(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and their neighbours."""
    import faiss

    dimensions, lists = vectors.shape[1], int(4 * len(vectors) ** 0.5)
    coarse = faiss.IndexFlatIP(dimensions)
    index = faiss.IndexIVFFlat(coarse, dimensions, lists, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = PROBES
    index.train(vectors)
    index.add(vectors)
    limits, _, neighbours = index.range_search(vectors, THRESHOLD)
    return np.repeat(np.arange(len(vectors)), np.diff(limits.astype(np.int64))), neighbours


def main() -> None:
    """Search, count and write."""
    which, source, rows, target = sys.argv[1:]
    vectors = np.array(np.load(source, mmap_mode="r")[: int(rows)])
    if which == "semhash":
        import semhash  # noqa: F401
    else:
        import faiss

        faiss.omp_set_num_threads(1)
    loaded, started, cpu = memory_mb("VmRSS"), time.perf_counter(), time.process_time()
    one, other = {"semhash": with_semhash, "faiss": with_faiss}[which](vectors)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = memory_mb("VmHWM")
    pairs = np.sort(np.stack([one, other], axis=1).astype(np.int64), axis=1)
    pairs = np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)
    np.save(target, pairs)
    said = {"rows": int(rows), "seconds": seconds, "cpu": cpu, "over_mb": peak - loaded}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
