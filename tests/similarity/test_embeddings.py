import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro import vector_store
from kyara_kedro.errors import UserError
from kyara_kedro.shards import Shard
from kyara_kedro.similarity import embeddings
from kyara_kedro.similarity.embeddings import embed, fill


def vector(text, dimensions=5):
    seed = int.from_bytes(text.encode("utf-8", "surrogatepass"), "little") % 2**32
    return np.random.default_rng(seed).normal(size=dimensions).astype(np.float32)


class Numbers:
    """An encoder that remembers what it was asked."""

    def __init__(self, identity="numbers-5", dimensions=5):
        self.identity, self.dimensions, self.asked = identity, dimensions, []

    def passages(self, texts):
        self.asked += texts
        return np.stack([vector(text, self.dimensions) for text in texts])


def expected(texts):
    return np.stack([vector(text) for text in texts])


def shards(folder):
    return sorted(folder.glob("*/*.npz"))


def test_no_texts(tmp_path):
    assert embed([], Numbers(), tmp_path).shape == (0, 0)
    assert embed([[], []], Numbers(), tmp_path).shape == (0, 0)


def test_order_duplicates_and_stored_texts(tmp_path):
    encoder = Numbers()
    found = embed([["b", "a", "b"], ["a", "c"]], encoder, tmp_path)
    assert isinstance(found, np.memmap)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected(list("babac")))
    assert encoder.asked == ["b", "a", "c"]
    again = Numbers()
    np.testing.assert_array_equal(embed([["d", "c", "a"]], again, tmp_path), expected(list("dca")))
    assert again.asked == ["d"]


@given(st.lists(st.lists(st.text(max_size=2), max_size=8), max_size=6), st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_any_frames_in_shards_of_any_size(tmp_path_factory, frames, rows):
    folder = tmp_path_factory.mktemp("store")
    texts = [text for frame in frames for text in frame]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_store, "_SHARD_ROWS", rows)
        patch.setattr(embeddings, "_BATCH", 3)
        first, second = Numbers(), Numbers()
        half = frames[: len(frames) // 2]
        embed(half, first, folder)
        found = embed(frames, second, folder)
    assert sorted(first.asked + second.asked) == sorted(set(texts))
    if texts:
        np.testing.assert_array_equal(found, expected(texts))
    assert all(len(np.load(path)["keys"]) <= rows for path in shards(folder))


def test_shards_stay_readable_when_their_size_changes(tmp_path, monkeypatch):
    texts = [str(number) for number in range(10)]
    embed([texts], Numbers(), tmp_path)
    monkeypatch.setattr(vector_store, "_SHARD_ROWS", 3)
    encoder = Numbers()
    np.testing.assert_array_equal(embed([texts], encoder, tmp_path), expected(texts))
    assert encoder.asked == []


def test_another_encoder_has_another_place(tmp_path):
    embed([["a"]], Numbers(), tmp_path)
    other = Numbers("numbers-7", 7)
    assert embed([["a"]], other, tmp_path).shape == (1, 7)
    assert other.asked == ["a"]
    assert len({path.parent for path in shards(tmp_path)}) == 2


def test_nothing_but_shards_is_left(tmp_path):
    found = embed([["a", "b"]], Numbers(), tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == shards(tmp_path)
    np.testing.assert_array_equal(found, expected("ab"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"nonsense",
        lambda content: content[:200] + bytes([content[200] ^ 255]) + content[201:],
    ],
    ids=["cut", "empty", "nonsense", "one byte"],
)
def test_a_damaged_shard_is_set_aside(tmp_path, monkeypatch, caplog, damage):
    monkeypatch.setattr(vector_store, "_SHARD_ROWS", 2)
    embed([list("abcdef")], Numbers(), tmp_path)
    broken = shards(tmp_path)[1]
    broken.write_bytes(damage(broken.read_bytes()))
    encoder = Numbers()
    np.testing.assert_array_equal(embed([list("abcdef")], encoder, tmp_path), expected("abcdef"))
    assert encoder.asked == ["c", "d"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(broken) in caplog.text
    assert broken.with_name(f"{broken.name}.damaged").exists()
    last = Numbers()
    embed([list("abcdef")], last, tmp_path)
    assert last.asked == []


def test_objects_are_never_unpickled(tmp_path):
    embed([["a"]], Numbers(), tmp_path)
    path = shards(tmp_path)[0]
    np.savez(path, keys=np.array([{}], object), vectors=np.zeros((1, 5), np.float32))
    encoder = Numbers()
    embed([["a"]], encoder, tmp_path)
    assert encoder.asked == ["a"]


def test_vectors_of_another_dimension(tmp_path):
    embed([["a"]], Numbers(), tmp_path)
    with pytest.raises(UserError, match=r"7 dimensions, .* have 5"):
        embed([["b"]], Numbers(dimensions=7), tmp_path)


def test_vectors_that_are_too_few(tmp_path):
    encoder = Numbers()
    encoder.passages = lambda texts: np.zeros((len(texts) - 1, 5), np.float32)
    with pytest.raises(UserError, match=r"shape \(1, 5\) for 2 texts"):
        embed([["a", "b"]], encoder, tmp_path)


def test_what_was_encoded_before_a_failure_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_store, "_SHARD_ROWS", 100)
    monkeypatch.setattr(embeddings, "_BATCH", 2)

    class Failing(Numbers):
        def passages(self, texts):
            if len(self.asked) >= 4:
                raise ConnectionError("no answer")
            return super().passages(texts)

    with pytest.raises(ConnectionError):
        embed([list("abcdef")], Failing(), tmp_path)
    encoder = Numbers()
    embed([list("abcdef")], encoder, tmp_path)
    assert encoder.asked == ["e", "f"]


KILLED = """
    import sys
    from pathlib import Path
    import numpy as np
    from kyara_kedro import vector_store
    from kyara_kedro.similarity import embeddings

    vector_store._SHARD_ROWS, embeddings._BATCH = 8, 4

    class Encoder:
        identity = "numbers-5"
        count = 0

        def passages(self, texts):
            self.count += len(texts)
            print(self.count, flush=True)
            return np.array([[float(text)] * 5 for text in texts], np.float32)

    embeddings.embed([[str(n) for n in range(10_000)]], Encoder(), Path(sys.argv[1]))
"""


@pytest.mark.faults
def test_a_killed_run_resumes(tmp_path):
    program = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)]
    asked = 0
    for _ in range(3):
        process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        lines = [int(process.stdout.readline()) for _ in range(60)]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        lines += [int(line) for line in process.stdout.read().splitlines()]
        asked += lines[-1]
    said = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    asked += int(said.splitlines()[-1])
    # each kill may cost what a shard and a batch hold
    assert 10_000 <= asked <= 10_000 + 3 * 12

    class Never:
        identity = "numbers-5"

    found = embed([[str(number) for number in range(10_000)]], Never(), tmp_path)
    np.testing.assert_array_equal(found[:, 0], np.arange(10_000))
    stored = np.concatenate([np.load(path)["keys"] for path in shards(tmp_path)])
    assert len(np.unique(stored, axis=0)) == len(stored) == 10_000


@pytest.mark.parametrize("total", [2, 3])
def test_what_shards_have_encoded_is_not_encoded_again(tmp_path, total):
    texts = [f"第{number}句" for number in range(20)] + ["第3句"]
    counts = []
    for number in range(1, total + 1):
        shard, encoder = Shard(number, total), Numbers()
        counts.append(fill([list(filter(shard.holds, texts))], encoder, tmp_path))
        assert encoder.asked == list(dict.fromkeys(filter(shard.holds, texts)))
    assert sum(counts) == len(texts)
    encoder = Numbers()
    assert np.array_equal(embed([texts], encoder, tmp_path), expected(texts))
    assert encoder.asked == []
