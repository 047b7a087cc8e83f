"""What the benchmark scripts share: servers, measured programs, tables, bars and the last line."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peers
import workload

HERE = Path(__file__).resolve().parent
PROGRAM_SECONDS = 420
TOGETHER_SECONDS = 4.0
"""Until programs that begin together begin: their imports are done by then."""


class ProgramError(RuntimeError):
    """A measured program failed; the message is the end of what it said."""


class Server:
    """A running loopback server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def stats(self) -> dict[str, Any]:
        """What the server counted since its last reset."""
        with urllib.request.urlopen(f"{self.url}/stats", timeout=10) as response:
            found: dict[str, Any] = json.load(response)
        return found

    def reset(self) -> None:
        """Start its counts, faults and limits afresh."""
        urllib.request.urlopen(f"{self.url}/reset", data=b"", timeout=10).close()


@contextlib.contextmanager
def server(**behaviour: float) -> Iterator[Server]:
    """A loopback server of its own process; the keywords are the fields of its ``Behaviour``."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in behaviour.items()]
    process = subprocess.Popen(
        [sys.executable, HERE / "loopback.py", *options], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield Server(json.loads(process.stdout.readline())["url"])
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="kyara-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Run:
    """What a measured program did.

    Attributes:
        rows: Rows that it delivered.
        seconds: Wall time of its job, imports not included.
        cpu: CPU seconds of its job in its main process, imports not included.
        peak_rss_mb: Most memory of its main process, in MB.
        tree_cpu: CPU seconds of the whole program with imports and child processes.
        wall: Wall seconds of the whole program.
        said: All figures that it printed itself.
        stats: What the server counted meanwhile.
    """

    rows: int
    seconds: float
    cpu: float
    peak_rss_mb: float
    tree_cpu: float
    wall: float
    said: Mapping[str, Any]
    stats: Mapping[str, Any]

    @property
    def rate(self) -> float:
        """Rows delivered a second of the job."""
        return self.rows / self.seconds

    @property
    def served_seconds(self) -> float:
        """Seconds from the first request to the last answer, by the server's clock."""
        return float(self.stats["last"] - self.stats["first"])


def execute(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Run a program to its end and read the JSON object on the last such line of its output.

    Raises:
        ProgramError: it failed, took too long, or printed no figures.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=err, env=env)
        usage = _wait(process, seconds or PROGRAM_SECONDS)
        wall = time.perf_counter() - started
        out.seek(0)
        err.seek(0)
        lines = [line for line in out.read().decode().splitlines() if line.startswith('{"')]
        if process.returncode != 0 or not lines:
            end = err.read().decode(errors="replace").strip()[-800:]
            name = Path(str(command[1])).name
            raise ProgramError(f"{name}: exit code {process.returncode}: {end}")
    said: dict[str, Any] = json.loads(lines[-1])
    return {**said, "tree_cpu": usage, "wall": wall}


def _wait(process: subprocess.Popen[bytes], seconds: float) -> float:
    """Wait for a program; returns the CPU seconds of it and of the children it waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime
        time.sleep(0.02)
    process.kill()
    process.wait()
    raise ProgramError(f"pid {process.pid}: not finished after {seconds:g} s")


def measure(at: Server, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Run:
    """Run a program against a server whose counts start at zero."""
    at.reset()
    said = execute(command, env)
    return Run(
        rows=said["rows"],
        seconds=said["seconds"],
        cpu=said["cpu"],
        peak_rss_mb=said["peak_rss_mb"],
        tree_cpu=said["tree_cpu"],
        wall=said["wall"],
        said=said,
        stats=at.stats(),
    )


def ours_command(at: Server, ledger: Path, rows: int, in_flight: int, **more: object) -> list[str]:
    """The command line of ``ours.py``; the keywords are further options of it."""
    options = {"url": at.url, "ledger": ledger, "rows": rows, "in-flight": in_flight}
    options |= {name.replace("_", "-"): value for name, value in more.items() if value is not None}
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, str(HERE / "ours.py"), *flags]


def ours(at: Server, rows: int, in_flight: int, **more: object) -> Run:
    """Measure our teacher on a fresh ledger, or on the one named by ``ledger``."""
    with scratch() as folder:
        ledger = Path(str(more.pop("ledger", folder / "ledger.db")))
        more.setdefault("out", folder / "rows.jsonl")
        return measure(at, ours_command(at, ledger, rows, in_flight, **more))


def bare(at: Server, rows: int, in_flight: int) -> Run:
    """Measure the bare client."""
    program = (sys.executable, HERE / "bare_client.py", f"--url={at.url}")
    return measure(at, (*program, f"--rows={rows}", f"--in-flight={in_flight}"))


def peer(which: peers.Peer, at: Server, rows: int, in_flight: int) -> Run | None:
    """Measure a peer; None, and a line, when it cannot be installed or breaks down."""
    python = peers.interpreter(which)
    if python is None:
        return None
    with scratch() as folder:
        workload.write_prompts(folder / "prompts.jsonl", rows)
        program = (python, which.runner, f"--url={at.url}", f"--folder={folder}")
        environment = {**which.environment(), "HOME": str(folder)}
        try:
            return measure(at, (*program, f"--in-flight={in_flight}"), environment)
        except ProgramError as error:
            print(f"SKIPPED {which.name}: {error}", flush=True)
            return None


def run_and_kill(at: Server, command: list[str], seconds: float) -> bool:
    """Kill a program some seconds after its first request; returns whether it was still running."""
    before = at.stats()["requests"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and at.stats()["requests"] == before:
        time.sleep(0.01)
    time.sleep(seconds)
    running = process.poll() is None
    process.kill()
    process.wait()
    return running


def run_together(commands: Iterable[list[str]]) -> list[int]:
    """Run programs of ours that begin their jobs in the same moment; returns their exit codes."""
    moment = time.time() + TOGETHER_SECONDS
    processes = [
        subprocess.Popen(
            [*command, f"--start-at={moment}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for command in commands
    ]
    return [process.wait(timeout=PROGRAM_SECONDS) for process in processes]


def median(values: Iterable[float]) -> float:
    """The median, NaN of nothing."""
    found = list(values)
    return statistics.median(found) if found else float("nan")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table in Markdown; floats with three significant digits."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    lines = [list(header), ["-" * width for width in widths], *cells]
    for line in lines:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        print(f"| {' | '.join(padded)} |")
    print(flush=True)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


@dataclass
class Benchmark:
    """Collects a script's figures and bars.

    Attributes:
        name: Of the script.
        quick: Whether it was asked for the short version.
    """

    name: str
    quick: bool
    figures: dict[str, float] = field(default_factory=dict)
    bars: dict[str, dict[str, Any]] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @classmethod
    def start(cls, name: str, description: str) -> Benchmark:
        """Read the command line."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--quick", action="store_true", help="fewer rows, under a minute")
        quick = parser.parse_args().quick
        print(f"# {name}{' (quick)' if quick else ''}")
        print(
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
            f"load {os.getloadavg()[0]:.1f} at start\n",
            flush=True,
        )
        return cls(name, quick)

    def figure(self, name: str, value: float) -> None:
        """Keep a figure for the last line."""
        self.figures[name] = round(value, 4)

    def at_least(self, name: str, value: float, bar: float) -> None:
        """A bar from below; a value that is not a number falls short."""
        self._bar(name, value, bar, value >= bar)

    def at_most(self, name: str, value: float, bar: float) -> None:
        """A bar from above; a value that is not a number falls short."""
        self._bar(name, value, bar, value <= bar)

    def skipped(self, name: str, bar: float, why: str) -> None:
        """A bar that could not be measured: it does not hold."""
        self.bars[name] = {"value": None, "bar": bar, "holds": False, "skipped": why}
        print(f"SKIPPED {name}: {why}", flush=True)

    def _bar(self, name: str, value: float, bar: float, holds: bool) -> None:
        self.bars[name] = {"value": round(value, 4), "bar": bar, "holds": holds}

    def finish(self) -> None:
        """Print the bars and the last line, and exit non-zero when one falls short."""
        self.figure("seconds", time.perf_counter() - self.started)
        shown = (
            (name, bar["value"], bar["bar"], "yes" if bar["holds"] else "NO")
            for name, bar in self.bars.items()
        )
        table(("bar", "value", "bar", "holds"), shown)
        print(
            json.dumps(
                {"benchmark": self.name, "figures": self.figures, "bars": self.bars},
                ensure_ascii=False,
            ),
            flush=True,
        )
        sys.exit(0 if all(bar["holds"] for bar in self.bars.values()) else 1)
