"""TC-Eval's published figures of GPT-3.5 from its responses, and TMMLU+'s means from a table."""

import json

import polars as pl
import pytest

from kyara_kedro.evaluation.benchmarks import BENCHMARKS
from kyara_kedro.evaluation.benchmarks.drcd import Drcd
from kyara_kedro.evaluation.benchmarks.tmmluplus import GROUPS_66, GROUPS_67
from kyara_kedro.evaluation.importing import FORMATS, rows_of
from kyara_kedro.evaluation.scores import StatisticsOptions, benchmark_scores

from public_data import CONFORMANCE, DATA

pytestmark = CONFORMANCE
FEW = StatisticsOptions(resamples=10)


def scored(kind: str, questions: str) -> dict[str, float]:
    task = BENCHMARKS[kind](
        kind, BENCHMARKS[kind].read({"questions": rows_of(DATA / "tceval" / questions)})
    )
    found = FORMATS["tc-eval"](DATA / "tceval/responses_gpt3.5.jsonl.gz", kind)
    rows = benchmark_scores(task.score(found.outputs), [task], options=FEW)
    assert (rows["items"] == rows["expected"]).all()
    return dict(rows.select("part", "score").iter_rows())


def published() -> dict[str, float]:
    text = (DATA / "tceval/published_gpt3.5.json").read_text(encoding="utf-8")
    return {name.removesuffix("|accuracy"): value for name, value in json.loads(text).items()}


def test_tmmlu_equals_all_53_subjects_and_their_mean() -> None:
    found = scored("tmmlu", "tmmlu.jsonl.gz")
    expected = {n.removeprefix("TMMLU/"): v for n, v in published().items() if "TMMLU" in n}
    expected["all"] = expected.pop("TMMLU_Avg")
    assert len(expected) == 54
    assert {name: round(value, 6) for name, value in found.items()} == expected


@pytest.mark.parametrize(
    ("kind", "questions", "name"),
    [
        ("ttqa", "ttqa.json", "TTQA"),
        ("penguins_tc", "penguins_in_a_table_tc.json", "PenguinsInTable_TC"),
    ],
)
def test_the_other_choices_equal_their_figures(kind: str, questions: str, name: str) -> None:
    assert round(scored(kind, questions)["all"], 6) == published()[name]


def test_drcd_reads_all_responses_and_accepts_the_answers_of_its_open_part() -> None:
    # The questions of the test set are not open, so its published 0.783567 is not recomputed.
    outputs = FORMATS["tc-eval"](DATA / "tceval/responses_gpt3.5.jsonl.gz", "drcd").outputs
    assert outputs["item_id"].to_list() == [str(i) for i in range(3493)]
    texts = {
        row["doc_id"]: row["text"] for row in rows_of(DATA / "corpora/drcd_dev_paragraphs.jsonl.gz")
    }
    asked = [
        {"context": texts[row["doc_id"]], "question": row["query"], "answers": row["answers"]}
        for row in rows_of(DATA / "corpora/drcd_dev_questions.jsonl.gz")
    ]
    task = Drcd("drcd", Drcd.read({"questions": asked}))
    values = [
        task.score_output(question, said)
        for question in task.questions.values()
        for said in (f" {question.answer}。", f"答案是{question.answer}", "")
    ]
    right, wrong = {"prefix_exact_match": 1.0}, {"prefix_exact_match": 0.0}
    assert values[::3] == [right] * len(asked)
    assert values[1::3].count(wrong) > 0.99 * len(asked)
    assert set(map(str, values[2::3])) == {"None"}


def test_the_groups_are_those_of_both_published_lists() -> None:
    groups = json.loads((DATA / "tmmluplus/groups.json").read_text(encoding="utf-8"))
    assert groups == GROUPS_66
    subjects = {row["subject"] for row in rows_of(DATA / "tmmluplus/subject_categories.tsv")}
    assert subjects == set(GROUPS_67)


def test_the_mean_of_groups_equals_a_computation_by_pandas() -> None:
    import pandas as pd

    path = DATA / "tmmluplus/per_subject_accuracy_5_models.csv"
    found = FORMATS["subject-accuracies"](path, "tmmluplus")
    task = BENCHMARKS["tmmluplus"]("tmmluplus", found.questions)
    rows = benchmark_scores(found.items, [task], options=FEW)
    table = pd.read_csv(path)
    subject = table["task_name"].str.removeprefix("TCEval-v2/tmmluplus-")
    groups = table.drop(columns=["task_name", "metric"]).groupby(subject.map(GROUPS_66)).mean()
    assert groups.shape == (4, 5)
    for model in groups.columns:
        scores = dict(rows.filter(pl.col("model") == model).select("part", "score").iter_rows())
        assert scores["all"] == pytest.approx(groups[model].mean(), abs=1e-12)
        for group, mean in groups[model].items():
            assert scores[group] == pytest.approx(mean, abs=1e-12)
