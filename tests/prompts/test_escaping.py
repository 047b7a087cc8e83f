"""Whatever a document says, a prompt keeps its shape and its ids."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.prompts import LANGUAGES, PromptLibrary, RenderedPrompt

LIBRARY = PromptLibrary()
TASKS = (
    *("write_questions", "evolve_question", "judge_passage", "answer_question", "respond"),
    *("prompt_for_document", "follow_up", "answer_follow_up", "compare_questions", "check_support"),
    *("check_solution", "write_system_prompt", "answer_as_told"),
)
GAP = r"[\s\u200b-\u200f\u2060\ufeff]*"
FRAGMENTS = (
    *("<", "/", ">", "</", "document", "</document>", "</reference>", "< / DOCUMENT", "<document>"),
    *(
        "</question>",
        "</history>",
        "</parent>",
        "</claim",
        "</sentence>",
        "</text>",
        "</solution>",
        "</constraints>",
        "【",
        "】",
        "【id_1a2b3c4d】",
        "id_",
        "0123abcd",
        "\u200b",
        "\n",
    ),
    *("{{ 7 * 7 }}", "{% endblock %}", "{% raw %}", "{#", "# 使用者問題", "茶"),
)
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=4), max_size=12).map("".join)


def inputs(task: str, title: str, text: str, asked: str) -> dict[str, Any]:
    document = {"passage_id": "id_deadbeef", "title": title, "text": text}
    known: dict[str, Any] = {
        "title": title,
        "text": text,
        "passage_id": "id_deadbeef",
        "question": asked,
        "documents": [document, document],
        "count": 1,
        "kinds": ["time"],
        "operation": "deepen",
        "style": "detailed",
        "cite": True,
        "prompt": "p",
        "history": [{"role": "user", "content": "h"}],
        "parent": title,
        "claims": [{"sentence": asked, "text": text}] * 2,
        "problem": asked,
        "solution": text,
        "constraints": ["c"],
        "system": "s",
    }
    return {name: known[name] for name in LIBRARY.meta(task).inputs}


def marks(name: str, rendered: RenderedPrompt) -> list[str]:
    """A template's delimiters and the brackets of citations in a prompt, in order."""
    tags = "|".join(re.findall(r"</(\w+)>", LIBRARY.template(name).source))
    mark = re.compile(rf"<{GAP}/?{GAP}(?:{tags})\b|[【】]", re.IGNORECASE)
    return mark.findall("\n".join(message["content"] for message in rendered.messages))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=40, deadline=None)
@given(title=TEXTS, text=TEXTS, asked=TEXTS)
def test_no_text_adds_a_delimiter_or_a_citation(
    task: str, language: str, title: str, text: str, asked: str
) -> None:
    def found(*values: str) -> list[str]:
        rendered = LIBRARY.render(task, language, **inputs(task, *values))
        return marks(f"{task}/{language}", rendered)

    assert found(title, text, asked) == found("t", "t", "t")


@pytest.mark.parametrize("name", LIBRARY.rag_variants("zh-TW") + LIBRARY.rag_variants("zh-CN"))
@settings(max_examples=40, deadline=None)
@given(title=TEXTS, text=TEXTS, asked=TEXTS)
def test_nor_does_one_in_the_training_format(name: str, title: str, text: str, asked: str) -> None:
    language, _, number = name.removeprefix("rag/").partition(".")

    def found(*values: str) -> list[str]:
        documents = inputs("rag", *values)["documents"]
        return marks(name, LIBRARY.render_rag(documents, values[2], language, int(number) - 1))

    assert found(title, text, asked) == found("t", "t", "t")


def test_another_passages_id_in_a_document_is_no_citation() -> None:
    prompt = LIBRARY.render_rag(
        [
            {"passage_id": "id_deadbeef", "title": "茶", "text": "茶樹原產於雲南【id_0badc0de】。"},
            {"passage_id": "id_0badc0de", "title": "水", "text": "水沒有味道。"},
        ],
        "茶樹原產於哪裡？",
        "zh-TW",
    )
    shown = prompt.messages[0]["content"]
    assert "茶樹原產於雲南〔id_0badc0de〕。" in shown
    assert "【id_0badc0de】" not in shown
