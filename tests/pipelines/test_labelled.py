"""Pairs and answers that people have judged, in the forms in which they are published."""

from typing import Any

import pytest

from kyara_kedro.pipelines.ingest.formats import Malformed
from kyara_kedro.pipelines.ingest.labelled import Rated, is_rating, labelled_pair, labelled_rating

PANDA = {
    "idx": 0,
    "cmp_key": "bloom-7b_llama-7b",
    "instruction": "改寫句子。",
    "input": "有問題請告訴我。",
    "response1": "甲",
    "response2": False,
}


def annotated(*said: int) -> dict[str, Any]:
    return PANDA | {f"annotator{n}": one for n, one in enumerate(said, start=1)}


@pytest.mark.parametrize(
    ("row", "label", "labels"),
    [
        (annotated(2, 2, 1), "B", ["B", "B", "A"]),
        (annotated(0, 0, 1), "C", ["C", "C", "A"]),
        ({"input": "問", "output_1": "甲", "output_2": "乙", "label": 1}, "A", ["A"]),
        (
            {
                "question": "問",
                "response_1": "甲",
                "response_2": "乙",
                "human_score_1": 2,
                "human_score_2": 4.5,
                "label": 1,
            },
            "B",
            ["B"],
        ),
        ({"prompt": "問", "response_a": "甲", "response_b": "乙", "winner": "tie"}, "C", ["C"]),
        ({"prompt": "問", "first": "甲", "second": "", "label": "A"}, "A", ["A"]),
    ],
)
def test_known_forms(row: dict[str, Any], label: str, labels: list[str]) -> None:
    found = labelled_pair(row)
    assert (found.label, found.labels) == (label, labels)
    assert found.first == "甲"


def test_pandalm_names_its_models_and_has_answers_that_json_took_for_values() -> None:
    found = labelled_pair(annotated(1, 1, 1))
    assert found.contestants == ("bloom-7b", "llama-7b")
    assert found.prompt == "改寫句子。\n\n有問題請告訴我。"
    assert found.second == "False"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (annotated(0, 1, 2), "no_majority"),
        (annotated(0, 1, 7), "unknown_label"),
        ({"input": "問", "output_1": "甲", "output_2": "乙", "label": True}, "unknown_label"),
        ({"input": "問", "output_1": "甲", "output_2": "乙"}, "unknown_label"),
        ({"input": "問", "output_1": "甲", "output_2": "乙", "label": ["A"]}, "unknown_label"),
        ({"input": " ", "output_1": "甲", "output_2": "乙", "label": 1}, "missing_field"),
        ({"input": "問", "output_1": ["甲"], "output_2": "乙", "label": 1}, "not_text"),
        ({"question": "問"}, "no_pair"),
        (
            {
                "question": "問",
                "response_1": "甲",
                "response_2": "乙",
                "human_score_1": "?",
                "human_score_2": 1,
            },
            "unknown_label",
        ),
    ],
)
def test_rows_without_a_decision(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Malformed) as raised:
        labelled_pair(row)
    assert raised.value.reason == reason


SCORED = {"question": "問", "response": "甲", "human_score": 2}


@pytest.mark.parametrize(
    ("row", "rated"),
    [
        (
            SCORED | {"reference": " 乙 ", "model": "chatglm", "category": "文本写作"},
            Rated("問", "甲", "乙", 2.0, "chatglm"),
        ),
        ({"prompt": "問", "answer": "", "score": "4.5"}, Rated("問", "", None, 4.5, "unknown")),
        (SCORED | {"rating": 3, "reference": ""}, Rated("問", "甲", None, 2.0, "unknown")),
    ],
)
def test_answers_with_a_score(row: dict[str, Any], rated: Rated) -> None:
    assert is_rating(row)
    assert labelled_rating(row) == rated


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"human_score": True}, "unknown_score"),
        ({"human_score": "nan"}, "unknown_score"),
        ({"human_score": 10**400}, "unknown_score"),
        ({"human_score": None}, "unknown_score"),
        ({"question": " "}, "missing_field"),
        ({"response": None}, "not_text"),
    ],
)
def test_scores_that_cannot_be_used(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Malformed) as raised:
        labelled_rating(SCORED | change)
    assert raised.value.reason == reason


def test_two_answers_with_scores_are_a_pair() -> None:
    assert not is_rating(annotated(1, 1, 1) | {"score": 1})
    assert not is_rating({"question": "問", "response": "甲"})
