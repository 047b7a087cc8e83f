import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.training.packing import fill, pack

ROOM = 12


def one_by_one(lengths: list[int]) -> list[int]:
    """Rooms left by best fit decreasing as the textbook has it."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [number for number, left in enumerate(rooms) if left >= length]
        if fitting:
            rooms[min(fitting, key=rooms.__getitem__)] -= length
        else:
            rooms.append(ROOM - length)
    return sorted(rooms)


@given(st.lists(st.integers(1, ROOM), min_size=1, max_size=60))
def test_each_row_is_packed_once_as_the_textbook_does(lengths: list[int]) -> None:
    sizes = np.array(lengths)
    packs = pack(sizes, ROOM)
    assert sorted(packs.rows) == list(range(len(lengths)))
    used = [int(sizes[packs[number]].sum()) for number in range(len(packs))]
    assert sorted(ROOM - tokens for tokens in used) == one_by_one(lengths)
    assert min(used) > 0
    assert fill(packs, sizes, ROOM) == pytest.approx(sum(lengths) / (len(packs) * ROOM))


def test_chat_lengths_fill_their_sequences() -> None:
    generator = np.random.default_rng(0)
    for median, spread in ((1200, 0.6), (300, 1.0), (2000, 0.5)):
        lengths = generator.lognormal(np.log(median), spread, 100_000).astype(np.int64)
        lengths = lengths[(lengths > 0) & (lengths <= 4096)]
        packs = pack(lengths, 4096)
        assert len(np.unique(packs.rows)) == len(lengths) == packs.ends[-1]
        assert np.add.reduceat(lengths[packs.rows], np.r_[0, packs.ends[:-1]]).max() <= 4096
        assert fill(packs, lengths, 4096) > 0.97
        assert np.array_equal(packs.rows, pack(lengths, 4096).rows)


@pytest.mark.parametrize("length", [0, 13])
def test_a_row_that_cannot_be_packed_is_named(length: int) -> None:
    with pytest.raises(ValueError, match=f"row 1: {length} tokens do not fit"):
        pack(np.array([3, length]), ROOM)


def test_no_row_makes_no_sequence() -> None:
    assert len(pack(np.array([], np.int64), ROOM)) == 0
