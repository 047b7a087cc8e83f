import gzip
import json
from collections.abc import Iterator

import polars as pl
import pytest

from kyara_kedro.text.intentions import (
    FALLBACK,
    FORMS,
    INTENTS,
    TOPICS,
    explain_intentions,
    find_intentions,
)

from public_data import DATA, needs_data


def tags(text: str) -> list[str]:
    (found,) = find_intentions(pl.Series([text])).to_list()
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("請把這段話翻譯成英文", {"翻譯"}),
        ("请把这段话翻译成英文", {"翻譯"}),
        ("Summarize the article", {"摘要"}),
        ("用 ＰＹＴＨＯＮ 寫一個排序函式", {"程式設計", "排序"}),
        ("為什麼颱風會造成豪雨？", {"原因解釋"}),
        ("臺灣的首都在哪裡？誰建立的？", {"地點查詢", "人物查詢", "地理"}),
        ("茶在哪一年傳入？請以 JSON 格式回答，只給答案。", {"時間查詢", "JSON 格式", "簡短回答"}),
        ("你現在是一位導遊，請推薦花蓮的景點", {"角色扮演", "規劃建議", "旅遊"}),
        ("嗨", {"閒聊"}),
    ],
)
def test_tags(asked: str, expected: set[str]) -> None:
    assert expected <= set(tags(asked))


@pytest.mark.parametrize("asked", ["只寫出答案：月球多大？", "請直接說出答案"])
def test_how_to_answer_is_no_task_of_its_own(asked: str) -> None:
    assert not {"寫作", "清單列舉"} & set(tags(asked))


def test_nothing_found_is_said_and_the_task_comes_first() -> None:
    assert tags("嗯") == [FALLBACK]
    assert tags("旅遊行程請以表格格式規劃") == ["規劃建議", "表格格式", "旅遊"]
    assert find_intentions(pl.Series([], dtype=pl.String)).to_list() == []


def test_words_are_told_as_they_stand_in_the_request() -> None:
    assert dict(explain_intentions("请把这段话翻译成英文"))["翻譯"] == "翻译"
    assert dict(explain_intentions("Please SUMMARIZE it"))["摘要"] == "SUMMAR"
    assert explain_intentions("嗯") == [(FALLBACK, "")]


def requests() -> Iterator[tuple[str, str]]:
    for name in ("alpaca_zh_0-3252", "alpaca_en_0-3252", "wizardlm_testset"):
        with gzip.open(DATA / f"instructions/{name}.jsonl.gz", "rt", encoding="utf-8-sig") as file:
            for row in map(json.loads, file):
                asked = row.get("Instruction") or f"{row['instruction']}\n{row['input']}"
                yield name, asked
    with gzip.open(DATA / "instructions/belle_zh_seed_tasks.jsonl.gz", "rt") as file:
        for row in map(json.loads, file):
            yield "belle", f"{row['instruction']}\n{row['instances'][0]['input']}"


@needs_data
def test_most_real_requests_are_recognised_and_both_ways_of_asking_agree() -> None:
    table = pl.DataFrame(list(requests()), schema=["set", "text"], orient="row")
    found = find_intentions(table["text"])
    assert found.to_list() == [
        [name for name, _ in explain_intentions(text)] for text in table["text"]
    ]
    nothing = table.with_columns(nothing=found.list.first() == FALLBACK)
    by_set = nothing.group_by("set").agg(pl.mean("nothing"))
    assert all(share < 0.09 for share in by_set["nothing"]), by_set
    assert found.list.len().mean() > 1.8  # type: ignore[operator]
    assert found.explode().n_unique() > 0.9 * len(INTENTS | FORMS | TOPICS)
