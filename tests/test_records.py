"""Every record's shape is enforced, and the message names column, row and rule."""

from typing import Any

import polars as pl
import pytest

from kyara_kedro import records
from kyara_kedro.content import content_id
from kyara_kedro.records import (
    CONVERSATION,
    DOCUMENT,
    DROP,
    PASSAGE,
    PREFERENCE,
    QUESTION,
    Record,
    RecordError,
    drops,
)

ALL = [value for value in vars(records).values() if isinstance(value, Record)]


def conversation(**changes: Any) -> dict[str, Any]:
    row = {
        "id": "c1",
        "messages": [
            {"role": "user", "content": "玉山多高？"},
            {"role": "assistant", "content": "3,952公尺。"},
        ],
        "source": "sharegpt",
        "language": "zh-Hant-TW",
        "rounds": 1,
        "tokens": 12,
        "teacher": None,
        "prompt_version": None,
        "passage_ids": [],
        "calls": [],
        "parents": ["a.jsonl#1"],
        "licence": "CC0-1.0",
    }
    return row | changes


@pytest.mark.parametrize("record", ALL, ids=lambda record: record.name)
def test_an_empty_table_fits_and_a_foreign_one_does_not(record: Record) -> None:
    assert record.validate(record.frame()).height == 0
    with pytest.raises(RecordError, match=f"{record.name}: the table lacks"):
        record.validate(pl.DataFrame({"other": ["x"]}))


def test_a_good_row_passes_eager_and_lazy() -> None:
    frame = CONVERSATION.frame([conversation()])
    assert CONVERSATION.validate(frame) is frame
    assert CONVERSATION.validate(frame.lazy()).collect().height == 1


TURN = {"role": "user", "content": "a"}


@pytest.mark.parametrize(
    ("changes", "column", "rule"),
    [
        ({"rounds": 2}, "rounds", "must count the user's turns"),
        ({"messages": [TURN]}, "messages", "end with assistant"),
        ({"messages": []}, "messages", "end with assistant"),
        ({"messages": [TURN, {"role": "assistant", "content": " "}]}, "messages", "no blank turn"),
        ({"messages": [TURN, TURN]}, "messages", "must alternate"),
        ({"messages": [TURN, {"role": "assistant", "content": None}]}, "messages", "no blank turn"),
        ({"messages": [TURN, {"role": None, "content": "a"}]}, "messages", "must alternate"),
        ({"messages": [None, *conversation()["messages"]]}, "messages", "must hold no null"),
        ({"parents": [None]}, "parents", "must hold no null"),
        ({"tokens": 0}, "tokens", "must be at least 1"),
        ({"parents": []}, "parents", "must say where the row comes from"),
        ({"language": "klingon"}, "language", "must be one of"),
        ({"licence": None}, "licence", "must not be null"),
    ],
)
def test_a_broken_conversation_is_named(changes: dict[str, Any], column: str, rule: str) -> None:
    frame = CONVERSATION.frame([conversation(), conversation(id="bad", **changes)])
    with pytest.raises(RecordError) as caught:
        CONVERSATION.validate(frame)
    message = str(caught.value)
    assert f"column '{column}', row id bad" in message
    assert rule in message
    assert "\n" not in message


def test_repeated_ids_and_wrong_types_are_named() -> None:
    twice = CONVERSATION.frame([conversation(), conversation()])
    with pytest.raises(RecordError, match=r"column 'id', row id c1: must be unique \(2 rows"):
        CONVERSATION.validate(twice)
    retyped = CONVERSATION.frame([conversation()]).with_columns(pl.col("tokens").cast(pl.String))
    with pytest.raises(RecordError, match="column 'tokens' must be Int32, but is String"):
        CONVERSATION.validate(retyped)
    extra = CONVERSATION.frame([conversation()]).with_columns(other=pl.lit(1))
    with pytest.raises(RecordError, match="undeclared"):
        CONVERSATION.validate(extra)


def test_passages_are_slices_with_unique_names() -> None:
    row = {
        "id": "p",
        "passage_id": "id_0a1b2c3d",
        "document_id": "d",
        "title": "玉山",
        "text": "玉山很高。",
        "start": 3,
        "end": 8,
        "language": "zh-Hant-TW",
        "licence": "CC0-1.0",
    }
    PASSAGE.validate(PASSAGE.frame([row]))
    for changes in ({"end": 9}, {"passage_id": "id_xyz"}, {"start": -1, "end": 4}):
        with pytest.raises(RecordError):
            PASSAGE.validate(PASSAGE.frame([row | changes]))
    with pytest.raises(RecordError, match="unique in the knowledge base"):
        PASSAGE.validate(PASSAGE.frame([row, row | {"id": "q"}]))


def test_a_question_has_a_parent_exactly_when_evolved() -> None:
    row = {
        "id": "q",
        "text": "多高？",
        "passage_ids": ["id_0a1b2c3d"],
        "kind": "number",
        "operation": "none",
        "parent": None,
        "round": 0,
        "language": "zh",
        "answer": None,
        "evidence": None,
        "calls": [],
    }
    QUESTION.validate(QUESTION.frame([row]))
    QUESTION.validate(QUESTION.frame([row | {"operation": "scenario", "parent": "r"}]))
    for changes in ({"parent": "r"}, {"operation": "scenario"}, {"passage_ids": []}):
        with pytest.raises(RecordError):
            QUESTION.validate(QUESTION.frame([row | changes]))


def test_preferences_differ_and_continuations_have_a_prefix() -> None:
    row = {
        "id": "p",
        "kind": "conversation",
        "prompt": [TURN],
        "prefix": None,
        "chosen": "好",
        "rejected": "壞",
        "score_chosen": None,
        "score_rejected": None,
        "margin": None,
        "p_chosen": 1.0,
        "p_rejected": 0.0,
        "source": "h4",
        "judge": None,
        "judged_orders": 0,
        "parents": ["x"],
        "licence": "CC0-1.0",
    }
    PREFERENCE.validate(PREFERENCE.frame([row]))
    PREFERENCE.validate(PREFERENCE.frame([row | {"kind": "continuation", "prefix": "步驟一"}]))
    for changes in ({"rejected": "好"}, {"prefix": "x"}, {"p_chosen": 1.5}, {"judged_orders": 3}):
        with pytest.raises(RecordError):
            PREFERENCE.validate(PREFERENCE.frame([row | changes]))


def test_a_record_is_dropped_for_one_reason_only() -> None:
    DROP.validate(drops("ingest", [("a", "too_short", "x"), ("b", "too_short", "y")]))
    with pytest.raises(RecordError, match="exactly one reason"):
        frame = drops("ingest", [("a", "too_short", "x"), ("a", "repeated", "y")])
        DROP.validate(frame.with_columns(id=pl.int_range(pl.len()).cast(pl.String)))
    with pytest.raises(RecordError, match="snake_case"):
        DROP.validate(drops("ingest", [("a", "Too short!", "x")]))


def test_content_ids_do_not_depend_on_key_order_or_composition() -> None:
    assert content_id({"a": 1, "b": 2}) == content_id({"b": 2, "a": 1})
    assert content_id("é") == content_id("e\u0301")
    assert content_id("a", "b") != content_id("ab")
    assert len(content_id("臺灣")) == 32


def test_documents_need_text() -> None:
    row = dict.fromkeys(("id", "title", "text", "source", "licence"), "x")
    DOCUMENT.validate(DOCUMENT.frame([row | {"url": None, "language": "en"}]))
    with pytest.raises(RecordError, match="column 'text', row id x: must not be blank"):
        DOCUMENT.validate(DOCUMENT.frame([row | {"text": " \n", "url": None, "language": "en"}]))
