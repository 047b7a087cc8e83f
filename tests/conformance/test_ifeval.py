"""IFEval's official flags of GPT-4's responses, every one of them."""

import json
from pathlib import Path

import polars as pl
import pytest

from kyara_kedro.evaluation.benchmarks import IFEval
from kyara_kedro.evaluation.importing import FORMATS, Imported, rows_of
from kyara_kedro.evaluation.scores import StatisticsOptions, benchmark_scores

from public_data import CONFORMANCE, DATA

pytestmark = CONFORMANCE
FILE = DATA / "ifeval" / "gpt4_open.jsonl.gz"


@pytest.fixture(scope="module")
def imported() -> Imported:
    return FORMATS["ifeval"](FILE, "ifeval")


@pytest.fixture(scope="module")
def items(imported: Imported) -> pl.DataFrame:
    return IFEval("ifeval", imported.questions).score(imported.outputs)


def test_every_flag_is_the_official_one(imported: Imported, items: pl.DataFrame) -> None:
    values = {
        (metric, item): value
        for metric, item, value in items.select("metric", "item_id", "value").rows()
    }
    differing = []
    for row, question in zip(rows_of(FILE), imported.questions, strict=True):
        for manner in ("strict", "loose"):
            flags = row[manner]
            ours = [
                values[f"instruction_{manner}", f"{question.item_id}#{place}"] == 1
                for place in range(len(flags))
            ]
            whole = values[f"prompt_{manner}", question.item_id] == 1
            if ours != flags or whole != all(flags):
                differing.append((row["key"], manner, row["instruction_id_list"], ours))
    assert differing == []


def test_scores_are_shares_of_prompts_and_of_instructions(
    imported: Imported, items: pl.DataFrame
) -> None:
    task = IFEval("ifeval", imported.questions)
    scores = benchmark_scores(items, [task], options=StatisticsOptions(resamples=50))
    found = {
        row["metric"]: (row["score"], row["items"], row["expected"])
        for row in scores.iter_rows(named=True)
    }
    exact = {
        "prompt_strict": (212 / 270, 270, 270),
        "instruction_strict": (354 / 419, 419, 419),
        "prompt_loose": (221 / 270, 270, 270),
        "instruction_loose": (364 / 419, 419, 419),
        "ifeval_strict": ((212 / 270 + 354 / 419) / 2, 689, 689),
    }
    assert found == {metric: pytest.approx(value, abs=1e-12) for metric, value in exact.items()}


def test_responses_without_instructions_meet_the_questions_by_their_prompts(
    imported: Imported, items: pl.DataFrame, tmp_path: Path
) -> None:
    official = tmp_path / "gpt4_open.jsonl"
    rows = [{name: row[name] for name in ("prompt", "response")} for row in rows_of(FILE)[:20]]
    official.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    found = FORMATS["ifeval"](official, "ifeval")
    assert found.questions == []
    scored = IFEval("ifeval", imported.questions).score(found.outputs)
    assert scored["value"].to_list() == items.head(scored.height)["value"].to_list()
