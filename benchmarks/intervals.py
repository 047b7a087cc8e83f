"""Confidence intervals of scores: our bootstrap beside scipy's and a loop, to the same intervals.

1,000 items with values of many kinds, and with right and wrong ones only; 10,000 resamples. scipy's
``stats.bootstrap`` runs vectorised over batches of its own, the loop draws with numpy resample by
resample. A macro average of 66 subjects, which neither peer knows, is measured for itself.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import harness
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from kyara_kedro.evaluation.statistics import bootstrap_interval

ITEMS, RESAMPLES, SUBJECTS = 1_000, 10_000, 66
Found = tuple[float, float]


def ours(values: np.ndarray) -> Found:
    """As scores have it: every item a question of its own."""
    found = bootstrap_interval(values, range(len(values)), seed=0, resamples=RESAMPLES)
    return found.low, found.high


def scipys(values: np.ndarray) -> Found:
    """scipy's percentile bootstrap, a batch of 100 resamples at a time."""
    from scipy.stats import bootstrap

    found = bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, batch=100, method="percentile", rng=0
    )
    return found.confidence_interval.low, found.confidence_interval.high


def loop(values: np.ndarray) -> Found:
    """A mean a resample."""
    draws = np.random.default_rng(0)
    means = [draws.choice(values, len(values)).mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def seconds(way: object, values: np.ndarray) -> tuple[float, Found]:
    """The quickest of three CPU times."""
    best, found = np.inf, (0.0, 0.0)
    for _ in range(3):
        started = time.process_time()
        found = way(values)  # type: ignore[operator]
        best = min(best, time.process_time() - started)
    return best, found


def main() -> None:
    """Measure all ways on the same items."""
    bench = harness.Benchmark.start("intervals", __doc__ or "")
    draws = np.random.default_rng(7)
    rows: list[tuple[object, ...]] = []
    for kind, values in (
        ("ratings", draws.normal(6, 2, ITEMS)),
        ("right or wrong", (draws.random(ITEMS) < 0.6).astype(float)),
    ):
        for way in (scipys, ours):
            way(values[:10])
        own, mine = seconds(ours, values)
        rows.append((kind, "ours", own, 1.0, 0.0))
        name = kind.partition(" ")[0]
        bench.at_most(f"{name}_seconds", float(own), 1.0)
        for way in (scipys, loop):
            took, theirs = seconds(way, values)
            apart = max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) / (mine[1] - mine[0])
            rows.append((kind, way.__name__, took, took / own, apart))
            bench.at_least(
                f"{name}_{way.__name__}_ratio", float(took / own), 1.0 if way is loop else 0.7
            )
            bench.at_most(f"{name}_{way.__name__}_difference", float(apart), 0.03)
    subjects = np.repeat(np.arange(SUBJECTS), 20_000 // SUBJECTS)
    values = (draws.random(len(subjects)) < 0.4).astype(float)
    layout = [[np.flatnonzero(subjects == subject) for subject in range(SUBJECTS)]]
    started = time.process_time()
    bootstrap_interval(values, range(len(values)), layout=layout, seed=0, resamples=RESAMPLES)
    macro = time.process_time() - started
    rows.append((f"{SUBJECTS} subjects, {len(values):,} items", "ours", macro, 1.0, 0.0))
    bench.at_most("macro_seconds", macro, 2.0)
    header = (
        "values",
        "way",
        f"CPU s for {RESAMPLES:,} resamples",
        "ratio",
        "ends apart, of width",
    )
    print(f"{ITEMS:,} items\n")
    harness.table(header, rows)
    bench.finish()


if __name__ == "__main__":
    main()
