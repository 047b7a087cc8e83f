"""What a run's evaluation says, for people and for MLflow."""

import json
from typing import Any

import polars as pl

from kyara_kedro.evaluation.benchmarks import build_tasks
from kyara_kedro.evaluation.gate import Decision
from kyara_kedro.evaluation.leaderboard import leaderboard_scores
from kyara_kedro.evaluation.report import (
    ReportContext,
    evaluation_markdown,
    evaluation_report,
    evaluation_summary,
    report_content,
)
from kyara_kedro.evaluation.scores import WHOLE
from kyara_kedro.params import EvaluateParams
from kyara_kedro.pipelines.evaluate.answering import CHAMPION, STAGES
from kyara_kedro.pipelines.evaluate.nodes import BASELINE, CANDIDATE_MODEL, HELD_OUT, by_rules
from kyara_kedro.reporting.charts import Figure
from kyara_kedro.reporting.costs import cost_figure
from kyara_kedro.tracking.run import add_to_run
from kyara_kedro.tracking.target import Tracking, versions
from kyara_kedro.training.model_ref import ModelRef

ARTIFACTS = "evaluation"
"""Folder of the report among the artifacts of its run in MLflow."""


def write_report(
    evaluation_questions: pl.DataFrame,
    model_outputs: pl.DataFrame,
    benchmark_items: pl.DataFrame,
    judgements: pl.DataFrame,
    scores: pl.DataFrame,
    comparisons: pl.DataFrame,
    training_curves: pl.DataFrame,
    decision: dict[str, Any],
    promotion: dict[str, Any],
    sft_base_rows: pl.LazyFrame,
    stage_verdicts: pl.DataFrame,
    base_model: ModelRef,
    sft_base_model: ModelRef,
    sft_refine_model: ModelRef,
    dpo_model: ModelRef,
    champion: dict[str, Any],
    tracking: Tracking | None,
    params: EvaluateParams,
) -> tuple[str, str, dict[str, Any]]:
    """Write the report as one self-contained page, as Markdown and as JSON."""
    ours = (*STAGES, CHAMPION)
    models = dict(
        zip(STAGES, (base_model, sft_base_model, sft_refine_model, dpo_model), strict=True)
    )
    told = {name: model.fingerprint for name, model in models.items()}
    if champion:
        told[CHAMPION] = f"v{champion['version']}"
    context = ReportContext(
        model=CANDIDATE_MODEL,
        models=(*ours, *sorted(set(scores["model"]) - set(ours))),
        tasks=tuple(build_tasks(evaluation_questions)),
        items=benchmark_items,
        judgements=judgements,
        champion=CHAMPION,
        held_out=HELD_OUT,
        rules_corpus=by_rules(sft_base_rows),
        demonstration=base_model.base == "embedded",
        settings={
            "base model": base_model.base,
            "models": told,
            "registry": f"{promotion['model']} candidate v{promotion['candidate']}, "
            f"champion v{promotion['champion']}",
            "decoding": params.generation.model_dump(),
            "statistics": params.statistics.model_dump(),
            f"judge, {CANDIDATE_MODEL} against {BASELINE}": _wins(stage_verdicts, model_outputs),
            "versions": versions(),
            "git commit": _commit(tracking),
            **_leaderboard(benchmark_items),
        },
        level=round(1 - params.statistics.confidence, 6),
    )
    decided = Decision(**decision)
    if back := promotion["withdrawn"]:
        taken = "撤回了這一版，因此不升為冠軍 took this version back, so it is not the champion"
        decided.reasons.insert(0, f"✗ {back['by']} {taken} · {back['at']}: {back['reason']}")
    report = report_content(scores, comparisons, training_curves, model_outputs, decided, context)
    return evaluation_report(report), evaluation_markdown(report), evaluation_summary(report)


def track_evaluation(
    page: str,
    markdown: str,
    summary: dict[str, Any],
    scores: pl.DataFrame,
    tracking: Tracking | None,
) -> None:
    """Add the report and the candidate's scores to the MLflow run of this Kedro run, if it is one.

    Metrics are called ``<benchmark>.<metric>.score``, ``.low``, ``.high`` and ``.items``.
    """
    if tracking is None:
        return
    mine = scores.filter(pl.col("model") == CANDIDATE_MODEL, pl.col("part") == WHOLE)
    metrics = {
        f"{row['benchmark']}.{row['metric']}.{figure}": row[figure]
        for row in mine.iter_rows(named=True)
        for figure in ("score", "low", "high", "items")
    }
    texts = {
        "evaluation_report.html": page,
        "evaluation_report.md": markdown,
        "evaluation_report.json": json.dumps(summary, ensure_ascii=False, indent=2),
    }
    add_to_run(tracking, metrics, texts, ARTIFACTS)


def draw_costs(accounts: dict[str, Any], evaluate_summary: dict[str, Any]) -> Figure:
    """Draw what an accepted record has cost, once the last pipeline that asks has come to its end.

    Args:
        accounts: As the hook keeps them.
        evaluate_summary: Counts of evaluate, there when all teachers have been asked.
    """
    return cost_figure(accounts)


def _leaderboard(items: pl.DataFrame) -> dict[str, dict[str, str]]:
    """The Open LLM Leaderboard's own scale, model by model, where its tasks were run."""
    found: dict[str, dict[str, str]] = {}
    for model, benchmark, score in leaderboard_scores(items).iter_rows():
        title = f"Open LLM Leaderboard v2, normalised: {model}"
        found.setdefault(title, {})[benchmark] = f"{score:.2f}"
    return found


def _commit(tracking: Tracking | None) -> str:
    tags = tracking.tags if tracking else {}
    changed = " (changed)" if tags.get("git.dirty") == "true" else ""
    return tags.get("mlflow.source.git.commit", "–") + changed


def _wins(judgements: pl.DataFrame, model_outputs: pl.DataFrame) -> dict[str, int]:
    """Verdicts for, without and against the candidate, over both orders of each pair."""
    judgements = judgements.filter(pl.col("verdict").is_not_null())
    mine = model_outputs.filter(pl.col("model") == CANDIDATE_MODEL)["id"].to_list()
    tied = judgements["verdict"] == "C"
    won = (judgements["verdict"] == "A") == judgements["first_id"].is_in(mine)
    return {
        "won": int((won & ~tied).sum()),
        "tied": int(tied.sum()),
        "lost": int((~won & ~tied).sum()),
    }
