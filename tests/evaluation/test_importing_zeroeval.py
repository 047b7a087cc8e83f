import json
from pathlib import Path
from typing import Any

import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.importing import FORMATS
from kyara_kedro.records import BENCHMARK_ITEM, MODEL_OUTPUT

OFFICIAL = {
    "session_id": "gsm8k-main-test-#0",
    "chat_history": ["How many?"],
    "model_input": "n/a",
    "output": ['{"answer": "18"}', "another"],
    "generator": "google/gemma-2-2b-it",
    "id": "gsm8k-main-test-#0",
    "question": "How many eggs?",
    "answer": "# 18",
}


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(rows))
    return path


def test_zeroevals_own_rows_hold_the_questions_too(tmp_path: Path) -> None:
    read = FORMATS["zeroeval"](written(tmp_path / "gemma-2-2b-it.json", [OFFICIAL]), "gsm")
    (output,) = MODEL_OUTPUT.validate(read.outputs).to_dicts()
    assert (output["model"], output["item_id"]) == ("gemma-2-2b-it", "gsm8k-main-test-0")
    assert output["output"] == '{"answer": "18"}'
    assert output["messages"] == [{"role": "user", "content": "How many?"}]
    (question,) = read.questions
    assert (question.item_id, question.answer) == ("gsm8k-main-test-0", "18")


def test_rows_of_outputs_alone_leave_the_questions_to_another_file(tmp_path: Path) -> None:
    puzzle = {"id": "lgp-test-2x2-0", "puzzle": "Who?", "size": "2*2", "output": [""]}
    for kind, row in (("gsm", {"id": 7, "output": "18"}), ("zebra-grid", puzzle)):
        read = FORMATS["zeroeval"](written(tmp_path / "m.json", [row]), kind)
        assert (read.questions, read.outputs.height) == ([], 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"output": ["x"]}, "m.json, row 1: there is no field 'id'"),
        ({"id": "a"}, "m.json, row 1: there is no field 'output'"),
        ({"id": "a", "output": []}, "m.json, row 1: 'output' holds no text"),
        ({"id": "a", "output": [None]}, "m.json, row 1: 'output' holds no text"),
    ],
)
def test_a_row_that_lacks_something_is_named(
    tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        FORMATS["zeroeval"](written(tmp_path / "m.json", [row]), "gsm")


@pytest.mark.parametrize("name", ["zeroeval", "zeroeval-flags"])
def test_another_benchmark_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="'bbh' is no benchmark of ZeroEval; those are gsm, math"):
        FORMATS[name](written(tmp_path / "m.json", []), "bbh")


def test_flags_are_items_of_many_models(tmp_path: Path) -> None:
    path = tmp_path / "flags.csv"
    path.write_text("id,a,b@c\nlgp-test-5x6-1,1,\nlgp-test-2x2-0,0,1\n")
    items = BENCHMARK_ITEM.validate(FORMATS["zeroeval-flags"](path, "zebra-grid").items)
    assert items.select("item_id", "model", "value", "no_answer", "stratum").rows() == [
        ("lgp-test-5x6-1", "a", 1, False, "5*6"),
        ("lgp-test-5x6-1", "b@c", 0, True, "5*6"),
        ("lgp-test-2x2-0", "a", 0, False, "2*2"),
        ("lgp-test-2x2-0", "b@c", 1, False, "2*2"),
    ]
    path.write_text("id,a\nlgp-test-5x6-1,yes\n")
    with pytest.raises(UserError, match="row 1: model 'a' has 'yes'; write 1 for right"):
        FORMATS["zeroeval-flags"](path, "zebra-grid")
