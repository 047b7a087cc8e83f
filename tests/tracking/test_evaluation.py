"""What an evaluation says is part of the run that made it."""

import json
from pathlib import Path

import polars as pl
import pytest

from kyara_kedro.pipelines.evaluate.reporting import track_evaluation
from kyara_kedro.records import BENCHMARK_SCORE
from kyara_kedro.tracking.run import TrackedRun
from kyara_kedro.tracking.target import Tracking, versions

from .seen import runs

SUMMARY = {"model": "dpo", "理由": ["✓"]}


def scores() -> pl.DataFrame:
    rows = [
        ("gsm", "dpo", "accuracy", "all", 0.5),
        ("gsm", "dpo", "accuracy", "easy", 0.9),
        ("gsm", "base", "accuracy", "all", 0.1),
        ("中文 評測", "dpo", "score", "all", 7.25),
    ]
    return BENCHMARK_SCORE.frame(
        {
            "id": str(number), "benchmark": benchmark, "model": model, "metric": metric,
            "part": part, "score": score, "low": score - 0.1, "high": score + 0.1, "items": 40,
            "expected": 40, "no_answer": 0, "unread": 0, "scorer_version": "v",
            "official_low": None, "official_high": None,
        }
        for number, (benchmark, model, metric, part, score) in enumerate(rows)
    )  # fmt: skip


def test_the_report_and_the_candidates_scores_join_the_run_of_their_pipeline(
    tracking: Tracking, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    run = TrackedRun(tracking, "evaluate", {})
    track_evaluation("<p>頁</p>", "# 頁", SUMMARY, scores(), tracking)
    run.end("FINISHED")
    (seen,) = runs(tracking).values()
    found = {key: value for key, ((_, value, _),) in seen.points.items()}
    assert found == pytest.approx({
        **{f"gsm.accuracy.{k}": v for k, v in
           (("score", 0.5), ("low", 0.4), ("high", 0.6), ("items", 40))},
        **{f"中文 評測.score.{k}": v for k, v in
           (("score", 7.25), ("low", 7.15), ("high", 7.35), ("items", 40))},
    })  # fmt: skip
    assert seen.files == [f"evaluation/evaluation_report.{end}" for end in ("html", "json", "md")]
    folder = Path(MlflowClient(tracking.uri).download_artifacts(seen.id, "evaluation", tmp_path))
    assert (folder / "evaluation_report.html").read_text("utf-8") == "<p>頁</p>"
    assert json.loads((folder / "evaluation_report.json").read_text("utf-8")) == SUMMARY


def test_nothing_is_told_where_nothing_is_tracked_or_kept(
    tracking: Tracking, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    track_evaluation("", "", SUMMARY, scores(), None)
    assert caplog.text == ""
    track_evaluation("", "", SUMMARY, scores(), tracking)
    assert "not everything can be kept" in caplog.text
    assert not tracking.spool.exists()


def test_versions_are_those_of_what_is_installed() -> None:
    assert versions()["polars"] == pl.__version__
