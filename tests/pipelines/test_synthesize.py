"""Synthesis over four documents: everything said can be traced, counted and made again."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from tests.pipelines.synthesis import STRATEGIES, Corpus, Tables, corpus_of, personas, synthesized

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.knowledge.store import KnowledgeOptions, KnowledgeStore
from kyara_kedro.params import IngestParams, SynthesizeParams
from kyara_kedro.prompts.library import REFUSAL
from kyara_kedro.records import (
    CONVERSATION,
    DOCUMENT,
    DROP,
    MATH_PROBLEM,
    PASSAGE,
    PERSONA,
    QUESTION,
    REFERENCE,
    SEARCH_QUERY,
)
from kyara_kedro.teachers.base import TeacherError
from kyara_kedro.text.citations import cited
from kyara_kedro.text.constraints import stated

from support import ROOT

SAMPLE = ROOT / "data" / "01_raw" / "sample"
FILES = ("geography/yushan.md", "science/dna.md", "food/soy-sauce.md", "law/copyright.md")
SETTINGS: dict[str, Any] = yaml.safe_load(
    (ROOT / "conf/base/parameters/synthesize.yml").read_text(encoding="utf-8")
)["synthesize"]
WRITTEN = [f"{name}_conversations" for name in STRATEGIES if name != "magpie"]


def settings(**blocks: dict[str, Any] | tuple[str, ...]) -> SynthesizeParams:
    """The parameters of conf/base with some changes."""
    changed = {
        name: SETTINGS[name] | block if isinstance(block, dict) else block
        for name, block in blocks.items()
    }
    return SynthesizeParams(**SETTINGS | changed)


PARAMS = settings(rag={"part": 1.0, "unanswerable": 0.3})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    folder = SAMPLE / "documents" / "zh-TW"
    files = [SourceFile(folder / name, name) for name in FILES]
    english = tmp_path_factory.mktemp("english") / "english.jsonl"
    lines = (SAMPLE / "documents" / "english.jsonl").read_text(encoding="utf-8").split("\n")
    english.write_text("\n".join(lines[:2]), encoding="utf-8")
    people = personas(SAMPLE / "personas.jsonl").head(8)
    base: Path = tmp_path_factory.mktemp("base")
    with KnowledgeStore(KnowledgeOptions(path=base / "base")) as store:
        yield corpus_of(
            [*files, SourceFile(english, "english.jsonl")],
            people,
            store,
            IngestParams(licence="CC0-1.0"),
        )


@pytest.fixture(scope="module")
def tables(corpus: Corpus) -> Tables:
    return synthesized(corpus, PARAMS)


def test_every_table_fits_its_record(tables: Tables) -> None:
    for name in [*WRITTEN, "synthetic_conversations"]:
        assert CONVERSATION.validate(tables[name]).height > 0, name
    assert CONVERSATION.validate(tables["magpie_conversations"]).is_empty()
    QUESTION.validate(tables["questions"])
    SEARCH_QUERY.validate(tables["search_queries"])
    REFERENCE.validate(tables["references"])
    MATH_PROBLEM.validate(tables["math_problems"])
    assert DROP.validate(tables["synthesize_drops"]).height == sum(
        sum(flow["dropped"].values())
        for flow in tables["synthesize_summary"].values()
        if "dropped" in flow
    )


def test_answers_with_references_cite_what_was_shown_or_refuse_word_for_word(
    tables: Tables,
) -> None:
    refused = answered = 0
    for language, messages in (
        tables["rag_conversations"].select("language", "messages").iter_rows()
    ):
        prompt, answer = (turn["content"] for turn in messages)
        names = cited(answer)
        if names:
            answered += 1
            assert all(name in prompt for name in names)
        else:
            refused += 1
            assert answer == REFUSAL["en" if language == "en" else "zh-TW"]
    assert answered > 10
    assert refused > 2
    figures = tables["synthesize_summary"]["citations"]
    assert figures["citation_precision"] == 1.0


def test_only_unanswerable_prompts_lack_their_own_passage(corpus: Corpus, tables: Tables) -> None:
    names = dict(corpus.passages.select("id", "passage_id").iter_rows())
    for messages, parents in tables["rag_conversations"].select("messages", "parents").iter_rows():
        own = [names[parent] for parent in parents if parent in names]
        shown = [name in messages[0]["content"] for name in own]
        assert any(shown) == bool(cited(messages[1]["content"]))


def test_what_is_shown_when_a_question_cannot_be_answered_does_not_hold_the_answer(
    corpus: Corpus, tables: Tables
) -> None:
    texts = dict(corpus.passages.select("passage_id", "text").iter_rows())
    answers = dict(tables["questions"].select("id", "answer").iter_rows())
    seen = 0
    for messages, parents, passage_ids in (
        tables["rag_conversations"].select("messages", "parents", "passage_ids").iter_rows()
    ):
        if not cited(messages[1]["content"]):
            seen += 1
            assert not any(answers[parents[0]] in texts[name] for name in passage_ids)
    assert seen > 2


def test_knowledge_answers_show_no_reference(tables: Tables) -> None:
    for messages in tables["knowledge_conversations"]["messages"].to_list():
        assert not any(
            cited(turn["content"]) or "<reference>" in turn["content"] for turn in messages
        )


def test_the_same_question_is_answered_with_and_without_references(tables: Tables) -> None:
    answered = {parents[0] for parents in tables["knowledge_conversations"]["parents"].to_list()}
    cited_too = {parents[0] for parents in tables["rag_conversations"]["parents"].to_list()}
    assert len(answered & cited_too) > 10


def test_evidence_and_answers_are_literal(corpus: Corpus, tables: Tables) -> None:
    texts = dict(corpus.passages.select("passage_id", "text").iter_rows())
    relevant = tables["references"].filter(pl.col("relevant"))
    assert relevant.height > 10
    for passage_id, evidence in relevant.select("passage_id", "evidence").iter_rows():
        assert evidence in texts[passage_id]
    assert tables["references"].filter(~pl.col("relevant"))["evidence"].null_count() > 0
    roots = tables["questions"].filter(pl.col("operation") == "none")
    for passage_ids, answer, evidence in roots.select(
        "passage_ids", "answer", "evidence"
    ).iter_rows():
        assert answer in texts[passage_ids[0]]
        assert evidence in texts[passage_ids[0]]
    assert tables["synthesize_summary"]["retrieval"]["sparse_recall_at_1"] > 0.5


def test_every_row_names_sources_that_exist_and_their_licence(
    corpus: Corpus, tables: Tables
) -> None:
    known = {*corpus.documents["id"], *corpus.passages["id"], *corpus.personas["id"]}
    known |= set(tables["questions"]["id"])
    passages = set(corpus.passages["passage_id"])
    made = tables["synthetic_conversations"]
    for parents, shown, licence in made.select("parents", "passage_ids", "licence").iter_rows():
        assert set(parents) <= known
        assert set(shown) <= passages
        assert licence == "CC0-1.0"


def test_every_row_carries_the_chain_of_calls_that_made_it(tables: Tables) -> None:
    tasks = {
        "knowledge": ("write_questions", "judge_passage", "answer_question"),
        "document": ("prompt_for_document",),
        "math": ("pose_problem", "solve_problem", "check_solution", "solve_problem"),
        "dialogue": ("write_questions", "answer_question", "follow_up", "answer_follow_up"),
        "told": ("write_questions", "judge_passage", "write_system_prompt", "answer_as_told"),
    }
    for strategy, expected in tasks.items():
        for calls in tables[f"{strategy}_conversations"]["calls"].to_list():
            made = [call["task"] for call in calls]
            assert {*expected} <= {*made}, strategy
            assert made[-1] == expected[-1], strategy
            assert all(call["key"] and call["teacher"] and call["prompt_version"] for call in calls)
            assert len({call["key"] for call in calls}) == len(calls)


def test_evolved_questions_say_something_new(tables: Tables) -> None:
    questions = tables["questions"]
    roots = questions.filter(pl.col("operation") == "none")
    evolved = questions.filter(pl.col("operation") != "none")
    assert evolved.height > 10
    assert set(evolved["parent"]) <= set(roots["id"])
    assert evolved["text"].is_unique().all()
    assert not set(evolved["text"]) & set(roots["text"])


def test_dialogues_do_not_repeat_themselves(tables: Tables) -> None:
    for rounds, messages in (
        tables["dialogue_conversations"].select("rounds", "messages").iter_rows()
    ):
        assert 2 <= rounds <= PARAMS.dialogue.rounds
        contents = [turn["content"] for turn in messages]
        assert len(set(contents)) == len(contents)


def test_answers_keep_what_their_system_prompt_demands(tables: Tables) -> None:
    for language, messages in (
        tables["told_conversations"].select("language", "messages").iter_rows()
    ):
        system, _, answer = (turn["content"] for turn in messages)
        demands = stated(system, "en" if language == "en" else "zh-TW")
        assert demands
        assert all(one.holds(answer) for one in demands)


def test_problems_carry_their_votes(tables: Tables) -> None:
    problems = tables["math_problems"]
    kept = problems.filter(pl.col("conversation_id").is_not_null())
    assert set(kept["conversation_id"]) == set(tables["math_conversations"]["id"])
    assert (problems["solutions"] == PARAMS.math.solutions).all()
    assert (problems["difficulty"] == 1 - problems["agreed"] / problems["solutions"]).all()


def test_the_same_input_gives_the_same_bytes(corpus: Corpus, tables: Tables) -> None:
    again = synthesized(corpus, PARAMS)
    for name, table in tables.items():
        if isinstance(table, pl.DataFrame):
            assert stored(table) == stored(again[name]), name
    assert again["synthesize_summary"] == tables["synthesize_summary"]


def stored(table: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    table.write_parquet(file, compression="zstd")
    return file.getvalue()


def test_languages_that_are_not_wanted_are_dropped_by_name(corpus: Corpus) -> None:
    tables = synthesized(corpus, settings(languages=("en",)))
    assert set(tables["synthetic_conversations"]["language"]) <= {"en"}
    for flow in ("passages", "document", "math"):
        assert tables["synthesize_summary"][flow]["dropped"]["language_not_wanted"] > 0


def test_asking_for_n_yields_n(corpus: Corpus, tables: Tables) -> None:
    targets = {name: {"target": 3} for name in STRATEGIES if name != "magpie"}
    fewer = synthesized(corpus, settings(**targets | {"rag": {"target": 3, "part": 1.0}}))
    for name in targets:
        assert fewer[f"{name}_conversations"].height == 3, name
        flow = fewer["synthesize_summary"][name]
        assert (flow["target"], flow["ended_by"]) == (3, "target")
    assert fewer["questions"].height < tables["questions"].height


def test_a_source_that_holds_too_little_is_named(corpus: Corpus) -> None:
    tables = synthesized(corpus, settings(math={"target": 1000}))
    flow = tables["synthesize_summary"]["math"]
    assert (flow["target"], flow["ended_by"]) == (1000, "source")
    assert flow["out"] <= corpus.personas.height


def test_kinds_stay_within_their_quotas(corpus: Corpus) -> None:
    quotas = {"definition": 0.5, "number": 0.3, "time": 0.2}
    tables = synthesized(corpus, settings(questions={"kinds": quotas}))
    roots = tables["questions"].filter(pl.col("operation") == "none")
    counts = dict(roots["kind"].value_counts().iter_rows())
    assert set(counts) <= set(quotas)
    for kind, count in counts.items():
        assert count <= quotas[kind] * max(20, roots.height) + 1


def test_without_evolutions_or_rag_the_counts_still_close(corpus: Corpus) -> None:
    tables = synthesized(corpus, settings(evolution={"forms": 0}, rag={"target": 0}))
    assert set(tables["questions"]["operation"]) == {"none"}
    assert tables["rag_conversations"].is_empty()


def test_the_references_of_the_last_run_are_kept(corpus: Corpus, tables: Tables) -> None:
    """A question whose passages are still there is not searched again, whatever is new."""
    before = tables["references"]
    swapped = before.with_columns(retrieval_score=pl.lit(0.5))
    after = synthesized(corpus, PARAMS, earlier=swapped)["references"]
    assert (after["retrieval_score"] == 0.5).mean() > 0.9
    assert after.drop("retrieval_score").equals(before.drop("retrieval_score"))
    fresh = synthesized(corpus, settings(references={"refresh": True}), earlier=swapped)
    assert (fresh["references"]["retrieval_score"] != 0.5).all()


def test_rules_do_not_pretend_to_make_up_requests(corpus: Corpus) -> None:
    with pytest.raises(TeacherError, match="no chat template"):
        synthesized(corpus, settings(magpie={"target": 1}))


def test_nothing_comes_from_nothing(tmp_path: Path) -> None:
    with KnowledgeStore(KnowledgeOptions(path=tmp_path / "base")) as store:
        store.build(PASSAGE.frame())
        empty = Corpus(DOCUMENT.frame(), PASSAGE.frame(), PERSONA.frame(), store)
        tables = synthesized(empty, PARAMS)
    assert CONVERSATION.validate(tables["synthetic_conversations"]).is_empty()
    assert DROP.validate(tables["synthesize_drops"]).is_empty()


def test_every_drop_of_every_strategy_is_told_apart(corpus: Corpus) -> None:
    """A question that neither becomes a dialogue nor a conversation as told is dropped twice."""
    targets = {"knowledge": {"target": 20}, "dialogue": {"target": 1}, "told": {"target": 1}}
    tables = synthesized(corpus, settings(**targets))
    dropped = DROP.validate(tables["synthesize_drops"])
    assert dropped.filter(pl.col("reason") == "not_needed").height > 5


def test_every_reason_of_a_drop_is_documented(corpus: Corpus, tables: Tables) -> None:
    told = (ROOT / "docs" / "synthesize.md").read_text(encoding="utf-8")
    small = {"target": 1}
    fewer = synthesized(corpus, settings(knowledge=small, document=small, languages=("en",)))
    for table in (tables, fewer):
        for reason in table["synthesize_drops"]["reason"].unique():
            assert f"`{reason}`" in told
