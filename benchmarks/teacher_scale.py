"""20,000 rows: speed beside bespokelabs-curator, memory that does not grow, CPU near the floor.

The server takes 50 ms; 256 requests are in flight. The floor is the bare loop of
``bare_client.py``: the same client library and transport, with nothing kept, parsed or written. The
last part runs the 20,000 rows again on a full ledger: nothing may be sent.
"""

from __future__ import annotations

from pathlib import Path

from harness import Benchmark, Run, Server, bare, median, ours, peer, scratch, server, table
from peers import CURATOR


def cpu_per_row(run: Run) -> float:
    """Microseconds of CPU a row, imports not included."""
    return run.cpu / run.rows * 1e6


def beside_the_bare_client(
    benchmark: Benchmark, at: Server, rows: int, in_flight: int, repetitions: int
) -> list[Run]:
    """Hold our CPU a row against the bare client's, in interleaved runs; returns ours."""
    mine, floor = [], []
    for _ in range(repetitions):
        mine.append(ours(at, rows, in_flight))
        floor.append(bare(at, rows, in_flight))
    print(f"## CPU a row: {rows:,} rows, {in_flight} in flight, {repetitions} repetitions\n")
    table(
        ("", "us a row", "all", "rows/s", "peak MB"),
        [
            (
                name,
                median(map(cpu_per_row, done)),
                " ".join(f"{cpu_per_row(run):.0f}" for run in done),
                median(run.rate for run in done),
                max(run.peak_rss_mb for run in done),
            )
            for name, done in (("kyara-kedro", mine), ("bare client.post", floor))
        ],
    )
    ratio = median(cpu_per_row(a) / cpu_per_row(b) for a, b in zip(mine, floor, strict=True))
    benchmark.figure(f"cpu_us_per_row_{in_flight}", median(map(cpu_per_row, mine)))
    benchmark.figure(f"bare_cpu_us_per_row_{in_flight}", median(map(cpu_per_row, floor)))
    benchmark.at_most(f"cpu_vs_bare_{in_flight}_in_flight", ratio, 1.5)
    return mine


def warm_restart(benchmark: Benchmark, at: Server, rows: int, folder: Path) -> None:
    """Run on a full ledger: what is asked, and how fast the rows come."""
    cold = ours(at, rows, 256, ledger=folder / "ledger.db")
    warm = [ours(at, rows, 256, ledger=folder / "ledger.db") for _ in range(3)]
    print(f"## Warm restart: {rows:,} rows\n")
    table(
        ("", "rows", "seconds", "CPU s", "rows/s", "requests", "peak MB"),
        [
            (name, run.rows, run.seconds, run.cpu, run.rate, run.stats["requests"], run.peak_rss_mb)
            for name, run in (("cold", cold), *(("warm", run) for run in warm))
        ],
    )
    benchmark.figure("warm_rows_per_cpu_second", median(run.rows / run.cpu for run in warm))
    benchmark.figure("bytes_per_row", (folder / "ledger.db").stat().st_size / rows)
    benchmark.at_most("warm_requests", max(run.stats["requests"] for run in warm), 0)
    benchmark.at_most("warm_rows_missing", rows - min(run.rows for run in warm), 0)
    benchmark.at_least("warm_rows_per_second", median(run.rate for run in warm), 15_000)


def main() -> None:
    benchmark = Benchmark.start("teacher_scale", __doc__)
    rows = 4_000 if benchmark.quick else 20_000
    repetitions = 1 if benchmark.quick else 3
    with server(latency=0.05) as at, scratch() as folder:
        small = ours(at, 1000, 256)
        large = beside_the_bare_client(benchmark, at, rows, 256, repetitions)
        beside_the_bare_client(benchmark, at, rows // 4, 64, repetitions)
        theirs = peer(CURATOR, at, rows, 256)
        print(f"## {rows:,} rows, 256 in flight, 50 ms\n")
        named = (("kyara-kedro, 1,000 rows", small), ("kyara-kedro", large[0]), ("curator", theirs))
        table(
            ("", "rows", "rows/s", "CPU s", "peak MB", "most in flight"),
            [
                (name, run.rows, run.rate, run.cpu, run.peak_rss_mb, run.stats["most_in_flight"])
                for name, run in named
                if run is not None
            ],
        )
        rate = median(run.rate for run in large)
        peak = max(run.peak_rss_mb for run in large)
        benchmark.figure("rows_per_second", rate)
        benchmark.figure("peak_rss_mb_1000_rows", small.peak_rss_mb)
        benchmark.at_most("rows_missing", rows - min(run.rows for run in large), 0)
        if theirs is None:
            benchmark.skipped("rows_per_second_vs_curator", 3.0, "no run of curator")
        else:
            benchmark.figure("curator_rows_per_second", theirs.rate)
            benchmark.figure("curator_peak_rss_mb", theirs.peak_rss_mb)
            benchmark.at_least("rows_per_second_vs_curator", rate / theirs.rate, 3.0)
        benchmark.at_most("peak_rss_mb", peak, 110)
        benchmark.at_most("peak_rss_vs_1000_rows", peak / small.peak_rss_mb, 1.3)
        warm_restart(benchmark, at, rows, folder)
    benchmark.finish()


if __name__ == "__main__":
    main()
