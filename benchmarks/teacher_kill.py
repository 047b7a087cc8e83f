"""kill -9 at random moments, edited rows, and four runs at once: what is paid is paid once.

Every answer of the server is different from every other, so a row whose text has changed after a
restart was paid for again. After each kill a copy of the ledger is read: all that was in it, and
each completion that the killed program had handed out, is compared with what the finished run holds
and hands out. The four runs open a ledger that does not exist yet in the same moment, three times
over.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

from harness import (
    Benchmark,
    execute,
    measure,
    ours_command,
    run_and_kill,
    run_together,
    scratch,
    server,
    table,
)
from workload import read_jsonl

IN_FLIGHT = 64


def texts(out: Path) -> dict[str, str]:
    """The usable replies that a program handed out, by row."""
    usable = ("ok", "truncated")
    return {str(row["row"]): str(row["text"]) for row in read_jsonl(out) if row["status"] in usable}


def stored(ledger: Path, folder: Path) -> dict[str, str]:
    """The texts in a ledger by key, read from a copy, so that the next run has to recover it."""
    copy = folder / "copy.db"
    for suffix in ("", "-wal"):
        Path(f"{copy}{suffix}").unlink(missing_ok=True)
        if (source := Path(f"{ledger}{suffix}")).exists():
            shutil.copyfile(source, f"{copy}{suffix}")
    with sqlite3.connect(copy) as db:
        found = dict(db.execute("SELECT request_id, text FROM reply").fetchall())
    db.close()
    return found


def kills(benchmark: Benchmark, folder: Path) -> None:
    times = 8 if benchmark.quick else 20
    rows = 2_500 if benchmark.quick else 6_000
    draws = random.Random(20)
    handed_out: dict[str, str] = {}
    committed: dict[str, str] = {}
    ledger = folder / "kill.db"
    changed = killed = 0
    with server(latency=0.2) as at:
        for life in range(times):
            out = folder / f"life-{life}.jsonl"
            command = ours_command(at, ledger, rows, IN_FLIGHT, out=out)
            killed += run_and_kill(at, command, draws.uniform(0.0, 1.0))
            for row, text in texts(out).items():
                changed += handed_out.setdefault(row, text) != text
            for key, text in stored(ledger, folder).items():
                changed += committed.setdefault(key, text) != text
        paid_by_killed = at.stats()["paid"]
        final = folder / "final.jsonl"
        execute(ours_command(at, ledger, rows, IN_FLIGHT, out=final))
        stats = at.stats()
        warm = measure(at, ours_command(at, ledger, rows, IN_FLIGHT, out=folder / "warm.jsonl"))
    finished = texts(final)
    kept = stored(ledger, folder)
    lost = changed + len(handed_out) - _equal(handed_out, finished)
    lost += len(committed) - _equal(committed, kept)
    extra = stats["paid"] - stats["distinct_prompts"]
    print(f"## kill -9, {times} times: {rows:,} rows, {IN_FLIGHT} in flight, 200 ms\n")
    table(
        (
            "killed",
            "rows",
            "paid by the killed",
            "of that stored",
            "handed out",
            "paid in all",
            "paid twice",
            "lost",
        ),
        [
            (
                killed,
                len(finished),
                paid_by_killed,
                len(committed),
                len(handed_out),
                stats["paid"],
                extra,
                lost,
            )
        ],
    )
    benchmark.figure("paid_twice", extra)
    benchmark.figure("stored_by_the_killed", len(committed))
    benchmark.figure("handed_out_by_the_killed", len(handed_out))
    benchmark.at_least("kills", killed, times)
    benchmark.at_most("stored_replies_lost", lost, 0)
    benchmark.at_most("rows_missing", rows - len(finished), 0)
    benchmark.at_most("paid_twice_per_kill", extra / max(killed, 1), IN_FLIGHT)
    benchmark.at_most("warm_requests", warm.stats["requests"], 0)
    benchmark.at_most("warm_rows_changed", rows - _equal(finished, texts(folder / "warm.jsonl")), 0)


def _equal(some: dict[str, str], others: dict[str, str]) -> int:
    return sum(others.get(row) == text for row, text in some.items())


def edited_row(benchmark: Benchmark, folder: Path) -> None:
    rows, steps = 1000, 2
    ledger = folder / "edited.db"
    with server() as at:
        first = measure(
            at, ours_command(at, ledger, rows, IN_FLIGHT, out=folder / "a.jsonl", steps=steps)
        )
        command = ours_command(
            at, ledger, rows, IN_FLIGHT, out=folder / "b.jsonl", steps=steps, edited=rows // 2
        )
        second = measure(at, command)
    print(f"## One edited row of {rows:,}, chains of {steps} requests\n")
    table(
        ("", "rows", "requests", "paid"),
        [
            (name, run.rows, run.stats["requests"], run.stats["paid"])
            for name, run in (("first", first), ("edited", second))
        ],
    )
    benchmark.figure("edited_row_paid", second.stats["paid"])
    benchmark.at_most("edited_row_paid_beside_its_chain", abs(second.stats["paid"] - steps), 0)
    benchmark.at_least("edited_rows_delivered", second.rows, rows * steps)


def at_once(benchmark: Benchmark, folder: Path) -> None:
    rows, runs = 1000, 4
    lines, twice, missing, different, failed = [], 0, 0, 0, 0
    for turn in range(1 if benchmark.quick else 3):
        outs = [folder / f"run-{turn}-{number}.jsonl" for number in range(runs)]
        ledger = folder / f"shared-{turn}.db"
        with server(latency=0.05) as at:
            codes = run_together(ours_command(at, ledger, rows, IN_FLIGHT, out=o) for o in outs)
            stats = at.stats()
        found = [texts(out) for out in outs]
        agree = min(_equal(found[0], other) for other in found)
        twice = max(twice, stats["paid"] - stats["distinct_prompts"])
        missing = max(missing, rows - min(map(len, found)))
        different = max(different, rows - agree)
        failed += sum(code != 0 for code in codes)
        exits, delivered = (" ".join(map(str, some)) for some in (codes, map(len, found)))
        lines.append((exits, delivered, stats["paid"], stats["distinct_prompts"], agree))
    print(f"## {runs} runs at once on one new ledger: {rows:,} rows, 50 ms\n")
    table(("exit codes", "rows", "paid", "distinct prompts", "rows equal in all"), lines)
    benchmark.at_most("at_once_failed_runs", failed, 0)
    benchmark.at_most("at_once_paid_twice", twice, 0)
    benchmark.at_most("at_once_rows_missing", missing, 0)
    benchmark.at_most("at_once_rows_different", different, 0)


def main() -> None:
    benchmark = Benchmark.start("teacher_kill", __doc__)
    with scratch() as folder:
        kills(benchmark, folder)
        edited_row(benchmark, folder)
        at_once(benchmark, folder)
    benchmark.finish()


if __name__ == "__main__":
    main()
