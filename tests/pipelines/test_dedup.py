"""What is a copy and what only looks like one."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.params import DedupParams
from kyara_kedro.pipelines.dedup import nodes
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import (
    COMPARED_TEXT,
    CONTAMINATION,
    CONVERSATION,
    DROP,
    DUPLICATE,
    EVALUATION_QUESTION,
    PROTECTED_TEXT,
    SIMILAR_PAIR,
)
from kyara_kedro.similarity.contamination import ContaminationOptions
from kyara_kedro.similarity.meaning import SemanticOptions

from .rows import benchmark, conversations

PARAMS = DedupParams()
ASKED = "玉山的主峰海拔有多高，在東亞的群山之中又排在第幾名？"
TOLD = (
    "玉山主峰海拔三千九百五十二公尺，是臺灣的最高峰，在東亞群山之中也名列前茅，登山客需要事先申請。"
)
NOTHING = benchmark()
UNPROTECTED = PROTECTED_TEXT.frame()
NO_SUITES = EVALUATION_QUESTION.frame()


def deduplicated(
    rows: pl.DataFrame,
    questions: pl.DataFrame = NOTHING,
    protected: pl.DataFrame = UNPROTECTED,
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    pool = pl.concat(nodes.pool_conversations(rows.lazy(), CONVERSATION.frame()))
    leaks = nodes.find_contamination(
        pool.lazy(), questions, NO_SUITES, protected, ContaminationOptions()
    )
    texts = pl.concat(nodes.take_texts(pool.lazy(), CONTAMINATION.validate(leaks)))
    pairs = nodes.find_lexical_pairs(COMPARED_TEXT.validate(texts).lazy(), PARAMS)
    found = DUPLICATE.validate(
        nodes.choose_survivors(SIMILAR_PAIR.validate(pairs), SIMILAR_PAIR.frame(), PARAMS)
    )
    frames, dropped, summary = nodes.keep_distinct(pool.lazy(), found, leaks)
    base = CONVERSATION.validate(pl.concat(frames))
    DROP.validate(dropped)
    flow = summary["conversations"]
    assert flow["in"] == pool.height == flow["out"] + sum(flow["dropped"].values())
    return base, dropped, summary


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("三千九百五十二", "三千八百八十四"),
        ("需要事先申請", "不需要事先申請"),
        ("三千九百五十二", "3884"),
    ],
)
def test_rows_that_differ_in_a_number_or_a_negation_both_stay(one: str, other: str) -> None:
    pool = conversations((ASKED, TOLD), (ASKED, TOLD.replace(one, other)))
    base, dropped, _ = deduplicated(pool)
    assert base.height == 2
    assert dropped.is_empty()


@pytest.mark.parametrize(
    ("copy", "reason"),
    [
        ((ASKED, TOLD + " "), "exact_duplicate"),
        (
            (
                "玉山的主峰海拔有多高，在东亚的群山之中又排在第几名?",
                "玉山主峰海拔三千九百五十二公尺，是台湾的最高峰，在东亚群山之中也名列前茅，登山客需要事先申请。",
            ),
            "exact_duplicate",
        ),
        ((ASKED, TOLD.replace("登山客", "登山的人")), "lexical_duplicate"),
    ],
)
def test_copies_go_and_say_of_what(copy: tuple[str, str], reason: str) -> None:
    original = conversations((ASKED, TOLD))
    base, dropped, _ = deduplicated(pl.concat([original, conversations(copy)]))
    assert base.height == 1
    assert dropped["reason"].to_list() == [reason]
    assert base["id"][0] in dropped["detail"][0]


def test_the_traditional_copy_stays() -> None:
    """Curation drops Simplified rows, so a Simplified copy must not outlive its original."""
    simplified = (
        "玉山在台湾的什么地方？",
        "玉山在台湾的中部，是岛上最高的山，冬天会下雪，风景很美。",
    )
    traditional = (
        "玉山在臺灣的什麼地方？",
        "玉山在臺灣的中部，是島上最高的山，冬天會下雪，風景很美。",
    )
    for order in ((simplified, traditional), (traditional, simplified)):
        base, _, _ = deduplicated(conversations(*order))
        assert base["messages"][0][0]["content"] == traditional[0]


def shown(question: str, text: str, variant: int = 0) -> str:
    document = {"passage_id": "id_00000000", "title": "玉山", "text": text}
    prompt = PromptLibrary().render_rag([document], question, "zh-Hant-TW", variant)
    return str(prompt.messages[-1]["content"])


def test_prompts_with_references_are_compared_by_question_and_answer() -> None:
    other = "合歡山的主峰海拔有多高，冬天到那裡去賞雪要注意什麼？"
    answer = "合歡山主峰海拔三千四百一十七公尺，冬天上山賞雪要記得帶雪鏈，也要留意道路管制。"
    pool = conversations(
        (shown(ASKED, TOLD * 5), TOLD),
        (shown(other, TOLD * 5), answer),
        (shown(ASKED, answer * 5, variant=1), TOLD),
    )
    base, dropped, _ = deduplicated(pool)
    assert base.height == 2
    assert dropped["reason"].to_list() == ["exact_duplicate"]
    asked = [row[0]["content"] for row in base["messages"].to_list()]
    assert any(other in prompt for prompt in asked)


def test_an_answer_with_references_is_no_copy_of_one_without() -> None:
    base, _, _ = deduplicated(conversations((ASKED, TOLD), (shown(ASKED, TOLD * 5), TOLD)))
    assert base.height == 2


def test_a_leaked_question_goes_in_any_script_and_is_named() -> None:
    leaked = "請問玉山的主峰海拔有多高，在東亞的群山之中又排在第幾名？"
    simple = "请问玉山的主峰海拔有多高，在东亚的群山之中又排在第几名？"
    pool = conversations((leaked, "很高。"), (simple, "非常高。"), ("今天天氣如何？", "晴天。"))
    base, dropped, summary = deduplicated(pool, benchmark("一加一等於多少呢？", leaked))
    assert base["messages"][0][0]["content"] == "今天天氣如何？"
    assert summary["conversations"]["dropped"] == {"contaminated": 2}
    assert all(detail.startswith("b 1: ") for detail in dropped["detail"])


def test_a_leak_in_a_copy_is_one_drop() -> None:
    leaked = "請問玉山的主峰海拔有多高，在東亞的群山之中又排在第幾名？"
    pool = conversations((leaked, TOLD), (leaked, TOLD + "。"))
    _, dropped, _ = deduplicated(pool, benchmark(leaked, leaked + "請回答。"))
    assert dropped["reason"].to_list() == ["contaminated"] * 2


def test_a_protected_text_counts_like_a_benchmark() -> None:
    protected = "請問合歡山的主峰海拔有多高，冬天到那裡去賞雪要注意什麼？"
    row = {"id": "s", "benchmark": "exam", "item_id": "exam.txt#3", "text": protected}
    row |= {"source": "exam.txt#3", "language": "zh-Hant-TW", "licence": "unknown"}
    pool = conversations((protected, "三千四百一十七公尺。"), (ASKED, TOLD))
    base, dropped, _ = deduplicated(pool, protected=PROTECTED_TEXT.frame([row]))
    assert base.height == 1
    assert dropped["detail"][0].startswith("exam exam.txt#3: ")


def test_nothing_in_is_nothing_out() -> None:
    base, dropped, summary = deduplicated(CONVERSATION.frame())
    assert base.is_empty()
    assert dropped.is_empty()
    assert summary == {"conversations": {"in": 0, "out": 0, "dropped": {}}}


def test_copies_in_other_words_need_an_encoder(tmp_path: Path) -> None:
    texts, pairs = COMPARED_TEXT.frame().lazy(), SIMILAR_PAIR.frame()
    assert nodes.find_semantic_pairs(texts, pairs, None, tmp_path, PARAMS).is_empty()
    wanted = DedupParams(semantic=SemanticOptions())
    with pytest.raises(UserError, match=r"dedup\.semantic needs an encoder"):
        nodes.find_semantic_pairs(texts, pairs, None, tmp_path, wanted)
