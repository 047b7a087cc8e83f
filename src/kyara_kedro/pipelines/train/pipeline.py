"""train: base corpus -> SFT base -> SFT refine, and preference pairs -> DPO.

Two namespaces, for self-play pairs are made between them with the refined model.
"""

from kedro.pipeline import Node, Pipeline

from kyara_kedro.pipelines import diagrams
from kyara_kedro.pipelines.train import nodes


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return _sft() + _dpo()


def _sft() -> Pipeline:
    return Pipeline(
        [
            Node(
                nodes.make_base_model,
                ["base_conversations", "model_store", "params:train"],
                "base_model",
                name="make_base_model",
                tags="cpu",
            ),
            Node(
                nodes.select_base_rows,
                ["base_conversations", "base_model", "model_store", "params:train"],
                ["sft_base_rows", "sft_base_drops", "sft_base_tokens"],
                name="select_base_rows",
                tags="cpu",
            ),
            Node(
                nodes.train_sft_base,
                [
                    *("base_model", "sft_base_rows", "sft_base_tokens"),
                    *("sft_base_drops", "contamination"),
                    *("model_store", "tracking", "params:train"),
                ],
                ["sft_base_model", "sft_base_curve", "sft_base_preflight"],
                name="train_sft_base",
                tags="gpu",
                preview_fn=diagrams.shows("stage"),
            ),
            Node(
                nodes.select_refine_rows,
                ["refined_conversations", "base_model", "model_store", "params:train"],
                ["sft_refine_rows", "sft_refine_drops", "sft_refine_tokens"],
                name="select_refine_rows",
                tags="cpu",
            ),
            Node(
                nodes.train_sft_refine,
                [
                    *("sft_base_model", "sft_refine_rows", "sft_refine_tokens"),
                    *("sft_refine_drops", "contamination"),
                    *("model_store", "tracking", "params:train"),
                ],
                ["sft_refine_model", "sft_refine_curve", "sft_refine_preflight"],
                name="train_sft_refine",
                tags="gpu",
                preview_fn=diagrams.shows("stage"),
            ),
        ],
        namespace="sft",
        prefix_datasets_with_namespace=False,
    )


def _dpo() -> Pipeline:
    return Pipeline(
        [
            Node(
                nodes.select_preferences,
                ["preferences", "self_play_model", "model_store", "params:train"],
                ["dpo_pairs", "dpo_drops", "dpo_tokens"],
                name="select_pairs",
                tags="cpu",
            ),
            Node(
                nodes.train_preferences,
                [
                    *("self_play_model", "dpo_tokens", "dpo_drops", "preference_contamination"),
                    *("model_store", "tracking", "params:train"),
                ],
                ["dpo_model", "dpo_curve", "dpo_preflight"],
                name="train_preferences",
                tags="gpu",
                preview_fn=diagrams.shows("preference_stage"),
            ),
            Node(
                nodes.register_candidate,
                ["dpo_model", "model_registry"],
                None,
                name="register_candidate",
                tags="cpu",
            ),
            Node(
                nodes.close_train,
                [
                    *("base_conversations", "sft_base_tokens", "sft_base_drops", "sft_base_curve"),
                    *("refined_conversations", "sft_refine_tokens"),
                    *("sft_refine_drops", "sft_refine_curve"),
                    *("preferences", "dpo_tokens", "dpo_drops", "dpo_curve"),
                ],
                ["train_drops", "train_summary", "training_curves", "training_plot"],
                name="close_train",
                tags="cpu",
            ),
        ],
        namespace="dpo",
        prefix_datasets_with_namespace=False,
    )
