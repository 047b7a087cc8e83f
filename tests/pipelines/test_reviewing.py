"""Files of decisions, and how they override the selection."""

import json
import logging
from typing import Any

import polars as pl
import pytest

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.errors import UserError
from kyara_kedro.params import CurateParams
from kyara_kedro.pipelines.curate.reviewing import apply_decisions
from kyara_kedro.pipelines.curate.selecting import select_conversations
from kyara_kedro.quality import heuristics
from kyara_kedro.quality.selection import SelectionOptions
from kyara_kedro.records import (
    BENCHMARK_QUESTION,
    CONVERSATION,
    DECISION,
    EVALUATION_QUESTION,
    PROTECTED_TEXT,
    SIMILAR_PAIR,
)
from kyara_kedro.similarity.contamination import ContaminationOptions

from .conftest import Sources
from .rows import conversations, tagged

POOL = conversations(
    *((f"第{n}座山在哪裡？", "在臺灣的中部，可以搭公車前往，記得先看天氣。") for n in range(8)),
    ("How do I plan a trip?", "Start with the weather, then book a train."),
).sort("id")
ENGLISH = POOL.filter(language="en")["id"][0]
CHINESE = POOL.filter(pl.col("language") != "en")["id"].to_list()


QUESTION = "臺灣海拔最高的山是哪一座，它的主峰有幾公尺高？"


def decide(files: list[SourceFile]) -> tuple[pl.DataFrame, pl.DataFrame]:
    protected = PROTECTED_TEXT.frame(
        [
            {
                **dict.fromkeys(PROTECTED_TEXT.columns, "x"),
                **{"benchmark": "山岳", "item_id": "7", "text": QUESTION},
            }
        ]
    )
    decisions, frames = apply_decisions(
        POOL.lazy(),
        files,
        BENCHMARK_QUESTION.frame(),
        EVALUATION_QUESTION.frame(),
        protected,
        ContaminationOptions(),
    )
    return decisions, pl.concat(frames)


def line(record_id: str, decision: str, **more: Any) -> str:
    row = {"record_id": record_id, "decision": decision, "decided_at": "2026-11-29T08:00:00Z"}
    return json.dumps(row | more, ensure_ascii=False)


def test_a_reviewer_overrules_language_score_and_budget(sources: Sources) -> None:
    turns = POOL.filter(id=CHINESE[1])["messages"][0].to_list()
    turns[-1]["content"] = "改寫過的答案。"
    told = [
        line(ENGLISH, "accept"),
        line(CHINESE[0], "reject", reason="答非所問"),
        line(CHINESE[1], "edit", messages=turns),
    ]
    files = sources(a__jsonl="\ufeff" + told[0] + "\r\n\r\n", b__jsonl="\n".join(told[1:]))
    decisions, reviewed = decide(files)
    assert DECISION.validate(decisions)["origin"].to_list() == [
        *("a.jsonl#1", "b.jsonl#1", "b.jsonl#2"),
    ]
    params = CurateParams(
        languages=("zh-Hant-TW", "zh"), selection=SelectionOptions(budget=2, min_score=1.0)
    )
    _, tags = tagged(reviewed, params)
    quality = heuristics.score(reviewed)
    refined, dropped, summary = select_conversations(
        reviewed, tags, quality, decisions, SIMILAR_PAIR.frame(), SIMILAR_PAIR.frame(), params
    )
    edited = reviewed.filter(~pl.col("id").is_in(POOL["id"]))
    assert {ENGLISH, *edited["id"]} <= {*CONVERSATION.validate(refined)["id"]}
    assert edited["parents"].to_list() == [[CHINESE[1]]]
    reasons = dict(dropped.select("record_id", "reason").iter_rows())
    assert reasons[CHINESE[0]] == "rejected_by_reviewer"
    assert "答非所問" in dropped.filter(record_id=CHINESE[0])["detail"][0]
    assert CHINESE[1] not in {*reasons, *refined["id"]}
    assert summary["conversations"]["in"] == POOL.height


def test_without_files_nothing_is_decided() -> None:
    decisions, reviewed = decide([])
    assert DECISION.validate(decisions).is_empty()
    assert reviewed.equals(POOL)


def test_an_edit_that_leaks_a_protected_text_is_not_taken(
    sources: Sources, caplog: pytest.LogCaptureFixture
) -> None:
    turns = POOL.filter(id=CHINESE[1])["messages"][0].to_list()
    turns[-1]["content"] = f"先想想：{QUESTION}答案是玉山，高 3,952 公尺。"
    clean = [{**turns[0]}, {"role": "assistant", "content": "玉山在臺灣的中部。"}]
    told = [
        line(CHINESE[1], "edit", messages=turns),
        line(CHINESE[2], "edit", messages=clean),
    ]
    decisions, reviewed = decide(sources(a__jsonl="\n".join(told)))
    assert decisions["status"].to_list() == ["invalid", "applies"]
    assert "山岳 7" in decisions["detail"][0]
    assert {*POOL["id"]} - {*reviewed["id"]} == {CHINESE[2]}
    assert any("a.jsonl#1 is invalid: the edited text leaks" in one for one in caplog.messages)


def test_no_edit_that_leaks_comes_back_from_behind_another(sources: Sources) -> None:
    turns = POOL.filter(id=CHINESE[1])["messages"][0].to_list()

    def edit(record_id: str, answer: str, minute: int) -> str:
        said = [turns[0], {"role": "assistant", "content": answer}]
        at = f"2026-11-29T08:{minute:02}:00Z"
        return line(record_id, "edit", messages=said, decided_at=at)

    first = edit(CHINESE[1], f"想想：{QUESTION}答案是玉山。", 1)
    second = edit(CHINESE[1], f"先想想：{QUESTION}答案是玉山。", 2)
    files = sources(a__jsonl="\n".join([first, second]), b__jsonl="\n".join([first, second]))
    decisions, reviewed = decide(files)
    assert decisions["status"].to_list() == ["invalid"] * 4
    assert reviewed.equals(POOL)

    clean = edit(CHINESE[1], "玉山在臺灣的中部。", 1)
    _, between = decide(sources(a__jsonl=clean))
    (name,) = {*between["id"]} - {*POOL["id"]}
    leaking = edit(name, f"先想想：{QUESTION}答案是玉山。", 2)
    decisions, reviewed = decide(sources(a__jsonl="\n".join([clean, leaking])))
    assert decisions["status"].to_list() == ["applies", "invalid"], "the edit before it stays"
    assert reviewed.equals(between)


def test_what_does_not_apply_is_told(sources: Sources, caplog: pytest.LogCaptureFixture) -> None:
    lines = ["nonsense", *(line(f"{n:032x}", "accept") for n in range(5)), line(ENGLISH, "accept")]
    with caplog.at_level(logging.INFO, "kyara_kedro"):
        decide(sources(a__jsonl="\n".join(lines)))
    assert "decisions: 7 lines: applies 1, invalid 1, stale 5" in caplog.messages
    assert any("a.jsonl#1 is invalid: not a line of JSON" in text for text in caplog.messages)
    assert "decisions: 2 more are stale" in caplog.messages


def test_a_file_that_is_not_text_stops_the_run(sources: Sources) -> None:
    with pytest.raises(UserError, match=r"a\.jsonl is not a file of decisions: byte 0"):
        decide(sources(a__jsonl=b"\xff\xfe"))
