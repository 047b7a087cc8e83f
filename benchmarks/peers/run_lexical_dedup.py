"""rensa and datasketch: near-duplicates among texts by MinHash and LSH.

Arguments: which of the two; a file of JSON lines with a field ``text``; how many lines of it; the
file to write, one ``[row, row]`` a line for each pair that the index lists. Tokens are single CJK
characters and words, lower-cased; 3-grams of texts of 60 tokens and more, 2-grams of shorter ones.
rensa sketches, inserts and queries in batches (its quickest interface that takes whole sets),
datasketch as its manual shows, with the bands that it thinks best. Texts are tokenised, sketched,
inserted and looked up on the clock; reading them and writing the pairs is off it.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

THRESHOLD, PERMUTATIONS, BANDS = 0.7, 128, 32
SHORT_TOKENS = 60
BATCH = 1_000
_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")


def shingles(text: str) -> list[str]:
    """Runs of two or three tokens."""
    words = _TOKEN.findall(text.lower())
    if len(words) < SHORT_TOKENS:
        return list(map(" ".join, pairwise(words)))
    return list(map(" ".join, zip(words, words[1:], words[2:], strict=False)))


def batches(texts: list[str]) -> Iterator[list[str]]:
    """The texts, some at a time."""
    for start in range(0, len(texts), BATCH):
        yield texts[start : start + BATCH]


def with_rensa(texts: list[str]) -> Iterator[tuple[int, list[int]]]:
    """Each row and the rows that share a band with it."""
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=BANDS)
    sketches = []
    for part in batches(texts):
        sketches += RMinHash.from_token_sets(list(map(shingles, part)), PERMUTATIONS, 42)
    index.insert_many(sketches)
    yield from enumerate(index.query_all(sketches))


def with_datasketch(texts: list[str]) -> Iterator[tuple[int, list[int]]]:
    """Each row and the rows that share a band with it."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    sketches = []
    for part in batches(texts):
        sets = ([gram.encode() for gram in shingles(text)] for text in part)
        sketches += MinHash.bulk(sets, num_perm=PERMUTATIONS)
    for row, sketch in enumerate(sketches):
        index.insert(row, sketch)
    for row, sketch in enumerate(sketches):
        yield row, index.query(sketch)


def main() -> None:
    which, source, rows, target = sys.argv[1:]
    find = {"rensa": with_rensa, "datasketch": with_datasketch}[which]
    with Path(source).open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in islice(lines, int(rows))]
    list(find(texts[:10]))
    started, busy = time.perf_counter(), time.process_time()
    pairs = {(min(row, own), max(row, own)) for row, found in find(texts) for own in found}
    figures = {
        "rows": len(texts),
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time() - busy,
    }
    with Path(target).open("w", encoding="utf-8") as out:
        out.writelines(f"[{one}, {other}]\n" for one, other in sorted(pairs) if one != other)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
