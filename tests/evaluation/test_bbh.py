import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.evaluation.benchmarks import Bbh, Question
from kyara_kedro.evaluation.benchmarks.bbh import stated_answer

from support import bounded_time


def score(target: str, output: str) -> float | None:
    task = Bbh("bbh", [Question("q", "?", target)])
    marks = task.score_output(task.questions["q"], output)
    return marks["accuracy"] if marks else None


@pytest.mark.parametrize(
    ("target", "output", "right"),
    [
        ("(A)", "So the answer is (A).", 1),
        ("(A)", "The answer is A", 1),
        ("(A)", "**The answer is: (A) Ana finished second.**", 1),
        ("(A)", "the answer is (B). No: the answer is (A).", 1),
        ("(A)", "The answer is:\n\n(A)", 1),
        ("(A)", "So the answer is (AB).", 0),
        ("(A)", "So the answer is Apple.", 0),
        ("Yes", "So the answer is yes.", 1),
        ("valid", "So the answer is invalid.", 0),
        ("-50", "So the answer is -50.", 1),
        ("] ] >", "So the answer is ] ]  >.", 1),
        ("apple pear", "So the answer is pear apple.", 0),
        ("Yes", "Yes.", None),
        ("Yes", "So the answer is.", None),
        ("Yes", "", None),
    ],
)
def test_the_last_statement_of_an_answer_counts(
    target: str, output: str, right: float | None
) -> None:
    assert score(target, output) == right


def test_tasks_are_strata_and_weigh_the_same() -> None:
    rows = [{"task": task, "input": "?", "target": "Yes"} for task in ("b", "a", "b")]
    task = Bbh("bbh", Bbh.read({"questions": rows}))
    assert [(q.item_id, q.stratum) for q in task.questions.values()] == [
        ("b-0", "b"),
        ("a-0", "a"),
        ("b-1", "b"),
    ]
    assert task.averaging.by == "strata"
    request = next(task.requests())
    assert request.messages[0]["content"].startswith("?\n\nReason step by step.")


@given(st.text(alphabet="answer is:\n (A).*", max_size=60) | st.text(max_size=60))
def test_any_output_has_an_answer_or_none(output: str) -> None:
    found = stated_answer(output)
    assert found is None or found in output


@pytest.mark.parametrize("output", ["answer is " * 10**5, "answer is" + " " * 10**6, "ß" * 10**6])
def test_a_megabyte_of_nonsense_takes_bounded_time(output: str) -> None:
    with bounded_time():
        score("(A)", output)
