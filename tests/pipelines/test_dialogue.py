"""What a dialogue is asked in its second round, and what it is dropped for."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from kyara_kedro.params import SynthesizeParams
from kyara_kedro.pipelines.synthesize.desk import Desk, Row, Shelf
from kyara_kedro.pipelines.synthesize.dialogue import hold_dialogues, openings
from kyara_kedro.pipelines.synthesize.harvest import Basket
from kyara_kedro.prompts import REFUSAL, PromptLibrary
from kyara_kedro.teachers.base import ChatRequest, Completion
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.tasks import Question

ROOT = Path(__file__).parents[2]
SETTINGS = yaml.safe_load((ROOT / "conf/base/parameters/synthesize.yml").read_text("utf-8"))
PASSAGE: Row = {
    "id": "p" * 32,
    "passage_id": "id_0123abcd",
    "title": "玉山",
    "text": "玉山主峰海拔3,952公尺。1896年，齊藤音作登上玉山。玉山國家公園成立於1985年。",
    "licence": "CC0-1.0",
}
QUESTION: Row = {
    "id": "q" * 32,
    "text": "玉山主峰海拔多少公尺？",
    "passage_ids": ["id_0123abcd"],
    "operation": "none",
    "parent": None,
    "language": "zh-Hant-TW",
    "answer": "3,952公尺",
    "calls": [],
}


class Spoilt(ExtractiveTeacher):
    """Changes its completions of one task, and remembers what it was asked."""

    def __init__(self, task: str = "", **changes: Any) -> None:
        super().__init__()
        self.task, self.changes, self.asked = task, changes, list[ChatRequest]()

    def _answers(self, requests: Iterable[ChatRequest]) -> Iterator[Completion]:
        for request in requests:
            self.asked.append(request)
            (completion,) = super()._answers([request])
            yield replace(completion, **self.changes) if request.task == self.task else completion


def held(teacher: Spoilt) -> Basket:
    basket = Basket("dialogue")
    desk = Desk(teacher, teacher, PromptLibrary(), SynthesizeParams(**SETTINGS["synthesize"]))
    shelf = Shelf(pl.DataFrame([PASSAGE]), "passage_id", "passages")
    hold_dialogues(desk, openings(pl.DataFrame([QUESTION]), "dialogue"), shelf, basket)
    return basket


def test_what_is_asked_next_is_answered_with_the_talk_in_view() -> None:
    teacher = Spoilt("follow_up", parsed=Question(question="那麼它的國家公園是哪一年成立的？"))
    held(teacher)
    tasks = [one.task for one in teacher.asked]
    assert tasks[:3] == ["answer_question", "follow_up", "answer_follow_up"]
    shown = teacher.asked[2].messages[-1]["content"]
    assert "user: 玉山主峰海拔多少公尺？\nassistant: " in shown
    assert shown.index("</history>") < shown.index("那麼它的國家公園")


@pytest.mark.parametrize(
    ("teacher", "reason"),
    [
        (Spoilt("answer_follow_up", status="deferred", error="budget"), "teacher_deferred"),
        (Spoilt("answer_follow_up", text=REFUSAL["zh-TW"]), "no_answer"),
        (Spoilt("answer_follow_up", text="聯合國因此在玉山設立氣象研究中心。"), "unsupported"),
        (Spoilt("follow_up", parsed=Question(question=QUESTION["text"])), "repeats_itself"),
        (Spoilt("follow_up", status="rejected", parsed=None), "too_few_rounds"),
        (Spoilt("answer_question", text=REFUSAL["zh-TW"]), "no_answer"),
    ],
)
def test_a_dialogue_is_dropped_for_what_ended_it(teacher: Spoilt, reason: str) -> None:
    ((_, found, detail),) = held(teacher).dropped
    assert found == reason
    rounds = 0 if teacher.task == "answer_question" else 1
    assert f"{rounds} of 2 rounds" in detail
