import errno
import hashlib
import json
import logging
import math
import os
import shutil
import warnings
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kyara_kedro.content import Message, content_id
from kyara_kedro.records import TRAINING_CURVE
from kyara_kedro.training.chat import IGNORED, PreferencePair, encode
from kyara_kedro.training.checkpointing import newest
from kyara_kedro.training.errors import TrainingError
from kyara_kedro.training.job import StageJob
from kyara_kedro.training.launchers import command, report_fault, run_stage
from kyara_kedro.training.loading import load_tokenizer
from kyara_kedro.training.model_ref import ModelRef, ModelRefError, verify
from kyara_kedro.training.options import (
    AlarmOptions,
    CheckpointOptions,
    DPOOptions,
    LauncherOptions,
    PeftOptions,
    SFTOptions,
)
from training.stores import conversations_store, pairs_store

SFT = SFTOptions(epochs=2, warmup_steps=0, learning_rate=1e-2)
DPO = DPOOptions(epochs=2, warmup_steps=0, learning_rate=1e-3)


def talk(question: str, answer: str) -> list[Message]:
    return [Message(role="user", content=question), Message(role="assistant", content=answer)]


ROWS = [talk(f"玉山{n}的海拔是多少公尺？", f"{n * 111}公尺") for n in range(1, 25)]
PAIRS = [
    PreferencePair(prompt=row[:1], chosen=row[1]["content"], rejected="彰化", prefix=None)
    for row in ROWS
]

UNASKED = AlarmOptions(probes=0)


def sft(
    start: ModelRef,
    store: Path,
    rows: list[list[Message]] = ROWS,
    recipe: SFTOptions = SFT,
    **more: Any,
) -> StageJob:
    data = conversations_store(start, rows, store / "conversations")
    more = {"alarms": UNASKED} | more
    return StageJob(stage="s", start=start, data=data, recipe=recipe, store=store, **more)


def dpo(
    start: ModelRef,
    store: Path,
    rows: list[PreferencePair] = PAIRS,
    recipe: DPOOptions = DPO,
    **more: Any,
) -> StageJob:
    data = pairs_store(start, rows, store / "pairs")
    more = {"alarms": UNASKED} | more
    return StageJob(stage="dpo", start=start, data=data, recipe=recipe, store=store, **more)


def weights(model: ModelRef) -> str:
    return hashlib.sha256(Path(model.path, "model.safetensors").read_bytes()).hexdigest()


def series(curve: list[dict[str, Any]], metric: str) -> list[float]:
    return [point["value"] for point in curve if point["metric"] == metric]


@pytest.fixture(scope="module")
def tuned(embedded: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return run_stage(sft(embedded, tmp_path_factory.mktemp("tuned"))).model


def test_sft_lowers_the_loss_and_writes_a_model(embedded: ModelRef, tmp_path: Path) -> None:
    from transformers import AutoConfig, GenerationConfig

    job = sft(embedded, tmp_path)
    result = run_stage(job)
    losses = series(result.curve, "loss")
    assert losses[-1] < losses[0] - 1
    assert (result.model.stage, result.model.base) == ("s", "embedded")
    verify(result.model)
    assert AutoConfig.from_pretrained(result.model.path).attention_dropout == 0.0
    assert len(GenerationConfig.from_pretrained(result.model.path).eos_token_id) == 2
    assert {path.name for path in Path(result.model.path).iterdir()} == {
        "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
        "model_ref.json", "tokenizer.json", "tokenizer_config.json", "training.json",
    }  # fmt: skip
    TRAINING_CURVE.validate(
        TRAINING_CURVE.frame({"id": content_id(point), **point} for point in result.curve)
    )
    metrics = {point["metric"] for point in result.curve}
    assert {"loss", "grad_norm", "learning_rate", "mean_token_accuracy"} <= metrics
    assert not {"tokens_per_second", "memory_gb", "epoch"} & metrics
    assert not job.workspace.exists()


def test_a_stage_leaves_no_network_in_memory(
    embedded: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one in the same process needs all of a GPU's memory."""
    from kyara_kedro.training import stages

    made, networks = stages._trainer, []

    def seen(*told: Any) -> Any:
        trainer = made(*told)
        networks.append(weakref.ref(trainer.model))
        return trainer

    monkeypatch.setattr(stages, "_trainer", seen)
    run_stage(sft(embedded, tmp_path, recipe=SFT.model_copy(update={"epochs": 1})))
    assert [network() for network in networks] == [None]


def test_a_stage_that_is_done_is_not_done_again(
    embedded: ModelRef, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = run_stage(sft(embedded, tmp_path))
    changed = Path(first.model.path, "model.safetensors").stat().st_mtime_ns
    with caplog.at_level(logging.INFO, "kyara_kedro"):
        assert run_stage(sft(embedded, tmp_path)) == first
    assert "s: trained before on the same data and settings" in caplog.text
    assert Path(first.model.path, "model.safetensors").stat().st_mtime_ns == changed


def test_same_input_gives_the_same_weights_and_other_input_another_model(
    embedded: ModelRef, tmp_path: Path
) -> None:
    first = run_stage(sft(embedded, tmp_path / "first"))
    second = run_stage(sft(embedded, tmp_path / "second"))
    assert weights(first.model) == weights(second.model)
    assert first.curve == second.curve
    job = sft(embedded, tmp_path / "first")
    others = [
        sft(embedded, tmp_path / "other", ROWS[::-1]),
        job.model_copy(update={"recipe": SFT.model_copy(update={"epochs": 3})}),
        job.model_copy(update={"start": first.model}),
    ]
    prints = {job.fingerprint, *(other.fingerprint for other in others)}
    assert len(prints) == 4
    assert first.model.fingerprint == second.model.fingerprint == job.fingerprint
    louder = SFT.model_copy(update={"logging_steps": 7})
    assert job.model_copy(update={"recipe": louder}).fingerprint == job.fingerprint


def test_a_job_says_in_json_all_that_another_process_needs(
    embedded: ModelRef, tmp_path: Path
) -> None:
    for job in (sft(embedded, tmp_path), dpo(embedded, tmp_path)):
        again = StageJob.model_validate_json(job.model_dump_json())
        assert again == job
        assert again.fingerprint == job.fingerprint


@pytest.mark.parametrize("packing", [True, False])
def test_packed_rows_do_not_see_each_other(
    embedded: ModelRef, tmp_path: Path, packing: bool
) -> None:
    """The first loss is the mean over the tokens of each row taken alone."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(embedded)
    network = AutoModelForCausalLM.from_pretrained(embedded.path, attn_implementation="eager")
    total, count = 0.0, 0
    for row in ROWS:
        encoded = encode(tokenizer, row)
        labels = torch.tensor(encoded.labels)[None].long()
        with torch.inference_mode():
            loss = network(torch.tensor(encoded.input_ids)[None], labels=labels).loss.item()
        learned = int((labels[0, 1:] != IGNORED).sum())
        total, count = total + loss * learned, count + learned
    recipe = SFTOptions(
        epochs=1, max_length=1024, packing=packing, batch_size=1 if packing else 24,
        accumulation=1, attention_dropout=0.0,
    )  # fmt: skip
    result = run_stage(sft(embedded, tmp_path, recipe=recipe))
    assert series(result.curve, "loss")[0] == pytest.approx(total / count, abs=1e-4)


def test_held_out_rows_are_validated_on_by_source_and_never_learned(
    embedded: ModelRef, tmp_path: Path
) -> None:
    secret = talk("祕密是什麼？", "芝麻開門")
    rows = [*ROWS, secret, *ROWS[:2]]
    sources = ["a"] * len(ROWS) + ["b"] + ["a", "a/b"]
    held = {len(ROWS), len(ROWS) + 1, len(ROWS) + 2}
    data = conversations_store(embedded, rows, tmp_path / "c", held, sources)
    job = StageJob(stage="s", start=embedded, data=data, recipe=SFT, store=tmp_path)
    result = run_stage(job)
    for source in ("a", "b", "a/b"):
        assert len(series(result.curve, f"validation/{source}/loss")) == SFT.epochs
    assert (
        series(result.curve, "validation/b/loss")[-1]
        > series(result.curve, "validation/a/loss")[-1]
    )
    assert {p["metric"] for p in result.curve if p["metric"].startswith("eval")} == set()


def test_what_cannot_be_trained_is_one_clear_line(embedded: ModelRef, tmp_path: Path) -> None:
    pairs = dpo(embedded, tmp_path)
    wrong = pairs.model_copy(update={"recipe": SFT})
    with pytest.raises(TrainingError, match="dpo: sft does not learn from pairs"):
        run_stage(wrong)
    gone = ModelRef(path=str(tmp_path / "gone"), fingerprint="0", stage="x", base="embedded")
    with pytest.raises(ModelRefError, match=r"gone: no model here; run the stage 'x' again"):
        run_stage(pairs.model_copy(update={"start": gone}))
    with pytest.raises(ValidationError, match=r"accumulation \(1\) must be a multiple of the 2"):
        dpo(embedded, tmp_path, launcher=LauncherOptions(kind="torchrun", processes=2))
    alone = LauncherOptions(kind="torchrun", sharded=True)
    with pytest.raises(ValidationError, match="s: sharded weights cannot carry updates"):
        sft(embedded, tmp_path, launcher=alone, peft=PeftOptions(method="lora"))
    with pytest.raises(ValidationError, match="several processes and sharding need kind: torchrun"):
        LauncherOptions(processes=2)


def test_fewer_processes_than_were_asked_for_are_refused(
    embedded: ModelRef, tmp_path: Path
) -> None:
    from kyara_kedro.training.stages import perform

    launcher = LauncherOptions(kind="torchrun", processes=2)
    with pytest.raises(TrainingError, match="s: 2 processes were asked for, but 1 came"):
        perform(sft(embedded, tmp_path, launcher=launcher))
    with pytest.raises(TrainingError, match="s: weights cannot be sharded without acc"):
        perform(sft(embedded, tmp_path, launcher=LauncherOptions(kind="torchrun", sharded=True)))


def test_a_stage_that_another_process_is_at_is_left_alone(
    embedded: ModelRef, tmp_path: Path
) -> None:
    from filelock import FileLock

    job = sft(embedded, tmp_path)
    job.workspace.mkdir(parents=True)
    with (
        FileLock(job.workspace / ".lock"),
        pytest.raises(TrainingError, match="s: another process is training this very stage"),
    ):
        run_stage(job)


def test_a_stage_that_another_process_ended_a_moment_ago_is_not_done_again(
    embedded: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kyara_kedro.training import launchers

    done = run_stage(sft(embedded, tmp_path))
    looks = iter([None, done])
    monkeypatch.setattr(launchers, "made_before", lambda job: next(looks))
    monkeypatch.setattr(launchers, "perform", None)
    assert run_stage(sft(embedded, tmp_path)) == done


def test_a_checkpoint_is_whole_before_the_one_before_it_goes(
    embedded: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kyara_kedro.training import trainers

    sealed, found = trainers.seal, []

    def killed_here(path: Path, tokens: float) -> None:
        found.append(newest(path.parent))
        sealed(path, tokens)

    monkeypatch.setattr(trainers, "seal", killed_here)
    keep = CheckpointOptions(steps=1, keep=1)
    run_stage(sft(embedded, tmp_path, checkpoint=keep))
    assert len(found) > 2
    assert [one and one.step for one in found] == [None, *range(1, len(found))]


def test_low_rank_updates_train_go_on_and_become_a_plain_model_that_stops(
    embedded: ModelRef, tmp_path: Path
) -> None:
    from safetensors import safe_open
    from transformers import GenerationConfig

    folder = shutil.copytree(embedded.path, tmp_path / "start")
    settings = GenerationConfig.from_pretrained(folder)
    settings.eos_token_id = settings.eos_token_id[0]  # as published base models have it
    settings.save_pretrained(folder)
    start = replace(embedded, path=str(folder))

    def job(store: Path) -> StageJob:
        lora = PeftOptions(method="lora", r=4, dropout=0.1)
        return sft(start, store, peft=lora, checkpoint=CheckpointOptions(steps=2))

    result = run_stage(job(tmp_path / "whole"))
    losses = series(result.curve, "loss")
    assert losses[-1] < losses[0]
    assert len(GenerationConfig.from_pretrained(result.model.path).eos_token_id) == 2
    with safe_open(Path(result.model.path, "model.safetensors"), "pt") as file:
        assert not [name for name in file.keys() if "lora" in name]  # noqa: SIM118
    cut = job(tmp_path / "cut")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("kyara_kedro.training.stages._written", None)
        with pytest.raises(TypeError):
            run_stage(cut)
    last = newest(cut.workspace)
    assert last
    shutil.rmtree(last.path)
    assert run_stage(cut).curve == result.curve
    assert weights(run_stage(cut).model) == weights(result.model)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_former_model(
    embedded: ModelRef, tmp_path: Path
) -> None:
    former = run_stage(sft(embedded, tmp_path))
    wild = SFTOptions(epochs=9, warmup_steps=0, learning_rate=1e38, scheduler="linear")
    job = sft(embedded, tmp_path, recipe=wild, checkpoint=CheckpointOptions(steps=1))
    with pytest.raises(TrainingError, match=r"loss is nan at step .* lower learning_rate"):
        run_stage(job)
    verify(former.model)
    assert not job.directory.exists()
    curve = [json.loads(line) for line in (job.workspace / "metrics.jsonl").open()]
    assert all(math.isfinite(row.get("loss", 0.0)) for row in curve)


def test_no_memory_is_one_line_with_what_to_change(
    embedded: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from trl import SFTTrainer

    def greedy(*_: Any, **__: Any) -> None:
        torch.empty(1 << 50)

    monkeypatch.setattr(SFTTrainer, "compute_loss", greedy)
    with pytest.raises(TrainingError, match=r"^s: out of memory; halve batch_size \(now 1\)"):
        run_stage(sft(embedded, tmp_path))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("OutOfMemoryError: out of resource: flex"), "machine.attention: eager"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), r"the disk of .*/\.work/s-.* is full"),
        (RuntimeError("inline_container.cc: file write failed"), "lower checkpoint.keep"),
        (MemoryError(), "halve batch_size"),
    ],
)
def test_what_the_machine_lacks_is_one_line(
    embedded: ModelRef,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    line: str,
) -> None:
    from trl import SFTTrainer

    def lacking(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(SFTTrainer, "compute_loss", lacking)
    with pytest.raises(TrainingError, match=f"^s: .*{line}"):
        run_stage(sft(embedded, tmp_path))


def test_several_machines_have_to_know_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    two = LauncherOptions(kind="torchrun", processes=8, nodes=2)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(TrainingError, match=r"nodes is 2, but MASTER_ADDR is not set"):
        command(Path("job.json"), two, "0")
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    assert {"--nnodes=2", "--node-rank=1", "--master-addr=10.0.0.1"} <= set(
        command(Path("job.json"), two, "1")
    )


def test_the_first_fault_is_told(embedded: ModelRef, tmp_path: Path) -> None:
    job = sft(embedded, tmp_path)
    job.workspace.mkdir(parents=True)
    for said in ("out of memory", "the other process is gone"):
        report_fault(job, said)
    assert (job.workspace / "fault.txt").read_text() == "out of memory"


def test_dpo_starts_at_its_reference_and_separates_the_answers(
    tuned: ModelRef, tmp_path: Path
) -> None:
    recipe = DPO.model_copy(update={"losses": {"sigmoid": 1.0}})
    result = run_stage(dpo(tuned, tmp_path, recipe=recipe))
    margins = series(result.curve, "rewards/margins")
    assert series(result.curve, "loss")[0] == pytest.approx(math.log(2), abs=1e-4)
    assert margins[0] == pytest.approx(0, abs=1e-4)
    assert margins[-1] > 0.05
    assert series(result.curve, "rewards/accuracies")[-1] > 0.9
    assert {"logps/chosen", "logps/rejected"} <= {point["metric"] for point in result.curve}
    assert weights(tuned) != weights(result.model)
    assert result.model.base == "embedded"


def test_training_is_silent_and_leaves_no_settings_behind(
    embedded: ModelRef, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import datasets
    import torch
    import transformers

    def state() -> tuple[object, ...]:
        reports = transformers.utils.logging
        return (
            torch.get_num_threads(),
            torch.initial_seed(),
            torch.random.get_rng_state().sum().item(),
            reports.get_verbosity(),
            reports.is_progress_bar_enabled(),
            datasets.are_progress_bars_disabled(),
            logging.getLogger("trl").level,
            list(warnings.filters),
        )

    before = state()
    start = run_stage(sft(embedded, tmp_path)).model
    run_stage(dpo(start, tmp_path))
    assert state() == before
    assert capfd.readouterr() == ("", "")
