import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kyara_kedro.training.chat import IGNORED, Encoded, EncodedPair
from kyara_kedro.training.tokens import (
    ConversationsWriter,
    PairsWriter,
    TokensError,
    TokensRef,
    open_tokens,
    write_tokens,
)

IDS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9)


def encoded(ids: list[int], labels: list[int]) -> Encoded:
    return Encoded(np.array(ids, np.int32), np.array(labels, np.int32))


@st.composite
def conversation(draw: st.DrawFn) -> Encoded:
    ids = draw(IDS)
    learned = draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    return encoded(ids, [i if mark else IGNORED for i, mark in zip(ids, learned, strict=True)])


def described(numbers: list[int], held_out: tuple[int, ...] = ()) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "number": numbers,
            "id": [f"row {number}" for number in numbers],
            "source": [("knowledge", "open")[number % 2] for number in numbers],
            "held_out": [number in held_out for number in numbers],
        }
    )


def store(
    directory: Path, rows: list[Encoded], order: list[int], held_out: tuple[int, ...] = ()
) -> TokensRef:
    with write_tokens(directory, ConversationsWriter) as writer:
        assert [writer.add(row) for row in rows] == list(range(len(rows)))
        return writer.finish(described(order, held_out))


TWO = [encoded([1, 2, 3], [IGNORED, 2, 3]), encoded([4, 5], [IGNORED, 5])]


@given(rows=st.lists(conversation(), min_size=1, max_size=6), data=st.data())
def test_kept_conversations_come_back_in_the_order_asked_for(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Encoded], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(rows))))[: data.draw(st.integers(1, len(rows)))]
    ref = store(tmp_path_factory.mktemp("store") / "tokens", rows, order, held_out=(0,))
    found = open_tokens(ref)
    assert found.ids.to_list() == [f"row {number}" for number in order]
    for place, number in enumerate(order):
        row = found.row(place)
        assert np.array_equal(row.input_ids, rows[number].input_ids)
        assert np.array_equal(row.labels, rows[number].labels)
        assert found.lengths[place] == len(rows[number].input_ids)
        assert found.learned[place] == (rows[number].labels != IGNORED).sum()
        assert found.held_out[place] == (number == 0)
    assert (ref.rows, ref.held_out) == (len(order) - (0 in order), int(0 in order))
    assert ref.tokens == sum(len(rows[number].input_ids) for number in order if number)


@given(
    parts=st.lists(st.tuples(IDS, IDS, IDS), min_size=1, max_size=5),
    chances=arrays.arrays(float, 2, elements=st.floats(0, 1)),
)
def test_pairs_come_back_with_their_win_probabilities(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[tuple[list[int], list[int], list[int]]],
    chances: np.ndarray,
) -> None:
    with write_tokens(tmp_path_factory.mktemp("store") / "tokens", PairsWriter) as writer:
        for prompt, chosen, rejected in parts:
            ids = [np.array(part, np.int32) for part in (prompt, chosen, rejected)]
            writer.add(EncodedPair(prompt_ids=ids[0], chosen_ids=ids[1], rejected_ids=ids[2]))
        rows = described(list(range(len(parts)))).with_columns(
            p_chosen=pl.lit(chances[0]), p_rejected=pl.lit(None, pl.Float64)
        )
        ref = writer.finish(rows)
    pairs = open_tokens(ref)
    assert len(pairs) == len(parts)
    for number, expected in enumerate(parts):
        *ids, p_chosen, p_rejected = pairs.row(number)
        assert tuple(part.tolist() for part in ids) == expected
        assert (p_chosen, p_rejected) == (chances[0], None)
        prompt, chosen, rejected = map(len, expected)
        assert pairs.lengths[number] == prompt + max(chosen, rejected)


def test_the_digest_sees_content_and_order_but_not_how_the_rows_arrived(tmp_path: Path) -> None:
    same = store(tmp_path / "a", TWO, [1, 0])
    with write_tokens(tmp_path / "b", ConversationsWriter) as writer:
        numbers = [writer.add(TWO[1]), writer.add(TWO[0])]
        again = writer.finish(described([1, 0]).with_columns(number=pl.Series(numbers)))
    assert again.digest == same.digest
    others = [
        store(tmp_path / "c", TWO, [0, 1]),
        store(tmp_path / "d", TWO, [1]),
        store(tmp_path / "e", TWO, [1, 0], held_out=(1,)),
        store(tmp_path / "f", [TWO[0], encoded([4, 5], [4, 5])], [1, 0]),
        store(tmp_path / "g", [TWO[0], encoded([4, 6], [IGNORED, 6])], [1, 0]),
    ]
    assert len({same.digest, *(other.digest for other in others)}) == 6


def test_a_store_goes_to_another_process(tmp_path: Path) -> None:
    sent = pickle.dumps(open_tokens(store(tmp_path / "a", TWO, [0, 1])))
    found = pickle.loads(sent)  # noqa: S301
    assert found.row(1).input_ids.tolist() == [4, 5]
    assert TokensRef.from_dict(found.ref.to_dict()) == found.ref


def test_a_store_that_is_not_what_the_reference_says_is_refused(tmp_path: Path) -> None:
    former = store(tmp_path / "a", TWO, [0, 1])
    ref = store(tmp_path / "a", TWO, [1, 0])
    with pytest.raises(TokensError, match="is asked for; run the node again"):
        open_tokens(former)
    tokens = tmp_path / "a" / "tokens.i32"
    tokens.write_bytes(tokens.read_bytes()[:-4])
    with pytest.raises(TokensError, match="bytes, not"):
        open_tokens(ref)
    (tmp_path / "a" / "store.json").write_text("{")
    with pytest.raises(TokensError, match="no tokens here"):
        open_tokens(ref)
    with pytest.raises(TokensError, match="colour"):
        TokensRef.from_dict(ref.to_dict() | {"colour": "red"})


def test_a_failed_write_leaves_the_former_store_and_a_killed_one_is_swept(tmp_path: Path) -> None:
    ref = store(tmp_path / "a", TWO, [0, 1])
    killed = tmp_path / ".a.4194305.xyz.part"
    killed.mkdir()
    (killed / "tokens.i32").write_bytes(b"half")
    with (
        pytest.raises(TokensError, match="what was there stays: disk full"),
        write_tokens(tmp_path / "a", ConversationsWriter) as writer,
    ):
        writer.add(TWO[0])
        raise OSError("disk full")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert open_tokens(ref).row(0).labels.tolist() == [IGNORED, 2, 3]
