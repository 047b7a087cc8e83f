"""MT-Bench ratings, AlignBench's tables, and the questions of both as they are published."""

import json
import math

import pytest

from kyara_kedro.evaluation.benchmarks import AlignBench, AlignBenchCht, MtBench, MtBenchTw, Rows
from kyara_kedro.evaluation.benchmarks.align_bench import GROUPS
from kyara_kedro.evaluation.benchmarks.base import item_row
from kyara_kedro.evaluation.importing import FORMATS, rows_of
from kyara_kedro.evaluation.scores import StatisticsOptions, benchmark_scores
from kyara_kedro.judging.agreement import rating_agreement
from kyara_kedro.records import BENCHMARK_ITEM, JUDGEMENT, MODEL_OUTPUT
from kyara_kedro.text.ratings import bracketed_rating
from kyara_kedro.text.script import script_share

from public_data import CONFORMANCE, DATA

pytestmark = CONFORMANCE
QUICK = StatisticsOptions(resamples=100)
JUDGED = DATA / "mt_bench" / "judgment_alvarobartt.jsonl.gz"


def parts(**files: str) -> dict[str, Rows]:
    return {name: rows_of(DATA / file) for name, file in files.items()}


def mt_bench() -> MtBench:
    files = parts(questions="mt_bench/question.jsonl", references="mt_bench/reference_gpt-4.jsonl")
    return MtBench("mt_bench", MtBench.read(files))


def test_every_rating_is_read_as_fastchat_read_it() -> None:
    rows = rows_of(JUDGED)
    read = [bracketed_rating(row["judgment"]) for row in rows]
    assert [-1 if one is None else one for one in read] == [row["score"] for row in rows]
    assert len(rows) == 800
    assert None in read


def test_mt_benchs_means_are_those_of_its_own_scorer() -> None:
    """One model was rated twice over: its 320 ratings count, in clusters of 4."""
    task = mt_bench()
    said = FORMATS["fastchat"](JUDGED, "mt_bench").judgements
    JUDGEMENT.validate(said)
    items = BENCHMARK_ITEM.validate(task.score(MODEL_OUTPUT.frame(), said))
    options = StatisticsOptions(resamples=3_000)
    scores = benchmark_scores(items, [task], said, options).filter(part="all")
    found = {(row["model"], row["metric"]): row for row in scores.iter_rows(named=True)}
    expected = json.loads((DATA / "mt_bench" / "expected_alvarobartt.json").read_text("utf-8"))
    assert len(expected) == 4
    for model, row in expected.items():
        means = [found[model, name]["score"] for name in ("score", "first_turn", "second_turn")]
        assert [round(mean, 6) for mean in means] == [row["average"], row["first"], row["second"]]
        asked = found[model, "score"]["items"] + found[model, "score"]["unread"]
        assert (asked, found[model, "score"]["expected"]) == (row["n"], 160)
        low, high = (found[model, "score"][end] for end in ("low", "high"))
        assert low < row["average"] < high
        assert 0.30 < (high - low) / 3.92 < 0.37  # by ratings alone it would be 0.20 to 0.29


def test_the_judge_had_a_reference_exactly_where_our_rule_shows_one() -> None:
    questions = mt_bench().questions
    for row in rows_of(JUDGED):
        details = questions[str(row["question_id"])].details
        assert ("math" in row["judge"][1]) == bool(details["references"])
        assert all(text in row["user_prompt"] for text in details["references"][: row["turn"]])
        assert all(text in row["user_prompt"] for text in details["turns"][: row["turn"]])


def test_mt_bench_tw_has_references_beyond_those_categories() -> None:
    files = parts(
        questions="mt_bench_tw/question.jsonl",
        references="mt_bench_tw/reference_human_w_gpt4.jsonl",
    )
    questions = MtBenchTw.read(files)
    assert len(questions) == 80
    compared = [one for one in questions if one.details["references"]]
    assert len(compared) == 46
    assert "extraction" in {one.stratum for one in compared}


def test_alignbenchs_tables_are_those_of_its_configuration() -> None:
    types, dimensions, temperatures = (
        rows_of(DATA / "alignbench" / "config" / f"{name}.json")[0]
        for name in ("subcategory_question_mapping", "dimension_set", "temperature")
    )
    rows = rows_of(DATA / "alignbench" / "data_v1.1_release.jsonl.gz")
    task = AlignBench("align_bench", AlignBench.read({"questions": rows}))
    assert len(task.questions) == 683
    for row in rows:
        question = task.questions[str(row["question_id"])]
        shown = [one["name"] for one in question.details["dimensions"]]
        assert shown == dimensions[types[row["subcategory"]]]
        assert task.decoding(question).temperature == temperatures[row["category"]]


def test_alignbenchs_published_aggregates_follow_from_its_categories() -> None:
    """Published with two decimals, so within half of the last one."""
    tables = rows_of(DATA / "alignbench" / "published_tables.json")
    rows = rows_of(DATA / "alignbench" / "data_v1.1_release.jsonl.gz")
    task = AlignBench("align_bench", AlignBench.read({"questions": rows}))
    items = BENCHMARK_ITEM.frame(
        item_row(
            "align_bench",
            category,
            f"{row['table']} {row['model']}",
            "official_score",
            value=row[category],
            no_answer=False,
            stratum=category,
            scorer_version="published",
        )
        for row in tables
        for category in GROUPS
    )
    found = {
        (row["model"], row["part"]): row["score"]
        for row in benchmark_scores(items, [task], options=QUICK).iter_rows(named=True)
    }
    assert len(tables) == 34
    for row in tables:
        for published, part in (("中文推理",) * 2, ("中文语言",) * 2, ("总分", "all")):
            ours = found[f"{row['table']} {row['model']}", part]
            assert ours == pytest.approx(row[published], abs=0.005 + 1e-9)


def test_the_traditional_questions_hold_no_simplified_ones() -> None:
    questions = AlignBenchCht.read(parts(questions="alignbench/data_v1.1_release.jsonl.gz"))
    assert len(questions) == 683
    shares = [script_share(one.question + one.answer) for one in questions]
    assert sum(share.simplified for share in shares) <= 3
    assert all(share.traditional for share in shares)


def test_length_alone_agrees_a_little_with_people_in_critiquellms_sample() -> None:
    """What a judge of reference-based answers has to beat: 100 human scores, 86 questions."""
    rows = rows_of(DATA / "preference" / "critiquellm_alignbench_pointwise_based.jsonl.gz")
    human = [float(row["human_score"]) for row in rows]
    length = [math.log1p(len(row["response"])) for row in rows]
    questions = [row["question"] for row in rows]
    found = rating_agreement(human, length, questions, resamples=500, seed=0)
    assert [round(figure.value, 4) for figure in found[:3]] == [0.2804, 0.3071, 0.2384]
    assert found.spearman.low > 0
