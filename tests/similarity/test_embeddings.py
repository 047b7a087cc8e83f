import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.similarity import embeddings
from kyara_kedro.similarity.embeddings import embed

ROOT = Path(__file__).parents[2]


class Counting:
    """Vectors that tell their texts, and a list of all texts that were sent."""

    def __init__(self, identity="a", dimensions=3):
        self.identity = identity
        self.dimensions = dimensions
        self.sent = []

    def passages(self, texts):
        self.sent += texts
        return np.array(
            [[len(text), *map(ord, text[: self.dimensions - 1])] for text in texts], np.float32
        )


TEXTS = [f"{letter}{number}" for letter in "甲乙丙" for number in range(4)]


def test_vectors_come_in_the_order_of_the_texts(tmp_path):
    encoder = Counting()
    found = embed([TEXTS[5:], TEXTS[:7], []], encoder, tmp_path)
    assert found.tolist() == Counting().passages(TEXTS[5:] + TEXTS[:7]).tolist()
    assert sorted(encoder.sent) == sorted(TEXTS)


def test_only_new_texts_are_encoded(tmp_path):
    embed([TEXTS[:4]], Counting(), tmp_path)
    encoder = Counting()
    embed([TEXTS], encoder, tmp_path)
    assert encoder.sent == TEXTS[4:]
    other = Counting("b")
    embed([TEXTS], other, tmp_path)
    assert other.sent == TEXTS


def test_shards_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "_SHARD", 5)
    found = embed([TEXTS], Counting(), tmp_path)
    assert len(list(tmp_path.glob("*/*.npz"))) == 3
    assert found.tolist() == Counting().passages(TEXTS).tolist()


def test_nothing_gives_nothing(tmp_path):
    assert embed([], Counting(), tmp_path).shape == (0, 0)


def test_a_damaged_shard_is_set_aside_and_made_again(tmp_path, caplog):
    embed([TEXTS], Counting(), tmp_path)
    (shard,) = tmp_path.glob("*/*.npz")
    shard.write_bytes(shard.read_bytes()[:100])
    encoder = Counting()
    found = embed([TEXTS], encoder, tmp_path)
    assert encoder.sent == TEXTS
    assert found.tolist() == Counting().passages(TEXTS).tolist()
    assert "000000.damaged is damaged" in caplog.text


def test_another_dimension_is_refused(tmp_path):
    embed([TEXTS[:4]], Counting(), tmp_path)
    with pytest.raises(UserError, match=r"vectors of 2 dimensions, those in .* have 3: remove"):
        embed([TEXTS], Counting(dimensions=2), tmp_path)


SCRIPT = """
import sys, time
from pathlib import Path
from kyara_kedro.similarity import embeddings
from tests.similarity.test_embeddings import Counting
class Slow(Counting):
    def passages(self, texts):
        print("\\n".join(texts), flush=True)
        time.sleep(0.05)
        return super().passages(texts)
embeddings._SHARD = 5
embeddings.embed([[f"text {n}" for n in range(100)]], Slow(), Path(sys.argv[1]))
"""


@pytest.mark.faults
def test_a_killed_run_encodes_again_what_its_last_shard_held_at_most(tmp_path):
    sent = []
    for lines in (12, 31):
        run = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, tmp_path], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        sent += [run.stdout.readline() for _ in range(lines)]
        os.kill(run.pid, signal.SIGKILL)
        sent += run.stdout.readlines()
        run.wait()
    last = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    sent += last.stdout.splitlines(keepends=True)
    assert set(sent) == {f"text {n}\n" for n in range(100)}
    assert len(sent) <= 100 + 2 * 5
    assert not list(tmp_path.glob("*/*.part"))
