"""Three stages of training, each from the tokens of exactly the rows that it learns from."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.datasets.table import Frames
from kyara_kedro.errors import UserError
from kyara_kedro.params import TrainParams
from kyara_kedro.pipelines.balance import Flow, close
from kyara_kedro.records import TRAINING_CURVE, drops
from kyara_kedro.reporting.charts import Figure, line_chart
from kyara_kedro.tracking.registry import CANDIDATE, ModelRegistry, RegistryDown
from kyara_kedro.tracking.store import without_password
from kyara_kedro.tracking.target import Tracking
from kyara_kedro.training.embedded import build_embedded_base
from kyara_kedro.training.job import Recipe, StageJob
from kyara_kedro.training.launchers import run_stage
from kyara_kedro.training.model_ref import ModelRef, pretrained
from kyara_kedro.training.rows import (
    Choice,
    NothingToLearn,
    Selection,
    select_conversations,
    select_pairs,
)
from kyara_kedro.training.tokens import TokensRef

logger = logging.getLogger("kyara_kedro")
PIPELINE = "train"
_SAMPLE = 20_000
"""Conversations that the embedded model's tokenizer is learned from, at most."""
Trained = tuple[ModelRef, pl.DataFrame, dict[str, Any]]
Selected = tuple[Frames, pl.DataFrame, TokensRef]


def make_base_model(
    base_conversations: pl.LazyFrame, model_store: Path, params: TrainParams
) -> ModelRef:
    """Refer to the configured base model, or make the embedded one from a sample of the corpus."""
    if params.base_model != "embedded":
        return pretrained(params.base_model)
    names = base_conversations.select(pl.col("id").bottom_k(_SAMPLE)).collect()["id"]
    sample = base_conversations.filter(pl.col("id").is_in(names.implode())).sort("id")
    contents = pl.col("messages").list.explode().struct.field("content")
    name = content_id(sorted(names), params.embedded.model_dump())[:16]
    return build_embedded_base(
        sample.select(contents).collect().to_series(),
        params.embedded,
        model_store / "base" / name,
    )


def select_base_rows(
    base_conversations: pl.LazyFrame, base_model: ModelRef, model_store: Path, params: TrainParams
) -> Selected:
    """Choose what the first stage learns from; the rest is held out or dropped with a reason."""
    choice = Choice(params.sft_base.max_length, params.base_mix, params.base_rows, params.held_out)
    directory = _tokens(model_store, "sft_base")
    with _advice("sft_base", "train.base_mix"):
        chosen = select_conversations(base_conversations, base_model, choice, directory)
    return _selected("sft_base", base_conversations, chosen)


def select_refine_rows(
    refined_conversations: pl.DataFrame,
    base_model: ModelRef,
    model_store: Path,
    params: TrainParams,
) -> Selected:
    """Choose what the second stage learns from; the rest is held out or dropped with a reason."""
    refine = params.sft_refine
    choice = Choice(refine.max_length, params.refine_mix, params.refine_rows, params.held_out)
    directory = _tokens(model_store, "sft_refine")
    with _advice("sft_refine", "train.refine_mix"):
        chosen = select_conversations(refined_conversations.lazy(), base_model, choice, directory)
    return _selected("sft_refine", refined_conversations.lazy(), chosen)


def train_sft_base(
    base_model: ModelRef,
    rows: pl.LazyFrame,
    tokens: TokensRef,
    dropped: pl.DataFrame,
    contamination: pl.DataFrame,
    model_store: Path,
    tracking: Tracking | None,
    params: TrainParams,
) -> Trained:
    """Fine-tune the base model on the base corpus."""
    told = dropped, contamination, model_store, params
    job = _job("sft_base", base_model, tokens, params.sft_base, *told)
    return _trained(job, tracking, prompts=_prompts(rows))


def train_sft_refine(
    sft_base_model: ModelRef,
    rows: pl.DataFrame,
    tokens: TokensRef,
    dropped: pl.DataFrame,
    contamination: pl.DataFrame,
    model_store: Path,
    tracking: Tracking | None,
    params: TrainParams,
) -> Trained:
    """Fine-tune the first stage's model on the curated corpus."""
    told = dropped, contamination, model_store, params
    job = _job("sft_refine", sft_base_model, tokens, params.sft_refine, *told)
    return _trained(job, tracking, prompts=_prompts(rows.lazy()))


def select_preferences(
    preferences: pl.DataFrame, self_play_model: ModelRef, model_store: Path, params: TrainParams
) -> Selected:
    """Choose the preference pairs of the third stage; the rest is held out or dropped."""
    shares = None if params.pair_sources is None else dict.fromkeys(params.pair_sources, 1.0)
    choice = Choice(
        params.dpo.max_length,
        shares,
        held_out=params.held_out,
        rated_only=params.dpo.kind == "sppo",
    )
    directory = _tokens(model_store, "dpo")
    with _advice("dpo", "train.pair_sources"):
        chosen = select_pairs(preferences.lazy(), self_play_model, choice, directory)
    return _selected("dpo", preferences.lazy(), chosen)


def train_preferences(
    self_play_model: ModelRef,
    tokens: TokensRef,
    dropped: pl.DataFrame,
    preference_contamination: pl.DataFrame,
    model_store: Path,
    tracking: Tracking | None,
    params: TrainParams,
) -> Trained:
    """Teach the model that played against itself to prefer the better answers."""
    told = dropped, preference_contamination, model_store, params
    return _trained(_job("dpo", self_play_model, tokens, params.dpo, *told), tracking)


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
    base_conversations: pl.LazyFrame,
    base_tokens: TokensRef,
    base_drops: pl.DataFrame,
    base_curve: pl.DataFrame,
    refined_conversations: pl.DataFrame,
    refine_tokens: TokensRef,
    refine_drops: pl.DataFrame,
    refine_curve: pl.DataFrame,
    preferences: pl.DataFrame,
    pair_tokens: TokensRef,
    pair_drops: pl.DataFrame,
    dpo_curve: pl.DataFrame,
) -> tuple[pl.DataFrame, dict[str, Any], pl.DataFrame, Figure]:
    """Merge the stages' drops and curves, and check that no row that came in is lost.

    Each is learned from, held out to validate on, or dropped.
    """
    entered = base_conversations.select(pl.len()).collect().item()
    stages = {
        "sft_base": (entered, base_tokens, base_drops),
        "sft_refine": (refined_conversations.height, refine_tokens, refine_drops),
        "dpo": (preferences.height, pair_tokens, pair_drops),
    }
    table, summary = close(
        [
            Flow(stage, rows, tokens.rows + tokens.held_out, dropped)
            for stage, (rows, tokens, dropped) in stages.items()
        ]
    )
    for stage, (_, tokens, _) in stages.items():
        summary[stage] |= {"held_out": tokens.held_out, "tokens": tokens.tokens}
    curves = pl.concat([base_curve, refine_curve, dpo_curve])
    return table, summary, curves, _loss_chart(curves)


def _loss_chart(curves: pl.DataFrame) -> Figure:
    losses = curves.filter(pl.col("metric") == "loss").sort("stage", "step")
    series = {
        str(stage): list(points.select("step", "value").iter_rows())
        for (stage,), points in losses.group_by("stage", maintain_order=True)
    }
    return line_chart("訓練損失 Training loss", series, x_label="step", y_label="loss")


def _job(
    stage: str,
    start: ModelRef,
    tokens: TokensRef,
    recipe: Recipe,
    dropped: pl.DataFrame,
    contamination: pl.DataFrame,
    store: Path,
    params: TrainParams,
) -> StageJob:
    return StageJob(
        stage=stage,
        start=start,
        data=tokens,
        recipe=recipe,
        store=store,
        peft=params.peft,
        machine=params.machine,
        launcher=params.launcher,
        checkpoint=params.checkpoint,
        alarms=params.alarms,
        dropped=dict(dropped.group_by("reason").len().sort("reason").iter_rows()),
        forbidden=tuple(contamination["record_id"].unique().sort()),
    )


def _prompts(rows: pl.LazyFrame) -> str:
    """The versions of the prompts that rows were made with."""
    versions = pl.col("prompt_version").drop_nulls().unique().sort()
    return ", ".join(rows.select(versions).collect().to_series())


def _trained(job: StageJob, tracking: Tracking | None, **tags: str) -> Trained:
    """Do a stage; a stage that MLflow is told of has a run below that of the pipeline."""
    result = run_stage(job, tracking.below(**tags) if tracking else None)
    curve = TRAINING_CURVE.frame(
        point | {"id": content_id("point", job.stage, point["step"], point["metric"])}
        for point in result.curve
    )
    return result.model, curve, result.preflight


def _tokens(store: Path, stage: str) -> Path:
    return store / "tokens" / stage


@contextmanager
def _advice(stage: str, parameter: str) -> Iterator[None]:
    """Say what to change when a stage has nothing to learn from."""
    try:
        yield
    except NothingToLearn as error:
        raise UserError(f"{stage}: {error}; widen {parameter} or give more input") from error


def _selected(stage: str, table: pl.LazyFrame, chosen: Selection) -> Selected:
    """The rows learned from, the drops and the tokens.

    A record may be learned in one stage and left out of another, so drops are those of a stage.
    """
    dropped = drops(
        PIPELINE,
        (
            (content_id(stage, name), reason, f"{stage} stage, record {name} {detail}".strip())
            for name, reason, detail in chosen.drops.iter_rows()
        ),
    )
    return Frames(lambda: chosen.rows(table)), dropped, chosen.tokens
