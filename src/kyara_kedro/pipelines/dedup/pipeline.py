"""dedup: open and synthetic conversations -> one distinct, uncontaminated base corpus."""

from kedro.pipeline import Node, Pipeline

from kyara_kedro.pipelines.dedup import nodes, report
from kyara_kedro.pipelines.sharding import share_out, shares, wanted_shards


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    wanted = wanted_shards()
    compared = shares("compared_pairs", wanted.lexical)
    encoded = ["compared_texts", "lexical_pairs", "text_encoder", "embeddings", "params:dedup"]
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
                [
                    *(
                        "pooled_conversations",
                        "benchmark_questions",
                        "suite_questions",
                        "protected_texts",
                    ),
                    "params:contamination",
                ],
                "contamination",
                name="find_contamination",
                tags="cpu",
            ),
            Node(
                nodes.take_texts,
                ["pooled_conversations", "contamination"],
                "compared_texts",
                name="take_texts",
                tags="cpu",
            ),
            *share_out(
                nodes.compare_texts,
                ["compared_texts", "params:dedup"],
                "compared_pairs",
                name="compare_texts",
                tag="cpu",
                total=wanted.lexical,
            ),
            Node(
                nodes.join_lexical_pairs if compared else nodes.find_lexical_pairs,
                ["compared_texts", *(compared or ["params:dedup"])],
                "lexical_pairs",
                name="find_lexical_pairs",
                tags="cpu",
            ),
            *share_out(
                nodes.embed_texts,
                encoded,
                "embedded_texts",
                name="embed_texts",
                tag="gpu",
                total=wanted.vectors,
            ),
            Node(
                nodes.find_semantic_pairs,
                [*encoded, *shares("embedded_texts", wanted.vectors)],
                "semantic_pairs",
                name="find_semantic_pairs",
                tags="gpu",
            ),
            Node(
                nodes.choose_survivors,
                ["lexical_pairs", "semantic_pairs", "params:dedup"],
                "duplicates",
                name="choose_survivors",
                tags="cpu",
            ),
            Node(
                nodes.keep_distinct,
                ["pooled_conversations", "duplicates", "contamination"],
                ["base_conversations", "dedup_drops", "dedup_summary"],
                name="keep_distinct",
                tags="cpu",
            ),
            Node(
                nodes.draw_contamination,
                [
                    *("contamination", "pooled_conversations", "benchmark_questions"),
                    *("suite_questions", "protected_texts", "params:contamination"),
                ],
                "contamination_page",
                name="draw_contamination",
                tags="cpu",
            ),
            Node(
                report.draw_duplicates,
                ["compared_texts", "params:dedup", "lexical_pairs", "semantic_pairs"],
                "duplicates_page",
                name="draw_duplicates",
                tags="cpu",
            ),
        ],
        namespace="dedup",
        prefix_datasets_with_namespace=False,
    )
