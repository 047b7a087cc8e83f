"""Verdicts that were published, and people's: PandaLM, LLMBar, CritiqueLLM and Arena-Hard."""

import gzip
import json
import os
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.judging.rows import verdicts as rows

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.evaluation.importing.base import judgement_row
from kyara_kedro.judging.agreement import Agreement, agreement
from kyara_kedro.judging.bradley_terry import bradley_terry, sigmoid
from kyara_kedro.judging.reliability import (
    labelled_reliability,
    rated_reliability,
    reliability,
    side_ids,
    warnings,
)
from kyara_kedro.params import IngestParams, PreferenceParams
from kyara_kedro.pipelines.ingest import nodes
from kyara_kedro.pipelines.ingest.rows import in_memory
from kyara_kedro.pipelines.preference import contest
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import (
    CANDIDATE,
    CONTESTANT_RATING,
    JUDGE_RELIABILITY,
    JUDGEMENT,
    LABELLED_PAIR,
    LABELLED_RATING,
    VERDICT,
)
from kyara_kedro.reporting.judges_page import judges_page
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.text.verdicts import parse_verdict

ROOT = Path(__file__).parents[2]
DATA = ROOT / os.environ.get("KYARA_CONFORMANCE_DATA", "../shared/data")
pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(
        not (DATA / "preference").is_dir(),
        reason=f"{DATA} is absent; set KYARA_CONFORMANCE_DATA",
    ),
]
POINTWISE = "preference/critiquellm_alignbench_pointwise_based.jsonl.gz"
PAIRWISE = "preference/critiquellm_alignbench_pairwise_based.jsonl.gz"
PANDALM = "preference/pandalm_testset.json.gz"


def loaded(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        if ".jsonl" in name:
            return [json.loads(line) for line in file]
        found: list[dict[str, Any]] = json.load(file)
        return found


@cache
def labelled(name: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    files = [SourceFile(DATA / name, Path(name).name)]
    table, dropped, read = in_memory(LABELLED_PAIR, nodes.parse_labelled(files, IngestParams()))
    assert read == table.height + dropped.height
    return LABELLED_PAIR.validate(table), dropped


def in_file_order(table: pl.DataFrame) -> pl.DataFrame:
    number = pl.col("source").str.extract(r"#(\d+)$").cast(pl.Int64)
    return table.sort(number)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        (PANDALM, {"B": 472, "A": 422, "C": 105}),
        ("preference/llmbar_LLMBar_Natural.json.gz", {"B": 58, "A": 42}),
        (
            PAIRWISE,
            {"A": 50, "B": 50},
        ),
    ],
)
def test_every_pair_that_people_judged_is_read(name: str, labels: dict[str, int]) -> None:
    table, dropped = labelled(name)
    assert Counter(table["label"]) == labels
    assert dropped.is_empty()
    assert set(table["language"]) <= {"en", "zh-Hans-CN", "zh", "zh-Hant-TW", "other"}


def test_every_answer_that_people_scored_is_read_and_is_no_pair() -> None:
    pairs, dropped = labelled(POINTWISE)
    assert (pairs.height, dropped.height) == (0, 0)
    files = [SourceFile(DATA / POINTWISE, Path(POINTWISE).name)]
    table, dropped, read = in_memory(LABELLED_RATING, nodes.parse_ratings(files, IngestParams()))
    assert (read, table.height, dropped.height) == (100, 100, 0)
    assert Counter(table["rating"]) == {1: 55, 2: 5, 3: 17, 4: 20, 5: 3}
    assert table["prompt"].n_unique() == 86
    assert table["reference"].null_count() == 0
    pairwise = [SourceFile(DATA / PAIRWISE, Path(PAIRWISE).name)]
    none, _, read = in_memory(LABELLED_RATING, nodes.parse_ratings(pairwise, IngestParams()))
    assert (none.height, read) == (0, 0)


def test_critiquellms_scores_measure_a_judge_that_goes_by_length() -> None:
    """Its ratings are what conformance/test_ratings.py correlates: length has a little to it."""
    files = [SourceFile(DATA / POINTWISE, Path(POINTWISE).name)]
    table, _, _ = in_memory(LABELLED_RATING, nodes.parse_ratings(files, IngestParams()))
    said = JUDGEMENT.frame(
        judgement_row(
            *(row["data_set"], row["id"], row["contestant"], "length"),
            value=float(len(row["answer"])),
        )
        for row in table.iter_rows(named=True)
    )
    found = rated_reliability(table, said, resamples=100, seed=0)
    rows = {row["measure"]: row for row in JUDGE_RELIABILITY.validate(found).to_dicts()}
    assert (round(rows["spearman"]["value"], 2), rows["spearman"]["flagged"]) == (0.31, False)
    assert (rows["no_rating"]["value"], rows["no_rating"]["cases"]) == (0, 100)
    assert rows["spearman"]["data_set"] == "critiquellm_alignbench_pointwise_based"


@cache
def gpt35() -> tuple[pl.DataFrame, Agreement]:
    table = in_file_order(labelled(PANDALM)[0])
    said = loaded("preference/pandalm_gpt35_judgements.json.gz")
    read = {"1": "A", "2": "B", "Tie": "C", "garbage": "C"}
    verdict = [read[one["gpt_result"]] for one in said]
    found = agreement(table["label"].to_list(), verdict, resamples=500, seed=0)
    return table.with_columns(verdict=pl.Series(verdict)), found


def test_gpt_35_agrees_with_people_as_published() -> None:
    """71.07 % (PandaLM's README), replies that could not be read counted as ties."""
    _, found = gpt35()
    assert round(found.accuracy.value, 4) == 0.7107
    assert found.accuracy.low < 0.7107 < found.accuracy.high
    assert found.kappa.low > 0.4
    assert found.macro_f1.value < found.accuracy.value


def test_annotators_agree_more_than_gpt_35() -> None:
    table, found = gpt35()
    one, two, three = (list(side) for side in zip(*table["labels"].to_list(), strict=True))
    kappas = [
        agreement(a, b, resamples=100, seed=0).kappa.value
        for a, b in ((one, two), (one, three), (two, three))
    ]
    assert min(kappas) > 0.8 > found.kappa.high


def test_what_gpt_35_and_people_give_to_the_longer_answer() -> None:
    """People give it more here, so a rate above one half alone says nothing about a judge."""
    table, _ = gpt35()
    sides = {"A": table["first"].str.len_chars(), "B": table["second"].str.len_chars()}
    uneven = (sides["A"] != sides["B"]).to_numpy()
    longer = np.where((sides["A"] > sides["B"]).to_numpy(), "A", "B")

    def share(verdict: pl.Series) -> float:
        decided = (verdict != "C").to_numpy() & uneven
        return float((verdict.to_numpy() == longer)[decided].mean())

    assert round(share(table["label"]), 3) == 0.675
    assert round(share(table["verdict"]), 3) == 0.619


def test_the_judges_page_measures_gpt_35_as_published() -> None:
    """Its verdicts are taken to be the same in the other order, which it did not see."""
    table, said = gpt35()
    other = {"A": "B", "B": "A", "C": "C"}
    verdicts = VERDICT.frame(
        {
            "id": f"{row['id']}{order}",
            "prompt_id": row["id"],
            "first_id": side_ids(row["id"])[order],
            "second_id": side_ids(row["id"])[1 - order],
            "first_contestant": "one",
            "second_contestant": "other",
            "first_chars": len(row["second" if order else "first"]),
            "second_chars": len(row["first" if order else "second"]),
            "verdict": other[row["verdict"]] if order else row["verdict"],
            "judge": "gpt-3.5-turbo",
            "judge_family": "openai",
        }
        for row in table.iter_rows(named=True)
        for order in (0, 1)
    )
    found = labelled_reliability(table.drop("verdict"), verdicts, resamples=200, seed=0)
    measured = dict(found.select("measure", "value").iter_rows())
    assert measured["accuracy"] == said.accuracy.value
    assert measured["macro_f1"] == said.macro_f1.value
    assert measured["kappa"] == said.kappa.value
    assert round(measured["longer"], 3) == 0.619
    assert measured["flip"] == 0


@pytest.mark.parametrize(
    "name",
    [
        PANDALM,
        "preference/llmbar_LLMBar_Natural.json.gz",
        PAIRWISE,
    ],
)
def test_any_labelled_set_becomes_a_page_about_a_judge(name: str) -> None:
    pairs = labelled(name)[0].head(30)
    verdicts, dropped = contest.judge_labelled(
        pairs, ExtractiveTeacher(), PromptLibrary(), PreferenceParams()
    )
    assert (verdicts.height, dropped.height) == (60, 0)
    table = labelled_reliability(pairs, verdicts, resamples=100, seed=0)
    wanted = {"accuracy", "macro_f1", "kappa", "flip", "first", "longer", "parse_failure"}
    assert wanted <= set(table["measure"])
    page = judges_page(
        *(table, CONTESTANT_RATING.frame(), VERDICT.frame(), CANDIDATE.frame()),
        *({}, warnings(table)),
    )
    assert all(measure in page for measure in ("macro F1", "flips on swap", "longer wins"))


@pytest.mark.parametrize(
    ("model", "published"), [("gpt-3.5-turbo-0125", 23.34), ("gpt-4-0613", 37.90)]
)
def test_bradley_terry_gives_arena_hards_published_scores(model: str, published: float) -> None:
    fought = [
        row for row in loaded("arena_hard/battles_official_two.jsonl.gz") if row["model_b"] == model
    ]
    questions = sorted({row["question_id"] for row in fought})
    cluster = {name: i for i, name in enumerate(questions)}
    won = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5}
    found = bradley_terry(
        np.zeros(len(fought), dtype=np.int64),
        np.ones(len(fought), dtype=np.int64),
        np.array([won[row["winner"]] for row in fought]),
        np.array([cluster[row["question_id"]] for row in fought]),
        2,
        resamples=500,
        seed=0,
    )
    chance = 100 * float(sigmoid(found.strength[1:] - found.strength[:1])[0])
    assert round(chance, 2) == pytest.approx(published, abs=0.01)
    ends = [100 * sigmoid(2 * end[1]) for end in (found.low, found.high)]  # mean zero: s, -s
    assert 5.0 < ends[1] - ends[0] < 9.0  # wider than the published one: questions are drawn whole


def test_judgements_on_another_scale_are_never_taken_for_a_winner() -> None:
    replies = [
        game["judgment"]
        for row in loaded("arena_hard/judgment_llama3_8b_by_gpt-4o.jsonl.gz")
        for game in row["games"]
    ]
    assert len(replies) == 18
    assert {parse_verdict(text) for text in replies} == {"no_verdict"}
    ours = [f"{text.rsplit('[[', 1)[0].rstrip().rstrip(':')}.\n[[A]]" for text in replies]
    assert {parse_verdict(text) for text in ours} == {"A"}


def test_real_lengths_of_people_do_not_look_like_a_love_of_length_of_theirs() -> None:
    """People's own labels, as a judge that sees both orders alike: nothing but length shows."""
    table, _ = labelled(PANDALM)
    other = {"A": "B", "B": "A", "C": "C"}
    said = pl.concat(
        rows(
            row["id"],
            [("a", "b", row["label"]), ("b", "a", other[row["label"]])],
            chars={"a": len(row["first"]), "b": len(row["second"])},
        )
        for row in table.head(400).iter_rows(named=True)
    )
    found = {
        row["measure"]: row
        for row in reliability(said, resamples=200, seed=0).iter_rows(named=True)
    }
    assert found["first"]["value"] == 0.5
    assert found["flip"]["value"] == 0
    assert 0.55 < found["longer"]["value"] < 0.75
