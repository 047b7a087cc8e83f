"""Tagging by a teacher that is killed in the middle."""

import json
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from tests.teachers.loopback import Answer, chat, serving

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]
CONVERSATIONS, IN_FLIGHT = 300, 8
SCRIPT = f"""
import sys
from pathlib import Path
from kyara_kedro.params import CurateParams
from kyara_kedro.pipelines.curate import tagging
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher
from tests.pipelines.rows import conversations
url, folder = sys.argv[1], Path(sys.argv[2])
pool = conversations(*((f"請說明第{{n}}座山", "好。") for n in range({CONVERSATIONS})))
options = EndpointOptions(model="m", base_url=url, limits={{"in_flight": {IN_FLIGHT}}})
with Ledger(folder / "replies.db") as ledger:
    teacher = OpenAITeacher(options, ledger)
    params = CurateParams(tagger="teacher")
    raw, examples = tagging.tag_conversations(pool, teacher, PromptLibrary(), params)
raw.write_parquet(folder / "raw.parquet")
"""


def start(url: str, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, url, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )


def tags(number: int, body: dict[str, object]) -> Answer:
    said = {"tags": [{"tag": "說明", "explanation": "要求說明"}]}
    return chat(json.dumps(said, ensure_ascii=False), delay=0.02)


@pytest.mark.slow
def test_what_was_answered_before_a_kill_is_never_asked_again(tmp_path: Path) -> None:
    with serving(tags) as server:
        for at in (40, 120):
            process = start(server.url, tmp_path)
            limit = time.monotonic() + 120
            while len(server.seen) < at:
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < limit
                time.sleep(0.005)
            process.kill()
            process.communicate()
        assert not (tmp_path / "raw.parquet").exists()
        process = start(server.url, tmp_path)
        said = process.communicate(timeout=240)[0]
        assert process.returncode == 0, said
        asked = [json.dumps(body["messages"]) for body in server.seen]
        assert len(set(asked)) == CONVERSATIONS
        assert len(asked) <= CONVERSATIONS + 2 * IN_FLIGHT
        first = pl.read_parquet(tmp_path / "raw.parquet")
        process = start(server.url, tmp_path)
        assert process.wait(240) == 0
        assert len(server.seen) == len(asked)
    assert pl.read_parquet(tmp_path / "raw.parquet").equals(first)
    assert first.height == CONVERSATIONS and set(first["tagger"]) == {"m"}
