"""The review page: what it chooses, what it tells, and that text stays text."""

import json
import re
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.records import (
    CONVERSATION,
    DECISION,
    DOCUMENT,
    DUPLICATE,
    PASSAGE,
    QUALITY,
    QUESTION,
    REFERENCE,
    TAGS,
    drops,
)
from kyara_kedro.reporting.pages import digest, json_block
from kyara_kedro.reporting.review_page import (
    ReviewOptions,
    ReviewTables,
    choose,
    review_page,
    shown,
)

HOSTILE = (
    '</script><!--<script>alert(1)</script>\u2028{{ 7 * 7 }}<img src=x onerror="alert(2)">\u202e'
)
DOCUMENT_ID, QUESTION_ID = "d" * 32, "e" * 32


def conversation(number: int, **more: Any) -> dict[str, Any]:
    turns = [
        {"role": "user", "content": f"問題{number}"},
        {"role": "assistant", "content": f"答案{number}【id_0123abcd】{HOSTILE}"},
    ]
    return {
        "id": f"{number:032x}",
        "messages": turns,
        "source": "rag" if number % 2 else "open",
        "language": "en" if number == 9 else "zh-Hant-TW",
        "rounds": 1,
        "tokens": 9,
        "teacher": "extractive-rules-v1" if number % 2 else None,
        "prompt_version": None,
        "parents": [QUESTION_ID, DOCUMENT_ID] if number % 2 else [f"a.jsonl#{number}"],
        "passage_ids": ["id_0123abcd"] if number % 2 else [],
        "calls": [],
        "licence": "CC0-1.0",
        **more,
    }


def tables(**other: pl.DataFrame) -> ReviewTables:
    """Ten conversations with scores 0.0 to 0.9, of which the best five were selected."""
    rows = [conversation(number) for number in range(10)]
    made = {
        "conversations": CONVERSATION.frame(rows),
        "tags": TAGS.frame(
            {
                "id": row["id"],
                "raw_tags": [],
                "tags": ["問答", "地理"] if n < 8 else ["寫作"],
                "complexity": 1,
                "tagger": "rules",
            }
            for n, row in enumerate(rows)
        ),
        "quality": QUALITY.frame(
            {
                "id": row["id"],
                "score": n / 10,
                "aspects": [
                    {"aspect": "heuristics.script", "value": n / 10},
                    {"aspect": "reward.raw", "value": -3.25},
                    {"aspect": "judge", "value": float("nan") if n else None},
                ],
                "scorer": "rules",
            }
            for n, row in enumerate(rows)
        ),
        "drops": drops("curate", [(f"{n:032x}", "over_quota", "place 3") for n in range(5)]),
        "decisions": DECISION.frame(),
        "duplicates": DUPLICATE.frame(
            [
                {
                    "id": "x",
                    "removed_id": "f" * 32,
                    "kept_id": f"{1:032x}",
                    "method": "lexical",
                    "similarity": 0.75,
                    "group_id": "g",
                }
            ]
        ),
        "questions": QUESTION.frame(
            [
                {
                    "id": QUESTION_ID,
                    "text": "問題",
                    "passage_ids": ["id_0123abcd"],
                    "kind": "time",
                    "operation": "none",
                    "parent": None,
                    "round": 0,
                    "language": "zh-Hant-TW",
                    "answer": None,
                    "evidence": "玉山最高",
                    "calls": [],
                }
            ]
        ),
        "references": REFERENCE.frame(),
        "passages": PASSAGE.frame(
            [
                {
                    "id": "p",
                    "passage_id": "id_0123abcd",
                    "document_id": DOCUMENT_ID,
                    "title": HOSTILE,
                    "text": f"玉山最高。{HOSTILE}",
                    "start": 0,
                    "end": 5 + len(HOSTILE),
                    "language": "zh-Hant-TW",
                    "licence": "CC0-1.0",
                }
            ]
        ),
        "documents": DOCUMENT.frame(
            [
                {
                    "id": DOCUMENT_ID,
                    "title": "玉山",
                    "text": "玉山最高。",
                    "source": "a.md",
                    "licence": "CC0-1.0",
                    "url": "javascript:alert(1)",
                    "language": "zh-Hant-TW",
                }
            ]
        ),
    }
    return ReviewTables(**made | other)  # type: ignore[arg-type]


def numbers(options: ReviewOptions, given_tables: ReviewTables | None = None) -> list[int]:
    return [int(name, 16) for name in choose(given_tables or tables(), options)["id"]]


def decision(number: int, kind: str) -> dict[str, Any]:
    return {
        **dict.fromkeys(DECISION.columns),
        "id": str(number),
        "record_id": f"{number:032x}",
        "decision": kind,
        "reason": "太短",
        "decided_at": "2026-11-29T08:00:00.000000+00:00",
        "origin": "a#1",
        "status": "applies",
        "outcome_id": f"{number:032x}",
        "detail": "",
    }


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({"which": "all"}, set(range(10))),
        ({"which": "selected"}, {5, 6, 7, 8, 9}),
        ({"which": "dropped"}, {0, 1, 2, 3, 4}),
        ({"which": "decided"}, set()),
        ({"which": "all", "languages": ["en"]}, {9}),
        ({"which": "all", "sources": ["rag", "none"]}, {1, 3, 5, 7, 9}),
        ({"which": "all", "tags": ["寫作", "詩"]}, {8, 9}),
        ({"which": "all", "score": [0.25, 0.55]}, {3, 4, 5}),
        ({"which": "dropped", "sources": ["rag"], "score": [0.2, 1]}, {3}),
    ],
)
def test_a_filter_keeps_what_it_says(wishes: dict[str, Any], expected: set[int]) -> None:
    assert set(numbers(ReviewOptions(**wishes))) == expected


def test_the_margin_begins_where_selected_and_dropped_ones_meet() -> None:
    found = numbers(ReviewOptions(which="margin", sample=4))
    assert set(found[:2]) == {4, 5}
    assert set(found[2:]) == {3, 6}


def test_the_margin_leaves_out_what_is_decided_or_in_another_language() -> None:
    there = tables()
    dropped = there.drops.with_columns(
        reason=pl.when(pl.col("record_id") == f"{4:032x}")
        .then(pl.lit("language_not_wanted"))
        .otherwise("reason")
    )
    told = tables(drops=dropped, decisions=DECISION.frame([decision(5, "accept")]))
    assert not {4, 5} & set(numbers(ReviewOptions(which="margin"), told))
    assert numbers(ReviewOptions(which="decided"), told) == [5]


def test_what_has_no_score_is_shown_too() -> None:
    there = tables()
    unscored = there.quality.with_columns(
        score=pl.when(pl.col("id") != f"{3:032x}").then("score"),
        scorer=pl.when(pl.col("id") != f"{3:032x}").then("scorer").otherwise(pl.lit("")),
    )
    told = tables(quality=QUALITY.validate(unscored))
    records, _ = shown(told, ReviewOptions(which="dropped"))
    assert {record["id"]: record["score"] for record in records}[f"{3:032x}"] is None
    assert len(numbers(ReviewOptions(which="margin"), told)) == 10


def test_a_sample_depends_on_its_seed_alone() -> None:
    there = tables()
    turned = tables(conversations=there.conversations.reverse())
    options = ReviewOptions(which="all", sample=5)
    assert numbers(options, there) == numbers(options, turned)
    assert len(numbers(options)) == 5
    assert numbers(options) != numbers(ReviewOptions(which="all", sample=5, seed=1))


def test_ids_come_in_the_order_in_which_they_are_named() -> None:
    names = tuple(f"{number:032x}" for number in (7, 2, 7))
    assert numbers(ReviewOptions(ids=names, which="selected")) == [7, 2]
    with pytest.raises(UserError, match="no conversation has the id 'nobody'"):
        choose(tables(), ReviewOptions(ids=("nobody",)))


@pytest.mark.parametrize("wrong", [{"sample": 0}, {"which": "best"}, {"score": [0, 2]}, {"n": 1}])
def test_a_setting_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ReviewOptions(**wrong)


def test_a_record_comes_with_its_sources_evidence_scores_copies_and_fate() -> None:
    told = tables(decisions=DECISION.frame([decision(1, "reject")]))
    records, sources = shown(told, ReviewOptions(ids=(f"{1:032x}", f"{6:032x}")))
    first, second = records
    assert first["sources"] == ["id_0123abcd"]
    assert first["evidence"] == ["玉山最高"]
    assert sources["id_0123abcd"]["url"] == "javascript:alert(1)"
    assert first["rules"] is True
    assert (first["score"], first["aspects"]) == (
        0.1,
        [["heuristics.script", 0.1], ["reward.raw", -3.25], ["judge", None]],
    )
    assert (first["reason"], first["detail"]) == ("over_quota", "place 3")
    assert first["copies"] == [["f" * 32, "lexical", 0.75]]
    assert first["earlier"]["decision"] == "reject"
    assert second["sources"] == []
    assert (second["reason"], second["earlier"], second["rules"]) == (None, None, False)


def test_a_conversation_made_of_a_document_shows_the_document() -> None:
    rows = [conversation(1, passage_ids=[], parents=[DOCUMENT_ID])]
    records, sources = shown(
        tables(conversations=CONVERSATION.frame(rows)), ReviewOptions(which="all")
    )
    assert records[0]["sources"] == [DOCUMENT_ID]
    assert sources[DOCUMENT_ID]["text"] == "玉山最高。"


def test_an_edited_record_keeps_the_copies_of_the_record_it_was() -> None:
    rows = [conversation(2, parents=[f"{1:032x}"])]
    records, _ = shown(tables(conversations=CONVERSATION.frame(rows)), ReviewOptions(which="all"))
    assert records[0]["copies"] == [["f" * 32, "lexical", 0.75]]


def parts(page: str) -> dict[str, str]:
    """The blocks of a page, found as a browser finds them."""
    scripts = re.findall(r"<script[^>]*>(.*?)</script", page, re.DOTALL | re.IGNORECASE)
    style = re.findall(r"<style[^>]*>(.*?)</style", page, re.DOTALL | re.IGNORECASE)
    assert (len(scripts), len(style)) == (2, 1)
    return {"data": scripts[0], "script": scripts[1], "style": style[0]}


def test_hostile_text_is_data_and_nothing_else() -> None:
    page = review_page(tables(), ReviewOptions(which="all"))
    found = parts(page)
    assert "alert(" not in page.replace(found["data"], "")
    assert not set("<>&\u2028\u2029") & set(found["data"])
    data = json.loads(found["data"])
    assert all(HOSTILE in record["messages"][1]["content"] for record in data["records"])
    assert data["sources"]["id_0123abcd"]["title"] == HOSTILE
    assert data["page"] == content_id("review", [record["id"] for record in data["records"]])


def test_the_page_allows_its_own_script_and_style_alone_and_loads_nothing() -> None:
    page = review_page(tables(), ReviewOptions())
    found = parts(page)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    assert policy[1] == (
        f"default-src 'none'; style-src '{digest(found['style'])}'; "
        f"script-src '{digest(found['script'])}'; base-uri 'none'; form-action 'none'"
    )
    shell = page.replace(found["data"], "")
    assert not re.search(r"(?:src|href)\s*=|url\(|@import|innerHTML|eval\(", shell)


def test_an_empty_choice_is_a_page_too() -> None:
    page = review_page(tables(), ReviewOptions(which="decided"))
    assert json.loads(parts(page)["data"])["records"] == []


def test_the_same_tables_give_the_same_page() -> None:
    options = ReviewOptions(which="all")
    assert review_page(tables(), options) == review_page(tables(), options)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("<>&-!/script\u2028"), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON)
def test_any_json_survives_a_script_element(value: Any) -> None:
    block = str(json_block(value))
    assert json.loads(block) == value
    assert not set("<>&\u2028\u2029") & set(block)


def test_a_number_that_json_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_block(float("nan"))
