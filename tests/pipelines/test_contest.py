"""Contestants answer in equal shares, and one that is down is a gap and no end."""

import logging
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from tests.judging.rows import candidates
from tests.teachers.loopback import Answer, chat, failed, question, serving
from tests.teachers.test_panel import member, nowhere, panel

from kyara_kedro.datasets import TeacherDataset
from kyara_kedro.errors import UserError
from kyara_kedro.params import PreferenceParams
from kyara_kedro.pipelines.preference import contest
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import (
    CANDIDATE,
    CONTESTANT_RATING,
    DROP,
    JUDGE_RELIABILITY,
    JUDGEMENT,
    LABELLED_PAIR,
    LABELLED_RATING,
    VERDICT,
)
from kyara_kedro.teachers.base import Teacher
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.panel import Panel
from kyara_kedro.training.model_ref import pretrained

from .rows import prompts

PARAMS = PreferenceParams(tuned=(), contestants=2)
ASKED = prompts(*(f"請說明第{n}座山有多高。" for n in range(30)), "日本で一番高い山は何ですか。")
PASSAGES = pl.DataFrame({"passage_id": ["id_1"], "title": ["山"], "text": ["山很高。"]})


class Store:
    """Finds one passage for everything."""

    def search(self, queries: list[str], limit: int) -> pl.DataFrame:
        rows = [{"query": n, "rank": 0, "passage_id": "id_1"} for n in range(len(queries))]
        return pl.DataFrame(rows)


def collected(made: Panel, params: PreferenceParams = PARAMS) -> tuple[Any, ...]:
    none = pretrained("nothing")
    found = contest.collect_responses(
        ASKED,
        PASSAGES,
        Store(),
        made,
        PromptLibrary(),
        none,
        none,
        None,
        params,  # type: ignore[arg-type]
    )
    table, dropped, tried, _ = found
    CANDIDATE.validate(table)
    DROP.validate(dropped)
    assert tried == table.height + dropped.height
    return found


def test_every_prompt_goes_to_its_number_of_contestants(tmp_path: Path) -> None:
    with serving(lambda number, body: chat(f"{body['model']}：{question(body)}")) as server:
        members = {f"c{n}": member(server.url, f"m{n}", grounded=n == 0) for n in range(5)}
        table, _, tried, summary = collected(panel(tmp_path, **members))
        shown = [body["model"] for body in server.seen if "山很高。" in str(body)]
    assert tried == table.height == 60
    assert set(table.group_by("prompt_id").len()["len"]) == {2}
    assert Counter(table["contestant"].to_list()) == dict.fromkeys(members, 12)
    assert set(shown) == {"m0"}
    assert table.filter(contestant="c3").select("teacher", "family").unique().rows() == [
        ("m3", "m3")
    ]
    assert summary["contestants"]["c0"] == {
        "teacher": "m0",
        "family": "m0",
        "grounded": True,
        "asked": 12,
        "answered": 12,
        "out_of_reach": None,
    }


def test_a_contestant_that_is_down_is_reported_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        serving(lambda number, body: chat(f"{body['model']}：{question(body)}")) as server,
        serving(lambda number, body: failed(500)) as broken,
    ):
        members = {f"c{n}": member(server.url, f"m{n}") for n in range(3)}
        made = panel(
            tmp_path, **members, gone=member(nowhere(), "m8"), ill=member(broken.url, "m9")
        )
        with caplog.at_level(logging.WARNING, "kyara_kedro"):
            table, dropped, _, summary = collected(made)
    assert set(table["contestant"]) == set(members)
    assert Counter(dropped["reason"].to_list()) == {"teacher_failed": 24}
    assert all("out_of_reach" in detail for detail in dropped["detail"])
    for name in ("gone", "ill"):
        told = summary["contestants"][name]
        assert (told["asked"], told["answered"]) == (12, 0)
        assert "no answer for" in told["out_of_reach"]
        assert f"contestant {name}: 12 of its 12 prompts are without its answer" in caplog.text
    pairs, gaps = contest.pair_responses(ASKED, table, VERDICT.frame(), PARAMS)
    reasons = Counter(gaps["reason"].to_list())
    assert pairs.is_empty()
    assert reasons["language_not_wanted"] == 1
    assert reasons["one_answer"] + reasons["no_answer"] + reasons["not_judged"] == 30
    alone = table.group_by("prompt_id").len().filter(pl.col("len") == 1).height
    assert reasons["one_answer"] == alone > 0


def test_nobody_answers(tmp_path: Path) -> None:
    made = panel(tmp_path, a=member(nowhere(), "m1"), b=member(nowhere(), "m2"))
    with pytest.raises(UserError, match=r"no contestant answers: .*no answer for"):
        collected(made)


def test_settings_that_make_no_contest(tmp_path: Path) -> None:
    rules = {"kind": "extractive"}
    with pytest.raises(UserError, match="there is one contestant, alone: add another"):
        collected(panel(tmp_path, alone=rules))
    both = PreferenceParams(tuned=("sft_base",))
    with pytest.raises(UserError, match="two contestants are called 'sft_base'"):
        collected(panel(tmp_path, sft_base=rules), both)


def test_equal_and_blank_answers_count_once_or_not_at_all(tmp_path: Path) -> None:
    with serving(
        lambda number, body: chat("同樣的回答。" if body["model"] == "m" else "")
    ) as server:
        made = panel(
            tmp_path,
            a=member(server.url, "m"),
            b=member(server.url, "m"),
            c=member(server.url, "mute"),
        )
        table, dropped, _, _ = collected(made, PreferenceParams(tuned=(), contestants=3))
    assert table.height == 30
    reasons = Counter(dropped["reason"].to_list())
    assert reasons == {"repeated": 30, "teacher_invalid": 30}


def judged_by(answer: Any, folder: Path, answers: pl.DataFrame) -> pl.DataFrame:
    with serving(answer) as server:
        judge = TeacherDataset(
            kind="openai",
            ledger={"path": str(folder / "judge.db")},
            options=member(server.url, "judge")["options"],
        ).load()
        said, dropped, tried = contest.judge_responses(answers, judge, PromptLibrary(), PARAMS)
    assert dropped.is_empty()
    assert tried == said.height
    return VERDICT.validate(said)


def four_answers() -> pl.DataFrame:
    draw = Random(0)
    return pl.concat(
        candidates(f"p{n}", *(f"{name}{n}".ljust(draw.randint(5, 200), "字") for name in "abcd"))
        for n in range(25)
    )


def test_a_planted_judge_that_takes_the_first_yields_no_pair_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers = four_answers()
    said = judged_by(lambda number, body: chat("甲較好。\n[[A]]"), tmp_path, answers)
    pairs, dropped = contest.pair_responses(ASKED.clear(), answers, said, PARAMS)
    assert pairs.is_empty()
    assert set(dropped["reason"]) == {"tie"}
    table = measured(said, caplog)
    assert "the answer shown first wins 100.0% of its decisions" in caplog.text
    ratings = contest.rate_contestants(answers, said, PARAMS)
    assert ratings["strength"].abs().max() < 1e-6  # type: ignore[operator]
    summary = {"contestants": {name: {"out_of_reach": None, "asked": 25} for name in "abcd"}}
    assert "先出場者勝" in contest.draw_judges(table, ratings, said, answers, summary)


def measured(said: pl.DataFrame, caplog: pytest.LogCaptureFixture) -> pl.DataFrame:
    with caplog.at_level(logging.WARNING, "kyara_kedro"):
        return contest.measure_judges(
            *(said, LABELLED_PAIR.frame(), VERDICT.frame()),
            *(LABELLED_RATING.frame(), JUDGEMENT.frame(), PARAMS),
        )


def test_a_planted_lover_of_length_is_flagged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def longest(number: int, body: dict[str, Any]) -> Answer:
        first, second = re.findall(r"<answer_[ab]>\n(.*?)\n</answer_[ab]>", question(body), re.S)
        return chat("[[A]]" if len(first) > len(second) else "[[B]]")

    answers = four_answers()
    said = judged_by(longest, tmp_path, answers)
    table = measured(said, caplog)
    assert set(table.filter("flagged")["measure"]) == {"longer", "longer_agreed"}
    assert "set preference.length_controlled" in caplog.text
    usual, _ = contest.pair_responses(ASKED.clear(), answers, said, PARAMS)
    controlled, _ = contest.pair_responses(
        ASKED.clear(), answers, said, PreferenceParams(length_controlled=True)
    )
    assert usual.height == 25
    assert controlled.height <= 3


def test_what_people_judged_is_judged_and_compared(tmp_path: Path) -> None:
    pairs = LABELLED_PAIR.frame(
        {
            "id": f"pair {n}",
            "data_set": "people",
            "prompt": f"第{n}座山有多高？",
            "first": "對" if n % 2 else "錯",
            "second": "錯" if n % 2 else "對",
            "label": "A" if n % 2 else "B",
            "labels": ["A" if n % 2 else "B"],
            "first_contestant": "one",
            "second_contestant": "other",
            "source": "test",
            "language": "zh-Hant-TW",
            "licence": "CC0-1.0",
        }
        for n in range(20)
    )

    def knows(number: int, body: dict[str, Any]) -> Answer:
        return chat("[[A]]" if "<answer_a>\n對" in question(body) else "[[B]]")

    with serving(knows) as server:
        judge = TeacherDataset(
            kind="openai",
            ledger={"path": str(tmp_path / "judge.db")},
            options=member(server.url, "judge")["options"],
        ).load()
        said, dropped = contest.judge_labelled(pairs, judge, PromptLibrary(), PARAMS)
        assert len(server.seen) == said.height == 40
    assert dropped.is_empty()
    table = contest.measure_judges(
        *(VERDICT.frame(), pairs, said, LABELLED_RATING.frame(), JUDGEMENT.frame(), PARAMS)
    )
    figures = dict(table.select("measure", "value").rows())
    assert (figures["accuracy"], figures["kappa"], figures["first"]) == (1.0, 1.0, 0.5)
    assert not table["flagged"].any()


SCORED = LABELLED_RATING.frame(
    {
        "id": f"rating {n}",
        "data_set": "people",
        "prompt": f"第{n}座山有多高？",
        "answer": f"約{n % 5 + 1}公里",
        "reference": f"{n}公里" if n % 2 else None,
        "rating": float(n % 5 + 1),
        "contestant": "m",
        "source": "test",
        "language": "zh-Hant-TW",
        "licence": "CC0-1.0",
    }
    for n in range(20)
)


def rates(judge: Teacher) -> tuple[pl.DataFrame, pl.DataFrame]:
    said, dropped = contest.rate_labelled(SCORED, judge, PromptLibrary(), PARAMS)
    JUDGEMENT.validate(said)
    DROP.validate(dropped)
    table = contest.measure_judges(
        *(VERDICT.frame(), LABELLED_PAIR.frame(), VERDICT.frame(), SCORED, said, PARAMS)
    )
    return said, JUDGE_RELIABILITY.validate(table)


def rated_by(says: Callable[[str], str], folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    with serving(lambda number, body: chat(says(str(body["messages"])))) as server:
        judge = TeacherDataset(
            kind="openai",
            ledger={"path": str(folder / "judge.db")},
            options=member(server.url, "judge")["options"],
        ).load()
        return rates(judge)


def test_what_people_have_scored_is_rated_and_compared_on_whatever_scale(tmp_path: Path) -> None:
    def knows(shown: str) -> str:
        number = re.findall(r"約(\d)公里", shown)
        assert ("<reference>" in shown) == ("參考答案" in shown)
        return f"[[{int(number[0]) + 4}]]" if "第7座" not in shown else "很好。"

    said, table = rated_by(knows, tmp_path)
    assert said.height == 20
    assert said.filter(pl.col("value").is_null())["text"].to_list() == ["很好。"]
    rows = {row["measure"]: row for row in table.to_dicts()}
    assert {name: (row["value"], row["cases"]) for name, row in rows.items()} == {
        "no_rating": (0.05, 20),
        **dict.fromkeys(("pearson", "spearman", "kendall"), (pytest.approx(1), 19)),
    }
    assert not table["flagged"].any()
    assert set(table["data_set"]) == {"people"}


def test_a_judge_that_rates_all_the_same_and_one_that_cannot_be_read_are_flagged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "kyara_kedro"):
        _, same = rated_by(lambda shown: "[[7]]", tmp_path / "same")
        _, unread = rated_by(lambda shown: "?", tmp_path / "unread")
    assert same.filter("flagged").select("measure", "value").rows() == [("spearman", None)]
    assert "(spearman unknown, unknown to unknown) may be chance" in caplog.text
    assert unread.select("measure", "value", "flagged").rows() == [("no_rating", 1.0, True)]
    assert "100.0% of its ratings cannot be read" in caplog.text
    page = contest.draw_judges(
        same, CONTESTANT_RATING.frame(), VERDICT.frame(), CANDIDATE.frame(), {"contestants": {}}
    )
    assert "等級相關" in page
    assert "<td>–</td><td>– – –</td>" in page
    _, right = rated_by(lambda shown: re.sub(r".*約(\d)公里.*", r"[[\1]]", shown), tmp_path)
    page = contest.draw_judges(
        right, CONTESTANT_RATING.frame(), VERDICT.frame(), CANDIDATE.frame(), {"contestants": {}}
    )
    assert "<td>1.00</td><td>1.00 – 1.00</td>" in page and "<td>0.0%</td>" in page


def test_rules_are_not_asked_for_ratings(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "kyara_kedro"):
        said, table = rates(ExtractiveTeacher())
    assert said.is_empty() and table.is_empty()
    assert [record.message for record in caplog.records] == [
        "labelled ratings: none of the 20 answers is rated, for rules cannot: name a model as the "
        "catalog's 'judge'"
    ]
