"""The synthesize pipeline over a small corpus, node by node, with every table at hand."""

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.knowledge.store import KnowledgeStore
from kyara_kedro.params import IngestParams, SynthesizeParams
from kyara_kedro.pipelines.ingest import nodes as ingest
from kyara_kedro.pipelines.synthesize import create_pipeline
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import REFERENCE
from kyara_kedro.teachers.base import Teacher
from kyara_kedro.teachers.extractive import ExtractiveTeacher

Tables = dict[str, Any]
STRATEGIES = ("knowledge", "rag", "document", "math", "dialogue", "told", "magpie")
RULES, PROMPTS = ExtractiveTeacher(), PromptLibrary()


class Corpus(NamedTuple):
    """What synthesis begins with."""

    documents: pl.DataFrame
    passages: pl.DataFrame
    personas: pl.DataFrame
    store: KnowledgeStore


def corpus_of(
    files: list[SourceFile],
    personas: pl.DataFrame,
    store: KnowledgeStore,
    params: IngestParams,
) -> Corpus:
    """Read and index documents."""
    documents = _frame(ingest.read_documents(files, params)[0])
    passages = _frame(ingest.chunk_documents(documents, params))
    store.build(passages)
    return Corpus(documents, passages, personas, store)


def _frame(table: Any) -> pl.DataFrame:
    if isinstance(table, pl.LazyFrame):
        return table.collect()
    return table if isinstance(table, pl.DataFrame) else pl.concat(table)


def personas(path: Path) -> pl.DataFrame:
    """Read a file of personas."""
    return _frame(ingest.read_personas([SourceFile(path, path.name)], IngestParams())[0])


def synthesized(
    corpus: Corpus,
    params: SynthesizeParams,
    writer: Teacher = RULES,
    checker: Teacher = RULES,
    earlier: pl.DataFrame | None = None,
) -> Tables:
    """Run the pipeline's nodes in their order; all tables by their catalog names."""
    tables: Tables = {
        "documents": corpus.documents,
        "passages": corpus.passages,
        "personas": corpus.personas,
        "knowledge_base": corpus.store,
        "earlier_references": REFERENCE.frame() if earlier is None else earlier,
        "writer": writer,
        "checker": checker,
        "magpie": writer,
        "prompt_library": PROMPTS,
        "params:synthesize": params,
    }
    for node in create_pipeline().nodes:
        tables |= node.run({name: tables[name] for name in node.inputs})
    return tables
