import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.judging.contest import assignment

PROMPTS = [f"prompt {n}" for n in range(2000)]
NAMES = [f"m{n}" for n in range(9)]


@settings(max_examples=40)
@given(st.integers(0, 300), st.integers(1, 9), st.integers(1, 10), st.integers(0, 9))
def test_every_prompt_has_its_number_and_every_contestant_its_share(
    prompts: int, contestants: int, each: int, start: int
) -> None:
    drawn = assignment(PROMPTS[start : start + prompts], NAMES[:contestants], each)
    assert drawn.shape == (prompts, contestants)
    assert (drawn.sum(axis=1) == min(each, contestants)).all()
    shares = drawn.sum(axis=0)
    assert shares.max() - shares.min() <= 1


def test_all_pairs_meet_about_equally_often() -> None:
    drawn = assignment(PROMPTS, NAMES, 4).astype(int)
    met = drawn.T @ drawn
    pairs = [met[i, j] for i, j in itertools.combinations(range(9), 2)]
    expected = len(PROMPTS) * 12 / 72
    assert max(abs(one - expected) for one in pairs) < 4 * np.sqrt(expected)


def test_order_and_company_do_not_matter() -> None:
    drawn = assignment(PROMPTS, NAMES, 4)
    assert (assignment(PROMPTS[::-1], NAMES, 4)[::-1] == drawn).mean() > 0.999
    assert (assignment(PROMPTS, NAMES[::-1], 4)[:, ::-1] == drawn).mean() > 0.98
    assert (assignment(PROMPTS[:1000], NAMES, 4) == drawn[:1000]).mean() > 0.97


@pytest.mark.parametrize("each", [2, 4])
def test_a_contestant_that_joins_takes_its_share_and_little_else_moves(each: int) -> None:
    before, after = assignment(PROMPTS, NAMES[:8], each), assignment(PROMPTS, NAMES, each)
    lost, gained = (before & ~after[:, :8]).sum(), (after[:, :8] & ~before).sum()
    share = len(PROMPTS) * each / 9
    assert after[:, 8].sum() == pytest.approx(share, abs=1)
    assert gained < 0.15 * share
    assert lost == pytest.approx(share + gained, abs=1)
