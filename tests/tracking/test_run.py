"""What a run tells arrives once, whatever becomes of its process, its disk and its store."""

import json
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kyara_kedro.tracking.delivery import Delivery, Rest, conclude, send_rest
from kyara_kedro.tracking.run import TrackedRun
from kyara_kedro.tracking.spool import Spool
from kyara_kedro.tracking.target import Tracking, provenance

from .seen import left, runs, steps
from support import ROOT


def test_a_stage_is_a_run_below_that_of_its_pipeline(tracking: Tracking) -> None:
    outer = TrackedRun(tracking, "train", {"kedro.env": None, "note": "x" * 9000})
    inner = TrackedRun(tracking.below(prompts="a,b"), "sft", {"stage": "sft"})
    inner.params({"recipe": {"lr": 1e-3, "詞": "y" * 900}, "peft": None})
    inner.data("pairs", "d" * 32, "/data/tokens", {"rows": 2, "sources": {"自選": 2}})
    for step in range(1500):
        inner.metrics(step, {"loss": 2.0 - step / 1000, "rewards/chosen": step})
    inner.metrics(1500, {"loss": float("nan")})
    inner.text("loss.svg", "<svg/>", "curves")
    inner.end("FINISHED")
    inner.end("FAILED", "too late")
    outer.end("FAILED", "ValueError: no rows")
    seen = runs(tracking)
    assert left(tracking.spool) == []
    stage, whole = seen["sft"], seen["train"]
    assert stage.tags["mlflow.parentRunId"] == whole.id
    assert (stage.status, whole.status) == ("FINISHED", "FAILED")
    assert whole.tags["error"] == "ValueError: no rows" and "error" not in stage.tags
    assert stage.tags["prompts"] == "a,b" and len(whole.tags["note"]) == 5000
    assert stage.params["recipe.lr"] == "0.001" and len(stage.params) == 3
    assert steps(stage, "loss") == list(range(1501))
    assert steps(stage, "rewards/chosen") == list(range(1500))
    (data,) = stage.inputs
    assert data.dataset.digest == "d" * 32
    assert json.loads(data.dataset.profile)["sources"] == {"自選": 2}
    assert stage.files == ["curves/loss.svg"]


def begun(tracking: Tracking, name: str = "sft", points: int = 5) -> Spool:
    """The spool of a run whose process is busy, or died when the lock is released."""
    spool = Spool(tracking.spool, tracking.key)
    spool.begin(name=name, parent=tracking.parent, tags={})
    for step in range(points):
        spool.append("metrics", step=step, values={"loss": 1.0 + step})
    return spool


def test_answers_that_were_lost_double_nothing(tracking: Tracking) -> None:
    """The store has it all, but the spool does not know: everything is sent again."""
    spool = begun(tracking)
    spool.append("params", values={"a": "1"})
    spool.append("inputs", values=[
        {"name": "n", "digest": "d", "source_type": "local", "source": "{}", "profile": "{}"}
    ])  # fmt: skip
    spool.write("a.txt", "a", "there")
    assert not Delivery(spool, tracking).send()
    (tracking.spool / tracking.key / "sent.json").unlink()
    spool.write("a.txt", "a", "there")
    spool.append("metrics", step=5, values={"loss": float("nan")})
    assert not Delivery(spool, tracking).send()
    spool.end("FINISHED", None)
    (tracking.spool / tracking.key / "sent.json").unlink()
    assert Delivery(spool, tracking).send()
    (seen,) = runs(tracking).values()
    assert steps(seen, "loss") == [0, 1, 2, 3, 4, 5]
    assert (seen.params, seen.files, len(seen.inputs)) == ({"a": "1"}, ["there/a.txt"], 1)


def test_what_a_dead_process_left_is_sent_by_the_next_run(tracking: Tracking) -> None:
    script = textwrap.dedent("""
        import os, sys
        from kyara_kedro.tracking.run import TrackedRun
        from kyara_kedro.tracking.target import Tracking
        tracking = Tracking.from_environment()
        run = TrackedRun(tracking, "killed", {})
        inner = TrackedRun(tracking.below(), "killed stage", {})
        for step in range(7):
            inner.metrics(step, {"loss": step})
        print("told", flush=True)
        os.kill(os.getpid(), 9)
    """)
    environment = os.environ | tracking.environment() | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert done.returncode == -9
    assert len(left(tracking.spool)) == 2
    inner = max(left(tracking.spool))
    with (tracking.spool / inner / "events.jsonl").open("a") as file:
        file.write('{"kind": "metrics", "half of a li')
    following = tracking.model_copy(update={"key": "f" * 32})
    TrackedRun(following, "next", {}).end("FINISHED")
    assert send_rest(following).waiting == 0
    seen = runs(tracking)
    assert left(tracking.spool) == []
    assert {name: run.status for name, run in seen.items()} == {
        "killed": "KILLED", "killed stage": "KILLED", "next": "FINISHED"
    }  # fmt: skip
    stage = seen["killed stage"]
    assert steps(stage, "loss") == list(range(7))
    assert stage.tags["mlflow.parentRunId"] == seen["killed"].id
    assert stage.end == stage.points["loss"][-1][2]


def test_the_run_of_a_living_process_is_left_to_it(tracking: Tracking) -> None:
    spool = begun(tracking)
    assert send_rest(tracking) == Rest(0, 0)
    conclude(tracking, "FAILED", "worker died")
    assert runs(tracking) == {}
    spool.release()
    conclude(tracking, "FAILED", "worker died")
    (seen,) = runs(tracking).values()
    assert (seen.status, seen.tags["error"]) == ("FAILED", "worker died")


def test_what_was_meant_for_another_store_goes_to_the_configured_one(
    tracking: Tracking, tmp_path: Path
) -> None:
    down = tracking.model_copy(update={"uri": "http://user:secret@127.0.0.1:9"})
    spool = begun(down)
    spool.note(spool.sent(down.store))
    spool.end("FINISHED", None)
    spool.release()
    assert send_rest(down) == Rest(0, 1)
    assert send_rest(tracking) == Rest(1, 0)
    (seen,) = runs(tracking).values()
    assert steps(seen, "loss") == list(range(5))


def test_a_password_reaches_no_file_and_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    down = Tracking(uri="http://user:secret@127.0.0.1:9", experiment="e", spool=tmp_path / "spool")
    with caplog.at_level(logging.INFO):
        run = TrackedRun(down, "sft", {})
        run.metrics(0, {"loss": 1.0})
        run.end("FAILED", f"the request to {down.uri} came to nothing")
    assert "MLflow gets everything later" in caplog.text and "track-sync" in caplog.text
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("secret" in text for text in [caplog.text, repr(down), *written])


def test_what_mlflow_refuses_is_put_aside_and_holds_nothing_up(tracking: Tracking) -> None:
    spool = begun(tracking, points=2)
    spool.append("metrics", step=2, values={"two\nlines": 1.0})
    spool.append("metrics", step=3, values={"loss": 4.0})
    spool.append("params", values={"a": "1"})
    spool.append("params", values={"a": "2"})
    spool.end("FINISHED", None)
    assert Delivery(spool, tracking).send()
    (seen,) = runs(tracking).values()
    assert (steps(seen, "loss"), seen.params) == ([0, 1, 3], {"a": "1"})
    aside = (tracking.spool / "refused.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["kind"] for line in aside] == ["metrics", "params"]


def test_a_disk_that_takes_nothing_stops_no_training(
    tracking: Tracking, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spool").write_text("a file where the folder should be")
    run = TrackedRun(tracking, "sft", {})
    run.metrics(0, {"loss": 1.0})
    assert run.history() == {}
    run.end("FINISHED")
    assert "not everything can be kept" in caplog.text


def test_provenance_names_commit_lock_and_machine(tmp_path: Path) -> None:
    assert not {"git.dirty", "requirements.lock"} & set(provenance(tmp_path))
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    (tmp_path / "requirements.lock").write_text("torch==2.13.0\n")
    clean = provenance(tmp_path)
    assert len(clean["mlflow.source.git.commit"]) == 40
    assert clean["git.dirty"] == "false"
    subprocess.run(["git", "-C", str(tmp_path), "add", "."], check=True)
    assert provenance(tmp_path)["git.dirty"] == "true"
    (tmp_path / "requirements.lock").write_text("torch==2.12.0\n")
    assert provenance(tmp_path)["requirements.lock"] != clean["requirements.lock"]
