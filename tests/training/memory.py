"""Prints by how many bytes the memory of this process grows while it selects rows of a table."""

import sys
from pathlib import Path

import polars as pl

from kyara_kedro.training.loading import load_tokenizer
from kyara_kedro.training.model_ref import pretrained
from kyara_kedro.training.rows import Choice, select_conversations


def peak() -> int:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def main(model: str, folder: str) -> None:
    start = pretrained(model)
    load_tokenizer(start)
    small, large = (pl.scan_parquet(Path(folder, f"{name}.parquet")) for name in ("small", "large"))
    for table in (small, large):
        before = peak()
        found = select_conversations(table, start, Choice(100), Path(folder, "tokens"))
        rows = sum(frame.height for frame in found.rows(table))
    print(rows, peak() - before)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
