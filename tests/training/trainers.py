"""Trainers of preference stages as TRL makes them, for tests of what we hang into them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kyara_kedro.training.chat import PreferencePair, encode_pair
from kyara_kedro.training.loading import load_tokenizer, quiet
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import DPOOptions, SPPOOptions


def preference_stage(
    start: ModelRef,
    pairs: Sequence[PreferencePair],
    recipe: DPOOptions | SPPOOptions,
    workspace: Path,
    *,
    probabilities: Sequence[tuple[float | None, ...]] = (),
    **arguments: Any,
) -> Any:
    """Make a trainer whose first step is at the learning rate.

    Args:
        start: The model to start from, which is its own reference.
        pairs: What it learns from.
        recipe: How it trains.
        workspace: Where it writes.
        probabilities: Win probabilities of the chosen and the rejected answer of each pair.
        arguments: Others of ``DPOConfig``.
    """
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    from kyara_kedro.training.losses import SoftSPPO, loss_arguments

    class Trainer(SoftSPPO if isinstance(recipe, SPPOOptions) else DPOTrainer):  # type: ignore[misc]
        def _send_telemetry(self) -> None:
            """Tell nobody."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    with quiet(threads=1):
        tokenizer = load_tokenizer(start)
        rows: list[dict[str, Any]] = [dict(encode_pair(tokenizer, pair)) for pair in pairs]
        for row, (chosen, rejected) in zip(rows, probabilities, strict=False):
            row.update(p_chosen=chosen, p_rejected=rejected)
        config = DPOConfig(
            **loss_arguments(recipe),
            **{
                "output_dir": str(workspace),
                "num_train_epochs": recipe.epochs,
                "learning_rate": recipe.learning_rate,
                "per_device_train_batch_size": recipe.batch_size,
                "lr_scheduler_type": "constant",
                "logging_steps": recipe.logging_steps,
                "logging_nan_inf_filter": False,
                "model_init_kwargs": {"attn_implementation": "eager"},
                "max_length": None,
                "precompute_ref_log_probs": True,
                "remove_unused_columns": False,
                "use_cpu": True,
                "bf16": False,
                "gradient_checkpointing": False,
                "save_strategy": "no",
                "report_to": "none",
                "disable_tqdm": True,
            }
            | arguments,
        )
        trainer = Trainer(
            start.path,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        for module in trainer.model.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.0
        trainer.remove_callback(PrinterCallback)
        return trainer
