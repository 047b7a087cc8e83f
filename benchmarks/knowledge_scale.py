"""The embedded knowledge base as it grows: speed, memory and disk.

Passages of about 400 characters are drawn from DRCD's sentences, streamed into an embedded
knowledge base in a process of its own, and searched with DRCD's questions; then one passage is
changed. Set ``KYARA_BENCH_PASSAGES`` for another size than 100,000; a million takes some eight
minutes of CPU and 8 GB of disk. Rates are a CPU second, for the machine may be shared. Memory is
the process's own peak; the anonymous part of it is what the system cannot take back.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from kyara_kedro.knowledge.store import KnowledgeOptions, KnowledgeStore

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / os.environ.get("KYARA_CONFORMANCE_DATA", "../shared/data") / "corpora"
PASSAGES = int(os.environ.get("KYARA_BENCH_PASSAGES", "100000"))
QUERIES = 1_000
CHARACTERS = 400
_FRAME = 5_000


def corpus(name: str) -> list[dict[str, Any]]:
    """Rows of one of DRCD's files."""
    path = DATA / f"drcd_dev_{name}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@cache
def _sentences() -> list[str]:
    texts = [row["text"] for row in corpus("paragraphs")]
    return [f"{part}。" for text in texts for part in text.split("。") if len(part) > 8]


def passage(number: int) -> str:
    """Text of a drawn passage."""
    rng, text = random.Random(number), ""
    while len(text) < CHARACTERS:
        text += rng.choice(_sentences())
    return text[: CHARACTERS + 20]


def passages(count: int, changed: int | None = None) -> Iterator[pl.DataFrame]:
    """Tables of drawn passages."""
    for start in range(0, count, _FRAME):
        numbers = range(start, min(count, start + _FRAME))
        yield pl.DataFrame(
            {
                "passage_id": [f"id_{n:08x}" for n in numbers],
                "document_id": [f"d{n // 10}" for n in numbers],
                "title": ["標題"] * len(numbers),
                "text": [passage(n) if n != changed else "這一段改了。" for n in numbers],
                "language": ["zh-Hant-TW"] * len(numbers),
            }
        )


class Clock:
    """Counts the CPU seconds of this process, without those of a generator it is given."""

    def __init__(self) -> None:
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    def without(self, tables: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Pass tables on, and take off what it cost to make them."""
        while True:
            cpu, wall = time.process_time(), time.perf_counter()
            table = next(tables, None)
            self.cpu += time.process_time() - cpu
            self.wall += time.perf_counter() - wall
            if table is None:
                return
            yield table

    def read(self) -> tuple[float, float]:
        """CPU seconds and seconds since the start."""
        return time.process_time() - self.cpu, time.perf_counter() - self.wall


class Memory(threading.Thread):
    """Watches this process's memory, in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.anonymous = self.whole = 0.0
        self.start()

    def run(self) -> None:
        """Look ten times a second."""
        while True:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon"):
                    self.anonymous = max(self.anonymous, int(line.split()[1]) / 1024)
                if line.startswith("VmRSS"):
                    self.whole = max(self.whole, int(line.split()[1]) / 1024)
            time.sleep(0.1)


def program(count: int, folder: Path) -> None:
    """Build, search and change a knowledge base; print the figures."""
    questions = [row["query"] for row in corpus("questions")][:QUERIES]
    figures: dict[str, float] = {"rows": count}
    memory = Memory()
    _sentences()
    with KnowledgeStore(KnowledgeOptions(path=folder)) as store:
        clock = Clock()
        assert store.build(clock.without(passages(count))).added == count
        figures["build_cpu"], figures["build_seconds"] = clock.read()
        figures["anonymous_mb"], figures["rss_mb"] = memory.anonymous, memory.whole
        files = [path for path in folder.rglob("*") if path.is_file()]
        figures["disk_mb"] = sum(path.stat().st_blocks for path in files) * 512 / 1e6
    clock = Clock()
    with KnowledgeStore(KnowledgeOptions(path=folder)) as store:
        figures["open_seconds"] = clock.read()[1]
        store.search(questions[:10])
        clock = Clock()
        store.search(questions)
        figures["search_cpu"], figures["search_seconds"] = clock.read()
        clock = Clock()
        assert store.build(clock.without(passages(count, changed=0))).added == 1
        figures["change_cpu"], figures["change_seconds"] = clock.read()
    figures["queries"] = len(questions)
    print(json.dumps(figures))


def measure(count: int) -> dict[str, Any]:
    """Figures of a knowledge base of this size, from a process of its own."""
    from harness import execute, scratch

    with scratch() as folder:
        return execute([sys.executable, __file__, "--program", str(count), str(folder / "base")])


def main() -> None:
    """Measure two sizes side by side."""
    import harness
    from harness import Benchmark, table

    harness.PROGRAM_SECONDS = 7_200
    bench = Benchmark.start("knowledge_scale", __doc__.splitlines()[0])
    whole = 20_000 if bench.quick else PASSAGES
    rows = []
    found = {}
    for count in (whole // 5, whole):
        found[count] = figures = measure(count)
        rows.append(
            (
                count,
                count / figures["build_cpu"],
                figures["queries"] / figures["search_cpu"],
                figures["change_cpu"],
                figures["anonymous_mb"],
                figures["rss_mb"],
                figures["disk_mb"],
            )
        )
    head = ("passages", "built/CPU s", "queries/CPU s", "one changed, CPU s")
    table((*head, "anonymous MB", "RSS MB", "disk MB"), rows)
    last = found[whole]
    for name, value in last.items():
        bench.figure(name, value)
    bench.at_least("passages_per_cpu_second", whole / last["build_cpu"], 1_500)
    bench.at_most("rss_gb", last["rss_mb"] / 1024, 8)
    if whole <= 100_000:
        bench.at_least("queries_per_cpu_second", last["queries"] / last["search_cpu"], 500)
    bench.finish()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--program"]:
        program(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
