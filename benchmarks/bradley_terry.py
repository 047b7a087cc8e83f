"""Bradley-Terry with bootstrap intervals: tables of wins at once, beside the usual ways.

Round robins among 4 of 9 contestants, judged in both orders, ties among them. Ours draws whole
prompts and fits all resamples together. The usual ways fit each resample for itself: scikit-learn's
logistic regression over the verdicts (as Chatbot Arena and Arena-Hard do), and minorise-maximise
(Hunter 2004) over the table of wins in plain Python. They are measured on a few of the same
resamples and their time is scaled up; the strengths have to be the same.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import harness
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from kyara_kedro.judging.bradley_terry import bradley_terry, sigmoid

CONTESTANTS, EACH, RESAMPLES, MEASURED = 9, 4, 200, 4
Battles = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def battles(verdicts: int) -> Battles:
    """First, second, score and prompt of so many verdicts, a tenth of them ties."""
    draw = np.random.default_rng(7)
    true = np.linspace(-1.2, 1.2, CONTESTANTS)
    orders = np.array(list(itertools.permutations(range(EACH), 2)))
    prompts = verdicts // len(orders)
    field = np.argsort(draw.random((prompts, CONTESTANTS)), axis=1)[:, :EACH]
    first, second = field[:, orders[:, 0]].ravel(), field[:, orders[:, 1]].ravel()
    won = (draw.random(len(first)) < sigmoid(true[first] - true[second])).astype(float)
    won[draw.random(len(first)) < 0.1] = 0.5
    return first, second, won, np.repeat(np.arange(prompts), len(orders))


def resampled(fought: Battles, number: int) -> list[Battles]:
    """Battles of the first resamples that ours draws: whole prompts, as often as they are drawn."""
    draws = np.random.default_rng(0)
    prompts = int(fought[3].max()) + 1
    found = []
    for _ in range(number):
        times = np.bincount(draws.integers(0, prompts, prompts), minlength=prompts)
        rows = np.repeat(np.arange(len(fought[0])), times[fought[3]])
        found.append(tuple(part[rows] for part in fought))
    return found


def regression(fought: Battles) -> np.ndarray:
    """Strengths by scikit-learn, a tie being half a win for each."""
    from sklearn.linear_model import LogisticRegression

    first, second, won, _ = fought
    design = np.zeros((len(first), CONTESTANTS))
    rows = np.arange(len(first))
    design[rows, first], design[rows, second] = 1, -1
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-6, max_iter=1000)
    model.fit(
        np.vstack([design, design]),
        np.repeat([1, 0], len(first)),
        sample_weight=np.concatenate([won, 1 - won]),
    )
    return model.coef_[0] - model.coef_[0].mean()


def minorise_maximise(fought: Battles) -> np.ndarray:
    """Strengths by Hunter's algorithm, a loop over contestants until nothing moves."""
    wins = [[0.0] * CONTESTANTS for _ in range(CONTESTANTS)]
    for one, other, won in zip(*(part.tolist() for part in fought[:3]), strict=True):
        wins[one][other] += won
        wins[other][one] += 1 - won
    worth = [1.0] * CONTESTANTS
    moved = 1.0
    while moved > 1e-9:
        before = list(worth)
        for i in range(CONTESTANTS):
            games = sum(
                (wins[i][j] + wins[j][i]) / (worth[i] + worth[j])
                for j in range(CONTESTANTS)
                if j != i
            )
            worth[i] = sum(wins[i]) / games
        scale = np.exp(np.mean(np.log(worth)))
        worth = [one / scale for one in worth]
        moved = max(abs(a - b) for a, b in zip(before, worth, strict=True))
    return np.log(worth)


def main() -> None:
    """Measure all three on the same verdicts."""
    bench = harness.Benchmark.start("bradley_terry", __doc__ or "")
    fought = battles(24_000 if bench.quick else 100_000)
    started = time.perf_counter()
    found = bradley_terry(*fought, CONTESTANTS, resamples=RESAMPLES, seed=0)
    ours = time.perf_counter() - started
    rows: list[tuple[object, ...]] = [("ours", ours, 1.0, 0.0)]
    for name, peer in (
        ("scikit-learn, resample by resample", regression),
        ("minorise-maximise in a loop", minorise_maximise),
    ):
        some = resampled(fought, MEASURED)
        started = time.perf_counter()
        for one in some:
            peer(one)
        seconds = (time.perf_counter() - started) / MEASURED * RESAMPLES
        apart = float(np.abs(peer(fought) - found.strength).max())
        rows.append((name, seconds, seconds / ours, apart))
        key = peer.__name__
        bench.at_least(f"{key}_ratio", seconds / ours, 10)
        bench.at_most(f"{key}_difference", apart, 1e-4)
    header = ("way", f"seconds for {RESAMPLES} resamples", "ratio", "largest difference")
    print(f"{len(fought[0]):,} verdicts on {int(fought[3].max()) + 1:,} prompts\n")
    harness.table(header, rows)
    bench.figure("verdicts", len(fought[0]))
    bench.at_most("ours_seconds", ours, 10)
    bench.finish()


if __name__ == "__main__":
    main()
