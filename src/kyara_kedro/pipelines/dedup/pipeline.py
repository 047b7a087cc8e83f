"""dedup: open and synthetic conversations -> one distinct, uncontaminated base corpus."""

from kedro.pipeline import Node, Pipeline

from kyara_kedro.pipelines.dedup import nodes


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            Node(
                nodes.pool_conversations,
                ["open_conversations", "synthetic_conversations"],
                "pooled_conversations",
                name="pool_conversations",
                tags="cpu",
            ),
            Node(
                nodes.find_contamination,
                ["pooled_conversations", "benchmark_questions", "params:dedup"],
                "contamination",
                name="find_contamination",
                tags="cpu",
            ),
            Node(
                nodes.find_duplicates,
                ["pooled_conversations", "contamination", "params:dedup"],
                "duplicates",
                name="find_duplicates",
                tags="cpu",
            ),
            Node(
                nodes.keep_distinct,
                ["pooled_conversations", "duplicates", "contamination"],
                ["base_conversations", "dedup_drops", "dedup_summary"],
                name="keep_distinct",
                tags="cpu",
            ),
        ],
        namespace="dedup",
        prefix_datasets_with_namespace=False,
    )
