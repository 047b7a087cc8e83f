"""A project's own templates take the place of the package's, and a stray one is refused at once."""

from pathlib import Path

import pytest
from jinja2.exceptions import SecurityError

from kyara_kedro.prompts import PromptError, PromptLibrary
from kyara_kedro.teachers.base import TeacherError, ask

PACKAGE = PromptLibrary()


def put(folder: Path, name: str, text: str | bytes) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def block(text: str) -> str:
    return "{% block user %}" + text + "{% endblock %}"


def test_a_later_folder_wins_and_the_version_tells(tmp_path: Path) -> None:
    base, local = tmp_path / "base", tmp_path / "local"
    put(base, "expand_query/zh-TW.jinja", block("基本：{{ question }}"))
    put(base, "expand_query/en.jinja", block("base: {{ question }}"))
    mine = put(local, "expand_query/zh-TW.jinja", block("查詢：{{ question }}"))
    put(local, ".gitkeep", "")
    library = PromptLibrary([base, local])
    rendered = library.render("expand_query", "zh-TW", question="茶？")
    assert rendered.messages == ({"role": "user", "content": "查詢：茶？"},)
    assert rendered.version != PACKAGE.template("expand_query/zh-TW").version
    assert library.render("expand_query", "en", question="q").messages[0]["content"] == "base: q"
    assert library.template("expand_query/zh-TW").path == mine
    assert library.template("expand_query/zh-TW").overridden
    assert not library.template("judge_pair/en").overridden
    assert library.template("judge_pair/en").version == PACKAGE.template("judge_pair/en").version
    assert library.templates == PACKAGE.templates


def test_a_wording_of_the_rag_format_can_be_added(tmp_path: Path) -> None:
    count = len(PACKAGE.rag_variants("zh-TW"))
    wording = block("{{ documents | length }}：{{ question }}")
    put(tmp_path, f"rag/zh-TW.{count + 1}.jinja", wording)
    library = PromptLibrary([tmp_path])
    assert len(library.rag_variants("zh-TW")) == count + 1
    assert library.render_rag([], "茶？", "zh-TW", count).messages[0]["content"] == "0：茶？"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("expand_qery/zh-TW.jinja", block(""), "no such task; there are answer_as_told,"),
        ("zh-TW.jinja", block(""), "no such task"),
        ("expand_query/zh-tw.jinja", block(""), "would never be used; name it zh-TW.jinja,"),
        ("expand_query/ja.jinja", block(""), "would never be used"),
        ("expand_query/zh-TW.1.jinja", block(""), "would never be used"),
        ("expand_query/old/zh-TW.jinja", block(""), "would never be used"),
        ("expand_query/zh-TW.jinja.bak", block(""), "would never be used"),
        ("rag/zh-TW.jinja", block(""), "would never be used; name it zh-TW.<number>.jinja,"),
        ("expand_query/en.jinja", block("{{ query }}"), "unknown inputs ['query']; there are"),
        ("expand_query/en.jinja", "{% block user %}\n{{ question }", "line 2: "),
        ("expand_query/en.jinja", "{{ question | nonsense }}", "No filter named 'nonsense'"),
        ("expand_query/en.jinja", "{{ question }}", "has the blocks []; 'user' and perhaps"),
        ("expand_query/en.jinja", "{% block usr %}{% endblock %}", "has the blocks ['usr']"),
        ("expand_query/en.jinja", block("{% include 'reask/en.jinja' %}"), "refers to another"),
        ("expand_query/en.jinja", b"\xff\xfe", "codec can't decode byte"),
    ],
)
def test_a_stray_or_broken_file_is_named_in_one_line(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    file = put(tmp_path, name, text)
    with pytest.raises(PromptError) as caught:
        PromptLibrary([tmp_path])
    assert str(file) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_file_is_found_even_where_a_later_folder_replaces_it(tmp_path: Path) -> None:
    put(tmp_path / "base", "expand_query/en.jinja", block("{{ query }}"))
    put(tmp_path / "local", "expand_query/en.jinja", block("{{ question }}"))
    with pytest.raises(PromptError, match="base/expand_query"):
        PromptLibrary([tmp_path / "base", tmp_path / "local"])


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="missing: no such folder"):
        PromptLibrary([tmp_path / "missing"])


def test_templates_cannot_reach_into_python(tmp_path: Path) -> None:
    put(tmp_path, "expand_query/en.jinja", block("{{ question.__class__.__mro__ }}"))
    library = PromptLibrary([tmp_path])
    with pytest.raises(SecurityError, match="unsafe"):
        library.render("expand_query", "en", question="q")


OWN = """\
description: {zh-TW: 一句話的摘要, en: A summary in one sentence}
like: answer_question
inputs: {question: the request, documents: what is summed up, style: as there, cite: as there}
reply: text
parameters: {max_tokens: 100}
"""


def test_a_task_of_ones_own_is_asked_as_the_one_that_it_is_like(tmp_path: Path) -> None:
    put(tmp_path, "summarise/meta.yml", OWN)
    put(tmp_path, "summarise/zh-TW.jinja", block("摘要：{{ question }}"))
    local = tmp_path.with_name("local")
    put(local, "summarise/en.jinja", block("Sum up: {{ question }}"))
    library = PromptLibrary([tmp_path, local])
    inputs = {"question": "茶？", "documents": [], "style": "brief", "cite": False}
    request = ask(library, "row", "summarise", "zh-TW", **inputs)
    assert request.task == "answer_question"
    assert request.messages == ({"role": "user", "content": "摘要：茶？"},)
    assert request.prompt_version == library.template("summarise/zh-TW").version
    assert request.max_tokens == 100
    assert ask(library, "row", "summarise", "en", **inputs).messages[0]["content"] == "Sum up: 茶？"
    with pytest.raises(TeacherError, match="'summarise': missing or unknown inputs"):
        ask(library, "row", "summarise", "zh-TW", question="茶？")
    with pytest.raises(PromptError, match="summarise/zh-CN"):
        ask(library, "row", "summarise", "zh-CN", **inputs)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mine/meta.yml", OWN.replace("answer_question", "answer"), "'like' must name one of"),
        ("mine/meta.yml", OWN.replace("like: answer_question\n", ""), "'like' must name one of"),
        ("mine/meta.yml", OWN.replace("question: the request, ", ""), "inputs must be"),
        ("mine/meta.yml", OWN.replace("reply: text", "reply: Verdict"), "reply 'text'"),
        ("answer_question/meta.yml", OWN, "'like' is for tasks of your own"),
    ],
)
def test_a_task_of_ones_own_has_the_form_of_one_of_the_package(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    file = put(tmp_path, name, text)
    with pytest.raises(PromptError, match=message) as caught:
        PromptLibrary([tmp_path])
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
