"""Runs of a teacher that are killed, meet each other, or fill the disk."""

import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.teachers.loopback import GOOD, Answer, Server, chat, question, serving

from kyara_kedro.teachers.ledger import Ledger

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.model import EndpointOptions
from kyara_kedro.teachers.openai_chat import OpenAITeacher
from tests.teachers.conftest import requests_for_queries
url, path, count = sys.argv[1:]
options = EndpointOptions(model="m", base_url=url, limits={"in_flight": 8, "backoff": 0.01})
with Ledger(Path(path)) as ledger:
    for completion in OpenAITeacher(options, ledger).map(requests_for_queries(int(count))):
        print(completion.key, completion.status, flush=True)
"""


def start(server: Server, ledger: Path, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, server.url, str(ledger), str(count)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_runs_that_are_killed_lose_nothing_and_pay_again_only_for_what_was_in_flight(
    tmp_path: Path,
) -> None:
    path, chance, kills, handed_out = tmp_path / "replies.db", random.Random(3), 6, set()
    with serving(lambda n, body: chat(delay=0.02)) as server:
        for _ in range(kills):
            process = start(server, path, 400)
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(chance.randint(1, 60))]
            process.kill()
            rest = process.stdout.read()  # `communicate` would skip what readline has buffered
            process.communicate()
            handed_out |= {line.split()[0] for line in [*lines, *rest.splitlines()] if line.strip()}
            with Ledger(path, read_only=True) as ledger:
                assert handed_out == ledger.get_many(handed_out).keys()
        done = start(server, path, 400)
        printed, said = done.communicate(timeout=60)
        assert (Counter(line.split()[1] for line in printed.splitlines()), said) == (
            {"ok": 400},
            "",
        )
        assert 400 <= len(server.seen) <= 400 + kills * 8
        paid = len(server.seen)
        again = start(server, path, 400)
        again.communicate(timeout=60)
        assert len(server.seen) == paid


def test_runs_at_the_same_time_pay_once_even_when_one_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "replies.db"
    with serving(lambda n, body: chat(GOOD, delay=0.02)) as server:
        runs = [start(server, path, 300) for _ in range(4)]
        killed = runs[0]
        assert killed.stdout is not None
        killed.stdout.readline()
        killed.kill()
        killed.communicate()
        printed = [run.communicate(timeout=90)[0] for run in runs[1:]]
        assert [len(lines.splitlines()) for lines in printed] == [300] * 3
        assert len({question(body) for body in server.seen}) == 300
        assert len(server.seen) <= 300 + 8


def can_mount() -> bool:
    probe = ["unshare", "--map-root-user", "--mount", "true"]
    return shutil.which("unshare") is not None and not subprocess.run(probe, check=False).returncode


@pytest.mark.skipif(not can_mount(), reason="needs `unshare` to mount a small disk")
def test_a_disk_that_fills_stops_the_run_before_anything_is_lost(tmp_path: Path) -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        return chat(GOOD + "。" * 300_000, usage=(10, 64), delay=0.01)

    disk = tmp_path / "disk"
    disk.mkdir()
    shell = (
        f'mount -t tmpfs -o size=80m tmpfs "{disk}" && "$@"; code=$?; '
        f'cp "{disk}"/replies.db* "{tmp_path}"; exit $code'
    )
    with serving(answer) as server:
        command = [sys.executable, "-c", SCRIPT, server.url, str(disk / "replies.db"), "300"]
        run = subprocess.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", shell, "sh", *command],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=90,
            check=False,
        )
        paid = len(server.seen)
    assert run.returncode == 1
    assert "replies.db: the disk is nearly full, so nothing more is sent" in run.stderr
    with Ledger(tmp_path / "replies.db") as ledger:
        assert sum(frame.height for frame in ledger.frames()) == paid < 60


def test_the_loop_of_a_forked_process_is_its_own(tmp_path: Path) -> None:
    script = SCRIPT.replace(
        "with Ledger(Path(path))",
        "import os\nfrom kyara_kedro.teachers.background import background_loop\n"
        "background_loop()\nif os.fork():\n    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "with Ledger(Path(path))",
    )
    with serving() as server:
        path = tmp_path / "replies.db"
        run = subprocess.run(
            [sys.executable, "-c", script, server.url, str(path), "5"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=30,
            check=False,
        )
    assert (run.returncode, len(run.stdout.splitlines())) == (0, 5), run.stderr


def test_interrupted_runs_wait_for_what_is_in_flight(tmp_path: Path) -> None:
    path = tmp_path / "replies.db"
    with serving(lambda n, body: chat(delay=0.3)) as server:
        process = start(server, path, 100)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(2)
        process.communicate(timeout=30)
        time.sleep(0.5)
        with Ledger(path, read_only=True) as ledger:
            assert sum(frame.height for frame in ledger.frames()) == len(server.seen) < 100
    assert process.returncode != 0
    assert [file.name for file in (tmp_path / "replies.db-locks").iterdir()] == ["opening"]


def test_a_generator_that_is_left_alone_ends_with_the_program(tmp_path: Path) -> None:
    path = tmp_path / "replies.db"
    script = SCRIPT.partition("with Ledger")[0] + (
        "from kyara_kedro.teachers.ledger import Ledger as Book\n"
        "run = OpenAITeacher(options, Book(Path(path))).map(requests_for_queries(int(count)))\n"
        "print(next(run).status)\n"
    )
    with serving(lambda n, body: chat(delay=0.3)) as server:
        done = subprocess.run(
            [sys.executable, "-c", script, server.url, str(path), "100"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
        with Ledger(path, read_only=True) as ledger:
            assert sum(frame.height for frame in ledger.frames()) == len(server.seen) < 100
