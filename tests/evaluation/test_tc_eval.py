import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks import BENCHMARKS, Question
from kyara_kedro.evaluation.benchmarks.drcd import Drcd
from kyara_kedro.evaluation.benchmarks.penguins_tc import PenguinsTc
from kyara_kedro.evaluation.benchmarks.tc_eval import chosen_letter
from kyara_kedro.evaluation.benchmarks.tmmlu import Tmmlu
from kyara_kedro.evaluation.benchmarks.tmmluplus import GROUPS_66, GROUPS_67, Tmmluplus, Tmmluplus67
from kyara_kedro.evaluation.benchmarks.ttqa import Ttqa
from kyara_kedro.evaluation.importing.subject_accuracies import read_subject_accuracies
from kyara_kedro.evaluation.importing.tc_eval import read_tc_eval
from kyara_kedro.evaluation.scores import benchmark_scores

from support import bounded_time

FOUR = ["阿里山", "玉山", "雪山", "玉山北峰"]
WORDS = [
    *"答案是應该為选擇項|一：: ()\nAbEz",
    "正確",
    "陳述",
    "回答",
    "可能",
    "最恰當的選項為",
    "的",
]


@pytest.mark.parametrize(
    ("output", "letter"),
    [
        ("B", "B"),
        (" (b) 玉山", "B"),
        ("B) 玉山", "B"),
        ("選B", "B"),
        ("选项(C)", "C"),
        ("我會選擇 (D)", "D"),
        ("答案: (D) 烏肢猴", "D"),
        ("答案選項為 A", "A"),
        ("正確答案應該是：(C)", "C"),
        ("因此答案為選項 (C)", "C"),
        ("正確的選項應該是 D", "D"),
        ("正确的陈述应该是(A)", "A"),
        ("正確的句子是 B", "B"),
        ("最恰當的選項為：E", "E"),
        ("(A) 和 (B) 都不對，選項 (C) 是正確的", None),
        ("C 應為正確", "C"),
        ("回答: (C) 豐原", "C"),
        ("是玉山 (A)。", "A"),
        ("玉山是最高的", "B"),
        ("玉山北峰", "B"),
        ("Because it is high", "B"),
        ("答案是 A，答案是 B", None),
        ("Ｂ", None),
        ("", None),
        ("不知道", None),
        ("Yushan", None),
    ],
)
def test_the_letter_is_read_by_the_official_rules(output: str, letter: str | None) -> None:
    assert chosen_letter(output, FOUR) == letter


def test_without_known_choices_their_texts_choose_nothing() -> None:
    assert chosen_letter("玉山是最高的") is None


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=300), st.lists(st.sampled_from(WORDS), max_size=20).map("".join)))
def test_any_output_gives_a_letter_or_none(output: str) -> None:
    assert chosen_letter(output, FOUR) in (None, *"ABCDE")


@pytest.mark.parametrize(
    "output", ["(" * 10**6, "答案" + " " * 10**6, "選項" + " " * 10**6, "應" + "該|" * 5 * 10**5]
)
def test_a_megabyte_of_nonsense_takes_bounded_time(output: str) -> None:
    with bounded_time():
        chosen_letter(output, FOUR)


def test_ttqa_is_read_as_published_and_asks_for_a_letter() -> None:
    rows = [{"0": {"category": "CULTURE", "question": "最高的山？", "choices": FOUR, "answer": 1}}]
    task = Ttqa("ttqa", Ttqa.read({"questions": rows}))
    (request,) = task.requests()
    assert (request.item_id, request.gold, request.stratum) == ("0", ("B",), "CULTURE")
    assert request.decoding == (0.0, 128)
    text = request.messages[0]["content"]
    assert "最高的山？" in text
    assert "(A) 阿里山;(B) 玉山;(C) 雪山;(D) 玉山北峰" in text


def test_penguins_lose_the_call_for_an_answer_before_the_choices() -> None:
    row = {"question": "有幾隻企鵝？回答：", "choices": ["1", "2"], "answer": 0}
    (question,) = PenguinsTc.read({"questions": [{"test-0": row}]})
    assert question.question == "有幾隻企鵝？"


@pytest.mark.parametrize("answer", [4, -1, "B", None])
def test_an_answer_outside_the_choices_is_refused(answer: object) -> None:
    row = {"question": "？", "choices": FOUR, "answer": answer}
    with pytest.raises(UserError, match=r"ttqa.*answer"):
        Ttqa.read({"questions": [{"7": row}]})


def test_tmmlu_counts_items_within_subjects_and_averages_over_them() -> None:
    rows = [
        {"subject": "甲", "content.Q": "一(A)二(B)三", "content.A": "A"},
        {"subject": "乙", "content.Q": "四(A)五(B)六", "content.A": "B"},
        {"subject": "甲", "id": "x", "question": "七(A)八(B)九", "answer": "B"},
    ]
    questions = Tmmlu.read({"questions": rows})
    assert [question.item_id for question in questions] == ["甲/0", "乙/0", "甲/x"]
    (request, *_) = Tmmlu("tmmlu", questions).requests()
    assert request.messages[0]["content"] == "一(A)二(B)三"
    assert Tmmlu.averaging.by == "strata"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "？", "answer": "A"}, "row 1: there is no field 'subject'"),
        ({"subject": "甲", "answer": "A"}, "no field 'question' or 'content.Q'"),
        ({"subject": "甲", "question": "？", "answer": "AB"}, "answer 'AB' is no letter"),
    ],
)
def test_a_broken_examination_row_is_named(row: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Tmmlu.read({"questions": [row]})


def test_missing_questions_are_named() -> None:
    with pytest.raises(UserError, match="'drcd': give its questions"):
        Drcd.read({})


def tmmluplus(kind: type[Tmmluplus], *subjects: str) -> Tmmluplus:
    fields = {"question": "？", "A": "甲", "B": "乙", "C": "丙", "D": "丁", "answer": "A"}
    rows = [{"subject": subject, **fields} for subject in subjects]
    return kind("tmmluplus", kind.read({"questions": rows}))


def test_tmmluplus_has_two_lists_of_subjects() -> None:
    assert (len(GROUPS_66), len(GROUPS_67)) == (66, 67)
    assert GROUPS_67["linear_algebra"] == "STEM"
    assert list(tmmluplus(Tmmluplus, "physics", "linear_algebra").questions) == ["physics/0"]
    both = tmmluplus(Tmmluplus67, "physics", "linear_algebra").questions
    assert list(both) == ["physics/0", "linear_algebra/0"]
    with pytest.raises(UserError, match="'phisics' is none of TMMLU"):
        tmmluplus(Tmmluplus, "phisics")


def test_drcd_wants_an_output_that_begins_with_an_answer() -> None:
    qas = [{"question": "哪裡？", "answers": [{"text": "歐洲"}, {"text": "歐洲"}, {"text": "歐"}]}]
    official = {"version": "1.3", "data": [{"paragraphs": [{"context": "在歐洲", "qas": qas}]}]}
    made = {"0": {"paragraph": "在歐洲", "question": "哪裡？", "references": ["歐洲", "歐"]}}
    questions = Drcd.read({"questions": [official]})
    assert questions == Drcd.read({"questions": [made]})
    task = Drcd("drcd", questions)
    assert "在歐洲\n\n問題：哪裡？" in next(task.requests()).messages[0]["content"]
    for output, value in ((" 歐洲的研究", 1), ("歐亞", 1), ("在歐洲", 0), ("「歐洲」", 0)):
        assert task.score_output(questions[0], output) == {"prefix_exact_match": value}
    assert task.score_output(questions[0], " \n") is None


@pytest.mark.parametrize(
    "row",
    [
        {"data": [{"paragraphs": [{"context": "文"}]}]},
        {"data": 3},
        {"0": {"paragraph": "文", "question": "？", "references": []}},
        {"0": {"paragraph": "文", "question": "？", "answers": [{"id": 1}]}},
    ],
)
def test_a_broken_drcd_file_is_refused(row: dict[str, object]) -> None:
    with pytest.raises(UserError, match="drcd"):
        Drcd.read({"questions": [row]})


def written(path: Path, content: object) -> Path:
    text = json.dumps(content, ensure_ascii=False)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_an_official_result_file_gives_each_benchmark_its_outputs(tmp_path: Path) -> None:
    results = {
        "TTQA": [{"id": "0", "query": "問", "response": "(B)"}],
        "TMMLU/會考國文": [{"id": 0, "response": "A"}],
        "TMMLU_會考數學": [{"id": 0, "response": "D"}, {"id": 0, "response": ""}],
        "TMMLU_plus/physics": [{"id": 3, "response": "C"}],
    }
    path = written(tmp_path / "m_result.json.gz", {"name": "m", "results": results})
    found = {
        kind: read_tc_eval(path, kind).outputs.select("model", "item_id", "output").rows()
        for kind in ("ttqa", "tmmlu", "tmmluplus-67")
    }
    assert found == {
        "ttqa": [("m", "0", "(B)")],
        "tmmlu": [("m", "會考國文/0", "A"), ("m", "會考數學/0", "")],
        "tmmluplus-67": [("m", "physics/3", "C")],
    }
    with pytest.raises(UserError, match="has no task of the benchmark 'drcd'"):
        read_tc_eval(path, "drcd")
    with pytest.raises(UserError, match="no benchmark 'gsm'; use tmmlu"):
        read_tc_eval(path, "gsm")


def test_a_broken_result_file_is_named(tmp_path: Path) -> None:
    lacking = written(tmp_path / "a.json", [{"task": "TTQA", "id": "0"}])
    with pytest.raises(UserError, match=r"a\.json, row 1: there is no field 'response'"):
        read_tc_eval(lacking, "ttqa")
    wrong = written(tmp_path / "b.json", {"name": "m", "results": {"TTQA": {"id": "0"}}})
    with pytest.raises(UserError, match=r"b\.json, results, 'TTQA': is no list"):
        read_tc_eval(wrong, "ttqa")


def test_a_table_of_accuracies_is_averaged_over_subjects_and_groups(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(
        "task_name,metric,m\nx/tmmluplus-physics,accuracy,0.5\nx/tmmluplus-pharmacy,accuracy,1\n"
        "x/tmmluplus-music,accuracy,0.25\n",
        encoding="utf-8",
    )
    found = read_subject_accuracies(path, "tmmluplus")
    task = BENCHMARKS["tmmluplus"]("tmmluplus", found.questions)
    rows = benchmark_scores(found.items, [task]).select("part", "score", "items", "expected").rows()
    assert rows[:3] == [("all", 0.5, 3, 3), ("Other", 0.25, 1, 1), ("STEM", 0.75, 2, 2)]
    path.write_text("task_name,metric,m\nphysics,accuracy,51.2\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"row 1, m: '51\.2' is no share"):
        read_subject_accuracies(path, "tmmluplus")


def test_an_outputs_letter_is_compared_with_the_right_one() -> None:
    task = Ttqa("ttqa", [Question("0", "？", "B", choices=tuple(FOUR))])
    (question,) = task.questions.values()
    assert task.score_output(question, "答案：(B)") == {"accuracy": 1}
    assert task.score_output(question, "答案：(C)") == {"accuracy": 0}
    assert task.score_output(question, "都不對") is None
