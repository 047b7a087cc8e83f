"""curate: base corpus -> tags, quality, the refined corpus and its card."""

from kedro.pipeline import Node, Pipeline

from kyara_kedro.pipelines import diagrams
from kyara_kedro.pipelines.curate import publishing, reviewing, scoring, selecting, tagging
from kyara_kedro.pipelines.sharding import share_out, shares, wanted_shards
from kyara_kedro.reporting.dataset_card import SHOWN, Pictures


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    shards = wanted_shards().rewards
    return Pipeline(
        [
            Node(
                reviewing.apply_decisions,
                [
                    *("base_conversations", "raw_decisions", "benchmark_questions"),
                    *("suite_questions", "protected_texts", "params:contamination"),
                ],
                ["review_decisions", "reviewed_conversations"],
                name="apply_decisions",
                tags="cpu",
            ),
            Node(
                tagging.tag_conversations,
                ["reviewed_conversations", "tagger", "prompt_library", "params:curate"],
                ["raw_tags", "tag_examples"],
                name="tag_conversations",
                tags="llm",
                preview_fn=diagrams.shows("tagging"),
            ),
            Node(
                tagging.normalise_tags,
                [
                    *("raw_tags", "tag_examples", "earlier_tag_map"),
                    *("text_encoder", "embeddings", "params:curate"),
                ],
                ["tag_map", "tags", "tag_summary"],
                name="normalise_tags",
                tags="cpu",
            ),
            *share_out(
                scoring.score_rewards,
                ["reviewed_conversations", "params:curate", "reward_values"],
                "rewarded",
                name="score_rewards",
                tag="gpu",
                total=shards,
            ),
            Node(
                scoring.score_conversations,
                [
                    *("reviewed_conversations", "params:curate"),
                    *("judge", "prompt_library", "reward_values"),
                    *shares("rewarded", shards),
                ],
                "raw_scores",
                name="score_conversations",
                tags=["llm", "gpu"],
                preview_fn=diagrams.shows("grading"),
            ),
            Node(
                scoring.combine_scores,
                ["raw_scores", "params:curate"],
                ["quality", "quality_summary", "quality_distributions"],
                name="combine_scores",
                tags="cpu",
            ),
            Node(
                selecting.select_conversations,
                [
                    *("reviewed_conversations", "tags", "quality", "review_decisions"),
                    *("lexical_pairs", "semantic_pairs", "params:curate"),
                ],
                ["refined_conversations", "curate_drops", "curate_summary"],
                name="select_conversations",
                tags="cpu",
                preview_fn=diagrams.shows("selection"),
            ),
            Node(
                tagging.draw_tags,
                ["tags", "tag_summary", "refined_conversations", "quality"],
                ["tag_coverage", "tag_steps"],
                name="draw_tags",
                tags="cpu",
            ),
            Node(
                publishing.describe_corpus,
                [
                    *("refined_conversations", "tags", "tag_map", "quality", "curate_summary"),
                    *("ingest_drops", "synthesize_drops", "dedup_drops", "curate_drops"),
                ],
                ["dataset_summary", "dataset_card"],
                name="describe_corpus",
                tags="cpu",
            ),
            Node(
                publishing.draw_corpus,
                [
                    *("refined_conversations", "tags", "quality", "ingest_summary"),
                    *("synthesize_summary", "dedup_summary", "curate_summary"),
                ],
                [*Pictures._fields],
                name="draw_corpus",
                tags="cpu",
            ),
            Node(
                publishing.publish_corpus,
                ["refined_conversations", "tags", "quality", "dataset_card", *SHOWN],
                "published_dataset",
                name="publish_corpus",
                tags="cpu",
            ),
            Node(
                reviewing.draw_review,
                [*reviewing.SHOWN, "params:curate"],
                "review_page",
                name="draw_review",
                tags="cpu",
            ),
        ],
        namespace="curate",
        prefix_datasets_with_namespace=False,
    )
