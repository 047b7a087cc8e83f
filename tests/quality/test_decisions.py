"""Decisions: what a line has to be, which of several counts, and what it does to the corpus."""

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kyara_kedro.content import content_id
from kyara_kedro.quality.decisions import decide, overrides, parse
from kyara_kedro.records import CONVERSATION, DECISION
from kyara_kedro.text.length import estimate_tokens


def conversation(question: str, answer: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {
        "id": content_id("conversation", "open", turns),
        "messages": turns,
        "source": "open",
        "language": "zh-Hant-TW",
        "rounds": 1,
        "tokens": 9,
        "teacher": "writer",
        "prompt_version": "v1",
        "parents": ["file#1"],
        "passage_ids": ["id_0123abcd"],
        "calls": [],
        "licence": "CC0-1.0",
    }


ROWS = [conversation(f"臺灣第{n}高的山是哪一座？", f"第{n}座。") for n in range(4)]
POOL = CONVERSATION.frame(ROWS).sort("id")
FIRST, SECOND, THIRD, FOURTH = (row["id"] for row in ROWS)


def line(record_id: str, decision: str, at: int = 0, **more: Any) -> str:
    time = f"2026-11-29T08:00:{at:02d}.000Z"
    row = {"record_id": record_id, "decision": decision, "decided_at": time, "page": "p"}
    return json.dumps({**row, **more}, ensure_ascii=False)


def edit(row: dict[str, Any], answer: str, at: int = 0) -> str:
    return line(row["id"], "edit", at, messages=conversation(asked(row), answer)["messages"])


def asked(row: dict[str, Any]) -> str:
    question: str = row["messages"][0]["content"]
    return question


def edited(row: dict[str, Any], answer: str) -> dict[str, Any]:
    return row | {"id": conversation(asked(row), answer)["id"]}


def decided(*lines: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows = parse((f"a.jsonl#{n}", text) for n, text in enumerate(lines, start=1))
    decisions, lazy, _ = decide(POOL.lazy(), rows)
    conversations = lazy.collect()
    assert conversations.height == POOL.height
    return DECISION.validate(decisions), CONVERSATION.validate(conversations)


def statuses(decisions: pl.DataFrame) -> list[str]:
    return decisions["status"].to_list()


def test_accepted_and_rejected_records_stay_as_they_are() -> None:
    decisions, conversations = decided(
        line(FIRST, "accept"), line(SECOND, "reject", reason="太短", reviewer="小美")
    )
    assert conversations.equals(POOL)
    assert statuses(decisions) == ["applies", "applies"]
    assert overrides(decisions) == ([FIRST], {SECOND: "小美, 2026-11-29: 太短"})


def test_an_edited_text_is_a_record_of_its_own_that_says_where_it_comes_from() -> None:
    decisions, conversations = decided(edit(ROWS[0], "玉山，  高 3,952 公尺。\r\n"))
    new = conversations.filter(~pl.col("id").is_in(POOL["id"])).row(0, named=True)
    answer = "玉山，  高 3,952 公尺。".replace("  ", " ")
    assert new["messages"][1]["content"] == answer
    assert new["id"] == edited(ROWS[0], answer)["id"]
    assert new["parents"] == [FIRST]
    assert new["tokens"] == sum(estimate_tokens(turn["content"]) for turn in new["messages"])
    assert (new["teacher"], new["passage_ids"]) == ("writer", ["id_0123abcd"])
    assert FIRST not in conversations["id"]
    assert conversations["id"][-1] == new["id"]
    assert overrides(decisions)[0] == [new["id"]]


def test_a_turn_that_was_not_touched_stays_as_it_was() -> None:
    odd = conversation("寫一首詩。", "第一句\n\n\n\n第二句")
    pool = CONVERSATION.frame([odd])
    turns = [{"role": "user", "content": "寫一首短詩。"}, odd["messages"][1]]
    rows = parse([("a", line(odd["id"], "edit", messages=turns))])
    assert decide(pool.lazy(), rows).edited["messages"][0].to_list() == turns


def test_the_latest_decision_counts_in_whatever_order_lines_come() -> None:
    lines = [line(FIRST, "reject", 2), line(FIRST, "accept", 1), line(FIRST, "accept", 3)]
    decisions, _ = decided(*lines)
    assert statuses(decisions) == ["superseded", "superseded", "applies"]
    assert decisions["detail"].to_list() == ["by a.jsonl#3", "by a.jsonl#1", ""]
    assert overrides(decisions) == ([FIRST], {})


def test_times_are_compared_across_zones() -> None:
    east = line(FIRST, "accept", decided_at="2026-11-29T15:00:00+08:00")
    west = line(FIRST, "reject", decided_at="2026-11-29T07:30:00Z")
    decisions, _ = decided(west, east)
    assert statuses(decisions) == ["applies", "superseded"]


def test_the_same_decision_in_two_files_is_one() -> None:
    decisions, _ = decided(line(FIRST, "accept"), line(FIRST, "accept"))
    assert statuses(decisions) == ["applies", "repeated"]


def test_a_decision_about_an_edited_text_is_followed() -> None:
    second = edited(ROWS[0], "乙")
    decisions, conversations = decided(
        edit(ROWS[0], "乙", 1), line(second["id"], "reject", 2, reason="不對")
    )
    assert statuses(decisions) == ["followed", "applies"]
    assert second["id"] in conversations["id"]
    accepted, rejected = overrides(decisions)
    assert accepted == []
    assert rejected[second["id"]].endswith("不對")
    decisions, conversations = decided(edit(ROWS[0], "乙", 1), edit(second, "丙", 2))
    third = edited(ROWS[0], "丙")["id"]
    new = conversations.filter(id=third).row(0, named=True)
    assert new["parents"] == [FIRST]
    assert overrides(decisions)[0] == [third]


def test_an_edit_that_goes_back_to_the_first_text_accepts_it() -> None:
    decisions, conversations = decided(
        edit(ROWS[0], "乙", 1), edit(edited(ROWS[0], "乙"), "第0座。", 2)
    )
    accepted, rejected = overrides(decisions)
    assert conversations.equals(POOL)
    assert accepted == [FIRST]
    assert not rejected.keys() & set(POOL["id"])


def test_a_text_edited_into_another_one_stays_out() -> None:
    into = ROWS[1]["messages"]
    decisions, conversations = decided(
        line(FIRST, "edit", messages=into), line(THIRD, "edit", messages=into)
    )
    assert conversations.equals(POOL)
    accepted, rejected = overrides(decisions)
    assert accepted == [SECOND]
    assert rejected == dict.fromkeys((FIRST, THIRD), f"edited into the text of {SECOND}")


def test_two_texts_edited_into_one_new_text_are_one() -> None:
    into = conversation("新", "文")["messages"]
    decisions, conversations = decided(
        *(line(name, "edit", messages=into) for name in (FIRST, SECOND))
    )
    accepted, rejected = overrides(decisions)
    assert set(accepted) < set(conversations["id"])
    assert len(set(rejected) & set(conversations["id"])) == 1


def test_a_record_that_is_gone_is_told_and_nothing_else_happens() -> None:
    decisions, conversations = decided(line("f" * 32, "reject"), edit(ROWS[0], "乙"))
    assert statuses(decisions) == ["stale", "applies"]
    assert "its text changed" in decisions["detail"][0]
    assert overrides(decisions)[1].keys() & set(conversations["id"]) == set()


TURNS = ROWS[0]["messages"]


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("{", "not a line of JSON"),
        ("[" * 100_000, "not a line of JSON"),
        ('{"n": ' + "9" * 5000 + "}", "not a line of JSON"),
        ("[1]", "not a JSON object"),
        (line(FIRST, "acept"), "decision 'acept': use one of accept, reject, edit"),
        (line(FIRST, ["accept"]), "decision ['accept']"),  # type: ignore[arg-type]
        (line("", "accept"), "record_id is missing"),
        (line(7, "accept"), "record_id 7 must be text"),  # type: ignore[arg-type]
        (line(FIRST, "accept", decided_at="yesterday"), "decided_at 'yesterday'"),
        (line(FIRST, "accept", decided_at="2026-11-29T08:00:00"), "a time with its zone"),
        (line(FIRST, "accept", decided_at="0001-01-01T00:00:00+14:00"), "a time with its zone"),
        (line(FIRST, "accept", reason={"a": 1}), "reason {'a': 1} must be text"),
        (line(FIRST, "reject").replace('"p"', '"\\ud800"'), "lone surrogate"),
        (line(FIRST, "edit"), "messages must be a list"),
        (line(FIRST, "edit", messages="text"), "messages must be a list"),
        (line(FIRST, "edit", messages=[{"role": "user"}]), "messages must be a list"),
        (line(FIRST, "edit", messages=[{"role": "user", "content": 1}]), "messages must be a"),
        (line(FIRST, "edit", messages=TURNS[:1]), "end with assistant"),
        (line(FIRST, "edit", messages=TURNS[::-1]), "end with assistant"),
        (line(FIRST, "edit", messages=[TURNS[0], {**TURNS[1], "content": "\u200b "}]), "blank"),
    ],
)
def test_a_line_that_is_no_decision_is_told_and_changes_nothing(text: str, detail: str) -> None:
    decisions, conversations = decided(text, line(SECOND, "accept"))
    assert statuses(decisions) == ["invalid", "applies"]
    assert detail in decisions["detail"][0]
    assert conversations.equals(POOL)


ANSWERS = st.sampled_from(["第0座。", "第1座。", "甲", "乙"])
LINES = st.one_of(
    st.builds(
        line,
        st.sampled_from([FIRST, SECOND, "0" * 32]),
        st.sampled_from(["accept", "reject"]),
        st.integers(0, 5),
    ),
    st.builds(
        edit,
        st.sampled_from([*ROWS[:2], *(edited(ROWS[0], name) for name in "甲乙")]),
        ANSWERS,
        st.integers(0, 5),
    ),
    st.text(max_size=8),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(LINES, max_size=8))
def test_whatever_is_decided_no_conversation_is_lost_and_none_is_decided_twice(
    lines: list[str],
) -> None:
    decisions, conversations = decided(*lines)
    assert decisions.height == len(lines)
    accepted, rejected = overrides(decisions)
    assert not set(accepted) & rejected.keys()
    again, same = decided(*lines)
    assert again.equals(decisions)
    assert same.equals(conversations)
