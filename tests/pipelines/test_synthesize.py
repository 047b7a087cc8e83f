"""Synthesis over four documents: everything said can be traced, counted and made again."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
import yaml

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.knowledge.store import KnowledgeOptions, KnowledgeStore
from kyara_kedro.params import IngestParams, SynthesizeParams
from kyara_kedro.pipelines.ingest import nodes as ingest
from kyara_kedro.pipelines.synthesize import conversations, grounding, nodes, questions
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.prompts.library import REFUSAL
from kyara_kedro.records import (
    CONVERSATION,
    DOCUMENT,
    DROP,
    PASSAGE,
    PERSONA,
    QUESTION,
    REFERENCE,
    SEARCH_QUERY,
)
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.text.citations import cited

from support import ROOT

SAMPLE = ROOT / "data" / "01_raw" / "sample"
FILES = ("geography/yushan.md", "science/dna.md", "food/soy-sauce.md", "law/copyright.md")
WRITER, PROMPTS = ExtractiveTeacher(), PromptLibrary()
SETTINGS: dict[str, Any] = yaml.safe_load(
    (ROOT / "conf/base/parameters/synthesize.yml").read_text(encoding="utf-8")
)["synthesize"]
PARAMS = SynthesizeParams(**SETTINGS | {"rag_share": 1.0, "unanswerable_share": 0.3})


class Corpus(NamedTuple):
    documents: pl.DataFrame
    passages: pl.DataFrame
    personas: pl.DataFrame
    store: KnowledgeStore


Tables = dict[str, Any]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    folder = SAMPLE / "documents" / "zh-TW"
    files = [SourceFile(folder / name, name) for name in FILES]
    english = tmp_path_factory.mktemp("english") / "english.jsonl"
    lines = (SAMPLE / "documents" / "english.jsonl").read_text(encoding="utf-8").split("\n")
    english.write_text("\n".join(lines[:2]), encoding="utf-8")
    params = IngestParams(licence="CC0-1.0")
    documents, _, _ = ingest.read_documents([*files, SourceFile(english, "english.jsonl")], params)
    passages = ingest.chunk_documents(documents, params)
    personas, _, _ = ingest.read_personas([SourceFile(SAMPLE / "personas.jsonl", "personas.jsonl")])
    base: Path = tmp_path_factory.mktemp("base")
    with KnowledgeStore(KnowledgeOptions(path=base / "base")) as store:
        store.build(passages)
        yield Corpus(documents, passages, personas.head(8), store)


def synthesized(corpus: Corpus, params: SynthesizeParams = PARAMS) -> Tables:
    """Run the pipeline's functions in their order."""
    documents, passages, personas, store = corpus
    tables: Tables = {}
    roots, tables["question_drops"] = questions.ask_questions(passages, WRITER, PROMPTS, params)
    asked, tables["evolution_drops"] = questions.evolve_questions(
        roots, passages, WRITER, PROMPTS, params
    )
    queries = grounding.expand_queries(asked, WRITER, PROMPTS)
    references, quality = grounding.find_references(
        asked, queries, passages, store, WRITER, PROMPTS, params
    )
    grounds = (asked, references, passages, WRITER, PROMPTS, params)
    written = {
        "knowledge": conversations.write_knowledge_conversations(*grounds),
        "rag": conversations.write_rag_conversations(*grounds),
        "document": conversations.write_document_conversations(documents, WRITER, PROMPTS, params),
        "math": conversations.write_math_conversations(personas, WRITER, PROMPTS, params),
        "dialogue": conversations.write_dialogue_conversations(
            asked, passages, WRITER, PROMPTS, params
        ),
    }
    tables |= {name: rows for name, (rows, _) in written.items()}
    tables |= {f"{name}_drops": dropped for name, (_, dropped) in written.items()}
    tables["merged"] = nodes.merge_conversations(*(rows for rows, _ in written.values()))
    tables["drops"], tables["summary"] = nodes.close_synthesize(
        passages,
        documents,
        personas,
        roots,
        tables["question_drops"],
        asked,
        tables["evolution_drops"],
        quality,
        *(table for pair in written.values() for table in pair),
        params,
    )
    return tables | {
        "roots": roots,
        "questions": asked,
        "queries": queries,
        "references": references,
        "quality": quality,
    }


@pytest.fixture(scope="module")
def tables(corpus: Corpus) -> Tables:
    return synthesized(corpus)


def test_every_table_fits_its_record(tables: Tables) -> None:
    for name in ("knowledge", "rag", "document", "math", "dialogue", "merged"):
        assert CONVERSATION.validate(tables[name]).height > 0, name
    QUESTION.validate(tables["questions"])
    SEARCH_QUERY.validate(tables["queries"])
    REFERENCE.validate(tables["references"])
    assert DROP.validate(tables["drops"]).height == sum(
        sum(flow["dropped"].values()) for flow in tables["summary"].values() if "in" in flow
    )


def test_answers_with_references_cite_what_was_shown_or_refuse_word_for_word(
    tables: Tables,
) -> None:
    refused = answered = 0
    for language, messages in tables["rag"].select("language", "messages").iter_rows():
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


def test_only_unanswerable_prompts_lack_their_own_passage(corpus: Corpus, tables: Tables) -> None:
    names = dict(corpus.passages.select("id", "passage_id").iter_rows())
    for messages, parents in tables["rag"].select("messages", "parents").iter_rows():
        own = [names[parent] for parent in parents if parent in names]
        shown = [name in messages[0]["content"] for name in own]
        assert any(shown) == bool(cited(messages[1]["content"]))


def test_knowledge_answers_show_no_reference(tables: Tables) -> None:
    for messages in tables["knowledge"]["messages"].to_list():
        assert not any(
            cited(turn["content"]) or "<reference>" in turn["content"] for turn in messages
        )


def test_evidence_is_literal(corpus: Corpus, tables: Tables) -> None:
    texts = dict(corpus.passages.select("passage_id", "text").iter_rows())
    relevant = tables["references"].filter(pl.col("relevant"))
    assert relevant.height > 10
    for passage_id, evidence in relevant.select("passage_id", "evidence").iter_rows():
        assert evidence in texts[passage_id]
    assert tables["references"].filter(~pl.col("relevant"))["evidence"].null_count() > 0
    assert tables["quality"]["recall_at_1"] > 0.5


def test_every_row_names_sources_that_exist_and_their_licence(
    corpus: Corpus, tables: Tables
) -> None:
    known = {*corpus.documents["id"], *corpus.passages["id"], *corpus.personas["id"]}
    known |= set(tables["questions"]["id"])
    for parents, licence in tables["merged"].select("parents", "licence").iter_rows():
        assert set(parents) <= known
        assert licence == "CC0-1.0"


def test_evolved_questions_say_something_new(tables: Tables) -> None:
    evolved = tables["questions"].filter(pl.col("operation") != "none")
    assert set(evolved["parent"]) <= set(tables["roots"]["id"])
    assert evolved["text"].is_unique().all()
    assert not set(evolved["text"]) & set(tables["roots"]["text"])


def test_dialogues_do_not_repeat_themselves(tables: Tables) -> None:
    for rounds, messages in tables["dialogue"].select("rounds", "messages").iter_rows():
        assert 2 <= rounds <= PARAMS.dialogue_rounds
        contents = [turn["content"] for turn in messages]
        assert len(set(contents)) == len(contents)


def test_the_same_input_gives_the_same_bytes(corpus: Corpus, tables: Tables) -> None:
    again = synthesized(corpus)
    for name, table in tables.items():
        if isinstance(table, pl.DataFrame):
            assert stored(table) == stored(again[name]), name
        else:
            assert table == again[name], name


def stored(table: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    table.write_parquet(file, compression="zstd")
    return file.getvalue()


def test_languages_that_are_not_wanted_are_dropped_by_name(corpus: Corpus) -> None:
    tables = synthesized(corpus, PARAMS.model_copy(update={"languages": ("en",)}))
    assert set(tables["merged"]["language"]) <= {"en"}
    for flow in ("passages", "document", "math"):
        assert tables["summary"][flow]["dropped"]["language_not_wanted"] > 0


def test_without_evolutions_references_or_rag_the_counts_still_close(corpus: Corpus) -> None:
    params = PARAMS.model_copy(update={"evolutions": 0, "rag_share": 0.0})
    tables = synthesized(corpus, params)
    assert tables["questions"].equals(tables["roots"])
    assert tables["rag"].is_empty()


def test_nothing_comes_from_nothing(tmp_path: Path) -> None:
    with KnowledgeStore(KnowledgeOptions(path=tmp_path / "base")) as store:
        store.build(PASSAGE.frame())
        empty = Corpus(DOCUMENT.frame(), PASSAGE.frame(), PERSONA.frame(), store)
        tables = synthesized(empty)
    assert CONVERSATION.validate(tables["merged"]).is_empty()
    assert DROP.validate(tables["drops"]).is_empty()
    assert tables["quality"] == {"recall_at_1": 0.0, f"recall_at_{PARAMS.references}": 0.0}
