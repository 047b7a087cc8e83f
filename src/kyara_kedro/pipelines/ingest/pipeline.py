"""ingest: raw files -> documents, passages, knowledge base and the open data sets."""

from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from kyara_kedro.pipelines.ingest import nodes
from kyara_kedro.pipelines.ingest.rows import keep_rows

_TABLES = {
    "documents": ("document", "documents"),
    "conversations": ("open_conversation", "open_conversations"),
    "preferences": ("open_preference", "open_preferences"),
    "personas": ("persona", "personas"),
    "prompts": ("prompt", "prompts"),
    "benchmarks": ("benchmark", "benchmark_questions"),
    "protected": ("protected", "protected_texts"),
    "labelled": ("labelled", "labelled_pairs"),
    "ratings": ("rating", "labelled_ratings"),
}
_SHARED = {"ratings": "labelled"}
"""Kinds that are read from the files of another kind."""


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            *(part for kind in _TABLES for part in _reading(kind)),
            Node(
                nodes.read_suites,
                ["raw_suites", "params:ingest"],
                "suite_questions",
                name="read_suites",
                tags="cpu",
            ),
            Node(
                nodes.cut_documents,
                ["document_rows", "params:ingest"],
                "passage_rows",
                name="chunk_documents",
                tags="cpu",
            ),
            Node(
                nodes.index_passages,
                "passage_rows",
                ["passages", "knowledge_base"],
                name="index_passages",
                tags="cpu",
            ),
            Node(
                nodes.close_ingest,
                [name for kind in _TABLES for name in _counted(kind)],
                ["ingest_drops", "ingest_summary"],
                name="close_ingest",
                tags="cpu",
            ),
        ],
        namespace="ingest",
        prefix_datasets_with_namespace=False,
    )


def _reading(kind: str) -> list[Node]:
    """The nodes that parse files of a kind and part the rows that are kept from the others."""
    one, table = _TABLES[kind]
    keep = update_wrapper(partial(keep_rows, nodes.KINDS[kind]), keep_rows)
    return [
        Node(
            getattr(nodes, f"parse_{kind}"),
            [f"raw_{_SHARED.get(kind, kind)}", "params:ingest"],
            [f"{one}_rows", "script_leaks"] if kind == "documents" else f"{one}_rows",
            name=f"read_{kind}",
            tags="cpu",
        ),
        Node(
            keep,
            f"{one}_rows",
            [table, *_counted(kind)],
            name=f"keep_{kind}",
            tags="cpu",
        ),
    ]


def _counted(kind: str) -> list[str]:
    return [f"{_TABLES[kind][0]}_drops", f"{kind}_read", f"{kind}_kept"]
