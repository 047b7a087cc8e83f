"""A model that plays against itself and is killed goes on where it was."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import polars as pl
import pytest

from kyara_kedro.decoding import Decoder
from kyara_kedro.params import PreferenceParams
from kyara_kedro.pipelines.preference.selfplay import play_against_itself
from kyara_kedro.records import GENERATION
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.ledger import Ledger, LedgerError
from kyara_kedro.training.embedded import build_embedded_base
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import EmbeddedModelOptions

from support import ROOT

pytestmark = pytest.mark.faults

_QUESTIONS = [f"第{number}號公園種了幾棵樹？" for number in range(40)]


def play(model: ModelRef, ledger: Path) -> pl.DataFrame:
    """Let a model that has learned nothing, and so writes to its limit, answer in many batches."""
    turns = [
        [{"role": "user", "content": asked}, {"role": "assistant", "content": "七棵。"}]
        for asked in _QUESTIONS
    ]
    rows = pl.DataFrame(
        {"id": _QUESTIONS, "messages": turns, "parents": [[asked] for asked in _QUESTIONS]}
    )
    params = PreferenceParams.model_validate({"self_play": {"batch_size": 2}})
    with Ledger(ledger) as replies:
        none = GENERATION.frame()
        return play_against_itself(rows, model, none, ExtractiveTeacher(), replies, params)


def held(ledger: Path) -> int:
    """Answers that are on disk."""
    with suppress(LedgerError), Ledger(ledger, read_only=True) as replies:
        return sum(entry.number for entry in replies.summary())
    return 0  # not there yet, or in the making


@pytest.mark.slow
def test_what_was_written_before_a_kill_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = EmbeddedModelOptions(hidden=64, intermediate=128)
    model = build_embedded_base(_QUESTIONS, shape, tmp_path / "model")
    ledger = tmp_path / "self_play.db"
    code = (
        "import sys; from pathlib import Path; from faults.test_self_play import play;"
        "from kyara_kedro.training.model_ref import ModelRef;"
        "play(ModelRef(*sys.argv[1:5]), Path(sys.argv[5]))"
    )
    told = (model.path, model.fingerprint, model.stage, model.base, str(ledger))
    process = subprocess.Popen(
        [sys.executable, "-c", code, *told],
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    limit = monotonic() + 300  # most of it goes into imports
    while not held(ledger):
        assert process.poll() is None, process.communicate()[0]
        assert monotonic() < limit
        sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = held(ledger)
    assert 0 < before < len(_QUESTIONS)

    written: list[int] = []
    write = Decoder._draw

    def noting(self: Decoder, prompts: Any, *more: Any) -> Any:
        written.append(len(prompts))
        return write(self, prompts, *more)

    monkeypatch.setattr(Decoder, "_draw", noting)
    resumed = play(model, ledger)
    assert sum(written) == len(_QUESTIONS) - before
    assert resumed.equals(play(model, tmp_path / "undisturbed.db"))
