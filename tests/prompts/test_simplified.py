"""A Simplified row is asked, answered and judged in Simplified Chinese from end to end."""

import random
import string
from pathlib import Path
from typing import Any

import opencc
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pipelines.synthesis import Tables, corpus_of, synthesized

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.knowledge.store import KnowledgeOptions, KnowledgeStore
from kyara_kedro.params import IngestParams, SynthesizeParams
from kyara_kedro.pipelines.asking import Duel, Side, verdicts
from kyara_kedro.prompts import REFUSAL, PromptLibrary
from kyara_kedro.prompts.rag_format import has_references, question_of
from kyara_kedro.teachers.base import Completion, ask
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.rules.evolution import TEMPLATES, unwrap, wrap
from kyara_kedro.teachers.rules.simplified import in_traditional
from kyara_kedro.text.script import script_share

from support import ROOT

FOLDER = ROOT / "data" / "01_raw" / "sample" / "documents" / "zh-TW"
FILES = ("geography/yushan.md", "science/dna.md", "food/soy-sauce.md", "law/copyright.md")
LANGUAGE = "zh-Hans-CN"
RULES, PROMPTS = ExtractiveTeacher(), PromptLibrary()
OPERATIONS = ("scenario", "deepen", "structured_output", "several_questions", "reason")
PARAMS = SynthesizeParams.model_validate(
    {
        "languages": (LANGUAGE,),
        "evolution": {"operations": OPERATIONS},
        "knowledge": {"styles": dict.fromkeys(("none", *OPERATIONS), ("brief",))},
        "rag": {"part": 1.0, "unanswerable": 0.3},
    }
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Synthesis over four documents as the mainland writes them."""
    folder: Path = tmp_path_factory.mktemp("simplified")
    convert = opencc.OpenCC("tw2s").convert
    files = []
    for name in FILES:
        file = folder / Path(name).name
        file.write_text(convert((FOLDER / name).read_text("utf-8")), "utf-8")
        files.append(SourceFile(file, file.name))
    settings = IngestParams(simplified="report", licence="CC0-1.0")
    persona = {
        "id": "a" * 32,
        "text": "一位在乡下经营果园的农民",
        "source": "test",
        "licence": "CC0-1.0",
    }
    personas = pl.DataFrame([persona | {"language": LANGUAGE}])
    with KnowledgeStore(KnowledgeOptions(path=folder / "base")) as store:
        return synthesized(corpus_of(files, personas, store, settings), PARAMS)


@pytest.mark.parametrize("name", ["knowledge", "rag", "document", "math", "dialogue", "told"])
def test_every_strategy_speaks_simplified_chinese(tables: Tables, name: str) -> None:
    rows = tables[f"{name}_conversations"]
    assert rows.height > 0
    assert set(rows["language"]) == {LANGUAGE}
    assert all("/zh-CN" in version for version in rows["prompt_version"])
    for talk in rows["messages"].to_list():
        said = "".join(turn["content"] for turn in talk)
        assert script_share(said).traditional == 0, said


def test_questions_are_answered_as_well_as_traditional_ones(tables: Tables) -> None:
    roots = tables["questions"].filter(pl.col("operation") == "none")
    refs = tables["references"]
    assert roots.height >= 2 * tables["passages"].height
    assert set(roots["language"]) == {LANGUAGE}
    own = refs.join(roots.select("id", "passage_ids"), left_on="question_id", right_on="id")
    own = own.filter(pl.col("passage_id").is_in(pl.col("passage_ids")))
    assert own["relevant"].mean() == 1.0
    evolved = tables["questions"].filter(pl.col("operation") != "none")
    assert evolved.height > 0
    answered = {
        talk[0]["content"] for talk in tables["knowledge_conversations"]["messages"].to_list()
    }
    assert set(evolved["text"]) <= answered


def test_the_training_format_is_simplified_and_read_back(tables: Tables) -> None:
    asked = set(tables["questions"]["text"])
    answers = []
    for prompt, answer in tables["rag_conversations"]["messages"].to_list():
        assert "# 用户问题" in prompt["content"]
        assert has_references(prompt["content"])
        assert any(question_of(prompt["content"]).endswith(text) for text in asked)
        answers.append(answer["content"])
    assert REFUSAL["zh-CN"] in answers
    assert any("【id_" in answer for answer in answers)


def one(task: str, **inputs: Any) -> Completion:
    return next(RULES.map([ask(PROMPTS, "row", task, LANGUAGE, **inputs)]))


def test_a_prompt_is_judged_in_its_own_script() -> None:
    class Seen(ExtractiveTeacher):
        languages: list[str] = []  # noqa: RUF012

        def map(self, requests: Any) -> Any:
            asked = list(requests)
            self.languages += [request.language for request in asked]
            return super().map(asked)

    judge = Seen()
    sides = Side("a", "x", "one"), Side("b", "y", "other")
    for prompt in ("请说明长江有多长。", "請說明長江有多長。", "How long is the Yangtze?", "山"):
        verdicts(judge, PROMPTS, [Duel("p", prompt, *sides)], "told")
    assert judge.languages == ["zh-CN", "zh-TW", "en", "zh-TW"]


def test_a_judge_sees_a_refusal_and_citations_in_simplified_chinese() -> None:
    document = {"passage_id": "id_1a2b3c4d", "title": "茶", "text": "茶树原产于中国云南。"}
    prompt = PROMPTS.render_rag([document], "茶树原产于哪里？", LANGUAGE).messages[0]["content"]
    good, bad = "茶树原产于中国云南【id_1a2b3c4d】。", f"{REFUSAL['zh-CN']}。"
    verdict = one("judge_pair", prompt=prompt, answer_a=good, answer_b=bad).text
    assert verdict.endswith("[[A]]")
    assert "没有回答" in verdict
    assert one("judge_pair", prompt=prompt, answer_a=bad, answer_b=good).text.endswith("[[B]]")


def test_problems_in_simplified_chinese_are_solved() -> None:
    for number in range(16):
        request = ask(PROMPTS, str(number), "pose_problem", LANGUAGE, persona="乡下的一位老师")
        problem = next(RULES.map([request])).parsed
        solved = one("solve_problem", problem=problem.problem)  # type: ignore[union-attr]
        assert solved.status == "ok", problem
        assert "\n答案：" in solved.text


@pytest.mark.parametrize("template", [t for t in TEMPLATES if t.language == "zh-TW"])
def test_every_evolution_finds_its_question_again(template: Any) -> None:
    question, other = "关于「布袋戏」，哪一年首播后的收视率最高？", "谁制作了它？"
    inputs, simplified = in_traditional({"question": question, "other": other})
    evolved = simplified(wrap(template, inputs["question"], inputs["other"]))
    assert script_share(evolved).traditional == 0
    again, simplified = in_traditional({"question": evolved})
    found = unwrap(again["question"])
    assert found.form == template.form
    assert simplified(found.questions)[0] == question


LETTERS = (
    string.ascii_letters
    + "后後里裡裏着著台臺发發髮干乾幹么麼只隻制製云雲历歷曆为為说说話话，。「」\n"
)


@given(st.lists(st.text(alphabet=LETTERS, max_size=12) | st.text(max_size=6), max_size=4))
def test_what_is_copied_comes_back_letter_by_letter(texts: list[str]) -> None:
    inputs, simplified = in_traditional({"texts": texts, "n": 3})
    assert simplified(inputs) == {"texts": texts, "n": 3}


def test_long_text_comes_back_whole() -> None:
    letters = random.Random(1)
    text = "".join(letters.choices([chr(point) for point in range(0x4E00, 0x9FFF)], k=20_000))
    inputs, simplified = in_traditional({"text": text})
    assert simplified(inputs["text"]) == text
