"""Benchmarks by log-probabilities, which lm-evaluation-harness asks and scores."""

from typing import Any

import polars as pl

from kyara_kedro.checkpoints import choose_device
from kyara_kedro.evaluation.benchmarks import question_row
from kyara_kedro.evaluation.harness import Endpoint, LocalModel, run_harness
from kyara_kedro.params import EvaluateParams
from kyara_kedro.pipelines.evaluate.answering import our_models
from kyara_kedro.records import BENCHMARK_ITEM, EVALUATION_QUESTION
from kyara_kedro.training.loading import fetched
from kyara_kedro.training.model_ref import ModelRef, verify


def measure_likelihoods(
    base_model: ModelRef,
    sft_base_model: ModelRef,
    sft_refine_model: ModelRef,
    dpo_model: ModelRef,
    champion: dict[str, Any],
    params: EvaluateParams,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Run the tasks that the parameters name on every stage's model, the champion and endpoints.

    Returns:
        Questions and items; none where no task is named.

    Raises:
        UserError: see :func:`kyara_kedro.evaluation.harness.run_harness`.
    """
    if not params.harness.tasks:
        return EVALUATION_QUESTION.frame(), BENCHMARK_ITEM.frame()
    refs = our_models(base_model, sft_base_model, sft_refine_model, dpo_model, champion)
    device = choose_device("auto")
    measured: list[LocalModel | Endpoint] = [
        LocalModel(name, fetched(verify(ref)), device) for name, ref in refs.items()
    ]
    tables, questions = [], {}
    for model in (*measured, *params.harness.endpoints):
        items, tasks = run_harness(model, params.harness)
        tables.append(items)
        for task in tasks:
            for question in task.questions.values():
                row = question_row(
                    task.name, task.kind, question, source=task.version, licence="unknown"
                )
                questions[row["id"]] = row
    return EVALUATION_QUESTION.frame(questions.values()), pl.concat(tables)
