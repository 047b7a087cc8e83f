"""ingest: raw files -> documents, passages, knowledge base and the open data sets."""

from kedro.pipeline import Node, Pipeline

from kyara_kedro.pipelines.ingest import nodes


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            Node(
                nodes.read_documents,
                ["raw_documents", "params:ingest"],
                ["documents", "document_drops", "documents_read"],
                name="read_documents",
                tags="cpu",
            ),
            Node(
                nodes.chunk_documents,
                ["documents", "params:ingest"],
                "passages",
                name="chunk_documents",
                tags="cpu",
            ),
            Node(
                nodes.index_passages,
                "passages",
                "knowledge_base",
                name="index_passages",
                tags="cpu",
            ),
            Node(
                nodes.read_conversations,
                ["raw_conversations", "params:ingest"],
                ["open_conversations", "open_conversation_drops", "conversations_read"],
                name="read_conversations",
                tags="cpu",
            ),
            Node(
                nodes.read_preferences,
                ["raw_preferences", "params:ingest"],
                ["open_preferences", "open_preference_drops", "preferences_read"],
                name="read_preferences",
                tags="cpu",
            ),
            Node(
                nodes.read_personas,
                "raw_personas",
                ["personas", "persona_drops", "personas_read"],
                name="read_personas",
                tags="cpu",
            ),
            Node(
                nodes.read_prompts,
                "raw_prompts",
                ["prompts", "prompt_drops", "prompts_read"],
                name="read_prompts",
                tags="cpu",
            ),
            Node(
                nodes.read_benchmarks,
                "raw_benchmarks",
                ["benchmark_questions", "benchmark_drops", "benchmarks_read"],
                name="read_benchmarks",
                tags="cpu",
            ),
            Node(
                nodes.close_ingest,
                [
                    *("documents", "document_drops", "documents_read"),
                    *("open_conversations", "open_conversation_drops", "conversations_read"),
                    *("open_preferences", "open_preference_drops", "preferences_read"),
                    *("personas", "persona_drops", "personas_read"),
                    *("prompts", "prompt_drops", "prompts_read"),
                    *("benchmark_questions", "benchmark_drops", "benchmarks_read"),
                ],
                ["ingest_drops", "ingest_summary"],
                name="close_ingest",
                tags="cpu",
            ),
        ],
        namespace="ingest",
        prefix_datasets_with_namespace=False,
    )
