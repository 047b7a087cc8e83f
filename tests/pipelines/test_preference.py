"""Preference pairs from judged answers, and all sources merged into one."""

from typing import Any

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.params import PreferenceParams
from kyara_kedro.pipelines.preference import contest, nodes
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import CANDIDATE, CONTAMINATION, DROP, PREFERENCE, PROTECTED_TEXT, VERDICT
from kyara_kedro.similarity.contamination import ContaminationOptions
from kyara_kedro.teachers.extractive import ExtractiveTeacher

from .rows import benchmark, pair, pairs, prompts

PARAMS = PreferenceParams()
ASKED = prompts(
    "請說明玉山有多高。", "請介紹日月潭。", "誰寫了這本書？", "日本で一番高い山は何ですか。"
)
GOOD = "玉山主峰海拔三千九百五十二公尺，是臺灣的最高峰，位在南投、嘉義與高雄的交界。"


def candidates(*answers: tuple[int, str]) -> pl.DataFrame:
    rows = []
    for number, (prompt, response) in enumerate(answers):
        prompt_id, text = ASKED.select("id", "text").row(prompt)
        rows.append(
            {
                "id": content_id("candidate", prompt_id, response),
                "prompt_id": prompt_id,
                "messages": [{"role": "user", "content": text}],
                "response": response,
                "contestant": f"c{number}",
                "teacher": f"c{number}",
                "family": "",
                "licence": "CC0-1.0",
            }
        )
    return CANDIDATE.validate(CANDIDATE.frame(rows))


ANSWERED = candidates((0, GOOD), (0, "不知道"), (0, "玉山"), (1, "日月潭。"))


def judged(table: pl.DataFrame = ANSWERED) -> pl.DataFrame:
    verdicts, dropped, tried = contest.judge_responses(
        table, ExtractiveTeacher(), PromptLibrary(), PARAMS
    )
    assert dropped.is_empty()
    assert tried == verdicts.height
    return VERDICT.validate(verdicts)


def test_every_pair_of_answers_is_judged_in_both_orders() -> None:
    sides = set(judged().select("first_id", "second_id").iter_rows())
    of_first = ANSWERED.filter(pl.col("prompt_id") == ASKED["id"][0])["id"].to_list()
    assert sides == {(one, other) for one in of_first for other in of_first if one != other}


def test_the_best_and_the_worst_answer_make_a_pair_and_the_others_a_reason() -> None:
    found, dropped = contest.pair_responses(ASKED, ANSWERED, judged(), PARAMS)
    assert PREFERENCE.validate(found)["chosen"].to_list() == [GOOD]
    reasons = dict(DROP.validate(dropped).select("record_id", "reason").iter_rows())
    assert found.height + len(reasons) == ASKED.height
    assert reasons[ASKED["id"][2]] == "no_answer"
    assert reasons[ASKED["id"][3]] == "language_not_wanted"


def test_a_margin_that_nothing_reaches_leaves_no_pair() -> None:
    params = PARAMS.model_copy(update={"margin": 1.0})
    found, dropped = contest.pair_responses(ASKED, ANSWERED, judged(), params)
    assert found.height + dropped.height == ASKED.height
    assert "margin_below_floor" in dropped["reason"].to_list()


def test_without_candidates_every_prompt_is_a_drop() -> None:
    nothing = CANDIDATE.frame()
    found, dropped = contest.pair_responses(ASKED, nothing, judged(nothing), PARAMS)
    assert found.is_empty()
    assert dropped.height == ASKED.height


def merged(opened: pl.DataFrame, questions: pl.DataFrame, *rest: Any) -> tuple[Any, ...]:
    found, unpaired, played = rest[-3:]
    pool = nodes.pool_preferences(opened, found, played)
    leaks = nodes.find_leaked_preferences(
        pool, questions, PROTECTED_TEXT.frame(), ContaminationOptions()
    )
    CONTAMINATION.validate(leaks)
    page = nodes.draw_leaked_preferences(
        leaks, pool, questions, PROTECTED_TEXT.frame(), ContaminationOptions()
    )
    assert all(item in page for item in leaks["item_id"])
    return nodes.merge_preferences(
        pool, leaks, *rest[:-3], found, unpaired, played, DROP.frame(), 0
    )


def test_merged_pairs_are_distinct_and_hold_no_benchmark_question() -> None:
    leaked = "請問玉山的主峰海拔有多高，在東亞的群山之中又排在第幾名？"
    opened = pairs(
        pair("玉山多高？", "很高。", "很矮。"),
        pair("玉山多高？", "很高！", "很矮！", source="ultrafeedback"),
        pair("玉山多高？", "三千九百公尺。", "三千公尺。"),
        pair(leaked, "很高。", "很矮。"),
    )
    found, unpaired = contest.pair_responses(ASKED, ANSWERED, judged(), PARAMS)
    kept, dropped, summary = merged(
        *(opened, benchmark(leaked), ASKED, ANSWERED, DROP.frame(), ANSWERED.height, judged()),
        *(DROP.frame(), judged().height, found, unpaired, PREFERENCE.frame()),
    )
    PREFERENCE.validate(kept)
    DROP.validate(dropped)
    assert kept["id"].is_sorted()
    assert summary["pairs"] == {
        "in": 4 + found.height,
        "out": 2 + found.height,
        "dropped": {"contaminated": 1, "exact_duplicate": 1},
    }
    assert dropped.height == unpaired.height + 2
    assert leaked not in [row[0]["content"] for row in kept["prompt"].to_list()]


def test_nothing_merges_to_nothing() -> None:
    none, lost = PREFERENCE.frame(), DROP.frame()
    kept, dropped, _ = merged(
        *(none, benchmark(), ASKED.clear(), CANDIDATE.frame(), lost, 0),
        *(judged(CANDIDATE.frame()), lost, 0, none, lost, none),
    )
    assert kept.is_empty()
    assert dropped.is_empty()
