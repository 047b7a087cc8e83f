"""One stage of training: supervised fine-tuning or preference optimisation, through TRL.

Rows are tokenised before, so that TRL sees token ids only: no column can hijack the training, a
row that is too long has been dropped and reported instead of cut, and a continuation stays open.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from kyara_kedro.errors import UserError
from kyara_kedro.training.errors import TrainingError
from kyara_kedro.training.feeding import PackedSequences, PairRows
from kyara_kedro.training.job import StageJob
from kyara_kedro.training.loading import (
    give_memory_back,
    load_network,
    load_tokenizer,
    on_accelerator,
    quiet,
    stop_at_turns,
)
from kyara_kedro.training.model_ref import ModelRef, ModelRefError, verify, written_whole
from kyara_kedro.training.options import SFTOptions
from kyara_kedro.training.packing import Numbers, Packs, pack
from kyara_kedro.training.preflight import Preflight, PreflightError, preflight
from kyara_kedro.training.tokens import Conversations, Pairs, open_tokens
from kyara_kedro.training.watch import StageWatch

_RECORD = "training.json"
_CURVE = "metrics.jsonl"
_LACKS = {
    ("out of memory", "can't allocate memory"): (
        "out of memory; halve batch_size (now {recipe.batch_size}) or max_length (now "
        "{recipe.max_length}), set machine.activation_checkpointing: true, or train with "
        "peft.method: lora"
    ),
    ("out of resource",): (
        "a kernel needs more shared memory than this GPU has; set machine.attention: eager and "
        "machine.activation_checkpointing: true"
    ),
    ("No space left on device", "file write failed"): (
        "the disk of {workspace} is full; make room or lower checkpoint.keep, and run again: the "
        "stage goes on from its last checkpoint"
    ),
    ("support bf16",): "this GPU cannot compute in bfloat16; set machine.device: cpu",
}
"""What an error of the libraries says, and what to do."""


@dataclass(frozen=True)
class StageResult:
    """What a stage made.

    Attributes:
        model: The trained model.
        curve: Points {stage, step, metric, value} in the order of the training.
        preflight: What was known before the first step.
    """

    model: ModelRef
    curve: list[dict[str, Any]]
    preflight: dict[str, Any]


def made_before(job: StageJob) -> StageResult | None:
    """What an earlier run of the same stage made, if it is still there."""
    try:
        model = verify(_model(job))
    except ModelRefError:
        return None
    return StageResult(model, **json.loads((job.directory / _RECORD).read_text("utf-8")))


def perform(job: StageJob, watch: StageWatch | None = None) -> StageResult:
    """Do a stage in this process, which may be one of several that do it together.

    A stage that was under way goes on from its newest whole checkpoint, to the same weights bit by
    bit.

    Args:
        job: What to do.
        watch: Who is told each step's numbers, in the first process alone.

    Raises:
        TrainingError: memory ran out, or the processes are not as many as were asked for.
        HealthError: the loss is not finite, or going on would ruin the model.
        PreflightError: something would go wrong.
        ModelRefError: the model to start from is not what is on disk.
    """
    import torch

    verify(job.start)
    if job.launcher.sharded and not on_accelerator(job.machine):
        raise TrainingError(
            f"{job.stage}: weights cannot be sharded without accelerators; set "
            "launcher.sharded: false"
        )
    job.workspace.mkdir(parents=True, exist_ok=True)
    store = open_tokens(job.data)
    with (
        _in_one_line(job),
        quiet(job.machine.threads),
        torch.random.fork_rng(devices=range(torch.cuda.device_count())),
        tqdm(desc=job.stage, disable=_bar_hidden(), leave=False) as bar,
    ):
        result = _trained(job, store, bar, watch)
    give_memory_back()  # of the trainer, which is gone: the next stage needs as much
    return result


def _trained(
    job: StageJob, store: Conversations | Pairs, bar: Any, watch: StageWatch | None
) -> StageResult:
    """Inspect, train and write."""
    from kyara_kedro.training.checkpointing import newest
    from kyara_kedro.training.curve import CurveFile
    from kyara_kedro.training.trainers import scored_where_learned

    trainer = _trainer(job, store)
    report = _inspected(job, store, trainer, watch)
    checkpoint = newest(job.workspace)
    curve = CurveFile(job.workspace / _CURVE)
    if trainer.is_world_process_zero():
        curve.cut(checkpoint.step if checkpoint else 0)
    if watch:
        for step, metrics in curve.steps():  # of before it was killed
            watch.log(step, metrics)
    recorder = _recorder(job, store, report, trainer, curve, bar, watch)
    # the monitor comes first, so that a loss that is no number does not get into the curve
    trainer.add_callback(_monitor(job, store, trainer, recorder))
    trainer.add_callback(recorder)
    with scored_where_learned():
        trainer.go_on(checkpoint)
    result = StageResult(_model(job, watch), curve.points(job.stage), report.to_dict())
    return _written(trainer, job, result)


def _inspected(
    job: StageJob, store: Conversations | Pairs, trainer: Any, watch: StageWatch | None
) -> Preflight:
    """Make the preflight and keep it, whatever it comes to."""

    def keep(report: Preflight) -> None:
        if trainer.is_world_process_zero():
            content = json.dumps(report.to_dict(), ensure_ascii=False, indent=1)
            for name, text in (("preflight.json", content), ("preflight.txt", report.table())):
                file = job.workspace / name
                file.write_text(text + "\n", "utf-8")
                if watch:
                    watch.artifact(file)

    try:
        report = preflight(job, store, trainer)
    except PreflightError as error:
        keep(error.preflight)
        raise
    keep(report)
    return report


def _bar_hidden() -> bool | None:
    """Whether the progress bar is hidden: in all processes but the first, and off a terminal."""
    return True if os.environ.get("RANK", "0") != "0" else None


def _trainer(job: StageJob, store: Conversations | Pairs) -> Any:
    """The trainer of a stage with its model and its rows."""
    from kyara_kedro.training import trainers

    recipe = job.recipe
    learned = np.flatnonzero(~store.held_out)
    validated = {
        source: np.flatnonzero(store.held_out & (store.sources == source).to_numpy())
        for source in store.sources.filter(store.held_out).unique().sort()
    }
    dropout = recipe.attention_dropout if isinstance(recipe, SFTOptions) else 0.0
    if job.data.kind != ("conversations" if isinstance(recipe, SFTOptions) else "pairs"):
        raise TrainingError(f"{job.stage}: {recipe.kind} does not learn from {job.data.kind}")
    network = load_network(job.start, job.machine, job.peft, dropout)
    tokenizer = load_tokenizer(job.start)
    stop_at_turns(network, tokenizer)
    if isinstance(store, Conversations) and isinstance(recipe, SFTOptions):
        train = PackedSequences(store, _sequences(store, learned, recipe))
        held_out = {
            source: PackedSequences(store, _sequences(store, rows, recipe))
            for source, rows in validated.items()
        }
        trainer = trainers.tuner(job, recipe, network, tokenizer, train, held_out)
    elif isinstance(store, Pairs) and not isinstance(recipe, SFTOptions):
        pairs = {source: PairRows(store, rows) for source, rows in validated.items()}
        trainer = trainers.aligner(job, recipe, network, tokenizer, PairRows(store, learned), pairs)
    found, asked = trainer.accelerator.num_processes, job.launcher.world_size
    if found != asked:  # a launcher that is not understood leaves each process to train alone
        raise TrainingError(f"{job.stage}: {asked} processes were asked for, but {found} came")
    return trainer


def _sequences(store: Conversations, rows: Numbers, recipe: SFTOptions) -> Packs | Numbers:
    """The rows of each sequence: several where they are packed."""
    if not recipe.packing:
        return rows[:, None]
    packs = pack(store.lengths[rows], recipe.max_length)
    return replace(packs, rows=rows[packs.rows])


def _recorder(
    job: StageJob,
    store: Conversations | Pairs,
    report: Preflight,
    trainer: Any,
    curve: Any,
    bar: Any,
    watch: StageWatch | None,
) -> Any:
    """What keeps the curve, and knows what of the devices' speed is used."""
    import torch

    from kyara_kedro.training.curve import Recorder
    from kyara_kedro.training.estimate import flops_per_token, peak_flops

    config = trainer.model.config
    flops = flops_per_token(config, store.lengths, report.numbers.learned_share, job.peft)
    peak = peak_flops(torch.cuda.get_device_name()) if on_accelerator(job.machine) else None
    most = peak and peak * job.launcher.world_size
    real = report.numbers.fill or 1.0 if on_accelerator(job.machine) else 1.0
    return Recorder(curve, bar, watch.log if watch else None, real, flops, most)


def _monitor(job: StageJob, store: Conversations | Pairs, trainer: Any, recorder: Any) -> Any:
    """What stops the stage before it ruins the model."""
    from kyara_kedro.training.health import HealthMonitor

    return HealthMonitor(
        *(job.stage, job.recipe, job.alarms, store, trainer.processing_class), recorder.record
    )


def _written(trainer: Any, job: StageJob, result: StageResult) -> StageResult:
    """Write the model, in the first process."""
    from kyara_kedro.training.adapters import merge

    network = trainer.accelerator.unwrap_model(trainer.model)
    state = trainer.accelerator.get_state_dict(trainer.model)
    if trainer.is_world_process_zero():
        if job.peft.method != "none":
            network = merge(network, job.start)
            stop_at_turns(network, trainer.processing_class)
            state = network.state_dict()
        record = {"curve": result.curve, "preflight": result.preflight}
        with written_whole(result.model) as target:
            network.save_pretrained(target, state_dict=state)
            trainer.processing_class.save_pretrained(target)
            (target / _RECORD).write_text(json.dumps(record, ensure_ascii=False) + "\n", "utf-8")
    trainer.accelerator.wait_for_everyone()
    return result


def _model(job: StageJob, watch: StageWatch | None = None) -> ModelRef:
    return ModelRef(
        path=str(job.directory),
        fingerprint=job.fingerprint,
        stage=job.stage,
        base=job.start.base,
        run_id=watch.key if watch else None,
        start=job.start.fingerprint,
    )


@contextmanager
def _in_one_line(job: StageJob) -> Iterator[None]:
    """Say in one line what the machine lacks, and what to do."""
    try:
        yield
    except UserError:  # one line already
        raise
    except Exception as error:
        said = "out of memory" if isinstance(error, MemoryError) else str(error)
        for words, told in _LACKS.items():
            if any(one in said for one in words):
                line = told.format(recipe=job.recipe, workspace=job.workspace)
                raise TrainingError(f"{job.stage}: {line}") from error
        raise
