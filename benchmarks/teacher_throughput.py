"""Rows a second, side by side with bespokelabs-curator, distilabel and NeMo data-designer.

A prompt of 1,200 Chinese characters in, an answer of 400 out: 1,000 rows with 64 in flight from a
server that answers at once, and 2,000 rows with 256 in flight from one that takes 200 ms. The
repetitions are interleaved, each ratio is of one repetition, and the median counts. A program's
clock starts when its imports are done, which favours those that import for seconds; how long the
server saw each of them, from the first request to the last answer, is shown beside it. The bare
client, which does nothing with what it receives, shows how far the client library reaches.
"""

from __future__ import annotations

from harness import Benchmark, Run, Server, bare, median, ours, peer, server, table
from peers import CURATOR, DATA_DESIGNER, DISTILABEL, Peer

AT_ONCE_BARS = {CURATOR: 2.7, DISTILABEL: 6.0, DATA_DESIGNER: 6.0}
DISTANT_BARS = {CURATOR: 1.6}


def compare(
    benchmark: Benchmark,
    at: Server,
    claim: str,
    bars: dict[Peer, float],
    rows: int,
    in_flight: int,
    repetitions: int,
) -> None:
    """Measure ours and each peer in turn, some times over, and hold the ratios against bars."""
    runs: dict[str, list[Run]] = {"kyara-kedro": [], "bare client.post": []}
    ratios: dict[Peer, list[float]] = {which: [] for which in bars}
    for _ in range(repetitions):
        mine = ours(at, rows, in_flight)
        runs["kyara-kedro"].append(mine)
        runs["bare client.post"].append(bare(at, rows, in_flight))
        for which, found in ratios.items():
            theirs = peer(which, at, rows, in_flight)
            if theirs is not None:
                runs.setdefault(which.name, []).append(theirs)
                found.append(mine.rate / theirs.rate)
    print(f"## {claim}: {rows:,} rows, {in_flight} in flight, {repetitions} repetitions\n")
    table(
        ("", "rows/s", "all", "rows", "served s", "CPU s", "CPU s, all", "peak MB"),
        [
            (
                name,
                median(run.rate for run in done),
                " ".join(f"{run.rate:.0f}" for run in done),
                min(run.rows for run in done),
                median(run.served_seconds for run in done),
                median(run.cpu for run in done),
                median(run.tree_cpu for run in done),
                max(run.peak_rss_mb for run in done),
            )
            for name, done in runs.items()
        ],
    )
    for name, done in runs.items():
        benchmark.figure(
            f"{claim}_{name.replace(' ', '_')}_rows_per_second", median(run.rate for run in done)
        )
    for which, bar in bars.items():
        name = f"{claim}_vs_{which.name}"
        if ratios[which]:
            benchmark.at_least(name, median(ratios[which]), bar)
        else:
            benchmark.skipped(name, bar, f"no run of {which.name}")


def main() -> None:
    benchmark = Benchmark.start("teacher_throughput", __doc__)
    repetitions = 1 if benchmark.quick else 3
    with server() as at:
        compare(benchmark, at, "at_once", AT_ONCE_BARS, 1000, 64, repetitions)
    with server(latency=0.2) as at:
        compare(benchmark, at, "200_ms", DISTANT_BARS, 2000, 256, repetitions)
    benchmark.finish()


if __name__ == "__main__":
    main()
