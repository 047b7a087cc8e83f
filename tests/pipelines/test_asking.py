"""Answers come back by row, in the order of the questions, with their faults in words."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.teachers.loopback import Answer, Server, chat, failed, serving

from kyara_kedro.datasets import TeacherDataset
from kyara_kedro.errors import UserError
from kyara_kedro.pipelines.asking import (
    Duel,
    Judged,
    Side,
    answers,
    fault,
    synthetic,
    user,
    verdicts,
)
from kyara_kedro.pipelines.asking import assistant as said
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import CONVERSATION, VERDICT
from kyara_kedro.teachers.base import ChatRequest, Completion, Teacher, ask
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.panel import Panel

PROMPTS = PromptLibrary()
TRUE = "玉山高三千九百五十二公尺，是臺灣最高的山。"
BOTH = {"title": "玉山", "text": "玉山海拔三九五二公尺，是臺灣最高峰。"}


class Backwards(ExtractiveTeacher):
    """Answers the last request first, as a server with many connections may."""

    def map(self, requests: Iterable[ChatRequest]) -> Iterator[Completion]:
        yield from reversed(list(super().map(requests)))


def requests() -> list[ChatRequest]:
    return [ask(PROMPTS, f"r{n}", "prompt_for_document", "zh-Hant-TW", **BOTH) for n in range(5)]


def test_answers_keep_the_order_of_the_requests() -> None:
    found = answers(Backwards(), requests(), "told")
    assert list(found) == ["r0", "r1", "r2", "r3", "r4"]
    assert found == answers(ExtractiveTeacher(), requests(), "told")
    assert answers(ExtractiveTeacher(), [], "told") == {}


def test_a_refusal_is_a_reason() -> None:
    request = ask(PROMPTS, "r", "solve_problem", "zh-Hant-TW", problem="誰發明了數學？")
    (good,) = answers(ExtractiveTeacher(), requests()[:1], "told").values()
    assert fault(good) is None
    (bad,) = answers(ExtractiveTeacher(), [request], "told").values()
    reason, detail = fault(bad) or ("", "")
    assert reason == "teacher_rejected"
    assert "solver" in detail


def test_a_synthetic_row_fits_its_record() -> None:
    (completion,) = answers(ExtractiveTeacher(), requests()[:1], "told").values()
    turns = [user("玉山多高？"), said("三九五二公尺。")]
    row = synthetic(iter(turns), "knowledge", "zh-Hant-TW", completion, ("p",), "CC0-1.0")
    assert row["rounds"] == 1
    assert row["teacher"] == "extractive-rules-v1"
    CONVERSATION.validate(CONVERSATION.frame([row]))
    other = synthetic(turns, "rag", "zh-Hant-TW", None, ["p"], "CC0-1.0")
    assert other["teacher"] is None
    assert other["id"] != row["id"]


@pytest.mark.parametrize(
    "sides",
    [
        ("玉山高三千九百五十二公尺，是臺灣最高的山。", "壞"),
        ("壞", "玉山高三千九百五十二公尺，是臺灣最高的山。"),
    ],
)
def test_a_judge_sees_the_sides_in_the_order_given(sides: tuple[str, str]) -> None:
    first, second = Side("one", sides[0], "a"), Side("two", sides[1], "b", "openai")
    table, dropped, tried = verdicts(
        ExtractiveTeacher(), PROMPTS, [Duel("p", "請說明玉山有多高。", first, second)], "told"
    )
    assert (dropped, tried) == ([], 1)
    VERDICT.validate(table)
    assert table.select("prompt_id", "first_id", "second_id").rows() == [("p", "one", "two")]
    assert table["verdict"][0] == ("A" if sides[0] != "壞" else "B")
    assert table.select("first_contestant", "second_contestant").rows() == [("a", "b")]
    assert table.select("second_family", "judge_family").rows() == [("openai", "")]
    assert table.select("first_chars", "second_chars").row(0) == tuple(map(len, sides))
    assert verdicts(ExtractiveTeacher(), PROMPTS, [], "told").tried == 0


def duels(*families: str) -> list[Duel]:
    """Answers of contestants of some families, each against each in both orders."""
    sides = [Side(f"{n}", f"答案{n}。", f"c{n}", family) for n, family in enumerate(families)]
    return [Duel("p", "玉山多高？", *two) for two in permutations(sides, 2)]


def judge(server: Server, folder: Path, model: str, family: str | None = None) -> Teacher:
    return TeacherDataset(
        kind="openai",
        ledger={"path": str(folder / "replies.db")},
        options={"model": model, "base_url": server.url, "limits": {"backoff": 0.01}},
        family=family,
    ).load()


def judged(teacher: Teacher, asked: list[Duel], **options: Any) -> Judged:
    found = verdicts(teacher, PROMPTS, asked, "told", **options)
    VERDICT.validate(found.table)
    assert found.tried == found.table.height + len(found.dropped)
    return found


def test_a_judge_never_judges_its_own_family(tmp_path: Path) -> None:
    with serving(lambda number, body: chat("理由\n[[A]]")) as server:
        found = judged(judge(server, tmp_path, "gpt-4o"), duels("openai", "google", "meta"))
        assert found.table["first_family"].to_list() == ["google", "meta"]
        assert Counter(reason for _, reason, _ in found.dropped) == {"own_family": 4}
        assert len(server.seen) == 2
        allowed = judged(
            judge(server, tmp_path, "gpt-4o"),
            duels("openai", "google", "meta"),
            allow_own_family=True,
        )
        assert allowed.table.height == 6
        assert set(allowed.table["judge_family"]) == {"openai"}


def test_a_judge_that_may_judge_nothing_stops_before_anything_is_paid(tmp_path: Path) -> None:
    with serving() as server:
        with pytest.raises(UserError, match=r"own family \(alibaba\).*another family"):
            judged(judge(server, tmp_path, "house-model", "alibaba"), duels("alibaba", "google"))
        assert server.seen == []


def test_of_several_judges_the_others_judge_a_family_and_both_orders_meet_the_same(
    tmp_path: Path,
) -> None:
    with serving(lambda number, body: chat("[[A]]")) as server:
        panel = Panel(
            {name: judge(server, tmp_path, name) for name in ("gpt-4o", "claude-x", "gemini-x")},
            dict.fromkeys(("gpt-4o", "claude-x", "gemini-x"), 1.0),
        )
        asked = duels("openai", "anthropic", "meta", "mistral", "", "")
        one = judged(panel, asked)
        both = judged(panel, asked, judges=2)
    assert one.table.height == len(asked)
    for row in both.table.iter_rows(named=True):
        assert row["judge_family"] not in (row["first_family"], row["second_family"])
    alone = both.table.filter(pl.struct("first_id", "second_id").is_unique())
    assert set(alone["first_family"]) | set(alone["second_family"]) == {"openai", "anthropic"}
    for table in (one.table, both.table):
        sides = table.select("judge", "first_id", "second_id").rows()
        assert sorted(sides) == sorted((name, second, first) for name, first, second in sides)
    assert len(set(one.table["judge"])) > 1


def test_a_reply_without_a_verdict_is_asked_for_once_more_and_kept(tmp_path: Path) -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        again = len(body["messages"]) > 2
        said = str(body["messages"][1]["content"])
        if "答案0。" not in said:
            return chat("[[B]]" if again else "B is better")
        return chat("I cannot say", finish="length" if "答案1。" in said else "stop")

    with serving(answer) as server:
        found = judged(judge(server, tmp_path, "gpt-4o"), duels("x", "y", "z"))
        assert len(server.seen) == 2 + 2 * 2 + 2 * 2
        paid = len(server.seen)
        again = judged(judge(server, tmp_path, "gpt-4o"), duels("x", "y", "z"))
        assert (len(server.seen), again.table.equals(found.table)) == (paid, True)
    said = found.table.sort("id")
    assert Counter(said["problem"]) == {"truncated": 2, "form": 2, None: 2}
    assert set(said.filter(pl.col("problem").is_null())["verdict"]) == {"B"}
    assert set(said.filter(problem="form")["reason"]) == {"I cannot say"}
    assert found.dropped == []


def test_a_judge_that_refuses_gives_a_drop(tmp_path: Path) -> None:
    with serving(lambda number, body: failed(400)) as server:
        found = judged(judge(server, tmp_path, "gpt-4o"), duels("x", "y"))
    assert found.table.is_empty()
    assert {reason for _, reason, _ in found.dropped} == {"teacher_rejected"}
