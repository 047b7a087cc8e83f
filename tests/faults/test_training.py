"""Stages that are killed, and stages in several processes."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kyara_kedro.content import Message
from kyara_kedro.training.chat import PreferencePair
from kyara_kedro.training.embedded import build_embedded_base
from kyara_kedro.training.errors import TrainingError
from kyara_kedro.training.job import StageJob
from kyara_kedro.training.launchers import run_stage
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import (
    CheckpointOptions,
    DPOOptions,
    EmbeddedModelOptions,
    LauncherOptions,
    SFTOptions,
)
from training.stores import conversations_store, pairs_store

pytestmark = pytest.mark.faults
ROWS = [
    [
        Message(role="user", content=f"玉山{n}的海拔是多少公尺？"),
        Message(role="assistant", content=f"{n * 111}公尺"),
    ]
    for n in range(1, 25)
]
PAIRS = [
    PreferencePair(prompt=row[:1], chosen=row[1]["content"], rejected="彰化", prefix=None)
    for row in ROWS
]
MICRO_BATCH_MEANS = {
    "entropy",
    "mean_token_accuracy",
    "validation/some/entropy",
    "validation/some/mean_token_accuracy",
}
"""Numbers that TRL averages over batches, of which one process has other ones than two."""
LIVES = """
import os, sys
from pathlib import Path
from kyara_kedro.training.job import StageJob
from kyara_kedro.training.launchers import run_stage
import torch, trl.trainer.sft_trainer, trl.trainer.dpo_trainer
torch.set_num_threads(1)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run_stage(StageJob.model_validate_json(Path(line.strip()).read_text()))
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""Starts stages one after another in processes that can be killed, importing torch once."""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    settings = EmbeddedModelOptions(hidden=32, heads=2, kv_heads=1, intermediate=64, seed=3)
    texts = [turn["content"] for row in ROWS for turn in row]
    return build_embedded_base(texts, settings, tmp_path_factory.mktemp("base") / "embedded")


def sft(start: ModelRef, store: Path, **more: object) -> StageJob:
    data = conversations_store(start, ROWS, store / "conversations", held_out={3, 9})
    recipe = SFTOptions(epochs=4, warmup_steps=2, accumulation=2, max_length=64)
    recipe = recipe.model_copy(update=more.pop("recipe", {}))
    return StageJob(stage="sft", start=start, data=data, recipe=recipe, store=store, **more)


def dpo(start: ModelRef, store: Path, **more: object) -> StageJob:
    data = pairs_store(start, PAIRS, store / "pairs", held_out={3, 9})
    recipe = DPOOptions(epochs=3, warmup_steps=0, learning_rate=1e-3, batch_size=4, accumulation=2)
    return StageJob(stage="dpo", start=start, data=data, recipe=recipe, store=store, **more)


def weights(directory: Path) -> str:
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


def steps_logged(job: StageJob) -> int:
    curve = job.workspace / "metrics.jsonl"
    return len(curve.read_text().splitlines()) if curve.exists() else 0


def life(forker: subprocess.Popen[str], job: StageJob, until: int | None) -> int:
    """Run a stage; kill it once so many steps are logged. Gives the process's status."""
    file = job.store / "job.json"
    file.write_text(job.model_dump_json())
    assert forker.stdin and forker.stdout
    print(file, file=forker.stdin, flush=True)
    child = int(forker.stdout.readline())
    if until is not None:
        while steps_logged(job) < until:
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
    return int(forker.stdout.readline())


@pytest.fixture(scope="module")
def forker() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", LIVES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    yield process
    process.stdin.close()
    process.wait()


@pytest.mark.parametrize("kind", [sft, pytest.param(dpo, marks=pytest.mark.slow)])
def test_killed_at_three_random_steps_and_resumed_the_weights_are_the_same_bits(
    kind: object, start: ModelRef, tmp_path: Path, forker: subprocess.Popen[str]
) -> None:
    checkpoint = CheckpointOptions(steps=2)
    whole = kind(start, tmp_path / "whole", checkpoint=checkpoint)
    expected = run_stage(whole)
    steps = max(point["step"] for point in expected.curve)
    job = kind(start, tmp_path / "killed", checkpoint=checkpoint)
    moments = sorted(random.Random(kind.__name__).sample(range(1, steps), 3))
    for moment in moments:
        assert life(forker, job, until=moment) == signal.SIGKILL
        assert not job.directory.exists()
    assert life(forker, job, until=None) == 0
    assert weights(job.directory) == weights(whole.directory)
    assert run_stage(job).curve == expected.curve


def test_other_data_or_settings_never_go_on_from_a_checkpoint(
    start: ModelRef, tmp_path: Path, forker: subprocess.Popen[str]
) -> None:
    checkpoint = CheckpointOptions(steps=1)
    job = sft(start, tmp_path, checkpoint=checkpoint)
    assert life(forker, job, until=4) == signal.SIGKILL
    assert list(job.workspace.glob("checkpoint-*"))
    other = sft(start, tmp_path, checkpoint=checkpoint, recipe={"learning_rate": 1e-3})
    fresh = sft(start, tmp_path / "fresh", checkpoint=checkpoint, recipe={"learning_rate": 1e-3})
    assert run_stage(other).curve == run_stage(fresh).curve
    assert weights(other.directory) == weights(fresh.directory)
    assert list(job.workspace.glob("checkpoint-*"))


def test_two_processes_train_what_one_does(start: ModelRef, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    steady = {"attention_dropout": 0.0}
    one = run_stage(sft(start, tmp_path / "one", recipe=steady))
    launcher = LauncherOptions(kind="torchrun", processes=2)
    two = run_stage(sft(start, tmp_path / "two", recipe=steady, launcher=launcher))
    for left, right in zip(one.curve, two.curve, strict=True):
        assert (left["step"], left["metric"]) == (right["step"], right["metric"])
        if left["metric"] not in MICRO_BATCH_MEANS:
            assert left["value"] == pytest.approx(right["value"], rel=1e-4, abs=1e-5), left
    first, second = (load_file(Path(run.model.path, "model.safetensors")) for run in (one, two))
    for name, tensor in first.items():
        assert torch.allclose(tensor, second[name], atol=1e-4), name


def test_what_fails_in_a_process_is_told_in_one_line_and_the_log_kept(
    start: ModelRef, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    launcher = LauncherOptions(kind="torchrun")
    wild = {"learning_rate": 1e38, "warmup_steps": 0, "scheduler": "linear"}
    job = sft(start, tmp_path, recipe=wild, launcher=launcher)
    with pytest.raises(
        TrainingError, match=r"^sft: loss is nan at step \d+: .* lower learning_rate"
    ):
        run_stage(job)
    assert "Traceback" in (job.workspace / "torchrun.log").read_text()
    assert "Traceback" not in capfd.readouterr().err


def test_the_processes_end_with_the_one_that_started_them(start: ModelRef, tmp_path: Path) -> None:
    launcher = LauncherOptions(kind="torchrun")
    job = sft(start, tmp_path, recipe={"epochs": 10_000}, launcher=launcher)
    (tmp_path / "job.json").write_text(job.model_dump_json())
    code = (
        "import sys; from pathlib import Path; from kyara_kedro.training.job import StageJob; "
        "from kyara_kedro.training.launchers import run_stage; "
        "run_stage(StageJob.model_validate_json(Path(sys.argv[1]).read_text()))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "job.json")])
    while steps_logged(job) < 3:
        assert parent.poll() is None
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    logged = steps_logged(job)
    for _ in range(100):
        time.sleep(0.2)
        if logged == (logged := steps_logged(job)):
            break
    else:
        pytest.fail("the processes go on training")
    assert json.loads((job.workspace / "metrics.jsonl").read_text().splitlines()[0])["step"] == 1
