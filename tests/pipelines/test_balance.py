"""Counts that do not add up stop the run; those that do are told with their reasons."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.pipelines.balance import BalanceError, Flow, close
from kyara_kedro.records import DROP, drops


def dropped(*reasons: str, of: str = "r") -> pl.DataFrame:
    return drops("p", [(f"{of}{number}", reason, "") for number, reason in enumerate(reasons)])


def test_reasons_are_counted_in_order() -> None:
    flow = Flow("rows", 5, 2, dropped("too_short", "blank", "too_short"))
    assert flow.counts() == {"in": 5, "out": 2, "dropped": {"blank": 1, "too_short": 2}}
    assert list(flow.counts()["dropped"]) == ["blank", "too_short"]


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 3))
def test_a_flow_balances_exactly_when_in_is_out_plus_drops(into: int, out: int, lost: int) -> None:
    flow = Flow("rows", into, out, dropped(*["blank"] * lost))
    if into == out + lost:
        assert sum(flow.counts()["dropped"].values()) == lost
    else:
        with pytest.raises(BalanceError, match=f"rows: {into} in, {out} out and {lost} dropped"):
            flow.counts()


def test_a_pipeline_closes_with_all_drops_together() -> None:
    flows = [Flow("a", 1, 0, dropped("blank")), Flow("b", 3, 2, dropped("too_short", of="s"))]
    table, summary = close(flows)
    assert DROP.validate(table)["reason"].to_list() == ["blank", "too_short"]
    assert list(summary) == ["a", "b"]
    with pytest.raises(BalanceError):
        close([*flows, Flow("c", 1, 0, DROP.frame())])
    empty, nothing = close([])
    assert DROP.validate(empty).is_empty()
    assert nothing == {}
