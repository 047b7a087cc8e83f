"""The same on an MLflow server: it may be down at the start, die in between and come again."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.tracking.delivery import Rest, send_rest
from kyara_kedro.tracking.registry import ModelRegistry
from kyara_kedro.tracking.target import Tracking

from .conftest import Server
from .models import model, walk
from .seen import left, runs, steps
from support import ROOT

pytestmark = [pytest.mark.end_to_end, pytest.mark.faults]
STEPS = 400
TRAINING = """
    import sys, time
    from pathlib import Path
    from kyara_kedro.tracking import run
    from kyara_kedro.tracking.target import Tracking

    run._PAUSE, run._LONGEST_PAUSE = 0.2, 0.2
    tracking = Tracking.from_environment()
    outer = run.TrackedRun(tracking, "train", {})
    inner = run.TrackedRun(tracking.below(), "sft", {})
    inner.params({"recipe": {"learning_rate": 0.001}})
    inner.data("conversations", "d" * 32, "/tokens", {"rows": 1})
    for step in range(400):
        inner.metrics(step, {"loss": 1 / (step + 1), "rewards/chosen": step})
        print(step, flush=True)
        if step in (100, 200):
            sys.stdin.readline()
    inner.text("loss.svg", "<svg/>", "curves")
    inner.end("FINISHED")
    outer.end("FINISHED")
"""


def start_training(tracking: Tracking) -> subprocess.Popen[str]:
    environment = os.environ | tracking.environment() | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(TRAINING)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def go_on(training: subprocess.Popen[str], last: int) -> None:
    """Let the training go on and wait until it has told a step."""
    assert training.stdin and training.stdout
    if last > 100:
        training.stdin.write("\n")
        training.stdin.flush()
    for line in training.stdout:
        if int(line) == last:
            return
    raise AssertionError("the training ended early")


def test_a_server_that_comes_late_dies_and_comes_again_has_all_points_once(
    server: Server, tmp_path: Path
) -> None:
    tracking = Tracking(uri=server.uri, experiment="outages", spool=tmp_path / "spool")
    training = start_training(tracking)
    go_on(training, 100)
    begun = time.time() * 1000
    server.start()
    until(lambda: {"train", "sft"} <= set(runs(tracking)) and "loss" in points(tracking))
    go_on(training, 200)
    server.kill()
    go_on(training, STEPS - 1)
    assert training.wait(60) == 0
    assert len(left(tracking.spool)) == 2
    server.start()
    assert send_rest(tracking) == Rest(2, 0)
    seen = runs(tracking)
    stage, whole = seen["sft"], seen["train"]
    assert steps(stage, "loss") == steps(stage, "rewards/chosen") == list(range(STEPS))
    assert (stage.status, whole.status) == ("FINISHED", "FINISHED")
    assert stage.tags["mlflow.parentRunId"] == whole.id
    assert whole.start <= stage.start < begun
    assert stage.params == {"recipe.learning_rate": "0.001"}
    assert (len(stage.inputs), stage.files) == (1, ["curves/loss.svg"])
    assert left(tracking.spool) == []


def points(tracking: Tracking) -> dict[str, object]:
    return dict(runs(tracking)["sft"].points)


def until(there: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    limit = time.monotonic() + 60
    while not there():
        assert time.monotonic() < limit
        time.sleep(0.2)


def test_versions_and_aliases_on_a_server(server: Server, tmp_path: Path) -> None:
    server.start()
    walk(server.uri, tmp_path)


@pytest.mark.parametrize("log_model", ["reference", "upload"])
def test_a_version_on_a_server_holds_what_mlflow_loads(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_model: str
) -> None:
    import mlflow

    server.start()
    registry = ModelRegistry(server.uri, log_model, "models", log_model)  # type: ignore[arg-type]
    folder = model(tmp_path / "model", log_model)
    (folder / "tokenizer.json").write_text("{}")
    registry.nominate(folder, None, {})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    found = Path(mlflow.artifacts.download_artifacts(f"models:/{log_model}@candidate"))
    files = {path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()}
    assert {"MLmodel", "requirements.txt", "python_env.yaml"} <= files
    flavor = mlflow.models.Model.load(found).flavors["transformers"]
    if log_model == "upload":
        assert (found / flavor["model_binary"] / "model.safetensors").read_text() == "upload"
        assert "components/tokenizer/tokenizer.json" in files
    else:
        assert flavor["source_model_name"] == str(folder)
        assert not any(name.endswith(".safetensors") for name in files)


def test_a_registry_that_is_down_is_one_clear_line() -> None:
    with pytest.raises(UserError, match="model registry does not answer: start the server"):
        ModelRegistry("http://127.0.0.1:9", "kyara", "e").resolve("champion")
