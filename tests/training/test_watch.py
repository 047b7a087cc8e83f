"""A stage as MLflow shows it, and its model as MLflow loads it."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from kyara_kedro.content import content_id
from kyara_kedro.tracking.registry import ModelRegistry, directory_fingerprint
from kyara_kedro.tracking.target import Tracking
from kyara_kedro.training.chat import template
from kyara_kedro.training.job import StageJob
from kyara_kedro.training.launchers import run_stage
from kyara_kedro.training.model_ref import ModelRef, verify
from kyara_kedro.training.options import CheckpointOptions, GenerationOptions, SFTOptions
from kyara_kedro.training.stages import perform
from kyara_kedro.training.watch import StageWatch, curves

from .stores import conversations_store
from .writing import generate

QUESTION = [{"role": "user", "content": "玉山主峰的海拔是多少公尺？"}]
ROWS = [[*QUESTION, {"role": "assistant", "content": f"{number}公尺。"}] for number in range(4)]


@pytest.fixture(scope="module")
def tracking(database: str, tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    spool = tmp_path_factory.mktemp("spool")
    return Tracking(uri=database, experiment="kyara", spool=spool)


@pytest.fixture(scope="module")
def client(tracking: Tracking) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking.uri, tracking.uri)


def test_a_stage_tells_what_it_is_learns_and_measures(
    embedded: ModelRef, tracking: Tracking, client: Any, tmp_path: Path
) -> None:
    data = conversations_store(
        embedded, ROWS, tmp_path / "tokens", held_out=[3], sources=["a", "b", "b", "b"]
    )
    job = StageJob(
        stage="sft_base",
        start=embedded,
        data=data,
        recipe=SFTOptions(learning_rate=3e-3),
        store=tmp_path / "models",
    )
    (tmp_path / "preflight.json").write_text("{}")
    watch = StageWatch(tracking, job)
    for step in range(1, 4):
        watch.log(step, {"loss": 3.0 / step, "validation/百科/loss": 3.5 / step})
        watch.log(step, {"rewards/chosen": 0.1 * step, "mfu": 0.5, "health/kl": float("nan")})
    watch.artifact(tmp_path / "preflight.json")
    watch.finish("FAILED", "sft_base: loss is nan at step 3")
    experiment = client.get_experiment_by_name("kyara")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("sft_base", "FAILED")
    assert run.data.tags["error"] == "sft_base: loss is nan at step 3"
    assert run.data.tags["fingerprint"] == job.fingerprint
    assert run.data.tags["chat_template"] == content_id(template())
    assert run.data.params["recipe.learning_rate"] == "0.003"
    assert run.data.params["launcher.processes"] == "1"
    (learned,) = run.inputs.dataset_inputs
    assert learned.dataset.digest == data.digest
    assert '"sources": {"b": 2, "a": 1}' in learned.dataset.profile
    assert run.data.metrics["validation/百科/loss"] == pytest.approx(3.5 / 3)
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"preflight.json", "curves"}
    drawn = {Path(file.path).stem for file in client.list_artifacts(run.info.run_id, "curves")}
    assert drawn == {"loss", "rewards", "mfu", "health"}


def test_a_real_stage_is_tracked_and_one_that_goes_on_shows_its_whole_curve(
    embedded: ModelRef, tracking: Tracking, client: Any, tmp_path: Path
) -> None:
    job = StageJob(
        stage="sft_refine",
        start=embedded,
        data=conversations_store(embedded, ROWS, tmp_path / "tokens"),
        recipe=SFTOptions(epochs=3, accumulation=1, warmup_steps=0),
        store=tmp_path / "models",
        checkpoint=CheckpointOptions(steps=1),
    )

    class Killed(StageWatch):
        def log(self, step: int, metrics: Any) -> None:
            super().log(step, metrics)
            if step == 2:
                raise KeyboardInterrupt

    watch = Killed(tracking.below(), job)
    with pytest.raises(KeyboardInterrupt):
        perform(job, watch)
    watch.finish("KILLED")
    outer = tracking.below()
    result = run_stage(job, outer)
    assert result.model.run_id == outer.key
    found = client.search_runs([client.get_experiment_by_name("kyara").experiment_id])
    runs = {run.data.tags["kyara.run"]: run for run in found}
    assert [runs[key].info.status for key in (watch.key, outer.key)] == ["KILLED", "FINISHED"]
    run = runs[outer.key]
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [point.step for point in history] == [1, 2, 3]
    assert {"memory_gb", "tokens_per_second", "grad_norm"} <= set(run.data.metrics)
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"preflight.json", "preflight.txt", "curves"}


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    figures = dict(curves({"loss": [(step, 1.0 / (step + 1)) for step in range(100_000)]}))
    (line,) = figures["loss"].series
    assert line.x[-1] == 99_999 and 200 < len(line.x) <= 300
    assert figures["loss"].svg().startswith("<svg")


@pytest.mark.parametrize("log_model", ["reference", "upload"])
def test_mlflow_loads_the_candidate_and_it_answers_the_same(
    embedded: ModelRef,
    tracking: Tracking,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    log_model: Any,
) -> None:
    import mlflow
    import torch

    directory = Path(shutil.copytree(embedded.path, tmp_path / "model"))
    before = directory_fingerprint(directory)
    registry = ModelRegistry(tracking.uri, log_model, tracking.experiment, log_model)
    registry.nominate(directory, None, {"stage": "dpo"})
    assert directory_fingerprint(directory) == before
    verify(embedded)
    if log_model == "upload":
        directory.rename(tmp_path / "gone")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
    uri = f"models:/{log_model}@candidate"
    loaded = mlflow.transformers.load_model(uri, return_type="components")
    inputs = loaded["tokenizer"].apply_chat_template(
        QUESTION, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        written = loaded["model"].generate(**inputs, max_new_tokens=16, do_sample=False)
    answer = loaded["tokenizer"].decode(
        written[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    (ours,) = generate(embedded, [QUESTION], GenerationOptions(max_new_tokens=16))
    assert answer.strip() == ours.text.strip()
    chat = mlflow.pyfunc.load_model(uri)
    assert chat.metadata.signature.inputs.input_names()[0] == "messages"
    (reply,) = chat.predict({"messages": QUESTION, "max_tokens": 16})
    assert reply["choices"][0]["message"]["role"] == "assistant"
    assert reply["usage"]["prompt_tokens"] == inputs["input_ids"].shape[1]
    pins = Path(mlflow.artifacts.download_artifacts(f"{uri}/requirements.txt")).read_text()
    assert f"torch=={torch.__version__.partition('+')[0]}\n" in pins and "transformers==" in pins
