"""The rules by which ZeroEval finds and compares answers, one by one."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks import (
    BENCHMARKS,
    Crux,
    Decoding,
    Gsm,
    MathL5,
    MmluRedux,
    Question,
    Task,
    ZebraGrid,
)
from kyara_kedro.evaluation.benchmarks.gsm import first_number
from kyara_kedro.evaluation.benchmarks.zebra_grid import SIZES
from kyara_kedro.evaluation.benchmarks.zeroeval import ZeroEval, reply_in
from kyara_kedro.evaluation.scores import StatisticsOptions, benchmark_scores
from kyara_kedro.records import BENCHMARK_ITEM

from support import bounded_time

Answered = Callable[[Task, str, Mapping[str, str]], pl.DataFrame]
GRID = {
    "header": ["House", "Name", "Drink"],
    "rows": [["1", "Arnold", "tea"], ["2", "Peter", "water"]],
}
LLAMA = "Meta-Llama-3.1-8B-Instruct"


def gsm(answer: str = "18") -> Gsm:
    return Gsm("gsm", Gsm.read({"questions": [{"question": "?", "answer": answer}]}))


def crux(answer: str) -> Crux:
    return Crux("crux", [Question("q", "?", answer)])


def mmlu() -> MmluRedux:
    return MmluRedux("mmlu-redux", [Question("q", "?", "B", choices=("w", "x", "y", "z"))])


def zebra() -> ZebraGrid:
    row = {"id": "lgp-test-2x2-0", "puzzle": "Who?", "solution": GRID}
    return ZebraGrid("zebra-grid", ZebraGrid.read({"questions": [row]}))


def score(task: Task, output: str, model: str = "") -> dict[str, float] | None:
    (question,) = task.questions.values()
    return task.score_by(question, output, model)


@pytest.mark.parametrize(
    ("output", "reply"),
    [
        ('{"reasoning": "r", "answer": "5"}', {"reasoning": "r", "answer": "5"}),
        ('{"answer": 5} {"answer": 6}', {"answer": 5}),
        ('{"answer": null}', {"answer": None}),
        ('{"a": 1} "reasoning": "r" "answer": "6"', {"reasoning": "r", "answer": "6"}),
        ('{"reasoning": "a "b" c", "answer": "5"}', {"reasoning": "a ", "answer": "5"}),
        (
            '{"reasoning": "cut off\nhere", "answer": "5',
            {"reasoning": "cut off\nhere", "answer": '"5'},
        ),
        ('"answer": 5, "b"', {"answer": "5"}),
        ("The answer: 5 apples", {"answer": "5"}),
        ("answer:", {"answer": ""}),
    ],
)
def test_an_answer_is_the_first_objects_or_searched_for(output: str, reply: dict[str, Any]) -> None:
    assert reply_in(output, "") == reply


def test_only_llama_31_may_end_with_a_box() -> None:
    boxed = "It is $\\boxed{36}$."
    assert reply_in(boxed, LLAMA) == {"answer": "36"}
    assert reply_in(boxed, "gemma-2-2b-it") is None
    assert reply_in(boxed + " " * 30, LLAMA) is None
    assert reply_in('"reasoning": "r" \\boxed{36}', LLAMA) == {"reasoning": "r", "answer": "36"}
    assert reply_in("\\boxed{-36}", LLAMA) is None


def test_an_empty_answer_is_one_unless_it_may_not_be_blank() -> None:
    for output in ('{"answer": ""}', '{"answer": null}', '"answer": ""'):
        assert reply_in(output, "") is not None
        assert reply_in(output, "", blank=False) is None
    assert reply_in('{"answer": ""} \\boxed{B}', LLAMA, blank=False) == {"answer": "B"}


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("$1,234.50 in all", 1234.5),
        ("-3", -3),
        ("x = 3/4", 3),
        ("3/4", 0.75),
        ("1/100000", 1),
        ("5/0", 5),
        ("7 or 8", 7),
        ("٣", 3),
        ("none", None),
        ("", None),
    ],
)
def test_the_first_number_of_an_answer(answer: str, number: float | None) -> None:
    assert first_number(answer) == number


@pytest.mark.parametrize("answer", ["# 18", "Because 9 * 2 = 18.\n#### 18", "18"])
def test_a_number_is_compared_by_value(answer: str) -> None:
    task = gsm(answer)
    assert score(task, '{"reasoning": "16 - 7", "answer": "$18.00"}') == {
        "accuracy": 1,
        "reason_length": 6,
    }
    assert score(task, '{"answer": 18}') == {"accuracy": 1, "reason_length": 0}
    assert score(task, '{"answer": [36, 2]}') == {"accuracy": 0, "reason_length": 0}
    assert score(task, "eighteen") is None


@pytest.mark.parametrize(
    ("reasoning", "length"), [('"four"', 4), ('["a", "b"]', 2), ("null", 4), ("12.5", 4)]
)
def test_the_reasoning_may_be_any_json(reasoning: str, length: int) -> None:
    marks = score(gsm(), f'{{"reasoning": {reasoning}, "answer": "1"}}')
    assert marks == {"accuracy": 0, "reason_length": length}


@pytest.mark.parametrize(
    ("gold", "said", "right"),
    [
        ("'abc'", '"abc"', 1),
        ("'abc'", "\"'abc'\"", 1),
        ("''", '""', 1),
        ("[(1, 2), None]", '"[(1, 2), None]"', 1),
        ("[1, 2]", "[1,2]", 1),
        ("True", "true", 1),
        ("'a\\nb'", '"a\\nb"', 1),
        ("'abc'", '"abd"', 0),
        ("[1, 2]", '"[1,2]"', 0),
    ],
)
def test_crux_compares_text_without_its_quotes(gold: str, said: str, right: int) -> None:
    assert score(crux(gold), f'{{"answer": {said}}}') == {"accuracy": right, "reason_length": 0}


@pytest.mark.parametrize(
    ("said", "right"),
    [('"B"', 1), ('"(B) x"', 1), ('["B)"]', 1), ('"b"', 0), ('"x"', 0), ("2", 0), ("[]", 0)],
)
def test_a_choice_is_a_letter_alone_or_before_a_bracket(said: str, right: int) -> None:
    assert score(mmlu(), f'{{"answer": {said}}}') == {"accuracy": right, "reason_length": 0}
    assert score(mmlu(), '{"answer": ""}') is None


def checked(number: int, error: str, correct: str = "", **rest: Any) -> dict[str, Any]:
    return {
        "subject": "virology",
        "question": f"{number}?",
        "choices": "['w', 'x', 'y', 'z']",
        "answer": "1",
        "error_type": error,
        "correct_answer": correct,
        **rest,
    }


def test_questions_with_an_error_are_left_out_unless_the_right_letter_is_known() -> None:
    rows = [
        checked(0, "OK "),
        checked(1, "wrong_groundtruth", "D"),
        checked(2, "Wrong Groundtruth", "2"),
        checked(3, "Bad Question Clarity"),
        checked(4, "ok", subject="world_religions"),
        checked(5, "Wrong groundtruth", "AB"),
        checked(6, "ok", id="mmlu-redux-virology-#9"),
    ]
    assert [(q.item_id, q.answer, q.stratum) for q in MmluRedux.read({"questions": rows})] == [
        ("mmlu-redux-virology-0", "B", "virology"),
        ("mmlu-redux-virology-1", "D", "virology"),
        ("mmlu-redux-virology-9", "B", "virology"),
    ]


def test_rows_of_zeroeval_name_the_right_choice_by_its_text() -> None:
    row = {
        "id": "mmlu-redux-high_school_physics-#3",
        "question": "?",
        "choices": ["w", "x"],
        "correct_answer": "x",
    }
    (question,) = MmluRedux.read({"questions": [row]})
    assert (question.answer, question.stratum) == ("B", "high_school_physics")
    with pytest.raises(UserError, match="row 1: answer 'v' is none of the choices"):
        MmluRedux.read({"questions": [{**row, "correct_answer": "v"}]})
    with pytest.raises(UserError, match="row 1: 'choices' is no list"):
        MmluRedux.read({"questions": [{**row, "choices": "w, x"}]})


def filled(cells: Mapping[str, Any]) -> str:
    return "{x} " + json.dumps({"reasoning": "four", "solution": cells})


@pytest.mark.parametrize(
    ("solution", "cells"),
    [
        ({"House 1": {"Name": "ARNOLD ", "Drink": ["Tea", "milk"]}, "House 2": {}}, 2),
        ({"House 1": {"Name": None, "Drink": ""}, "House 2": {"Name": 5, "Drink": [[]]}}, 0),
        ({"House 1": "Arnold", "House 2": ["Peter"], "House 3": {"Name": "Peter"}}, 0),
        ({"House 2": {"Name": "Peter", "Drink": []}}, 1),
    ],
)
def test_cells_count_one_by_one_and_other_types_are_none(
    solution: dict[str, Any], cells: int
) -> None:
    assert score(zebra(), filled(solution)) == {
        "accuracy": 0,
        "cell_accuracy": cells / 4,
        "reason_length": 4,
    }


def test_a_puzzle_is_solved_when_all_its_cells_are() -> None:
    grid = {
        f"House {row[0]}": dict(zip(GRID["header"][1:], row[1:], strict=True))
        for row in GRID["rows"]
    }
    assert score(zebra(), filled(grid)) == {
        "accuracy": 1,
        "cell_accuracy": 1,
        "reason_length": 4,
    }
    assert score(zebra(), filled(grid) + " {") is not None
    assert score(zebra(), filled(grid) + " {x}") is None
    assert score(zebra(), '{"solution": null}') is None
    assert score(zebra(), '{"solution": "House 1"}') is not None


def test_sizes_of_puzzles_are_those_that_zeroeval_lists() -> None:
    listed = {
        "small": {"2*2", "2*3", "2*4", "2*5", "2*6", "3*2", "3*3", "4*2"},
        "medium": {"3*4", "3*5", "3*6", "4*3", "4*4", "5*2", "6*2"},
        "large": {"4*5", "5*3", "4*6", "5*4", "6*3"},
        "xl": {"5*5", "6*4", "5*6", "6*5", "6*6"},
    }
    averaging = ZebraGrid.averaging
    for name, sizes in listed.items():
        assert {size for size in SIZES if averaging.groups[size] == name} == sizes
    easy = {size for size in SIZES if averaging.also[size] == "easy"}
    assert easy == listed["small"] - {"4*2"}


def test_a_hidden_solution_needs_the_file_that_has_it() -> None:
    hidden = {**GRID, "rows": [["1", "___", "___"], ["2", "___", "___"]]}
    asked = {"id": "lgp-test-2x2-0", "puzzle": "Who?", "solution": hidden}
    with pytest.raises(UserError, match="row 1: the solution is hidden; give the part 'solutions'"):
        ZebraGrid.read({"questions": [asked]})
    solved = {"id": "lgp-test-2x2-0", "solution": GRID}
    (question,) = ZebraGrid.read({"questions": [asked], "solutions": [solved]})
    assert question == next(iter(zebra().questions.values()))
    assert question.stratum == "2*2"
    with pytest.raises(UserError, match="row 1: 'solution' has no 'header' and 'rows'"):
        ZebraGrid.read({"questions": [{**asked, "solution": {"header": []}}]})
    with pytest.raises(UserError, match="item 'q': the answer is no JSON object"):
        ZebraGrid("zebra-grid", [Question("q", "?", "tea")])


def test_missing_parts_and_fields_are_named() -> None:
    with pytest.raises(UserError, match="'gsm': give its questions; the part"):
        Gsm.read({})
    with pytest.raises(UserError, match="questions, row 1: there is no field 'question' or"):
        MathL5.read({"questions": [{"answer": 1}]})


def test_what_is_sent_is_greedy_and_ends_after_4096_tokens() -> None:
    for task in (gsm(), crux("1"), mmlu(), zebra()):
        (request,) = task.requests()
        assert request.decoding == Decoding(0, 4096)
        assert len(request.messages) == 1


def test_only_answered_items_have_a_length_and_none_counts_as_missing(answered: Answered) -> None:
    task = Gsm("gsm", Gsm.read({"questions": [{"question": "?", "answer": "1"}] * 4}))
    said = ['{"reasoning": "four", "answer": "1"}', "no idea", '{"reasoning": "no", "answer": "2"}']
    outputs = answered(task, "m", dict(zip(task.questions, said, strict=False)))
    items = BENCHMARK_ITEM.validate(task.score(outputs))
    found = benchmark_scores(items, [task], options=StatisticsOptions(resamples=20))
    assert found.select("metric", "items", "expected", "no_answer").rows() == [
        ("accuracy", 3, 4, 1),
        ("reason_length", 2, 2, 0),
    ]
    assert found["score"].to_list() == [pytest.approx(1 / 3), 3]
    assert task.expected() == {"accuracy": 4}


def test_cells_weigh_alike_and_groups_overlap(answered: Answered) -> None:
    three = {"header": ["House", "Name", "Drink"], "rows": [["1", "A", "tea"]] * 4}
    rows = [
        {"id": "a", "puzzle": "?", "solution": GRID},
        {"id": "b", "puzzle": "?", "solution": three},
    ]
    task = ZebraGrid("zebra-grid", ZebraGrid.read({"questions": rows}))
    outputs = answered(task, "m", {"a": filled({"House 1": {"Name": "Arnold"}}), "b": "no idea"})
    items = BENCHMARK_ITEM.validate(task.score(outputs))
    scores = benchmark_scores(items, [task], options=StatisticsOptions(resamples=20))
    found = {(r["metric"], r["part"]): r["score"] for r in scores.iter_rows(named=True)}
    assert found["cell_accuracy", "all"] == pytest.approx(1 / 12)
    assert found["cell_accuracy", "easy"] == pytest.approx(1 / 4)
    assert found["cell_accuracy", "hard"] == 0
    assert found["cell_accuracy", "small"] == pytest.approx(1 / 12)
    assert ("accuracy", "small/4*2") in found


HOSTILE = [
    "{" * 10**6,
    '{"answer":' * 10**5 + "}" * 10**5,
    '"' * 10**6,
    '"answer": "' * 10**5,
    "answer" + " " * 10**6,
    '"reasoning" : ' * 10**5,
    '{"answer": "' + "9" * 10**6 + '"}',
    '{"answer": "' + "9/" * 500_000 + '"}',
    '{"answer": ' + "[" * 900 + "]" * 900 + ', "reasoning": ' + "[" * 900 + "]" * 900 + "}",
    '{"solution": ' + "[" * 900 + "]" * 900 + "}",
    "\\boxed{" * 10**5 + "boxed",
]


def all_tasks() -> list[Task]:
    tasks = [gsm(), crux("1"), mmlu(), zebra()]
    covered = {type(task) for task in tasks} | {MathL5}
    assert covered == {kind for kind in BENCHMARKS.values() if issubclass(kind, ZeroEval)}
    return tasks


@pytest.mark.parametrize("output", HOSTILE, ids=lambda output: output[:20])
def test_a_megabyte_of_nonsense_takes_bounded_time(output: str) -> None:
    with bounded_time():
        for task in all_tasks():
            score(task, output, LLAMA)


VALUES = [None, True, 0, -1.5, "", "B)", "1/2", [], ["tea"], [[]], {}, {"House 1": {"Name": [{}]}}]
REPLIES = st.builds(
    lambda reply, cut: json.dumps(reply)[: cut or None],
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("reasoning", "answer", "solution"), st.sampled_from(VALUES))
    ),
    st.integers(0, 60),
)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | REPLIES)
def test_any_output_is_scored_or_holds_no_answer(output: str) -> None:
    for task in all_tasks():
        marks = score(task, output, LLAMA)
        assert marks is None or 0 <= marks["accuracy"] <= 1
