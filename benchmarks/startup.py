"""How long a command waits for this project's imports, beside a plain Kedro project.

`kedro --version` in this project and in one that `kedro new` has made, by the same interpreter, in
turns; CPU time counts, and the median of the ratios. The commands that look at pipelines and
catalog are shown, without a bar.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import harness

PROJECT = Path(__file__).resolve().parent.parent
BAR = 1.5
SHOWN = (("registry", "list"), ("catalog", "describe-datasets"))


def main() -> None:
    """Measure, print and judge."""
    benchmark = harness.Benchmark.start("startup", __doc__ or "")
    repetitions = 3 if benchmark.quick else 9
    with harness.scratch() as folder:
        plain = plain_project(folder)
        pairs = [
            (cpu(PROJECT, "--version"), cpu(plain, "--version")) for _ in range(repetitions + 1)
        ][1:]  # the first ones read files into the cache
        ours, theirs = (harness.median(column) for column in zip(*pairs, strict=True))
        rows = [("--version", ours, theirs)]
        rows += [(" ".join(words), cpu(PROJECT, *words), cpu(plain, *words)) for words in SHOWN]
    harness.table(("kedro", "CPU s here", "CPU s in a plain project"), rows)
    benchmark.figure("CPU seconds of kedro --version", ours)
    ratio = harness.median(mine / other for mine, other in pairs)
    benchmark.at_most("kedro --version beside a plain project", ratio, BAR)
    benchmark.finish()


def plain_project(folder: Path) -> Path:
    """A project as Kedro's own template makes it, without tools or example."""
    cpu(folder, "new", "--name=plain", "--tools=none", "--example=no", "--telemetry=no")
    return folder / "plain"


def cpu(folder: Path, *words: str) -> float:
    """CPU seconds of a kedro command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "kedro", *words],
        cwd=folder,
        env=os.environ | {"DO_NOT_TRACK": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
