"""Three stages of training, each from a table of exactly the rows that it learns from."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.params import TrainParams
from kyara_kedro.pipelines.balance import Flow, close
from kyara_kedro.records import TRAINING_CURVE, drops
from kyara_kedro.reporting.charts import Figure, line_chart
from kyara_kedro.tracking.registry import CANDIDATE, ModelRegistry, RegistryDown
from kyara_kedro.tracking.store import without_password
from kyara_kedro.tracking.target import Tracking
from kyara_kedro.training.embedded import build_embedded_base
from kyara_kedro.training.model_ref import ModelRef, pretrained
from kyara_kedro.training.options import SFTOptions, StageOptions
from kyara_kedro.training.rows import pair_of, select_pairs, select_rows
from kyara_kedro.training.stages import Dropped, StageResult, train_dpo, train_sft

logger = logging.getLogger("kyara_kedro")
PIPELINE = "train"
Trained = tuple[ModelRef, pl.DataFrame]
Selected = tuple[pl.DataFrame, pl.DataFrame]


def make_base_model(
    base_conversations: pl.DataFrame, model_store: Path, params: TrainParams
) -> ModelRef:
    """Refer to the configured base model, or make the embedded one from the corpus."""
    if params.base_model != "embedded":
        return pretrained(params.base_model)
    contents = base_conversations.select(
        pl.col("messages").list.explode().struct.field("content")
    ).to_series()
    name = content_id(base_conversations["id"].to_list(), params.embedded.model_dump())[:16]
    return build_embedded_base(contents, params.embedded, model_store / "base" / name)


def select_base_rows(
    base_conversations: pl.DataFrame, base_model: ModelRef, params: TrainParams
) -> Selected:
    """Choose what the first stage learns from; the others are drops with a reason."""
    length, mix = params.sft_base.max_length, params.base_mix
    chosen = select_rows(base_conversations, base_model, length, mix, params.base_rows)
    return _some("sft_base", chosen.rows, _staged("base", chosen.drops), "train.base_mix")


def select_refine_rows(
    refined_conversations: pl.DataFrame, base_model: ModelRef, params: TrainParams
) -> Selected:
    """Choose what the second stage learns from; the others are drops with a reason."""
    length, mix = params.sft_refine.max_length, params.refine_mix
    chosen = select_rows(refined_conversations, base_model, length, mix, params.refine_rows)
    return _some("sft_refine", chosen.rows, _staged("refine", chosen.drops), "train.refine_mix")


def train_sft_base(
    base_model: ModelRef,
    rows: pl.DataFrame,
    model_store: Path,
    tracking: Tracking | None,
    params: TrainParams,
) -> Trained:
    """Fine-tune the base model on the base corpus."""
    return _sft("sft_base", base_model, rows, model_store, tracking, params.sft_base)


def train_sft_refine(
    sft_base_model: ModelRef,
    rows: pl.DataFrame,
    model_store: Path,
    tracking: Tracking | None,
    params: TrainParams,
) -> Trained:
    """Fine-tune the first stage's model on the curated corpus."""
    return _sft("sft_refine", sft_base_model, rows, model_store, tracking, params.sft_refine)


def _sft(
    stage: str,
    start: ModelRef,
    rows: pl.DataFrame,
    store: Path,
    tracking: Tracking | None,
    options: SFTOptions,
) -> Trained:
    directory = store / stage / _name(start, rows, options)
    result = train_sft(start, rows["messages"].to_list(), options, directory, stage)
    return _trained(result, tracking)


def select_preferences(
    preferences: pl.DataFrame, self_play_model: ModelRef, params: TrainParams
) -> Selected:
    """Choose the preference pairs of the third stage; the others are drops with a reason."""
    chosen = select_pairs(preferences, self_play_model, params.dpo.max_length, params.pair_sources)
    return _some("dpo", chosen.rows, _staged("dpo", chosen.drops), "train.pair_sources")


def train_preferences(
    self_play_model: ModelRef,
    pairs: pl.DataFrame,
    model_store: Path,
    tracking: Tracking | None,
    params: TrainParams,
) -> Trained:
    """Teach the model that played against itself to prefer the better answers (DPO)."""
    directory = model_store / "dpo" / _name(self_play_model, pairs, params.dpo)
    rows = [pair_of(row) for row in pairs.iter_rows(named=True)]
    return _trained(train_dpo(self_play_model, rows, params.dpo, directory, "dpo"), tracking)


def register_candidate(dpo_model: ModelRef, model_registry: ModelRegistry) -> None:
    """Register the trained model as the candidate for promotion.

    A registry that is down fails no training: evaluation registers the model then.
    """
    from mlflow.exceptions import MlflowException

    tags = {"stage": dpo_model.stage, "base": dpo_model.base}
    tags |= {"training_fingerprint": dpo_model.fingerprint}
    try:
        version = model_registry.nominate(Path(dpo_model.path), dpo_model.run_id, tags)
    except (RegistryDown, MlflowException) as error:
        logger.warning("the candidate is registered by evaluate: %s", without_password(error))
    else:
        logger.info("%s@%s is version %d", model_registry.name, CANDIDATE, version)


def close_train(
    base_conversations: pl.DataFrame,
    base_rows: pl.DataFrame,
    base_drops: pl.DataFrame,
    base_curve: pl.DataFrame,
    refined_conversations: pl.DataFrame,
    refine_rows: pl.DataFrame,
    refine_drops: pl.DataFrame,
    refine_curve: pl.DataFrame,
    preferences: pl.DataFrame,
    pairs: pl.DataFrame,
    pair_drops: pl.DataFrame,
    dpo_curve: pl.DataFrame,
) -> tuple[pl.DataFrame, dict[str, Any], pl.DataFrame, Figure]:
    """Merge the stages' drops and curves, and check that rows in are rows learned plus drops."""
    table, summary = close(
        [
            Flow("sft_base", base_conversations.height, base_rows.height, base_drops),
            Flow("sft_refine", refined_conversations.height, refine_rows.height, refine_drops),
            Flow("dpo", preferences.height, pairs.height, pair_drops),
        ]
    )
    curves = pl.concat([base_curve, refine_curve, dpo_curve])
    return table, summary, curves, _loss_chart(curves)


def _loss_chart(curves: pl.DataFrame) -> Figure:
    losses = curves.filter(pl.col("metric") == "loss").sort("stage", "step")
    series = {
        str(stage): list(points.select("step", "value").iter_rows())
        for (stage,), points in losses.group_by("stage", maintain_order=True)
    }
    return line_chart("訓練損失 Training loss", series, x_label="step", y_label="loss")


def _trained(result: StageResult, tracking: Tracking | None) -> Trained:
    if result.dropped:
        raise AssertionError(f"a selected row cannot be trained on: {_first(result.dropped)}")
    stage = result.model.stage
    curve = TRAINING_CURVE.frame(
        point | {"id": content_id("point", stage, point["step"], point["metric"])}
        for point in result.curve
    )
    return replace(result.model, run_id=tracking.key if tracking else None), curve


def _first(dropped: list[Dropped]) -> str:
    return f"row {dropped[0].row}, {dropped[0].reason} {dropped[0].detail}"


def _staged(stage: str, dropped: list[tuple[str, str, str]]) -> pl.DataFrame:
    """Drops of one stage; a record may be learned in one stage and left out of another."""
    return drops(
        PIPELINE,
        (
            (
                content_id(stage, record_id),
                reason,
                f"{stage} stage, record {record_id} {detail}".strip(),
            )
            for record_id, reason, detail in dropped
        ),
    )


def _some(stage: str, rows: pl.DataFrame, dropped: pl.DataFrame, parameter: str) -> Selected:
    """Hand on what a stage learns from and what not.

    Raises:
        UserError: there is nothing to learn from, with the reasons and what to change.
    """
    if rows.is_empty():
        reasons = dropped.group_by("reason").len().sort("reason").iter_rows()
        why = ", ".join(f"{reason} {count:,}" for reason, count in reasons) or "none came in"
        raise UserError(
            f"{stage}: no row is left to learn from ({why}); widen {parameter} or give more input"
        )
    return rows, dropped


def _name(start: ModelRef, rows: pl.DataFrame, options: StageOptions) -> str:
    """A folder for each combination of start, rows and options."""
    return content_id(start.fingerprint, rows["id"].to_list(), options.model_dump())[:16]
