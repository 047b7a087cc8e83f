"""evaluate: every stage's model -> outputs, scores, comparisons, report, promotion and export."""

from kedro.pipeline import Node, Pipeline

from kyara_kedro.pipelines.evaluate import handover, nodes


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            Node(
                nodes.compose_questions,
                [
                    *("benchmark_questions", "sft_base_rows", "sft_refine_rows"),
                    *("questions", "params:evaluate"),
                ],
                "evaluation_questions",
                name="compose_questions",
                tags="cpu",
            ),
            Node(
                nodes.find_champion,
                "model_registry",
                "champion",
                name="find_champion",
                tags="cpu",
            ),
            Node(
                nodes.generate_outputs,
                [
                    *("evaluation_questions", "base_model", "sft_base_model"),
                    *("sft_refine_model", "dpo_model", "champion", "params:evaluate"),
                ],
                "model_outputs",
                name="generate_outputs",
                tags="gpu",
            ),
            Node(
                nodes.judge_outputs,
                ["model_outputs", "judge", "prompt_library", "params:evaluate"],
                ["judgements", "judgement_drops", "judged"],
                name="judge_outputs",
                tags="llm",
            ),
            Node(
                nodes.score_outputs,
                ["evaluation_questions", "model_outputs"],
                "benchmark_items",
                name="score_outputs",
                tags="cpu",
            ),
            Node(
                nodes.summarise_scores,
                ["benchmark_items", "params:evaluate"],
                ["benchmark_scores", "comparisons"],
                name="summarise_scores",
                tags="cpu",
            ),
            Node(
                nodes.decide_promotion,
                [
                    *("evaluation_questions", "benchmark_scores", "comparisons"),
                    *("champion", "sft_base_rows", "params:evaluate"),
                ],
                "decision",
                name="decide_promotion",
                tags="cpu",
            ),
            Node(
                nodes.promote,
                ["dpo_model", "decision", "benchmark_scores", "model_registry"],
                "promotion",
                name="promote",
                tags="cpu",
            ),
            Node(
                nodes.write_report,
                [
                    *("evaluation_questions", "model_outputs", "benchmark_items"),
                    *("benchmark_scores", "comparisons", "training_curves", "decision"),
                    *("promotion", "sft_base_rows", "judgements", "base_model", "params:evaluate"),
                ],
                "evaluation_report",
                name="write_report",
                tags="cpu",
            ),
            Node(
                handover.export_model,
                [
                    *("dpo_model", "sft_base_rows", "sft_refine_rows", "dpo_pairs"),
                    *("train_summary", "training_curves", "training_plot", "benchmark_scores"),
                    *("promotion", "model_store", "params:train"),
                ],
                ["exported_model", "model_facts"],
                name="export_model",
                tags="cpu",
            ),
            Node(
                nodes.close_evaluate,
                [
                    *("evaluation_questions", "champion", "model_outputs"),
                    *("judgements", "judgement_drops", "judged"),
                ],
                ["evaluate_drops", "evaluate_summary"],
                name="close_evaluate",
                tags="cpu",
            ),
        ],
        namespace="evaluate",
        prefix_datasets_with_namespace=False,
    )
