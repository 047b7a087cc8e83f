"""Faults, limits and an outage: nothing missing, nothing paid twice, little time lost.

Random faults (5 % 429 that ask for one second, 2 % 500, 1 % malformed 200) beside
bespokelabs-curator; a server that lets 3,000 requests a minute through, whether or not the client
was told so; one that answers 16 at a time; one that hangs or cuts its answers; and one that goes
down for 10 seconds, refusing connections and cutting those it had.
"""

from __future__ import annotations

from harness import Benchmark, Run, median, ours, peer, server, table
from loopback import BURST_SECONDS
from peers import CURATOR


def paid_beyond(run: Run, rows: int) -> int:
    """What was paid beyond one answer a row and the broken ones."""
    broken = run.stats["malformed"] + run.stats["truncated"] + run.stats["hung"]
    return int(run.stats["paid"] - rows - broken)


def refusals(run: Run) -> int:
    """Answers 429 of whatever cause."""
    kinds = ("rate_limited", "over_rate", "over_concurrent")
    return int(sum(run.stats[kind] for kind in kinds))


def random_faults(benchmark: Benchmark, repetitions: int) -> None:
    rows = 1000
    mine, theirs = [], []
    with server(latency=0.05, share_429=0.05, share_500=0.02, share_malformed=0.01, seed=7) as at:
        for _ in range(repetitions):
            mine.append(ours(at, rows, 64))
            if (other := peer(CURATOR, at, rows, 64)) is not None:
                theirs.append(other)
    print(f"## 5 % 429, 2 % 500, 1 % malformed: {rows:,} rows, 64 in flight, 50 ms\n")
    table(
        ("", "rows", "seconds", "all", "429", "500", "malformed", "paid beyond those and the rows"),
        [
            (
                name,
                min(run.rows for run in done),
                median(run.seconds for run in done),
                " ".join(f"{run.seconds:.1f}" for run in done),
                max(refusals(run) for run in done),
                max(run.stats["server_error"] for run in done),
                max(run.stats["malformed"] for run in done),
                max(paid_beyond(run, rows) for run in done),
            )
            for name, done in (("kyara-kedro", mine), ("curator", theirs))
            if done
        ],
    )
    benchmark.figure("faults_seconds", median(run.seconds for run in mine))
    benchmark.at_most("faults_rows_missing", rows - min(run.rows for run in mine), 0)
    benchmark.at_most(
        "faults_paid_beyond_malformed", max(abs(paid_beyond(run, rows)) for run in mine), 0
    )
    if theirs:
        ratio = median(a.seconds / b.seconds for a, b in zip(mine, theirs, strict=False))
        benchmark.figure("faults_curator_seconds", median(run.seconds for run in theirs))
        benchmark.at_most("faults_time_vs_curator", ratio, 0.5)
    else:
        benchmark.skipped("faults_time_vs_curator", 0.5, "no run of curator")


def limits(benchmark: Benchmark) -> None:
    rows, latency, rpm, concurrent = (400 if benchmark.quick else 1000), 0.2, 3000, 16
    with server(latency=latency, rpm=rpm) as at:
        unaware = ours(at, rows, 256)
        told = None if benchmark.quick else ours(at, rows, 256, rpm=rpm)
    with server(latency=latency, concurrent=concurrent) as at:
        narrow = ours(at, rows, 256)
    by_rate = (rows - rpm / 60 * BURST_SECONDS) / (rpm / 60) + latency
    by_width = rows / concurrent * latency
    print(f"## Limits of the server: {rows:,} rows, 256 in flight, 200 ms\n")
    measured = (
        ("rpm_3000", unaware, by_rate, 1.3),
        ("rpm_3000_told", told, by_rate, 1.3),
        ("16_in_flight", narrow, by_width, 1.5),
    )
    done = [(name, run, ideal, bar) for name, run, ideal, bar in measured if run is not None]
    table(
        ("", "rows", "seconds", "ideal", "ratio", "429", "paid beyond the rows"),
        [
            (
                name,
                run.rows,
                run.seconds,
                ideal,
                run.seconds / ideal,
                refusals(run),
                paid_beyond(run, rows),
            )
            for name, run, ideal, _ in done
        ],
    )
    for name, run, ideal, bar in done:
        benchmark.at_most(f"{name}_rows_missing", rows - run.rows, 0)
        benchmark.at_most(f"{name}_vs_ideal", run.seconds / ideal, bar)


def silence(benchmark: Benchmark) -> None:
    rows = 500
    with server(latency=0.05, share_hung=0.03, share_truncated=0.02, seed=3) as at:
        run = ours(at, rows, 64, timeout=2.0)
    print(f"## 3 % never answered, 2 % cut: {rows:,} rows, 64 in flight, timeout 2 s\n")
    table(
        ("rows", "seconds", "hung", "cut", "paid beyond those and the rows"),
        [
            (
                run.rows,
                run.seconds,
                run.stats["hung"],
                run.stats["truncated"],
                paid_beyond(run, rows),
            )
        ],
    )
    benchmark.at_most("silence_rows_missing", rows - run.rows, 0)
    benchmark.at_most("silence_paid_beyond_broken", paid_beyond(run, rows), 0)


def outage(benchmark: Benchmark) -> None:
    rows, down = 2000, 10.0
    with server(latency=0.05) as at:
        smooth = ours(at, rows, 64)
    with server(latency=0.05, outage_after=rows // 3, outage_seconds=down) as at:
        cut = ours(at, rows, 64)
    added = cut.seconds - smooth.seconds
    print(f"## An outage of {down:.0f} s: {rows:,} rows, 64 in flight, 50 ms\n")
    table(
        ("", "rows", "seconds", "paid beyond the rows"),
        [
            ("no outage", smooth.rows, smooth.seconds, paid_beyond(smooth, rows)),
            ("outage", cut.rows, cut.seconds, paid_beyond(cut, rows)),
        ],
    )
    benchmark.at_most("outage_rows_missing", rows - cut.rows, 0)
    benchmark.at_most("outage_seconds_added", added, 20)
    benchmark.at_most("outage_paid_beyond_in_flight", paid_beyond(cut, rows), 64)


def main() -> None:
    benchmark = Benchmark.start("teacher_faults", __doc__)
    random_faults(benchmark, repetitions=1 if benchmark.quick else 3)
    limits(benchmark)
    if not benchmark.quick:
        silence(benchmark)
    outage(benchmark)
    benchmark.finish()


if __name__ == "__main__":
    main()
