"""TRL's trainers, fed with stored tokens and without what they do unasked."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
from trl.trainer import utils

from kyara_kedro.content import content_id
from kyara_kedro.training.adapters import lora_config, master_weights
from kyara_kedro.training.checkpointing import Checkpoint, keep_newest, seal
from kyara_kedro.training.feeding import EpochOrder, PackedSequences, PairRows, dataset, whole_steps
from kyara_kedro.training.job import StageJob
from kyara_kedro.training.loading import on_accelerator
from kyara_kedro.training.losses import SoftSPPO, loss_arguments
from kyara_kedro.training.options import DPOOptions, SFTOptions, SPPOOptions


@contextmanager
def scored_where_learned() -> Iterator[None]:
    """Let the output layer score learned positions only, on a CPU too.

    TRL does so where Triton is, and scores all positions elsewhere, for the sake of devices that
    compile each shape anew; on a CPU that is a third of the work of a small model. The numbers are
    the same.
    """
    asked = utils._use_triton
    utils._use_triton = lambda device: device.type == "cpu" or asked(device)
    try:
        yield
    finally:
        utils._use_triton = asked


class _EpochSetter(TrainerCallback):  # type: ignore[misc]
    """Tells an order which epoch begins; what wraps it in a resumed epoch would not."""

    def __init__(self, order: EpochOrder) -> None:
        self._order = order

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Choose the order of the epoch."""
        self._order.set_epoch(int(state.epoch))


class _Plain:
    """A trainer that tells nobody, writes no card, and orders its rows by seed and epoch alone."""

    args: Any
    accelerator: Any
    state: Any
    order: EpochOrder
    kept: int
    _total_train_tokens: float

    def _send_telemetry(self) -> None:
        """Tell nobody."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: a checkpoint is nobody's model."""

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:
        return self.order

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)  # type: ignore[misc]
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            workspace = Path(self.args.output_dir)
            folder = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            seal(workspace / folder, self._total_train_tokens)
            keep_newest(workspace, self.kept)

    def go_on(self, checkpoint: Checkpoint | None) -> None:
        """Train to the end, from a checkpoint or from the start."""
        if checkpoint is None:
            self.train()  # type: ignore[attr-defined]
            return
        self._total_train_tokens = checkpoint.tokens
        self.train(resume_from_checkpoint=str(checkpoint.path))  # type: ignore[attr-defined]


class Tuner(_Plain, SFTTrainer):  # type: ignore[misc]
    """Supervised fine-tuning."""


class Aligner(_Plain, DPOTrainer):  # type: ignore[misc]
    """Preference optimisation; the model as it is before the first step is the reference."""

    def __init__(
        self,
        *args: Any,
        pairs: PairRows,
        held_out: Mapping[str, PairRows],
        cache: Path,
        **more: Any,
    ) -> None:
        self._pairs = pairs
        self._held_out = held_out
        self._cache = cache
        super().__init__(*args, **more)

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        """Take the rows as they are: tokenised already."""
        return dataset

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """Give the rows their reference, once for all attempts at this stage."""
        learned = dataset is self.train_dataset
        pairs = self._pairs if learned else self._held_out[name]
        file = self._cache / f"reference-{'train' if learned else content_id(name)}.npy"
        if not file.exists():
            found = self._reference(dataset, name, batch_size)
            if self.accelerator.is_main_process:
                part = file.with_suffix(".part.npy")
                np.save(part, found)
                part.replace(file)
        self.accelerator.wait_for_everyone()
        pairs.reference = np.load(file, allow_pickle=False)
        return dataset

    def _reference(self, dataset: Any, name: str, batch_size: int) -> NDArray[np.float32]:
        """Log-probabilities of chosen and rejected answers, float32 [rows, 2]."""
        model = self.ref_model or self.model
        training = model.training
        model.eval()
        loader = self.accelerator.prepare(
            DataLoader(dataset, batch_size, collate_fn=self.data_collator)
        )
        found = []
        for batch in tqdm(loader, desc=f"{name}: reference", disable=None, leave=False):
            pair = torch.stack(self.compute_ref_log_probs(model, batch), dim=1)
            found.append(self.accelerator.gather_for_metrics(pair).cpu())
        model.train(training)
        reference: NDArray[np.float32] = torch.cat(found).float().numpy()
        return reference


class SoftAligner(SoftSPPO, Aligner):
    """Preference optimisation with win probabilities."""


def tuner(
    job: StageJob,
    recipe: SFTOptions,
    network: Any,
    tokenizer: Any,
    train: PackedSequences,
    held_out: Mapping[str, PackedSequences],
) -> Any:
    """Make the `Tuner` of a supervised stage.

    On an accelerator the few places of packed sequences that stay empty are filled up: with one
    shape, what is compiled for it is compiled once.
    """
    full = recipe.packing and on_accelerator(job.machine)
    config = SFTConfig(
        **_arguments(job, len(train)),
        max_length=None,
        padding_free=recipe.packing,
        pad_to_multiple_of=recipe.max_length if full else None,
        per_device_eval_batch_size=1,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    return _pinned(Tuner, job, config, network, tokenizer, train, held_out)


def aligner(
    job: StageJob,
    recipe: DPOOptions | SPPOOptions,
    network: Any,
    tokenizer: Any,
    train: PairRows,
    held_out: Mapping[str, PairRows],
) -> Any:
    """Make the `Aligner` of a preference stage."""
    config = DPOConfig(
        **_arguments(job, len(train)),
        **loss_arguments(recipe),
        max_length=recipe.max_length,
        precompute_ref_log_probs=True,
        per_device_eval_batch_size=recipe.batch_size,
    )
    kind = SoftAligner if isinstance(recipe, SPPOOptions) else Aligner
    return _pinned(
        partial(kind, pairs=train, held_out=held_out, cache=job.workspace),
        *(job, config, network, tokenizer, train, held_out),
    )


def _pinned(
    make: Any,
    job: StageJob,
    config: Any,
    network: Any,
    tokenizer: Any,
    train: Any,
    held_out: Mapping[str, Any],
) -> Any:
    """Make a trainer on one device a process."""
    if job.launcher.kind == "inprocess":
        config._n_gpu = min(config.n_gpu, 1)
    step = job.recipe.batch_size * job.recipe.accumulation
    rows = dataset(train, whole_steps(len(train), step, job.recipe.seed))
    trainer = make(
        network,
        args=config,
        train_dataset=rows,
        eval_dataset={source: dataset(some) for source, some in held_out.items()} or None,
        processing_class=tokenizer,
        peft_config=lora_config(job.peft),
    )
    master_weights(trainer.model)
    trainer.kept = job.checkpoint.keep
    trainer.order = EpochOrder(len(rows), job.recipe.seed)
    trainer.add_callback(_EpochSetter(trainer.order))
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(job: StageJob, rows: int) -> dict[str, Any]:
    """The trainer arguments that all stages share.

    Validation is bound to steps, not to epochs: then it comes before the checkpoint of the same
    step, and whoever goes on from there has it behind him.
    """
    recipe, machine = job.recipe, job.machine
    accelerated = on_accelerator(machine)
    logging = recipe.logging_steps
    epoch = -(-rows // (recipe.batch_size * recipe.accumulation))
    arguments = {
        "output_dir": str(job.workspace),
        "num_train_epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.scheduler,
        "warmup_steps": recipe.warmup_steps,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "per_device_train_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.accumulation // job.launcher.world_size,
        "logging_steps": logging,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "eval_strategy": "steps" if job.data.held_out else "no",
        "eval_steps": recipe.validation_steps or epoch,
        "save_strategy": "steps",
        "save_steps": -(-job.checkpoint.steps // logging) * logging,
        "seed": recipe.seed,
        "use_cpu": not accelerated,
        "bf16": accelerated,
        "gradient_checkpointing": machine.activation_checkpointing,
        "dataloader_pin_memory": accelerated,
        "ddp_find_unused_parameters": False,
        "remove_unused_columns": False,
        "report_to": "none",
        "disable_tqdm": True,
    }
    if job.launcher.sharded:
        arguments |= {"fsdp": True, "fsdp_config": {"version": 2}}
    return arguments
