"""The model as it is handed over: a folder that others load, with its card."""

from pathlib import Path
from typing import Any

import polars as pl

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.metrics import metric
from kyara_kedro.params import TrainParams
from kyara_kedro.reporting.charts import Figure
from kyara_kedro.reporting.model_card import (
    LOSS_PICTURE,
    Stage,
    model_card,
    model_summary,
    notices,
)
from kyara_kedro.training import export
from kyara_kedro.training.model_ref import ModelRef

_TOLD = ("source", "licence", "language", "teacher")
"""What a card tells of conversations; all columns of millions would not fit into memory."""


def export_model(
    dpo_model: ModelRef,
    sft_base_rows: pl.LazyFrame,
    sft_refine_rows: pl.DataFrame,
    dpo_pairs: pl.DataFrame,
    train_summary: dict[str, Any],
    training_curves: pl.DataFrame,
    training_plot: Figure,
    benchmark_scores: pl.DataFrame,
    promotion: dict[str, Any],
    model_store: Path,
    params: TrainParams,
) -> tuple[ModelRef, dict[str, Any]]:
    """Write the folder to hand over, named by the model's fingerprint, and tell what its card says.

    The card says what the model learned from and under which licences, how it was trained, its
    scores and the gate's verdict.

    Raises:
        UserError: scores and verdict are of another model.
    """
    if promotion["fingerprint"] != dpo_model.fingerprint:
        raise UserError(
            f"'promotion' is about the model {promotion['fingerprint'][:16]}, but 'dpo_model' is "
            f"{dpo_model.fingerprint[:16]} now: run `kedro run --pipeline=evaluate` as a whole"
        )
    learned = {
        "sft_base": (sft_base_rows.select(_TOLD).collect(), params.sft_base),
        "sft_refine": (sft_refine_rows, params.sft_refine),
        "dpo": (dpo_pairs, params.dpo),
    }
    facts = model_summary(
        dpo_model.to_dict(),
        export.weights_of(dpo_model),
        {
            name: Stage(rows, train_summary[name], options.model_dump() | _updates(params))
            for name, (rows, options) in learned.items()
        },
        training_curves,
        benchmark_scores,
        {name: metric(name).scale for name in benchmark_scores["metric"].unique()},
        promotion,
    )
    extras = {
        "README.md": model_card(facts),
        LOSS_PICTURE: training_plot.svg(),
        **notices(facts),
    }
    directory = model_store / "export" / dpo_model.fingerprint[:16]
    return export.export_model(dpo_model, directory, extras), facts


def _updates(params: TrainParams) -> dict[str, Any]:
    """How updates were trained instead of all weights, if they were."""
    return {} if params.peft.method == "none" else {"peft": params.peft.model_dump()}
