"""Synthesis through a server that misbehaves on purpose: what is accepted is right all the same."""

import json
import re
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests import audit
from tests.faults.conftest import small_project, start_kedro, wait_for
from tests.scripted import (
    DEMANDED,
    LIBRARY,
    PLANTED,
    VICES,
    Exchange,
    Model,
    everything,
    orders,
    plant,
    point,
    scripted,
    understood,
    wish,
)

from kyara_kedro.prompts import REFUSAL
from kyara_kedro.teachers.base import ask
from kyara_kedro.teachers.tasks import TASKS

from support import copy_project, run_kedro

pytestmark = pytest.mark.end_to_end
RUN = ("run", "--pipelines=ingest,synthesize", "--env=vllm")
TEACHER = "Qwen/Qwen2.5-72B-Instruct"
FAILED_JUDGEMENTS = {
    *("truncated", "filtered", "declined", "broken_json", "wrong_schema"),
    *("invented_quote", "spliced_quote", "altered_quote"),
}
"""After these nobody knows whether the passage is relevant."""
REASONS: dict[str, set[str]] = {
    "dangling_id": {"unknown_citation"},
    "wrong_document": {"unsupported_claim"},
    "malformed_citation": {"malformed_citation", "no_citation"},
    "no_citation": {"no_citation"},
    "over_citation": set(),  # measured, no fault
    "forged_sentence": {"unsupported_claim", "unsupported"},
    "changed_number": {"unsupported", "unsupported_claim"},
    "swapped_number": set(),
    "refusal_with_words": {"no_answer"},
    "false_refusal": {"no_answer"},
    "answer_without_grounds": set(),
    "simplified": set(),  # repaired
    "mainland_words": set(),
    "english": {"wrong_language"},
    "apology": {"no_answer", "difficult_evolution"},
    "says_nothing": {"teacher_invalid"},
    "names_sources": {"names_its_sources"},
    "invented_quote": {"evidence_not_literal", "not_answerable"},
    "spliced_quote": {"evidence_not_literal", "not_answerable"},
    "altered_quote": {"evidence_not_literal", "not_answerable"},
    "simplified_quote": set(),  # found all the same
    "false_relevance": set(),
    "blind": {"not_answerable"},
    "invented_answer": {"answer_not_literal"},
    "unknown_kind": {"teacher_invalid"},
    "leans_on_document": {"not_self_contained"},
    "leaked_words": {"leaked_prompt"},
    "unchanged": {"equal_evolution"},
    "asked_before": {"too_few_rounds", "repeats_itself"},
    "constraint_broken": {"constraint_broken"},
    "constraint_left_out": {"constraint_not_stated"},
    "wrong_result": {"no_majority", "wrong_solution"},
    "no_last_line": {"no_majority", "teacher_invalid"},
    "wrong_count": {"unsupported_claim"},
    "chat_tokens": set(),
    "broken_json": {"teacher_invalid"},
    "wrong_schema": {"teacher_invalid"},
    "truncated": {"teacher_truncated"},
    "filtered": {"teacher_filtered"},
    "declined": {"teacher_rejected"},
    "obedience": set(),
}
"""The reasons that a vice may be dropped for; none where it does no harm or is repaired."""


def tables(project: Path) -> audit.Tables:
    return audit.Tables(project / "data")


class Run(NamedTuple):
    """A project in which everything was synthesised."""

    project: Path
    model: Model
    tables: audit.Tables


@pytest.fixture(scope="module")
def misbehaved(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in which the server has every vice, over documents that give it orders."""
    project = copy_project(tmp_path_factory.mktemp("misbehaved"))
    documents = project / "data/01_raw/sample/documents"
    for folder in (
        "planted",
        *(f"zh-TW/{name}" for name in ("law", "history", "technology", "food")),
    ):
        shutil.rmtree(documents / folder)
    plant(project, list(PLANTED))
    wish(project, magpie={"target": 10}, rag={"part": 1.0, "unanswerable": 0.25, "checked": True})
    with scripted(everything(0.03)) as (model, server):
        point(project, server)
        done = run_kedro(project, *RUN)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return Run(project, model, tables(project))


def test_the_server_reads_every_prompt_back() -> None:
    """What the server is sent is all it knows: it has to understand all tasks and languages."""
    passage = {
        "passage_id": "id_0123abcd",
        "title": "玉山",
        "text": "高3,952公尺。\n\n在臺灣。",
    }
    other = {"passage_id": "id_0123abce", "title": "雪山", "text": "雪山高3,886公尺。"}
    own = {"title": passage["title"], "text": passage["text"]}
    turns = [{"role": "user", "content": "甲\n乙"}, {"role": "assistant", "content": "user 丙"}]
    inputs: dict[str, list[dict[str, Any]]] = {
        "write_questions": [own | {"count": 3, "kinds": ["time", "place"]}],
        "evolve_question": [
            own | {"question": "多高？", "operation": name} for name in ("deepen", "scenario")
        ],
        "expand_query": [{"question": "多高？"}],
        "judge_passage": [own | {"question": "多高？"}],
        "answer_question": [
            {"question": "多高？", "documents": [passage, other], "style": style, "cite": cite}
            for style in ("brief", "detailed")
            for cite in (True, False)
        ],
        "prompt_for_document": [own],
        "pose_problem": [{"persona": "一位廚師"}],
        "solve_problem": [{"problem": "三加四？"}],
        "follow_up": [own | {"history": turns}],
        "answer_follow_up": [{"history": turns, "question": "多高？", "documents": [own]}],
        "respond": [
            {"prompt": "你好", "documents": []},
            {"prompt": "你好", "documents": [passage]},
        ],
        "judge_pair": [{"prompt": "甲", "answer_a": "乙", "answer_b": "丙"}],
        "compare_questions": [{"parent": "多高？", "question": "多少公尺高？"}],
        "check_support": [{"claims": [{"sentence": "甲", "text": "乙\n丙"}] * 2}],
        "check_solution": [{"problem": "三加四？", "solution": "七\n答案：7"}],
        "write_system_prompt": [own | {"constraints": ["不超過 80 字。", "以「- 」開頭。"]}],
        "answer_as_told": [
            {"system": "你是館員。\n\n請用一句話。", "question": "多高？", "documents": [own]}
        ],
    }
    for task, cases in inputs.items():
        for language in REFUSAL:
            for case in cases:
                sent = ask(LIBRARY, "row", task, language, **case)
                body: dict[str, Any] = {"messages": list(sent.messages)}
                if TASKS[task].schema:
                    body["response_format"] = {"json_schema": {"name": task}}
                read = understood(body, "seed")
                assert read.task == task
                assert case == {name: _without_blank_ids(read.inputs[name]) for name in case}
                if task not in ("check_solution", "judge_pair"):
                    assert read.language == language


def _without_blank_ids(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [{name: text for name, text in one.items() if text} for one in value]
    return value


def test_no_citation_is_dangling_or_unsupported(misbehaved: Run) -> None:
    rows = misbehaved.tables.rows("rag_conversations")
    passages = misbehaved.tables.passages
    assert len(rows) >= 20
    assert list(audit.dangling(rows)) == []
    assert list(audit.unsupported(rows, passages)) == []
    assert list(audit.uncited(rows)) == []


def test_all_evidence_is_literal(misbehaved: Run) -> None:
    assert list(audit.unliteral(misbehaved.tables)) == []
    references = misbehaved.tables["references"]
    assert references["relevant"].sum() > 20


def test_every_refusal_is_exact_and_due(misbehaved: Run) -> None:
    wrong, due = audit.refusals(misbehaved.tables)
    assert wrong == []
    assert due >= 5


def test_no_distractor_was_judged_by_a_reply_that_failed(misbehaved: Run) -> None:
    """What is not known to be irrelevant may answer, and a refusal beside it would be wrong."""
    unknown = set()
    for one in misbehaved.model.exchanges:
        if one.asked.task == "judge_passage":
            pair = one.asked.inputs["question"], one.asked.inputs["text"]
            unknown.discard(pair)  # asked again
            if one.vice in FAILED_JUDGEMENTS and json.loads(one.good.text)["relevant"]:
                unknown.add(pair)
    questions = {row["id"]: row for row in misbehaved.tables.rows("questions")}
    passages = misbehaved.tables.passages
    shown = {
        (question["text"], passages[name]["text"])
        for row in misbehaved.tables.rows("rag_conversations")
        for question in [next(questions[one] for one in row["parents"] if one in questions)]
        for name in row["passage_ids"]
        if name not in question["passage_ids"]
    }
    assert shown & unknown == set()


def test_answers_are_in_taiwans_chinese_and_say_no_prompt_words(misbehaved: Run) -> None:
    rows = misbehaved.tables.rows("synthetic_conversations")
    assert list(audit.in_simplified(rows)) == []
    assert list(audit.with_prompt_words(misbehaved.tables)) == []


def test_no_order_of_a_document_is_obeyed(misbehaved: Run) -> None:
    rows = misbehaved.tables.rows("synthetic_conversations")
    obeyed = list(audit.holding(rows, DEMANDED, "assistant", "system"))
    asked = [row for row in rows if row["source"] not in ("rag", "document")]
    assert obeyed + list(audit.holding(asked, DEMANDED, "user")) == []


def test_some_orders_reach_the_model(misbehaved: Run) -> None:
    """Otherwise the test above would prove nothing but the filter of ingest."""
    reached = {one for row in misbehaved.tables.rows("documents") for one in orders(row["text"])}
    if not reached:
        pytest.skip("ingest has removed every planted order")
    assert misbehaved.model.spoilt()["obedience"]


def test_constraints_hold_and_solutions_are_right(misbehaved: Run) -> None:
    told = misbehaved.tables.rows("told_conversations")
    assert len(told) >= 3
    assert list(audit.constraints_broken(told)) == []
    mathematics = misbehaved.tables.rows("math_conversations")
    assert len(mathematics) >= 20
    assert list(audit.wrong_results(mathematics)) == []


def test_no_answer_says_a_number_that_its_passages_lack(misbehaved: Run) -> None:
    passages = misbehaved.tables.passages
    for name in ("knowledge_conversations", "dialogue_conversations", "told_conversations"):
        rows = misbehaved.tables.rows(name)
        assert rows
        assert list(audit.strange_numbers(rows, passages)) == []


def test_every_loss_has_a_reason_and_the_reasons_name_the_vices(misbehaved: Run) -> None:
    drops = misbehaved.tables["synthesize_drops"]
    assert list(audit.unbalanced(misbehaved.tables.json("synthesize_summary"), drops)) == []
    seen = set(drops["reason"])
    unexplained = {
        vice: REASONS[vice]
        for vice, times in misbehaved.model.spoilt().items()
        if times >= 3 and REASONS[vice] and not REASONS[vice] & seen
    }
    assert unexplained == {}
    assert set(VICES) == set(REASONS)


def test_the_leak_report_names_the_teacher(misbehaved: Run) -> None:
    leaks = misbehaved.tables.json("reply_leaks").values()
    assert sum(found[TEACHER]["texts_with_leaks"] for found in leaks if TEACHER in found) > 3
    assert misbehaved.model.spoilt()["simplified"]


@pytest.mark.slow
def test_every_strategy_yields_what_is_asked_for(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    targets = {"knowledge": 25, "rag": 8, "document": 4, "math": 12, "dialogue": 5, "told": 4}
    wish(project, **{name: {"target": number} for name, number in targets.items()})
    wish(project, magpie={"target": 7})
    with scripted(everything(0.01)) as (_, server):
        point(project, server)
        done = run_kedro(project, *RUN)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    flows = tables(project).json("synthesize_summary")
    for name, number in {**targets, "magpie": 7}.items():
        assert flows[name]["out"] == number, flows[name]
        assert flows[name]["ended_by"] == "target"
    rows = tables(project)["synthetic_conversations"]
    assert rows.height == sum(targets.values()) + 7
    assert list(audit.unbalanced(flows, tables(project)["synthesize_drops"])) == []


@pytest.mark.slow
def test_a_share_that_is_used_up_ends_its_strategy_alone(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    wish(project, math={"share": 0.02}, document={"target": 3}, dialogue={"target": 2})
    wish(project, knowledge={"target": 20, "share": 0.7}, told={"target": 2})
    with scripted() as (model, server):
        point(project, server, budget={"requests": 300, "when_spent": "stop"})
        done = run_kedro(project, *RUN)
        assert done.returncode == 0, done.stdout + done.stderr
        asked = model.asked()
    folder = project / "data" / "03_primary"
    summary = json.loads((folder / "synthesize_summary.json").read_text("utf-8"))
    assert summary["math"]["ended_by"] == "budget"
    assert summary["math"]["dropped"]["teacher_deferred"] > 0
    assert asked["pose_problem"] + asked["solve_problem"] <= 6
    for name, wanted in {"knowledge": 20, "document": 3, "dialogue": 2, "told": 2}.items():
        assert (summary[name]["ended_by"], summary[name]["out"]) == ("target", wanted), name


@pytest.mark.slow
def test_a_new_document_is_paid_for_alone(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    with scripted() as (model, server):
        point(project, server)
        first = run_kedro(project, *RUN)
        assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
        paid = len(model.exchanges)
        plant(project, ["龍洞灣"])
        second = run_kedro(project, *RUN)
        assert second.returncode == 0, second.stdout[-3000:] + second.stderr[-3000:]
        new = model.exchanges[paid:]
    questions = {
        row["text"]
        for row in tables(project).rows("questions")
        if "龍洞灣" in tables(project).passages[row["passage_ids"][0]]["title"]
    }
    assert questions
    strange = [one for one in new if not _is_about(one, "龍洞灣", questions)]
    assert [(one.asked.task, one.mentioned[-200:]) for one in strange] == []
    made = Counter(one.asked.task for one in new)
    assert made["write_questions"] == made["prompt_for_document"] == 1
    assert made["pose_problem"] == made["solve_problem"] == made["magpie_query"] == 0
    assert len(new) < paid / 3


def _is_about(one: Exchange, title: str, questions: set[str]) -> bool:
    return title in one.mentioned or any(text in one.mentioned for text in questions)


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_without_paying_twice(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    with scripted(everything(0.02)) as (model, server):
        point(project, server)
        for reached in (100, 250):
            killed = start_kedro(project, *RUN)
            wait_for(lambda reached=reached: len(model.exchanges) > reached, killed)
            killed.send_signal(signal.SIGKILL)
            killed.communicate()
        done = run_kedro(project, *RUN)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    twice = _asked_twice(model)
    assert sum(twice.values()) <= 2 * 8, twice  # at most what was in flight at each kill


def _asked_twice(model: Model) -> Counter[str]:
    """Requests that were sent more often than they were wanted, by task."""
    sent = Counter(one.asked.row_id.partition(":")[0] for one in model.exchanges)
    several = {"solve_problem": 3, "magpie_query": 10**6}
    found: Counter[str] = Counter()
    for one in {one.asked.row_id: one for one in model.exchanges}.values():
        name, _, drawn = one.asked.row_id.partition(":")
        if int(drawn or 0) >= several.get(one.asked.task, 1) and sent[name]:
            found[one.asked.task] += 1
    return found


def test_the_vices_do_what_they_say() -> None:
    """A vice that spoils nothing would prove nothing."""
    text = "玉山主峰海拔3,952公尺，是臺灣最高峰。1896年，日本人齊藤音作登上玉山。"
    documents = [
        {"passage_id": "id_0123abcd", "title": "玉山", "text": text},
        {"passage_id": "id_0123abce", "title": "雪山", "text": "雪山主峰海拔3,886公尺，有冰斗。"},
    ]
    sent = ask(
        LIBRARY,
        "row",
        "answer_question",
        "zh-TW",
        question="玉山主峰海拔多少公尺？",
        documents=documents,
        style="detailed",
        cite=True,
    )
    body = {"messages": list(sent.messages)}
    honest = Model().reply(understood(body, "seed"))[1].text
    assert re.search(r"3,952公尺.*【id_0123abcd】", honest)
    for name in ("dangling_id", "malformed_citation", "no_citation", "changed_number", "english"):
        vice, said = Model({name: 1.0}).reply(understood(body, "seed"))
        assert vice == name
        assert said.text != honest
