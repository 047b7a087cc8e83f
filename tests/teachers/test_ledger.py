import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kyara_kedro.errors import UserError
from kyara_kedro.records import REPLY
from kyara_kedro.teachers import ledger as ledger_module
from kyara_kedro.teachers.archive import export_replies, import_replies
from kyara_kedro.teachers.ledger import (
    Job,
    Ledger,
    LedgerError,
    Reservation,
    Spent,
    StoredReply,
    Waste,
)

ROOT = Path(__file__).parents[2]
REPLY_A = StoredReply(
    request_id="a" * 64,
    teacher="m",
    task="respond",
    prompt_version="respond/en@00000000",
    text="茶",
    finish_reason="stop",
    served_by="m-2026",
    prompt_tokens=3,
    cached_tokens=2,
    completion_tokens=1,
    cost=0.5,
    latency=0.1,
    received_at="2026-01-01T00:00:00.000+00:00",
)
REPLY_B = replace(REPLY_A, request_id="b" * 64, text="水")
WASTE = Waste("c" * 64, "m", "respond", "body", b"\xff", 7, 0.25, "2026-01-01T00:00:00.000+00:00")


def rows(ledger: Ledger) -> int:
    return sum(frame.height for frame in ledger.frames())


def test_replies_survive_and_the_first_of_a_key_stays(tmp_path: Path) -> None:
    path = tmp_path / "run" / "ledger.db"
    with Ledger(path) as ledger:
        assert ledger.put([REPLY_A, REPLY_B]) == [REPLY_A, REPLY_B]
        assert ledger.put([replace(REPLY_A, text="咖啡")]) == [REPLY_A]
    with Ledger(path, read_only=True) as ledger:
        assert ledger.get_many(["b" * 64, "c" * 64, "a" * 64]) == {
            "a" * 64: REPLY_A,
            "b" * 64: REPLY_B,
        }


def test_what_is_of_no_use_is_kept_and_counted(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.put([REPLY_A, replace(REPLY_B, teacher="other")], [WASTE])
        assert ledger.wasted() == [WASTE]
        assert ledger.spent("m") == Spent(requests=2, tokens=4 + 7, cost=0.75)
        assert ledger.spent("nobody") == Spent()
        assert ledger.completion_lengths("m", "respond") == [1]


def test_the_files_are_private_durable_and_rowid_tables(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        ledger.put([REPLY_A])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes.pop("ledger.db-locks") == 0o700
    assert set(modes.values()) == {0o600}
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("SELECT rowid FROM reply").fetchall() == [(1,)]


def test_the_ledger_is_a_reply_table(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert list(ledger.frames()) == []
        ledger.put([REPLY_B, REPLY_A])
        (frame,) = ledger.frames()
    assert REPLY.validate(frame)["request_id"].to_list() == ["a" * 64, "b" * 64]
    assert frame["text"].to_list() == ["茶", "水"]


def test_lookups_of_many_keys(tmp_path: Path) -> None:
    many = [replace(REPLY_A, request_id=f"{number:064d}") for number in range(1234)]
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.put(many)
        assert len(ledger.get_many(reply.request_id for reply in many)) == 1234


def test_replies_move_as_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "SHARD", 100)
    many = [replace(REPLY_A, request_id=f"{number:064d}") for number in range(250)]
    file = tmp_path / "replies.parquet"
    with Ledger(tmp_path / "one.db") as one, Ledger(tmp_path / "two.db") as two:
        one.put(many)
        assert export_replies(one, file) == 250
        two.put([replace(many[0], text="first here")])
        assert import_replies(two, file) == 250
        held = two.get_many(reply.request_id for reply in many)
        assert rows(two) == 250
    assert held[many[0].request_id].text == "first here"
    assert held[many[7].request_id] == many[7]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert REPLY.validate(pl.read_parquet(file)).height == 250
    assert sorted(p.name for p in tmp_path.iterdir() if "parquet" in p.name) == [file.name]


def test_an_empty_ledger_moves_too(tmp_path: Path) -> None:
    with Ledger(tmp_path / "one.db") as one:
        assert export_replies(one, tmp_path / "empty.parquet") == 0
        assert import_replies(one, tmp_path / "empty.parquet") == 0


def test_other_files_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not parquet")
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "table")
    with Ledger(tmp_path / "one.db") as one:
        for name in ("text", "table", "missing"):
            with pytest.raises(UserError, match=f"import of .*{name}"):
                import_replies(one, tmp_path / name)


def test_other_files_are_refused_with_their_name_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    text = "not a database, but long enough to look like one " * 20
    path.write_text(text)
    with pytest.raises(LedgerError, match=r"notes\.txt.*damaged.*left as it is"):
        Ledger(path)
    assert path.read_text() == text
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(LedgerError, match=r"newer\.db is of version 99.*update the program"):
        Ledger(newer)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE something (x)")
    with pytest.raises(LedgerError, match=r"other\.db.*no ledger"):
        Ledger(other)
    with pytest.raises(LedgerError, match=r"missing\.db: no such file"):
        Ledger(tmp_path / "missing.db", read_only=True)


def test_damage_inside_is_named_explained_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        ledger.put([replace(REPLY_A, request_id=f"{n:064d}", text="茶" * 999) for n in range(300)])
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for place in range(8192, size, 4096):
            file.seek(place)
            file.write(b"\xde\xad" * 64)
    damaged = path.read_bytes()
    with (
        pytest.raises(LedgerError, match=r"ledger\.db: database disk image is malformed.*keep it"),
        Ledger(path, read_only=True) as ledger,
    ):
        rows(ledger)
    assert path.read_bytes() == damaged


def test_one_owner_sends_and_the_others_wait(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path) as one, Ledger(path) as two:
        assert one.claim("ab").granted == {"a", "b"}
        assert two.claim("abc") == ({}, {"c"}, set())
        assert one.claim("a").granted == set(), "a claim is not given twice, even to its owner"
        one.put([replace(REPLY_A, request_id="a")])
        assert two.claim("ab").held.keys() == {"a"}
        one.release("b")
        assert two.claim("b").granted == {"b"}


def test_claims_end_with_their_owner(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path) as two:
        with Ledger(path) as one:
            assert one.claim("a").granted
            assert not two.claim("a").granted
        assert two.claim("a").granted


@pytest.mark.faults
def test_claims_of_a_killed_process_are_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    script = f"""
import time
from pathlib import Path
from kyara_kedro.teachers.ledger import Ledger
ledger = Ledger(Path({str(path)!r}))
ledger.claim("ab")
print("claimed", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    process.stdout.readline()
    with Ledger(path) as ledger:
        assert not ledger.claim("ab").granted
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert ledger.claim("ab").granted == {"a", "b"}
        left = {file.name for file in (tmp_path / "ledger.db-locks").iterdir()}
        assert left == {"opening", ledger._owner}


def test_many_threads_and_files_grant_each_key_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    granted: list[str] = []

    def work() -> None:
        with Ledger(path) as ledger:
            for start in range(0, 200, 20):
                mine = ledger.claim(map(str, range(start, start + 20))).granted
                granted.extend(mine)
                ledger.put([replace(REPLY_A, request_id=key) for key in mine])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(granted, key=int) == [str(n) for n in range(200)]


def test_batches_are_remembered_until_their_results_are_in(tmp_path: Path) -> None:
    worst = Reservation(10, 0.5)
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.open_job("t1", "m", {"k2": worst, "k1": worst})
        ledger.open_job("t2", "m", {"k3": worst})
        ledger.name_job("t1", "batch_1")
        assert ledger.jobs("m") == [
            Job("t1", "batch_1", {"k1": worst, "k2": worst}),
            Job("t2", None, {"k3": worst}),
        ]
        ledger.put([replace(REPLY_A, request_id="k1")])
        ledger.close_job("t1")
        assert ledger.jobs("m")[0].worst == {"k2": worst}, "what is answered needs no batch"
        ledger.close_job("t1", ["k2"])
        assert [job.token for job in ledger.jobs("m")] == ["t2"]
        assert ledger.jobs("other") == []


def test_a_batch_is_noted_only_when_it_fits(tmp_path: Path) -> None:
    worst = Reservation(10, 0.5)
    seen: list[Spent] = []

    def fits(committed: Spent) -> bool:
        seen.append(committed)
        return len(seen) == 1

    with Ledger(tmp_path / "ledger.db") as ledger, Ledger(tmp_path / "ledger.db") as other:
        ledger.put([REPLY_A])
        other.claim("k")
        other.pledge("m", "k", Reservation(7, 0.25), lambda spent, aside: "")
        assert ledger.open_job("t1", "m", {"k1": worst, "k2": worst}, fits)
        assert not ledger.open_job("t2", "m", {"k3": worst}, fits)
        assert seen == [Spent(2, 11, 0.75), Spent(4, 31, 1.75)]
        assert ledger.committed("m") == seen[1]
        assert [job.token for job in ledger.jobs("m")] == ["t1"]


def test_what_becomes_of_a_batch_is_counted_once(tmp_path: Path) -> None:
    worst = Reservation(10, 0.5)
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.open_job("t", "m", {WASTE.request_id: worst, "free": worst, "left": worst})
        ledger.put(waste=[WASTE], job="t")
        assert ledger.committed("m") == Spent(3, 7 + 2 * 10, 0.25 + 2 * 0.5)
        ledger.close_job("t", ["free"], free=1)
        assert ledger.spent("m") == Spent(2, 7, 0.25)
        assert [job.worst.keys() for job in ledger.jobs("m")] == [{"left"}]


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.put([REPLY_A])
        ledger._writer.execute("PRAGMA max_page_count=1")
        with pytest.raises(LedgerError, match=r"ledger\.db: database or disk is full; make room"):
            ledger.put([replace(REPLY_B, text="水" * 100_000)])
        ledger._writer.execute("PRAGMA max_page_count=1073741823")
        assert rows(ledger) == 1
        ledger.put([REPLY_B])
        assert rows(ledger) == 2


KEYS = st.sampled_from("abcdef")
STEPS = st.one_of(
    st.tuples(st.just("claim"), st.integers(0, 1), st.lists(KEYS, max_size=4)),
    st.tuples(st.just("put"), st.integers(0, 1), st.lists(KEYS, max_size=3)),
    st.tuples(st.just("release"), st.integers(0, 1), st.lists(KEYS, max_size=3)),
    st.tuples(st.just("reopen"), st.integers(0, 1), st.just([])),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=25))
def test_whatever_happens_a_key_has_one_sender_and_one_reply(
    steps: list[tuple[str, int, list[str]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        ledgers = [Ledger(path), Ledger(path)]
        first: dict[str, str] = {}
        owner: dict[str, int] = {}
        for number, (step, who, keys) in enumerate(steps):
            ledger = ledgers[who]
            if step == "claim":
                claimed = ledger.claim(keys)
                assert {key: reply.text for key, reply in claimed.held.items()} == {
                    key: first[key] for key in keys if key in first
                }
                expected = {key for key in keys if key not in first and key not in owner}
                assert claimed.granted == expected
                owner |= dict.fromkeys(expected, who)
            elif step == "put":
                for key in dict.fromkeys(keys):
                    first.setdefault(key, str(number))
                    owner.pop(key, None)
                unique = list(dict.fromkeys(keys))
                held = ledger.put(
                    [replace(REPLY_A, request_id=key, text=str(number)) for key in unique]
                )
                assert [reply.text for reply in held] == [first[key] for key in unique]
            elif step == "release":
                ledger.release(keys)
                owner = {k: o for k, o in owner.items() if not (o == who and k in keys)}
            else:
                ledger.close()
                ledgers[who] = Ledger(path)
                owner = {k: o for k, o in owner.items() if o != who}
            assert {k: r.text for k, r in ledgers[1 - who].get_many("abcdef").items()} == first
        for ledger in ledgers:
            ledger.close()


@pytest.mark.faults
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    script = f"""
import sys
from dataclasses import replace
from pathlib import Path
from kyara_kedro.teachers.ledger import Ledger
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
        assert sum(frame.height for frame in ledger.frames()) >= acknowledged + 1 > 20


def test_claims_that_cannot_be_given_back_lapse(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as one, Ledger(tmp_path / "ledger.db") as two:
        assert one.claim("a").granted
        one.disown()
        assert two.claim("a").granted == {"a"}
        assert one.claim("b").granted == {"b"}


def test_locks_of_killed_processes_are_swept(tmp_path: Path) -> None:
    locks = tmp_path / "ledger.db-locks"
    Ledger(tmp_path / "ledger.db").close()
    (locks / "killed").touch()
    with Ledger(tmp_path / "ledger.db"):
        assert [file.name for file in locks.iterdir()] == ["opening"]
