"""What every measured program is asked: prompts of 1,200 Chinese characters, made as they are read.

Imports nothing heavy, so that the programs' memory and CPU are their own.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LENGTH = 1200
MODEL = "gpt-4o-mini"
"""A name that every peer accepts; nothing but the loopback server ever answers to it."""
PASSAGE = (
    "臺灣位於亞洲東部、太平洋西北側，四面環海，地形以山地與丘陵為主，平原集中於西部沿海。"
    "北回歸線通過島嶼中部，氣候介於熱帶與亞熱帶之間，夏季多颱風，冬季受東北季風影響。"
    "島上河川短而湍急，水庫因此成為灌溉與民生用水的主要來源，也決定了聚落與產業的分布。"
    "請依據上述內容，用繁體中文回答問題，並說明理由。"
) * 12


def prompt(index: int) -> str:
    """The prompt of a row: the same for an index in every process, different for each index."""
    start = index % 64
    return f"第{index}題。{PASSAGE[start : start + LENGTH]}"[:LENGTH]


def write_prompts(path: Path, rows: int) -> None:
    """Write prompts for the programs that read them from a file, as ``{"index", "prompt"}``."""
    with path.open("w", encoding="utf-8") as out:
        for index in range(rows):
            out.write(json.dumps({"index": index, "prompt": prompt(index)}, ensure_ascii=False))
            out.write("\n")


def read_jsonl(path: Path) -> Iterator[dict[str, object]]:
    """The rows of a JSONL file; a last line that a killed program left unfinished is dropped."""
    if path.exists():
        for line in path.read_bytes().split(b"\n")[:-1]:
            yield json.loads(line)


def peak_rss_mb() -> float:
    """Most memory that this process itself ever held, in MB (10^6 bytes)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


class Meter:
    """Measures a program's job: make it when the imports are done, report when the rows are out."""

    def __init__(self) -> None:
        self.import_cpu = time.process_time()
        self.started = time.perf_counter()

    def report(self, rows: int, **more: object) -> None:
        """Print the figures of the job as the program's last line of output.

        ``cpu`` is of this process, after its imports; threads count, child processes do not.
        """
        seconds = time.perf_counter() - self.started
        figures = {
            "rows": rows,
            "seconds": seconds,
            "cpu": time.process_time() - self.import_cpu,
            "import_cpu": self.import_cpu,
            "peak_rss_mb": peak_rss_mb(),
            **more,
        }
        sys.stdout.write("\n" + json.dumps(figures) + "\n")
        sys.stdout.flush()
