"""A run is refused before its first node when it will train on a device that is not here."""

from pathlib import Path

import pytest
from kedro.pipeline import Node, Pipeline

from kyara_kedro.errors import UserError
from kyara_kedro.hooks.gatekeeper import check_machine

from support import copy_project, run_kedro

ASKED = {"train": {"machine": {"device": "cuda"}}}


def pipeline(*inputs: str) -> Pipeline:
    return Pipeline([Node(lambda *some: some, list(inputs), "made", name="make")])


def test_only_a_run_that_trains_needs_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    check_machine(pipeline("documents"), ASKED)
    check_machine(pipeline("params:train"), {})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match=r"machine\.device is cuda, but no CUDA device is here"):
        check_machine(pipeline("params:train"), ASKED)


def test_the_environment_for_a_gpu_stops_in_one_line_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = run_kedro(copy_project(tmp_path / "project"), "run", "--env=gemma2")
    assert done.returncode == 1
    said = (done.stdout + done.stderr).strip().splitlines()
    assert "machine.device is cuda, but no CUDA device is here" in said[-1]
    assert not any("Running node" in line or "Traceback" in line for line in said)
