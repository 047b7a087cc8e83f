"""ZeroEval's published figures from its models' raw outputs."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kyara_kedro.evaluation.benchmarks import BENCHMARKS, MmluRedux
from kyara_kedro.evaluation.benchmarks.zebra_grid import SIZES
from kyara_kedro.evaluation.importing import FORMATS, rows_of
from kyara_kedro.evaluation.scores import StatisticsOptions, benchmark_scores
from kyara_kedro.records import BENCHMARK_ITEM, BENCHMARK_SCORE, MODEL_OUTPUT

from public_data import CONFORMANCE, DATA

pytestmark = CONFORMANCE
HERE = DATA / "zeroeval"
OPTIONS = StatisticsOptions(resamples=20)
WITH_QUESTIONS_ELSEWHERE = ("gsm", "math-l5", "crux")
ZEROEVAL = ("gsm", "math-l5", "crux", "mmlu-redux", "zebra-grid")
FILES = sorted(path for kind in ZEROEVAL for path in (HERE / kind).glob("*.jsonl.gz"))


def published(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / f"{name}.published.json").read_text())
    return found


def asked_questions(kind: str) -> list[dict[str, Any]]:
    if kind in WITH_QUESTIONS_ELSEWHERE:
        return rows_of(HERE / f"{kind}.questions.jsonl.gz")
    (path,) = (HERE / kind).glob("*.jsonl.gz")
    return rows_of(path)


@cache
def flags(kind: str) -> pl.DataFrame:
    read = FORMATS["zeroeval-flags"](HERE / f"{kind}.item_flags.csv.gz", kind)
    return BENCHMARK_ITEM.validate(read.items)


def figures(scores: pl.DataFrame) -> dict[str, Any]:
    """One model's scores as ZeroEval prints them."""
    row = {(r["metric"], r["part"]): r for r in scores.iter_rows(named=True)}

    def percent(metric: str, part: str = "all") -> str:
        return f"{row[metric, part]['score'] * 100:.2f}"

    whole = row["accuracy", "all"]
    common = {
        "No answer": f"{whole['no_answer'] / whole['items'] * 100:.2f}",
        "Reason Lens": f"{row['reason_length', 'all']['score']:.2f}",
    }
    if ("cell_accuracy", "all") not in row:
        return {"Acc": percent("accuracy"), "Total": whole["items"], **common}
    parts = ("Easy", "Hard", "Small", "Medium", "Large", "XL")
    return {
        "Puzzle Acc": percent("accuracy"),
        "Cell Acc": percent("cell_accuracy"),
        "Total Puzzles": whole["items"],
        **{f"{part} Puzzle Acc": percent("accuracy", part.lower()) for part in parts},
        **common,
    }


def test_every_published_model_has_its_outputs() -> None:
    models = {(path.parent.name, path.name.removesuffix(".jsonl.gz")) for path in FILES}
    assert models == {
        (kind, model.replace("@", "_at_")) for kind in ZEROEVAL for model in published(kind)
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_figure_of_a_models_outputs_is_the_published_one(path: Path) -> None:
    kind = path.parent.name
    read = FORMATS["zeroeval"](path, kind)
    MODEL_OUTPUT.validate(read.outputs)
    questions = read.questions or BENCHMARKS[kind].read({"questions": asked_questions(kind)})
    task = BENCHMARKS[kind](kind, questions)
    items = BENCHMARK_ITEM.validate(task.score(read.outputs))
    scores = BENCHMARK_SCORE.validate(benchmark_scores(items, [task], options=OPTIONS))
    model = path.name.removesuffix(".jsonl.gz").replace("_at_", "@")
    assert figures(scores) == published(kind)[model]


@pytest.mark.parametrize("kind", ["mmlu-redux", "zebra-grid"])
def test_item_flags_give_every_models_published_accuracy(kind: str) -> None:
    items = flags(kind)
    scores = benchmark_scores(items, [BENCHMARKS[kind](kind, [])], options=OPTIONS)
    whole = scores.filter(pl.col("part") == "all")
    found = {row["model"]: f"{row['score'] * 100:.2f}" for row in whole.iter_rows(named=True)}
    assert found == published(f"{kind}.item_flags")
    assert set(whole["items"]) == {{"mmlu-redux": 2778, "zebra-grid": 1000}[kind]}
    if kind == "zebra-grid":
        assert set(SIZES) == set(items["stratum"])


@pytest.mark.parametrize("kind", ZEROEVAL)
def test_every_prompt_is_the_one_that_was_sent(kind: str) -> None:
    rows = asked_questions(kind)
    task = BENCHMARKS[kind](kind, BENCHMARKS[kind].read({"questions": rows}))
    sent = [request.messages for request in task.requests()]
    assert sent == [({"role": "user", "content": row["prompt"]},) for row in rows]


@pytest.mark.parametrize(
    ("kind", "file"), [("gsm", "gsm8k/test.jsonl.gz"), ("crux", "cruxeval/cruxeval.jsonl.gz")]
)
def test_the_benchmarks_own_files_give_the_questions_of_zeroeval(kind: str, file: str) -> None:
    ours = BENCHMARKS[kind].read({"questions": rows_of(DATA / file)})
    theirs = BENCHMARKS[kind].read({"questions": asked_questions(kind)})
    assert [(q.item_id, q.question) for q in ours] == [(q.item_id, q.question) for q in theirs]
    assert [q.answer.replace(",", "") for q in ours] == [q.answer.replace(",", "") for q in theirs]


def test_zeroevals_selection_of_todays_mmlu_redux_is_known() -> None:
    """Labels were corrected since: 2,775 of ZeroEval's 2,778 questions and 4 others."""
    rows = rows_of(DATA / "mmlu_redux/mmlu_redux.jsonl.gz")
    ours = {q.item_id for q in MmluRedux.read({"questions": rows})}
    theirs = set(flags("mmlu-redux")["item_id"])
    assert (len(ours & theirs), len(theirs), len(ours - theirs)) == (2775, 2778, 4)


def test_bbh_has_27_tasks_and_scores_its_own_answers_as_right() -> None:
    rows = rows_of(DATA / "bbh/bbh.jsonl.gz")
    task = BENCHMARKS["bbh"]("bbh", BENCHMARKS["bbh"].read({"questions": rows}))
    assert len(task.questions) == 6511
    assert len({q.stratum for q in task.questions.values()}) == 27
    for question in task.questions.values():
        right = f"First.\nSo the answer is {question.answer}."
        assert task.score_output(question, right) == {"accuracy": 1}
