"""evaluate: every stage's model -> outputs, scores, comparisons, report, promotion and export."""

from kedro.pipeline import Node, Pipeline

from kyara_kedro.pipelines import diagrams
from kyara_kedro.pipelines.evaluate import (
    answering,
    handover,
    importing,
    judging,
    likelihoods,
    nodes,
    reporting,
)
from kyara_kedro.pipelines.sharding import share_out, shares, wanted_shards


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    shards = wanted_shards().answers
    models = ["base_model", "sft_base_model", "sft_refine_model", "dpo_model", "champion"]
    return Pipeline(
        [
            Node(
                importing.import_results,
                ["raw_results", "suite_questions"],
                [
                    *("imported_questions", "imported_outputs"),
                    *("imported_judgements", "imported_items"),
                ],
                name="import_results",
                tags="cpu",
            ),
            Node(
                likelihoods.measure_likelihoods,
                [
                    *("base_model", "sft_base_model", "sft_refine_model", "dpo_model"),
                    *("champion", "params:evaluate"),
                ],
                ["harness_questions", "harness_items"],
                name="measure_likelihoods",
                tags="gpu",
            ),
            Node(
                nodes.compose_own_suite,
                [
                    *("questions", "references", "passages", "sft_base_rows"),
                    "params:evaluate",
                ],
                "own_questions",
                name="compose_own_suite",
                tags="cpu",
            ),
            Node(
                nodes.compose_questions,
                [
                    *("benchmark_questions", "own_questions", "suite_questions"),
                    *("imported_questions", "harness_questions"),
                    *("sft_base_rows", "sft_refine_rows", "questions", "params:evaluate"),
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
            *share_out(
                answering.answer_questions,
                ["evaluation_questions", *models, "params:evaluate"],
                "evaluation_replies",
                name="answer_questions",
                tag="gpu",
                total=shards,
                own="evaluation_ledger",
            ),
            Node(
                answering.generate_outputs,
                [
                    *("evaluation_questions", *models, "other_models"),
                    *("evaluation_ledger", "params:evaluate"),
                    *shares("evaluation_replies", shards),
                ],
                ["generated_outputs", "output_drops", "outputs_asked"],
                name="generate_outputs",
                tags="gpu",
                preview_fn=diagrams.shows("outputs"),
            ),
            Node(
                nodes.gather_outputs,
                ["generated_outputs", "imported_outputs"],
                "model_outputs",
                name="gather_outputs",
                tags="cpu",
            ),
            Node(
                judging.judge_outputs,
                [
                    *("evaluation_questions", "model_outputs", "imported_judgements"),
                    *("judge", "prompt_library"),
                ],
                ["judgements", "judgement_drops", "judged"],
                name="judge_outputs",
                tags="llm",
            ),
            Node(
                nodes.compare_stages,
                ["generated_outputs", "judge", "prompt_library", "params:evaluate"],
                ["stage_verdicts", "stage_verdict_drops", "stage_duels"],
                name="compare_stages",
                tags="llm",
                preview_fn=diagrams.shows("both_orders"),
            ),
            Node(
                nodes.score_outputs,
                [
                    *("evaluation_questions", "model_outputs", "judgements"),
                    *("imported_items", "harness_items", "params:evaluate"),
                ],
                "benchmark_items",
                name="score_outputs",
                tags="cpu",
            ),
            Node(
                nodes.summarise_scores,
                ["evaluation_questions", "benchmark_items", "judgements", "params:evaluate"],
                ["benchmark_scores", "comparisons"],
                name="summarise_scores",
                tags="cpu",
            ),
            Node(
                nodes.decide_promotion,
                [
                    *("dpo_model", "benchmark_scores", "comparisons"),
                    *("champion", "sft_base_rows", "params:evaluate"),
                ],
                "decision",
                name="decide_promotion",
                tags="cpu",
                preview_fn=diagrams.shows("promotion"),
            ),
            Node(
                nodes.promote,
                ["dpo_model", "decision", "benchmark_scores", "model_registry"],
                "promotion",
                name="promote",
                tags="cpu",
            ),
            Node(
                reporting.write_report,
                [
                    *("evaluation_questions", "model_outputs", "benchmark_items", "judgements"),
                    *("benchmark_scores", "comparisons", "training_curves", "decision"),
                    *("promotion", "sft_base_rows", "stage_verdicts", "base_model"),
                    *("sft_base_model", "sft_refine_model", "dpo_model", "champion"),
                    *("tracking", "params:evaluate"),
                ],
                [
                    *("evaluation_report", "evaluation_report_markdown"),
                    "evaluation_report_json",
                ],
                name="write_report",
                tags="cpu",
            ),
            Node(
                reporting.track_evaluation,
                [
                    *("evaluation_report", "evaluation_report_markdown"),
                    *("evaluation_report_json", "benchmark_scores", "tracking"),
                ],
                None,
                name="track_evaluation",
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
                    *("generated_outputs", "output_drops", "outputs_asked", "judgements"),
                    *("imported_judgements", "judgement_drops", "judged", "stage_verdicts"),
                    *("stage_verdict_drops", "stage_duels"),
                ],
                ["evaluate_drops", "evaluate_summary"],
                name="close_evaluate",
                tags="cpu",
            ),
            Node(
                reporting.draw_costs,
                ["teacher_accounts", "evaluate_summary"],
                "cost_figure",
                name="draw_costs",
                tags="cpu",
            ),
        ],
        namespace="evaluate",
        prefix_datasets_with_namespace=False,
    )
