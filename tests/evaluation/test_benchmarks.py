from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks import (
    Choice,
    HeldOut,
    OpenAnswer,
    Question,
    build_tasks,
    expected_items,
    output_lengths,
    output_metrics,
    questions_of,
    recall_questions,
)
from kyara_kedro.evaluation.benchmarks.choice import chosen_letter
from kyara_kedro.evaluation.benchmarks.held_out import PHRASINGS
from kyara_kedro.evaluation.benchmarks.open_answer import canonical, match
from kyara_kedro.evaluation.benchmarks.output import traditional_purity
from kyara_kedro.records import BENCHMARK_ITEM, CONVERSATION, EVALUATION_QUESTION

from support import bounded_time

FOUR = ["阿里山", "玉山", "雪山", "玉山北峰"]
Answered = Callable[..., pl.DataFrame]


@pytest.mark.parametrize(
    ("output", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("Ｂ", "B"),
        ("(B)", "B"),
        ("（Ｂ）", "B"),
        ("【B】", "B"),
        ("**B**", "B"),
        ("B.", "B"),
        ("B. 玉山", "B"),
        ("B、玉山", "B"),
        ("B，因為它最高", "B"),
        ("「B」", "B"),
        ("答案是B", "B"),
        ("答案：Ｂ。", "B"),
        ("正確答案為 (B)，因為 A 比較矮。", "B"),
        ("正確答案應該是選項 B", "B"),
        ("我認為應選 C", "C"),
        ("所以我選擇「C」。", "C"),
        ("答案不是A，答案是B。", "B"),
        ("A 看起來很像，但是 C 更好。\n\n答案：D", "D"),
        ("The answer is B.", "B"),
        ("The correct answer is: **b**", "B"),
        ("The answer is A because it is so.", "A"),
        ("Answer: (D) 玉山北峰", "D"),
        (r"Thus $\boxed{C}$", "C"),
        (r"\boxed{\text{C}}", "C"),
        ("想了很久以後\nC", "C"),
        ("應該是(C)吧", "C"),
        ("最高的是 C 這座", "C"),
        ("最高的是玉山", "B"),
        ("最高的是玉山北峰", "D"),
        ("", None),
        ("我不知道", None),
        ("A 或 B 都有可能", None),
        ("是 (A) 還是 (B) 呢", None),
        ("A, B and C are mountains", None),
        ("A mountain is a high place.", None),
        ("The answer is a bit complicated.", None),
        ("選項E", None),
        ("玉山和雪山都很高", None),
        ("DNA", None),
    ],
)
def test_the_letter_is_found_in_free_text(output: str, letter: str | None) -> None:
    assert chosen_letter(output, FOUR) == letter


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300), st.integers(2, 10))
def test_any_output_gives_a_letter_of_the_choices_or_none(output: str, number: int) -> None:
    letter = chosen_letter(output, [f"選擇{i}" for i in range(number)])
    assert letter is None or letter in "ABCDEFGHIJ"[:number]


@pytest.mark.parametrize(
    "output",
    ["(" * 10**6, "答案" * 5 * 10**5, "\\boxed{" * 10**5, "A " * 10**6, "9," * 10**6, "﷽" * 10**5],
)
def test_a_megabyte_of_nonsense_takes_bounded_time(output: str) -> None:
    with bounded_time():
        chosen_letter(output, FOUR)
        match(output, ["3,952"])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("3,952 公尺", "３９５２公尺。"),
        ("三千九百五十二公尺", "3952公尺"),
        ("2.5 萬", "25000"),
        ("兩萬五千", "2.5萬"),
        ("一九四五年十月", "1945 年 10 月"),
        ("臺北市", "台北市"),
        ("八田與一", "八田与一"),
        ("Open-Source", "open source"),
        ("−5 度", "-5度"),
        ("0.50%", "0.5 ％"),
        ("1.0", "1"),
        ("007", "7"),
        ("三億六千萬", "360,000,000"),
    ],
)
def test_answers_of_the_same_value_are_equal(left: str, right: str) -> None:
    assert canonical(left) == canonical(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("3952", "3953"),
        ("5", "-5"),
        ("0.5%", "0.5"),
        ("1.5", "15"),
        ("南投縣", "南投市"),
        ("10", "1"),
    ],
)
def test_answers_of_another_value_differ(left: str, right: str) -> None:
    assert canonical(left) != canonical(right)


@pytest.mark.parametrize(
    ("output", "gold", "exact", "contains"),
    [
        ("南投縣。", ["南投縣"], 1, 1),
        ("位在南投縣魚池鄉。", ["南投縣"], 0, 1),
        ("海拔有３９５２公尺高", ["3,952 公尺"], 0, 1),
        ("共有 30 座", ["3"], 0, 0),
        ("he said so", ["AI"], 0, 0),
        ("人工智慧（AI）", ["AI"], 0, 1),
        ("NHI", ["全民健康保險", "NHI"], 1, 1),
        ("雪山", ["玉山"], 0, 0),
    ],
)
def test_exact_and_contained_answers(
    output: str, gold: list[str], exact: int, contains: int
) -> None:
    assert match(output, gold) == {"exact_match": exact, "contains": contains}


@pytest.mark.parametrize("output", ["", "  \n", "。。。", "⋯⋯？！"])
def test_an_output_without_words_is_no_answer(output: str) -> None:
    assert match(output, ["玉山"]) is None


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_matching_holds_for_any_text_and_exact_implies_contained(text: str) -> None:
    found = match(text, ["玉山", text])
    assert found is None or found["contains"] >= found["exact_match"]


def test_tasks_are_made_by_benchmark_and_kind(questions: pl.DataFrame) -> None:
    tasks = build_tasks(questions)
    assert [(type(task), task.name, len(task.questions)) for task in tasks] == [
        (Choice, "sample", 4),
        (OpenAnswer, "sample", 4),
    ]
    assert expected_items(tasks) == {
        ("sample", "accuracy"): 4,
        ("sample", "exact_match"): 4,
        ("sample", "contains"): 4,
    }
    request = next(tasks[0].requests())
    assert request.gold == ("B",)
    assert "B. 玉山" in request.messages[0]["content"]


def test_scored_rows_fit_the_record_and_leave_missing_outputs_out(
    questions: pl.DataFrame, answered: Answered
) -> None:
    choice, open_answer = build_tasks(questions)
    outputs = pl.concat(
        [
            answered(choice, "m", {"choice-0": "B", "choice-1": "C", "choice-2": "不知道"}),
            answered(open_answer, "m", {"open-0": "3952公尺", "open-1": "在南投縣"}),
        ]
    )
    items = BENCHMARK_ITEM.validate(pl.concat([choice.score(outputs), open_answer.score(outputs)]))
    found = {(r["item_id"], r["metric"]): (r["value"], r["no_answer"]) for r in items.to_dicts()}
    assert found == {
        ("choice-0", "accuracy"): (1, False),
        ("choice-1", "accuracy"): (0, False),
        ("choice-2", "accuracy"): (0, True),
        ("open-0", "exact_match"): (1, False),
        ("open-0", "contains"): (1, False),
        ("open-1", "exact_match"): (0, False),
        ("open-1", "contains"): (1, False),
    }


def test_a_choice_without_a_right_letter_is_refused() -> None:
    with pytest.raises(UserError, match="item 'q': answer 'E'"):
        Choice("b", [Question("q", "?", "E", choices=("甲", "乙"))])


def test_an_item_id_may_occur_once() -> None:
    with pytest.raises(UserError, match="'q' occurs twice"):
        OpenAnswer("b", [Question("q", "?", "甲"), Question("q", "？", "乙")])


def test_held_out_phrasings_depend_on_the_id_and_hold_the_question() -> None:
    asked = [Question(f"q{i}", "玉山有多高？", "3,952 公尺") for i in range(60)]
    first = [r.messages[0]["content"] for r in HeldOut("held_out", asked).requests()]
    again = [r.messages[0]["content"] for r in HeldOut("held_out", asked[::-1]).requests()]
    assert first == again[::-1]
    assert set(first) == {p.format(question="玉山有多高？") for p in PHRASINGS["zh-TW"]}
    english = Question("q", "How high is Yushan", "3,952 m", language="en")
    (request,) = HeldOut("held_out", [english]).requests()
    assert "How high is Yushan?" in request.messages[0]["content"]


def test_held_out_scores_the_brief_answer() -> None:
    task = HeldOut("held_out", [Question("q", "玉山有多高？", "3,952 公尺")])
    (question,) = task.questions.values()
    assert task.score_output(question, "3952公尺！") == {"exact_match": 1, "contains": 1}
    assert task.score_output(question, "是3952公尺") == {"exact_match": 0, "contains": 1}


def _conversation(*contents: str) -> dict[str, object]:
    roles = ("user", "assistant") * 4
    messages = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
    return {
        "id": content_id(contents),
        "messages": messages,
        "source": "document",
        "language": "zh-Hant-TW",
        "rounds": len(contents) // 2,
        "tokens": 10,
        "teacher": "extractive-rules-v1",
        "prompt_version": None,
        "passage_ids": [],
        "calls": [],
        "parents": ["d"],
        "licence": "CC0-1.0",
    }


def test_recall_questions_are_short_single_and_unambiguous() -> None:
    known = CONVERSATION.frame(
        [
            _conversation("玉山有多高？", "3,952 公尺。"),
            _conversation("日月潭在哪裡？", "南投縣"),
            _conversation("日月潭在哪裡？", "魚池鄉"),
            _conversation("一問？", "一答", "二問？", "二答"),
            _conversation("# 參考文件\n內容", "答"),
            _conversation("說說臺灣。", "很" * 41),
        ]
    )
    found = EVALUATION_QUESTION.validate(recall_questions(known, 10))
    assert found["question"].to_list() == ["玉山有多高？"]
    assert HeldOut("held_out", questions_of(found)).metrics == ("exact_match", "contains")
    assert recall_questions(known.sample(fraction=1, shuffle=True, seed=1), 10).equals(found)


def test_purity_tells_the_scripts_apart() -> None:
    assert traditional_purity("臺灣的國語") == 1
    assert traditional_purity("这个国家") == 0
    assert 0 < (traditional_purity("這個国家") or 0) < 1
    assert traditional_purity("hello, 山水") is None


def test_output_metrics_and_lengths(questions: pl.DataFrame, answered: Answered) -> None:
    _, task = build_tasks(questions)
    texts = {"open-0": "這是臺灣的答案", "open-1": "这是简体", "open-2": "", "open-3": "12"}
    outputs = answered(task, "m", texts)
    items = BENCHMARK_ITEM.validate(output_metrics(outputs))
    assert items.group_by("metric").len().sort("metric").rows() == [
        ("distinct_4", 2),
        ("stopped", 4),
        ("traditional_purity", 2),
    ]
    (row,) = output_lengths(outputs).to_dicts()
    assert (row["outputs"], row["empty"], row["median_characters"]) == (4, 1, 3)
