"""What meta.yml says of a task is what its templates and the teachers' table say."""

from pathlib import Path

import pytest

from kyara_kedro.prompts import PromptError, PromptLibrary
from kyara_kedro.teachers.tasks import TASKS

LIBRARY = PromptLibrary()


@pytest.mark.parametrize("task", LIBRARY.tasks)
def test_every_task_is_described_in_both_languages(task: str) -> None:
    meta = LIBRARY.meta(task)
    assert meta.description.keys() == {"zh-TW", "en"}
    assert all(meta.inputs.values())


def test_the_table_of_tasks_and_the_metas_agree() -> None:
    prompted = TASKS.keys() - {"magpie_query", "self_play", "answer_benchmark"}
    assert prompted == set(LIBRARY.tasks) - {"rag", "reask"}
    for name in prompted:
        task = TASKS[name]
        meta = LIBRARY.meta(name)
        assert meta.inputs.keys() == task.inputs
        assert meta.reply == (task.reply.__name__ if task.reply else "text")


def test_judgements_are_not_sampled() -> None:
    checks = ("compare_questions", "check_support", "check_solution")
    checks += tuple(task for task in TASKS if task.startswith("judge_"))
    for task in ("rate_conversation", "tag_instruction", *checks):
        assert LIBRARY.meta(task).parameters.temperature == 0


def test_an_unknown_task_has_no_meta() -> None:
    with pytest.raises(PromptError, match="'sing': no prompts; there are answer_as_told,"):
        LIBRARY.meta("sing")


GOOD = """
description: {zh-TW: 展開, en: Expand}
inputs: {question: the question}
reply: Queries
parameters: {temperature: 0.3}
"""


def replaced(folder: Path, text: str | bytes) -> PromptLibrary:
    file = folder / "expand_query" / "meta.yml"
    file.parent.mkdir()
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return PromptLibrary([folder])


def test_parameters_can_be_replaced(tmp_path: Path) -> None:
    library = replaced(tmp_path, GOOD)
    assert library.meta("expand_query").parameters.temperature == 0.3
    assert library.meta("expand_query").parameters.max_tokens is None
    assert library.meta("judge_pair") == LIBRARY.meta("judge_pair")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("temperature", "temprature"), "parameters.temprature: Extra inputs"),
        (GOOD.replace("0.3", "-1"), "parameters.temperature: Input should be greater"),
        (GOOD.replace(", en: Expand", ""), "description: Dictionary should have at least 2"),
        (GOOD.replace("question:", "query:"), "inputs must be ['question'] and reply 'Queries'"),
        (GOOD.replace("Queries", "text"), "inputs must be ['question'] and reply 'Queries'"),
        (GOOD + "nested: [", "expected the node content"),
        ("", "file: Input should be"),
        (b"description: \xff", "codec can't decode byte"),
    ],
)
def test_a_faulty_meta_is_told_in_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(PromptError) as caught:
        replaced(tmp_path, text)
    assert str(tmp_path / "expand_query" / "meta.yml") in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
