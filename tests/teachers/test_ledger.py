import sqlite3
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.records import REPLY
from kyara_kedro.teachers import Ledger, StoredReply

REPLY_A = StoredReply(
    request_id="a" * 64,
    teacher="m",
    task="respond",
    prompt_version="respond/en@00000000",
    text="茶",
    finish_reason="stop",
    prompt_tokens=3,
    completion_tokens=1,
    cost=0.5,
    latency=0.1,
    received_at="2026-01-01T00:00:00.000+00:00",
)
REPLY_B = replace(REPLY_A, request_id="b" * 64, text="水")


def test_replies_survive_and_the_first_of_a_key_stays(tmp_path: Path) -> None:
    path = tmp_path / "run" / "ledger.db"
    with Ledger(path) as ledger:
        assert ledger.put([REPLY_A, REPLY_B]) == [REPLY_A, REPLY_B]
        assert ledger.put([replace(REPLY_A, text="咖啡")]) == [REPLY_A]
    with Ledger(path) as ledger:
        assert ledger.get_many(["b" * 64, "c" * 64, "a" * 64]) == {
            "a" * 64: REPLY_A,
            "b" * 64: REPLY_B,
        }


def test_the_file_is_private_durable_and_a_rowid_table(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        ledger.put([REPLY_A])
        modes = [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()]
    assert set(modes) == {0o600}
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("SELECT rowid FROM reply").fetchall() == [(1,)]


def test_the_ledger_is_a_reply_table(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert REPLY.validate(ledger.frame()).height == 0
        ledger.put([REPLY_B, REPLY_A])
        frame = REPLY.validate(ledger.frame())
    assert frame["request_id"].to_list() == ["a" * 64, "b" * 64]
    assert frame["text"].to_list() == ["茶", "水"]


def test_lookups_of_many_keys(tmp_path: Path) -> None:
    many = [replace(REPLY_A, request_id=f"{number:064d}") for number in range(1234)]
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.put(many)
        assert len(ledger.get_many(reply.request_id for reply in many)) == 1234


def test_other_files_are_refused_with_their_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to look like one " * 20)
    with pytest.raises(UserError, match=r"notes\.txt"):
        Ledger(path)
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(UserError, match="version 99"):
        Ledger(newer)


@pytest.mark.faults
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    script = f"""
import sys
from dataclasses import replace
from pathlib import Path
from kyara_kedro.teachers import Ledger
from tests.teachers.test_ledger import REPLY_A
ledger = Ledger(Path({str(path)!r}))
for number in range(10**6):
    ledger.put([replace(REPLY_A, request_id=f"{{number:064d}}")])
    print(number, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    deadline = time.monotonic() + 60
    acknowledged = -1
    while acknowledged < 20 and time.monotonic() < deadline:
        acknowledged = int(process.stdout.readline())
    process.kill()
    acknowledged = int((process.stdout.read().split() or [acknowledged])[-1])
    process.wait()
    with Ledger(path) as ledger:
        assert ledger.frame().height >= acknowledged + 1 > 20
