"""A run that is killed in the middle of judging is started again and asks nothing twice."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from tests.teachers.loopback import Answer, chat, question, serving

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]
PROMPTS, FLYING = 25, 8
SCRIPT = """
import sys
from pathlib import Path
import polars as pl
from tests.judging.rows import candidates
from kyara_kedro.datasets import TeacherDataset
from kyara_kedro.params import PreferenceParams
from kyara_kedro.pipelines.preference import contest
from kyara_kedro.prompts import PromptLibrary
url, folder = sys.argv[1], Path(sys.argv[2])
judge = TeacherDataset(
    kind="openai",
    ledger={"path": str(folder / "replies.db")},
    options={"model": "judge", "base_url": url, "limits": {"in_flight": 8, "backoff": 0.01}},
).load()
answers = pl.concat(
    candidates(f"p{n:02d}", *(f"第{n}題的答案{side}" for side in "甲乙丙")) for n in range(25)
)
said, dropped, tried = contest.judge_responses(
    answers, judge, PromptLibrary(), PreferenceParams()
)
assert tried == said.height == 150 and dropped.is_empty()
said.write_parquet(folder / "verdicts.parquet")
"""


def judging(url: str, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, url, str(folder)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_no_call_is_repeated_but_what_was_in_flight(tmp_path: Path) -> None:
    def answer(number: int, body: dict[str, object]) -> Answer:
        again = len(body["messages"]) > 2  # type: ignore[arg-type]
        unsure = "答案甲" in str(body["messages"][1]) and not again  # type: ignore[index]
        return chat("哪個都好" if unsure else "比較過了。\n[[A]]", delay=0.02)

    with serving(answer) as server:
        for stop in (20, 90):
            process = judging(server.url, tmp_path)
            while len(server.seen) < stop and process.poll() is None:
                pass
            assert process.poll() is None, process.communicate()[1]
            process.kill()
            process.communicate()
            assert not (tmp_path / "verdicts.parquet").exists()
        done = judging(server.url, tmp_path)
        assert done.communicate(timeout=120)[1] == ""
        assert done.returncode == 0
        prompts = [question(body) for body in server.seen if len(body["messages"]) == 2]
        asked = 150 + 100  # two of three duels hold the answer that makes the judge unsure
        assert len(set(prompts)) == 150
        assert asked <= len(server.seen) <= asked + 2 * FLYING
        paid = len(server.seen)
        first = pl.read_parquet(tmp_path / "verdicts.parquet")
        again = judging(server.url, tmp_path)
        again.communicate(timeout=120)
        assert len(server.seen) == paid
    assert pl.read_parquet(tmp_path / "verdicts.parquet").equals(first)
    assert set(first["verdict"]) == {"A"}
