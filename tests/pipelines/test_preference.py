"""Preference pairs from judged answers."""

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.params import PreferenceParams
from kyara_kedro.pipelines.preference import contest
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import CANDIDATE, DROP, PREFERENCE, VERDICT
from kyara_kedro.teachers.extractive import ExtractiveTeacher

from .rows import prompts

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
