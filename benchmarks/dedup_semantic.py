"""Pairs of vectors by cosine: exactness, speed and memory beside brute force and its rivals.

Embedding models are not fetched, so the vectors are made here from real texts, by latent semantic
analysis: windows of one to six sentences slide over the texts in ``KYARA_CONFORMANCE_DATA``
(Chinese and English, prompts, answers, passages), their characters and words, alone and by twos,
are hashed to 131,072 columns, weighed by tf-idf and projected to 384 dimensions by a singular value
decomposition of 20,000 of them. Windows that overlap give what texts of a corpus give: many pairs
at every cosine, in groups of all sizes. Rows without direction and rows with equal vectors are left
out, so that every method faces the same pairs.

The synthetic rows are 256 numbers: 1,000 clusters whose members have a cosine of some 0.6, and one
row in ten is a copy of another with a cosine of 0.92 to 0.99. Their truth is known from how they
are made: rows of one original are compared in double precision, others cannot come near 0.9.

The truth of the real ones is brute force: blocks of products in single precision, those within 1e-4
of the threshold computed again in double precision. It is also the yardstick of speed.

SemDeDup is written anew from its paper and code: spherical k-means with sqrt(n) centres, 20 rounds
over at most 256 rows a centre (as the library that it uses does), then, within each cluster and
from the centre's far side, the likest earlier row for each, whether that was removed or not.

Everything measured runs in a process of its own with one thread; CPU seconds, for the machine may
be shared, and of ours the median of runs between those of the others. Imports and the reading of
the vectors are not on the clock, and memory counts what is held above both. A row of the first
table is left to its own size where it takes too long.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from harness import Benchmark, ProgramError, execute, scratch, table
from numpy.typing import NDArray
from peers import Peer, interpreter

DATA = Path(
    os.environ.get(
        "KYARA_CONFORMANCE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"
    )
)
PEER = Peer("semantic", ("semhash==0.5.0", "faiss-cpu==1.14.3"))
THRESHOLD = 0.9
COLUMNS, DIMENSIONS, SYNTHETIC = 2**17, 384, 256
_SENTENCES = re.compile(r"(?<=[。！？!?；;\n])|(?<=[.,，])\s")
_ALONE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_BLOCK = 2_048
_TEXTS = 50_000
"""Vectors from which on all texts are cut into windows, not some."""

Vectors = NDArray[np.float32]
Keys = NDArray[np.int64]


# --- the vectors


def strings(value: object) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)


def texts() -> Iterator[str]:
    """Every text of some length in the files at hand."""
    for path in sorted(DATA.rglob("*.gz")):
        if any(word in path.name for word in ("logprobs", "battles")):
            continue
        content = gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
        if path.name.endswith(".jsonl.gz"):
            found = (
                text for line in content.split("\n") if line for text in strings(json.loads(line))
            )
        elif path.name.endswith(".json.gz"):
            found = strings(json.loads(content))
        elif path.name.endswith(".tsv.gz"):
            found = iter(re.split(r"[\t\n]", content))
        else:
            continue
        yield from (text for text in found if len(text) >= 12)


def windows(count: int) -> list[str]:
    """Different stretches of one to six sentences, shuffled."""
    parts = [
        [part.strip() for part in _SENTENCES.split(text) if len(part.strip()) >= 4]
        for text in texts()
    ]
    parts = parts[:: max(1, _TEXTS // count)]
    found: dict[str, None] = {}
    for length in range(1, 7):
        for sentences in parts:
            for start in range(len(sentences) - length + 1):
                window = " ".join(sentences[start : start + length])
                if 20 <= len(window) <= 1_500:
                    found.setdefault(window)
    every = list(found)
    random.Random(0).shuffle(every)
    return every[:count]


def real(count: int) -> Vectors:
    """Unit vectors of windows of real texts, all different."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    hashing = HashingVectorizer(
        token_pattern=r"[\u3400-\u9fff]|[a-z0-9]+",
        ngram_range=(1, 2),
        n_features=COLUMNS,
        dtype=np.float32,
        norm=None,
        alternate_sign=False,
    )
    weighed = TfidfTransformer(sublinear_tf=True).fit_transform(
        hashing.transform(windows(count + count // 50 + 500))
    )
    analysis = TruncatedSVD(DIMENSIONS, n_iter=2, random_state=0).fit(weighed[:20_000])
    vectors = analysis.transform(weighed).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    vectors = vectors[lengths > 1e-6] / lengths[lengths > 1e-6, None]
    _, firsts = np.unique(vectors, axis=0, return_index=True)
    found: Vectors = np.ascontiguousarray(vectors[np.sort(firsts)][:count])
    return found


def synthetic(rows: int) -> tuple[Vectors, Keys]:
    """Unit vectors in clusters, and the keys of their true pairs."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(1_000, SYNTHETIC)).astype(np.float32)
    originals = np.arange(rows)
    copies = np.sort(rng.choice(np.arange(rows // 20, rows), rows // 10, replace=False))
    vectors = np.empty((rows, SYNTHETIC), np.float32)
    for start in range(0, rows, 50_000):
        part = vectors[start : start + 50_000]
        noise = rng.standard_normal(part.shape, np.float32)
        part[:] = centres[rng.integers(0, len(centres), len(part))] + 0.8 * noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for row in copies:
        originals[row] = originals[rng.integers(0, row)]
        cosine = rng.uniform(0.92, 0.99)
        near, away = vectors[originals[row]], rng.standard_normal(SYNTHETIC, np.float32)
        away -= near * (near @ away)
        copy = cosine * near + (1 - cosine**2) ** 0.5 * away / np.linalg.norm(away)
        vectors[row] = copy / np.linalg.norm(copy)
    return vectors, within(originals, vectors)


def within(groups: Keys, vectors: Vectors) -> Keys:
    """Keys of the pairs of rows of one group that reach the threshold."""
    order = np.argsort(groups, kind="stable")
    lefts, rights = [], []
    for step in range(1, int(np.bincount(groups).max())):
        one, other = order[:-step], order[step:]
        same = groups[one] == groups[other]
        lefts.append(one[same])
        rights.append(other[same])
    left, right = np.concatenate(lefts), np.concatenate(rights)
    close = cosines(vectors, left, right) >= THRESHOLD
    return np.sort(left[close] * len(vectors) + right[close])


def cosines(vectors: Vectors, left: Keys, right: Keys) -> NDArray[np.float64]:
    """Cosines of pairs of rows in double precision."""
    found = np.empty(len(left))
    for start in range(0, len(left), 8_192):
        part = slice(start, start + 8_192)
        one, other = (vectors[rows[part]].astype(np.float64) for rows in (left, right))
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        found[part] = np.einsum("ij,ij->i", one, other) / lengths
    return found


# --- the programs that are measured


def with_ours(vectors: Vectors) -> Keys:
    """Pairs by the code under test."""
    from kyara_kedro.similarity.semantic import SemanticSearchOptions, similar_pairs

    pairs = similar_pairs(vectors, THRESHOLD, SemanticSearchOptions(device="cpu")).pairs
    return np.stack([pairs.left, pairs.right], axis=1)


def with_brute(vectors: Vectors) -> Keys:
    """Pairs by all products."""
    room, found = np.empty((_BLOCK, _BLOCK), np.float32), []
    for top in range(0, len(vectors), _BLOCK):
        rows = vectors[top : top + _BLOCK]
        for left in range(top, len(vectors), _BLOCK):
            columns = vectors[left : left + _BLOCK]
            products = room.reshape(-1)[: len(rows) * len(columns)].reshape(len(rows), -1)
            np.matmul(rows, columns.T, out=products)
            place = np.flatnonzero(products.reshape(-1) >= THRESHOLD - 1e-4)
            row, column = np.divmod(place, len(columns))
            known = products[row, column]
            row, column = row + top, column + left
            sure = known >= THRESHOLD + 1e-4
            unsure = np.flatnonzero(~sure)
            sure[unsure] = cosines(vectors, row[unsure], column[unsure]) >= THRESHOLD
            sure &= row < column
            found.append(np.stack([row[sure], column[sure]], axis=1))
    return np.concatenate(found)


def with_semdedup(vectors: Vectors) -> Keys:
    """Each row's cluster, and whether it is removed."""
    count, rng = int(len(vectors) ** 0.5), np.random.default_rng(0)
    sample = vectors[np.sort(rng.permutation(len(vectors))[: 256 * count])]
    centres = sample[rng.permutation(len(sample))[:count]].copy()
    for _ in range(20):
        nearest = assigned(sample, centres)
        order = np.argsort(nearest, kind="stable")
        used, starts = np.unique(nearest[order], return_index=True)
        centres[used] = np.add.reduceat(sample[order], starts)
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    cluster = assigned(vectors, centres)
    removed = np.zeros(len(vectors), np.int64)
    for number, centre in enumerate(centres):
        members = np.flatnonzero(cluster == number)
        rows = vectors[members]
        order = np.argsort(rows @ centre)
        rows = rows[order]
        likest = np.triu(rows @ rows.T, k=1).max(axis=0, initial=0)
        removed[members[order]] = likest > THRESHOLD
    return np.stack([cluster, removed], axis=1)


def assigned(vectors: Vectors, centres: Vectors) -> Keys:
    """The likest centre of each vector."""
    parts = (vectors[start : start + 8_192] for start in range(0, len(vectors), 8_192))
    return np.concatenate([(part @ centres.T).argmax(axis=1) for part in parts])


PROGRAMS = {"ours": with_ours, "brute force": with_brute, "SemDeDup": with_semdedup}


def memory_mb(field: str) -> float:
    """Memory that the process holds (``VmRSS``) or held at most (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(field))) / 1e3


def program(which: str, source: str, rows: int, target: str) -> None:
    """Search, count and write."""
    vectors = np.array(np.load(source, mmap_mode="r")[:rows])
    if which == "ours":
        import torch

        import kyara_kedro.similarity.semantic  # noqa: F401

        torch.set_num_threads(1)
    loaded, started, cpu = memory_mb("VmRSS"), time.perf_counter(), time.process_time()
    found = PROGRAMS[which](vectors)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = memory_mb("VmHWM")
    np.save(target, found)
    said = {"rows": rows, "seconds": seconds, "cpu": cpu, "over_mb": peak - loaded}
    print(json.dumps(said))


class Found(NamedTuple):
    """What a program found, and what it took.

    Attributes:
        rows: What it wrote: pairs, or clusters and removals.
        cpu: CPU seconds.
        over_mb: Memory above the vectors and the libraries.
    """

    rows: Keys
    cpu: float
    over_mb: float


def run(which: str, source: Path, rows: int) -> Found | None:
    """Measure a program; None, and a line, when a peer breaks down."""
    target = source.with_name("found.npy")
    if which in PROGRAMS:
        command: list[Any] = [sys.executable, __file__, "--program"]
    else:
        python = interpreter(PEER)
        if python is None:
            return None
        command = [python, PEER.runner]
    environment = {name: value for name, value in PEER.environment().items() if name not in _UNSET}
    environment |= dict.fromkeys(_ALONE, "1")
    if which in PROGRAMS:
        environment.pop("PYTHONPATH")
    try:
        said = execute([*command, which, source, str(rows), target], environment)
    except ProgramError as error:
        if which == "ours":
            raise
        print(f"SKIPPED {which}: {error}", flush=True)
        return None
    print(f"  {which}, {rows:,} rows: {said['cpu']:.1f} CPU s, {said['wall']:.0f} s", flush=True)
    return Found(np.load(target), said["cpu"], said["over_mb"])


# --- the script


def keys(found: Found, rows: int) -> Keys:
    """Pairs as numbers, in order."""
    return np.sort(found.rows[:, 0] * rows + found.rows[:, 1])


def unkept(truth: Keys, removed: NDArray[np.bool_]) -> int:
    """Removed rows that are like none of those that are kept."""
    left, right = np.divmod(truth, len(removed))
    covered = np.zeros(len(removed), np.bool_)
    covered[left[~removed[right]]] = True
    covered[right[~removed[left]]] = True
    return int((removed & ~covered).sum())


def exactness(bench: Benchmark, name: str, found: Keys, truth: Keys) -> tuple[float, int]:
    """Recall and false pairs of ours, as bars."""
    missed, false = len(np.setdiff1d(truth, found)), len(np.setdiff1d(found, truth))
    recall = 1 - missed / max(1, len(truth))
    bench.at_least(f"recall_{name}", recall, 1.0)
    bench.at_most(f"false_pairs_{name}", false, 0)
    return recall, false


def beside(bench: Benchmark, source: Path, rows: int, names: tuple[str, ...]) -> dict[str, Found]:
    """Ours, brute force and peers at one size, as a table."""
    found: dict[str, Found] = {}
    ours = []
    for name in ("brute force", *names):
        # between the others, for a shared machine is quick now and slow then
        ours.append(run("ours", source, rows))
        if each := run(name, source, rows):
            found[name] = each
    ours.append(run("ours", source, rows))
    ordered = sorted((each for each in ours if each), key=lambda each: each.cpu)
    found = {"ours": ordered[len(ordered) // 2], **found}
    truth = keys(found["brute force"], rows)
    shown = []
    for name, each in found.items():
        note, listed = "", each.rows
        if name == "SemDeDup":
            left, right = np.divmod(truth, rows)
            recall = float((listed[left, 0] == listed[right, 0]).mean())
            removed = listed[:, 1].astype(np.bool_)
            false = 0
            note = f"{unkept(truth, removed):,} of {removed.sum():,} removed have no kept like"
        elif name == "ours":
            recall, false = exactness(bench, f"real_{rows}", keys(each, rows), truth)
        else:
            recall = float(np.isin(truth, keys(each, rows)).mean())
            false = len(np.setdiff1d(keys(each, rows), truth))
        ratio = each.cpu / found["ours"].cpu
        shown.append((name, each.cpu, ratio, each.over_mb, recall, false, note))
        bench.figure(f"{name}: CPU s, real {rows}", each.cpu)
        bench.figure(f"{name}: MB over the vectors, real {rows}", each.over_mb)
        bench.figure(f"{name}: recall, real {rows}", recall)
    print(f"\n{rows:,} real rows of {DIMENSIONS}, {len(truth):,} true pairs\n")
    table(("", "CPU s", "ours is x", "MB over", "recall", "false", ""), shown)
    return found


def ratio(bench: Benchmark, found: dict[str, Found], peer: str, name: str, bar: float) -> None:
    """How many times ours a peer's CPU time is; there is no bar for a few rows."""
    if bench.quick:
        return
    if peer in found:
        bench.at_least(name, found[peer].cpu / found["ours"].cpu, bar)
    else:
        bench.skipped(name, bar, "no peer")


def growth(bench: Benchmark, sizes: tuple[int, ...], folder: Path) -> None:
    """Ours on synthetic rows of several numbers."""
    shown, before = [], None
    for rows in sizes:
        vectors, truth = synthetic(rows)
        np.save(folder / "synthetic.npy", vectors)
        del vectors
        found = run("ours", folder / "synthetic.npy", rows)
        assert found is not None
        recall, false = exactness(bench, f"synthetic_{rows}", keys(found, rows), truth)
        power = np.log(found.cpu / before[1]) / np.log(rows / before[0]) if before else float("nan")
        before = rows, found.cpu
        shown.append((rows, len(truth), found.cpu, power, found.over_mb, recall, false))
        bench.figure(f"ours: CPU s, synthetic {rows}", found.cpu)
    print()
    head = "synthetic rows", "true pairs", "CPU s", "n to the power", "MB over", "recall", "false"
    table(head, shown)


def main() -> None:
    """Measure and print."""
    bench = Benchmark.start("dedup_semantic", __doc__.splitlines()[0])
    sizes = (2_000, 10_000) if bench.quick else (20_000, 50_000, 180_000)
    with scratch() as folder:
        source = folder / "real.npy"
        vectors = real(sizes[-1])
        np.save(source, vectors)
        seconds = time.perf_counter() - bench.started
        print(f"{len(vectors):,} vectors of real texts, {seconds:.0f} s\n", flush=True)
        rows, small = len(vectors), sizes[-2]
        del vectors
        for size in sizes[:-2]:
            beside(bench, source, size, ())
        found = beside(bench, source, small, ("semhash", "faiss", "SemDeDup"))
        ratio(bench, found, "semhash", f"speed_over_semhash_at_{small}", 8)
        found = beside(bench, source, rows, ("faiss", "SemDeDup"))
        ratio(bench, found, "brute force", "speed_over_brute_force", 10)
        ratio(bench, found, "faiss", "speed_over_faiss_ivf", 3)
        ratio(bench, found, "SemDeDup", "speed_over_semdedup", 1 / 1.1)
        if not bench.quick:
            bench.at_most("mb_over_the_vectors", found["ours"].over_mb, 700)
        growth(
            bench, (5_000, 10_000) if bench.quick else (10_000, 50_000, 200_000, 400_000), folder
        )
    bench.finish()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--program"]:
        program(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
    else:
        main()
