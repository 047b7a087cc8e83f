"""FastChat's and AlignBench's files, as their scripts write them and with what may be missing."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks import AlignBench
from kyara_kedro.evaluation.importing import FORMATS, Imported
from kyara_kedro.evaluation.importing.base import rows_of
from kyara_kedro.records import JUDGEMENT, MODEL_OUTPUT

RATED = {
    "question_id": 81,
    "model": "m",
    "judge": ["gpt-4", "single-v1"],
    "judgment": "Rating: [[8]]",
    "score": 8,
    "turn": 1,
    "tstamp": 1700000000.5,
}
ANSWERED = {"question_id": 81, "model_id": "m", "choices": [{"index": 0, "turns": ["一", "二"]}]}
ALIGNED = {
    "question_id": 7,
    "category": "综合问答",
    "subcategory": "寻求建议",
    "question": "怎么办？",
    "reference": "这么办。",
    "model_id": "m",
    "answer": "不知道",
    "judgment": "{'综合得分': 3}",
    "rating": {"综合得分": 3},
    "score": 3,
}


def imported(folder: Path, kind: str, *rows: dict[str, Any], benchmark: str = "b") -> Imported:
    file = folder / "model-x.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    found = FORMATS[kind](file, benchmark)
    MODEL_OUTPUT.validate(found.outputs)
    JUDGEMENT.validate(found.judgements)
    return found


def test_fastchats_judgements_name_judge_template_and_time(tmp_path: Path) -> None:
    found = imported(tmp_path, "fastchat", RATED, RATED | {"judgment": "…", "score": -1, "turn": 2})
    one, two = found.judgements.to_dicts()
    assert (one["item_id"], one["value"], one["verdict"]) == ("81#1", 8, "8")
    assert (one["judge"], one["prompt_version"]) == ("gpt-4", "single-v1")
    assert one["judged_at"] == "2023-11-14T22:13:20.500+00:00"
    assert (two["item_id"], two["value"], two["problem"]) == ("81#2", None, "no_verdict")


def test_ratings_that_come_again_are_items_of_their_own(tmp_path: Path) -> None:
    other = RATED | {"model": "n"}
    found = imported(tmp_path, "fastchat", RATED, RATED, other, RATED).judgements
    assert found["item_id"].to_list() == ["81#1", "81#1#2", "81#1", "81#1#3"]


def test_fastchats_answers_are_an_output_a_turn(tmp_path: Path) -> None:
    found = imported(tmp_path, "fastchat", ANSWERED).outputs
    assert found["item_id", "model", "output"].rows() == [("81#1", "m", "一"), ("81#2", "m", "二")]


def test_a_text_without_a_score_is_read_and_a_score_counts_before_its_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bare = {name: RATED[name] for name in ("question_id", "model", "turn", "judgment")}
    with caplog.at_level(logging.WARNING):
        found = imported(tmp_path, "fastchat", bare, RATED | {"turn": 2, "score": 5}).judgements
    assert found["value"].to_list() == [8, 5]
    assert found["judge"].to_list() == ["unknown", "gpt-4"]
    assert "1 of 2 judgements, the first in row 2, say another rating" in caplog.text


def test_alignbenchs_rows_hold_question_answer_and_judgement(tmp_path: Path) -> None:
    found = imported(
        *(
            tmp_path,
            "align-bench",
            ALIGNED,
            ALIGNED | {"question_id": 8, "judgment": "无", "score": -1},
        ),
        benchmark=AlignBench.kind,
    )
    assert [one.item_id for one in found.questions] == ["7", "8"]
    assert found.questions[0].stratum == "综合问答"
    assert found.outputs["output"].to_list() == ["不知道", "不知道"]
    assert found.judgements["value", "chars"].rows() == [(3, 3), (None, 3)]


def test_alignbenchs_rows_may_be_reduced(tmp_path: Path) -> None:
    found = imported(
        *(tmp_path, "align-bench"),
        *({"question_id": 7, "score": 4.0}, {"question_id": 8, "answer": None}),
    )
    assert found.questions == []
    assert found.judgements["item_id", "model", "value"].rows() == [("7", "model-x", 4)]
    assert found.outputs["item_id", "output"].rows() == [("8", "")]


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("fastchat", {**RATED, "score": "eight"}, "row 2: score 'eight' is no number"),
        ("fastchat", {**RATED, "score": True}, "row 2: score True is no number"),
        ("fastchat", {"question_id": 1, "model": "m", "turn": 1}, "no field 'score' or 'judgment'"),
        (
            "fastchat",
            {"question_id": 1, "score": 1, "model": "m"},
            "row 2: there is no field 'turn'",
        ),
        ("fastchat", {**ANSWERED, "choices": []}, "row 2: 'choices' has no answers"),
        ("align-bench", {"question_id": 1}, "no field 'answer' or 'score' or 'judgment'"),
        ("align-bench", {"score": 1}, "row 2: there is no field 'question_id'"),
        ("align-bench", {**ALIGNED, "subcategory": "占星"}, "row 2: category '综合问答', sub"),
    ],
)
def test_a_row_at_fault_is_told_in_one_line(
    tmp_path: Path, kind: str, row: dict[str, Any], message: str
) -> None:
    good = ALIGNED if kind == "align-bench" else RATED
    with pytest.raises(UserError) as caught:
        imported(tmp_path, kind, good, row)
    assert message in str(caught.value)
    assert "model-x.jsonl, row 2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_half_a_character_in_a_file_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "outputs.jsonl"
    path.write_text('{"output": "\\ud83d\\ude00 \\ud800"}\n', "utf-8")

    assert rows_of(path) == [{"output": "\U0001f600 \ufffd"}]
