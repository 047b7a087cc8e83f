"""The report of a run: from the tables that its nodes hand each other."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kyara_kedro.content import content_id
from kyara_kedro.evaluation.benchmarks import Choice, Question, build_tasks, question_row
from kyara_kedro.evaluation.comparison import compare
from kyara_kedro.evaluation.scores import benchmark_scores
from kyara_kedro.params import EvaluateParams
from kyara_kedro.pipelines.evaluate.reporting import write_report
from kyara_kedro.records import (
    EVALUATION_QUESTION,
    JUDGEMENT,
    MODEL_OUTPUT,
    TRAINING_CURVE,
    VERDICT,
)
from kyara_kedro.tracking.target import Tracking
from kyara_kedro.training.model_ref import ModelRef

BACK = {"by": "Ada", "at": "2026-11-30", "reason": "users complain"}


def written(tracking: Tracking | None, withdrawn: dict[str, str] | None) -> dict[str, Any]:
    """The report of two models on four questions, in all its forms."""
    questions = EVALUATION_QUESTION.frame(
        question_row(
            "tmmlu_like", "choice", Question(f"q{i}", "哪一座最高？", "A", ("玉山", "雪山")),
            source="s", licence="CC0-1.0",
        )
        for i in range(4)
    )  # fmt: skip
    outputs = MODEL_OUTPUT.frame(
        {
            "id": content_id(model, i), "benchmark": "tmmlu_like", "item_id": f"q{i}",
            "model": model, "messages": [{"role": "user", "content": "問"}],
            "output": "A" if model == "dpo" else "B", "stopped": True, "tokens": 1,
        }
        for model in ("base", "dpo", "elsewhere/model")
        for i in range(4)
    )  # fmt: skip
    tasks = build_tasks(questions)
    items = pl.concat([task.score(outputs) for task in tasks])
    page, markdown, summary = write_report(
        questions,
        outputs,
        items,
        JUDGEMENT.frame(),
        benchmark_scores(items, tasks),
        compare(items),
        TRAINING_CURVE.frame(),
        {"verdict": "promote", "reasons": ["✓ good"], "numbers": [], "model": "dpo"},
        {"model": "kyara", "candidate": 2, "champion": 1, "withdrawn": withdrawn},
        pl.LazyFrame({"teacher": ["gpt-4o"]}),
        VERDICT.frame(),
        *(ModelRef(f"/home/ann/{n}", f"fingerprint-{n}", n, "embedded") for n in range(4)),
        {"version": 1, "path": "/home/ann/champion"},
        tracking,
        EvaluateParams(),
    )
    return {"page": page, "markdown": markdown, "summary": summary}


def test_models_versions_and_commit_are_told_and_no_local_path(tracking: Tracking) -> None:
    tags = {"mlflow.source.git.commit": "c0ffee", "git.dirty": "true"}
    found = written(tracking.model_copy(update={"tags": tags}), None)
    for text in (found["page"], found["markdown"].replace("\\", "")):
        for said in ("fingerprint-3", "champion: v1", "c0ffee (changed)", Choice.version):
            assert said in text
        assert "elsewhere/model" in text
        assert "/home/ann" not in text
    assert found["summary"]["models"] == ["base", "dpo", "elsewhere/model"]
    assert found["summary"]["settings"]["git commit"] == "c0ffee (changed)"


def test_a_model_that_a_person_took_back_is_not_called_the_champion() -> None:
    reasons = written(None, BACK)["summary"]["decision"]["reasons"]
    assert "Ada" in reasons[0] and "users complain" in reasons[0]
    assert written(None, None)["summary"]["decision"]["reasons"] == ["✓ good"]


@pytest.fixture
def tracking(tmp_path: Path) -> Tracking:
    return Tracking(uri="sqlite:///none.db", experiment="e", spool=tmp_path / "spool")
