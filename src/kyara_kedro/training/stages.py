"""The training stages: supervised fine-tuning and direct preference optimisation, through TRL.

Rows are tokenised here, so that TRL sees token ids only: no column can hijack the training, a row
that is too long is dropped and reported instead of cut, and a continuation stays open.
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tqdm import tqdm

from kyara_kedro.content import Message
from kyara_kedro.errors import UserError
from kyara_kedro.training.chat import (
    Encoded,
    EncodedPair,
    PreferencePair,
    check_messages,
    check_pair,
    encode,
    encode_pair,
    pair_length,
    template,
)
from kyara_kedro.training.loading import ATTENTION, load_tokenizer, quiet
from kyara_kedro.training.model_ref import ModelRef, fingerprint, verify, written_whole
from kyara_kedro.training.options import DPOOptions, SFTOptions, StageOptions

Row = TypeVar("Row", list[Message], PreferencePair)
Tokens = TypeVar("Tokens", Encoded, EncodedPair)

_REFERENCE_TOLERANCE = 0.01


class TrainingError(UserError):
    """A stage cannot start or came to nothing."""


class Dropped(NamedTuple):
    """A row that a stage did not train on: its position, a snake_case reason and the detail."""

    row: int
    reason: str
    detail: str


@dataclass(frozen=True)
class StageResult:
    """What a stage made.

    Attributes:
        model: The trained model.
        curve: Points {stage, step, metric, value} in the order of the training.
        dropped: The rows left out.
    """

    model: ModelRef
    curve: list[dict[str, Any]]
    dropped: list[Dropped]


def train_sft(
    start: ModelRef,
    rows: Sequence[list[Message]],
    options: SFTOptions,
    directory: Path,
    stage: str,
) -> StageResult:
    """Fine-tune all weights on conversations; only what the assistant says is learned.

    Args:
        start: The model to start from.
        rows: Conversations that end with the assistant.
        options: How to train.
        directory: Where the new model goes; replaced as a whole, or not at all.
        stage: Name of the stage in the curve, in errors and on the model.

    Raises:
        TrainingError: when no row is left to train on or the loss is not finite.
        ModelRefError: when ``start`` is not what is on disk.
    """
    verify(start)
    with quiet(threads=1):
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        class Trainer(SFTTrainer):  # type: ignore[misc]
            def _send_telemetry(self) -> None:
                """Tell nobody."""

        tokenizer = load_tokenizer(start)
        encoded, dropped = _prepare(
            rows,
            check_messages,
            lambda row: encode(tokenizer, row),
            lambda tokens: len(tokens.input_ids),
            options,
            stage,
        )
        dataset = Dataset.from_dict(
            {
                "input_ids": [row.input_ids for row in encoded],
                "labels": [row.labels for row in encoded],
            }
        )

        def build(workspace: str) -> Any:
            config = SFTConfig(
                **_arguments(options, workspace), packing=options.packing, packing_strategy="bfd"
            )
            return Trainer(
                start.path, args=config, train_dataset=dataset, processing_class=tokenizer
            )

        model, curve = _run(
            build, start, rows, options, directory, stage, dropout=options.attention_dropout
        )
    return StageResult(model, curve, dropped)


def train_dpo(
    start: ModelRef,
    pairs: Sequence[PreferencePair],
    options: DPOOptions,
    directory: Path,
    stage: str,
) -> StageResult:
    """Teach a model to prefer one answer to another; it is its own reference.

    Args:
        start: The model to start from and to be held to.
        pairs: The preferences.
        options: How to train.
        directory: Where the new model goes; replaced as a whole, or not at all.
        stage: Name of the stage in the curve, in errors and on the model.

    Raises:
        TrainingError: when no pair is left to train on, the loss is not finite, or the reference
            is not the model that the stage starts from.
        ModelRefError: when ``start`` is not what is on disk.
    """
    verify(start)
    with quiet(threads=1):
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer

        class Trainer(DPOTrainer):  # type: ignore[misc]
            def _send_telemetry(self) -> None:
                """Tell nobody."""

            def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
                """Take the rows as they are: tokenised already."""
                return dataset

        tokenizer = load_tokenizer(start)
        encoded, dropped = _prepare(
            pairs,
            check_pair,
            lambda pair: encode_pair(tokenizer, pair),
            pair_length,
            options,
            stage,
        )

        def build(workspace: str) -> Any:
            config = DPOConfig(
                **_arguments(options, workspace),
                beta=options.beta,
                loss_type=list(options.losses),
                loss_weights=list(options.losses.values()),
                precompute_ref_log_probs=True,
                precompute_ref_batch_size=options.batch_size,
            )
            return Trainer(
                start.path,
                args=config,
                train_dataset=Dataset.from_list(encoded),
                processing_class=tokenizer,
            )

        model, curve = _run(build, start, pairs, options, directory, stage, dropout=0.0)
    return StageResult(model, curve, dropped)


def _prepare(
    rows: Sequence[Row],
    check: Callable[[Row], str | None],
    tokenise: Callable[[Row], Tokens],
    length: Callable[[Tokens], int],
    options: StageOptions,
    stage: str,
) -> tuple[list[Tokens], list[Dropped]]:
    """Tokenise the rows that can be trained on and say which cannot."""
    kept: list[Tokens] = []
    dropped: list[Dropped] = []
    for number, row in enumerate(tqdm(rows, desc=f"{stage}: tokens", disable=None, leave=False)):
        if reason := check(row):
            dropped.append(Dropped(number, reason, ""))
        elif (tokens := length(encoded := tokenise(row))) > options.max_length:
            detail = f"{tokens} tokens, max_length is {options.max_length}"
            dropped.append(Dropped(number, "over_max_length", detail))
        else:
            kept.append(encoded)
    if not kept:
        why = f"; the first was dropped as {dropped[0].reason}" if dropped else ""
        raise TrainingError(f"{stage}: none of {len(rows)} rows can be trained on{why}")
    return kept, dropped


def _arguments(options: StageOptions, workspace: str) -> dict[str, Any]:
    """The trainer arguments that all stages share."""
    import torch

    accelerated = torch.cuda.is_available()
    return {
        "output_dir": workspace,
        "num_train_epochs": options.epochs,
        "learning_rate": options.learning_rate,
        "lr_scheduler_type": options.scheduler,
        "warmup_steps": options.warmup_steps,
        "weight_decay": options.weight_decay,
        "max_grad_norm": options.max_grad_norm,
        "max_length": options.max_length,
        "per_device_train_batch_size": options.batch_size,
        "gradient_accumulation_steps": options.accumulation,
        "logging_steps": options.logging_steps,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "seed": options.seed,
        "use_cpu": not accelerated,
        "bf16": accelerated,
        "gradient_checkpointing": accelerated,
        "model_init_kwargs": {"attn_implementation": ATTENTION},
        "dataloader_pin_memory": accelerated,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _run(
    build: Callable[[str], Any],
    start: ModelRef,
    rows: Sequence[Row],
    options: StageOptions,
    directory: Path,
    stage: str,
    dropout: float,
) -> tuple[ModelRef, list[dict[str, Any]]]:
    """Train and write the model; return it with its curve.

    Dropout is set on the modules, since TRL's switch does not reach that of the attention, with
    which policy and reference would never agree; the configuration on disk stays as it was.
    """
    import torch
    from transformers import PrinterCallback

    ref = ModelRef(
        path=str(directory),
        fingerprint=fingerprint(rows, options.model_dump(), start.fingerprint, template()),
        stage=stage,
        base=start.base,
        start=start.fingerprint,
    )
    curve: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory() as workspace,
        torch.random.fork_rng(devices=range(torch.cuda.device_count())),
        tqdm(desc=stage, disable=None, leave=False) as bar,
    ):
        trainer = build(workspace)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_recorder(stage, curve, bar))
        for module in trainer.model.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = dropout
        trainer.train()
    with written_whole(ref) as target:
        trainer.model.save_pretrained(target)
        trainer.processing_class.save_pretrained(target)
    return ref, curve


def _recorder(stage: str, curve: list[dict[str, Any]], bar: Any) -> Any:
    """Make the callback that fills the curve, moves the bar and stops a broken training."""
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            bar.total = state.max_steps

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            bar.update()

        def on_log(
            self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any
        ) -> None:
            if "loss" not in logs:
                return
            if not math.isfinite(logs["loss"]):
                raise TrainingError(
                    f"{stage}: loss is {logs['loss']} at step {state.global_step}; "
                    f"lower learning_rate (now {args.learning_rate:g})"
                )
            reward = logs.get("rewards/chosen", 0.0)
            if not curve and abs(reward) > _REFERENCE_TOLERANCE:
                raise TrainingError(
                    f"{stage}: first reward of the chosen answers is {reward:.3f}, not 0: "
                    "the reference is not the model that the stage starts from"
                )
            bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)
            curve.extend(
                {"stage": stage, "step": state.global_step, "metric": metric, "value": float(value)}
                for metric, value in logs.items()
                if metric != "epoch"
            )

    return Recorder()
