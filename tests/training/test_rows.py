import random
from collections import Counter

import polars as pl
import pytest

from kyara_kedro.content import Message, content_id
from kyara_kedro.records import CONVERSATION
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.rows import select_rows


def table(families: int = 40) -> pl.DataFrame:
    """Families of one to four rephrasings, from two sources."""
    rows = []
    for family in range(families):
        for wording in range(1 + family % 4):
            messages = [
                Message(role="user", content=f"問題{family}的第{wording}種問法"),
                Message(role="assistant", content=f"答案{family}"),
            ]
            rows.append(
                {
                    "id": content_id(messages),
                    "messages": messages,
                    "source": ("knowledge", "open")[family % 2],
                    "language": "zh-Hant-TW",
                    "rounds": 1,
                    "tokens": 20,
                    "teacher": None,
                    "prompt_version": None,
                    "passage_ids": [],
                    "calls": [],
                    "parents": [f"question-{family}", "passage"],
                    "licence": "CC0-1.0",
                }
            )
    random.Random(0).shuffle(rows)
    return CONVERSATION.validate(CONVERSATION.frame(rows))


def family_sizes(rows: pl.DataFrame) -> Counter[str]:
    return Counter(rows["parents"].list.first())


def test_everything_is_taken_family_by_family_in_an_order_of_its_own(embedded: ModelRef) -> None:
    data = table()
    chosen = select_rows(data, embedded, max_length=256)
    assert chosen.drops == []
    assert chosen.rows.schema == data.schema
    assert sorted(chosen.rows["id"]) == sorted(data["id"])
    firsts = chosen.rows["parents"].list.first().to_list()
    runs = [name for i, name in enumerate(firsts) if i == 0 or name != firsts[i - 1]]
    assert len(runs) == len(set(runs))
    again = select_rows(data.sort("id"), embedded, max_length=256)
    assert again.rows.equals(chosen.rows)


@pytest.mark.parametrize("cap", [0, 1, 17, 50, 1000])
def test_a_cap_takes_whole_families(embedded: ModelRef, cap: int) -> None:
    data = table()
    chosen = select_rows(data, embedded, max_length=256, max_rows=cap)
    whole = family_sizes(data)
    assert all(whole[name] == size for name, size in family_sizes(chosen.rows).items())
    assert len(chosen.rows) == min(cap, len(data))
    assert len(chosen.rows) + len(chosen.drops) == len(data)
    assert {reason for _, reason, _ in chosen.drops} <= {"over_max_rows"}


def test_shares_are_nested_and_unnamed_sources_stay_out(embedded: ModelRef) -> None:
    data = table(200)
    quarter = select_rows(data, embedded, max_length=256, mix={"knowledge": 0.25})
    half = select_rows(data, embedded, max_length=256, mix={"knowledge": 0.5})
    assert set(quarter.rows["id"]) < set(half.rows["id"])
    assert set(half.rows["source"]) == {"knowledge"}
    assert 35 <= len(family_sizes(half.rows)) <= 65
    reasons = Counter(reason for _, reason, _ in half.drops)
    assert reasons["source_not_in_mix"] == (data["source"] == "open").sum()
    assert len(half.rows) + len(half.drops) == len(data)


def test_untrainable_and_long_rows_are_dropped_with_their_reason(embedded: ModelRef) -> None:
    data = table(4)
    ids = data["id"].to_list()
    texts = {ids[0]: "<end_of_turn>", ids[1]: "長" * 90}
    data = data.with_columns(
        pl.Series(
            "messages",
            [
                [{**turn, "content": texts.get(record_id, turn["content"])} for turn in messages]
                for record_id, messages in zip(ids, data["messages"], strict=True)
            ],
            dtype=CONVERSATION.columns["messages"],
        )
    )
    chosen = select_rows(data, embedded, max_length=80)
    assert [(record_id, reason) for record_id, reason, _ in chosen.drops] == [
        (ids[0], "control_token"),
        (ids[1], "over_max_length"),
    ]
    assert "max_length is 80" in chosen.drops[1][2]


def test_an_empty_table_gives_an_empty_choice(embedded: ModelRef) -> None:
    chosen = select_rows(CONVERSATION.frame(), embedded, max_length=256, max_rows=5)
    assert chosen.rows.is_empty()
    assert chosen.drops == []
