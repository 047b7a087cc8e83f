"""Three stages of training, each from the tokens of exactly the rows that it learns from."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
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
from kyara_kedro.training.model_ref import ModelRef, pretrained
from kyara_kedro.training.options import SFTOptions, StageOptions
from kyara_kedro.training.rows import (
    Choice,
    NothingToLearn,
    Selection,
    select_conversations,
    select_pairs,
)
from kyara_kedro.training.stages import Dropped, StageResult, train_dpo, train_sft
from kyara_kedro.training.tokens import TokensRef

logger = logging.getLogger("kyara_kedro")
PIPELINE = "train"
_SAMPLE = 20_000
"""Conversations that the embedded model's tokenizer is learned from, at most."""
Trained = tuple[ModelRef, pl.DataFrame]
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
    model_store: Path,
    tracking: Tracking | None,
    params: TrainParams,
) -> Trained:
    """Fine-tune the base model on the base corpus."""
    return _sft("sft_base", base_model, rows.collect(), model_store, tracking, params.sft_base)


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
    preferences: pl.DataFrame, self_play_model: ModelRef, model_store: Path, params: TrainParams
) -> Selected:
    """Choose the preference pairs of the third stage; the rest is held out or dropped."""
    shares = None if params.pair_sources is None else dict.fromkeys(params.pair_sources, 1.0)
    choice = Choice(params.dpo.max_length, shares, held_out=params.held_out)
    directory = _tokens(model_store, "dpo")
    with _advice("dpo", "train.pair_sources"):
        chosen = select_pairs(preferences.lazy(), self_play_model, choice, directory)
    return _selected("dpo", preferences.lazy(), chosen)


def train_preferences(
    self_play_model: ModelRef,
    pairs: pl.DataFrame,
    model_store: Path,
    tracking: Tracking | None,
    params: TrainParams,
) -> Trained:
    """Teach the model that played against itself to prefer the better answers (DPO)."""
    directory = model_store / "dpo" / _name(self_play_model, pairs, params.dpo)
    rows: list[Any] = pairs.select("prompt", "prefix", "chosen", "rejected").to_dicts()
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


def _name(start: ModelRef, rows: pl.DataFrame, options: StageOptions) -> str:
    """A folder for each combination of start, rows and options."""
    return content_id(start.fingerprint, rows["id"].to_list(), options.model_dump())[:16]
