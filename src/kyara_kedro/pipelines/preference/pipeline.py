"""preference: prompts, the refined corpus and its model -> preference pairs."""

from kedro.pipeline import Node, Pipeline

from kyara_kedro.pipelines import diagrams
from kyara_kedro.pipelines.preference import contest, merging, selfplay


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            Node(
                contest.collect_responses,
                [
                    *("prompts", "passages", "knowledge_base", "contestants", "prompt_library"),
                    *("sft_base_model", "sft_refine_model", "self_play_ledger"),
                    "params:preference",
                ],
                [
                    *("candidate_responses", "response_drops", "responses_tried"),
                    "contest_summary",
                ],
                name="collect_responses",
                tags="llm",
                preview_fn=diagrams.shows("contest"),
            ),
            Node(
                contest.judge_responses,
                ["candidate_responses", "judge", "prompt_library", "params:preference"],
                ["verdicts", "verdict_drops", "verdicts_tried"],
                name="judge_responses",
                tags="llm",
                preview_fn=diagrams.shows("both_orders"),
            ),
            Node(
                contest.pair_responses,
                ["prompts", "candidate_responses", "verdicts", "params:preference"],
                ["rlaif_preferences", "rlaif_drops"],
                name="pair_responses",
                tags="cpu",
                preview_fn=diagrams.shows("pairs"),
            ),
            Node(
                contest.rate_contestants,
                ["candidate_responses", "verdicts", "params:preference"],
                "contestant_ratings",
                name="rate_contestants",
                tags="cpu",
            ),
            Node(
                contest.judge_labelled,
                ["labelled_pairs", "judge", "prompt_library", "params:preference"],
                ["labelled_verdicts", "labelled_verdict_drops"],
                name="judge_labelled",
                tags="llm",
                preview_fn=diagrams.shows("both_orders"),
            ),
            Node(
                contest.rate_labelled,
                ["labelled_ratings", "judge", "prompt_library", "params:preference"],
                ["labelled_judgements", "labelled_judgement_drops"],
                name="rate_labelled",
                tags="llm",
            ),
            Node(
                contest.measure_judges,
                [
                    *("verdicts", "labelled_pairs", "labelled_verdicts"),
                    *("labelled_ratings", "labelled_judgements", "params:preference"),
                ],
                "judge_reliability",
                name="measure_judges",
                tags="cpu",
            ),
            Node(
                contest.draw_judges,
                [
                    *("judge_reliability", "contestant_ratings", "verdicts"),
                    *("candidate_responses", "contest_summary"),
                ],
                "judge_reliability_page",
                name="draw_judges",
                tags="cpu",
            ),
            Node(
                selfplay.choose_player,
                [
                    *("sft_refine_model", "earlier_self_play_generations", "earlier_dpo_model"),
                    *("model_store", "params:preference"),
                ],
                "self_play_model",
                name="choose_player",
                tags="cpu",
            ),
            Node(
                selfplay.play_against_itself,
                [
                    *("sft_refine_rows", "self_play_model", "earlier_self_play_generations"),
                    *("self_player", "self_play_ledger", "params:preference"),
                ],
                "self_play_generations",
                name="play_against_itself",
                tags="gpu",
                preview_fn=diagrams.shows("self_play"),
            ),
            Node(
                selfplay.pair_self_play,
                ["sft_refine_rows", "self_play_generations", "params:preference"],
                ["self_play_preferences", "self_play_drops", "self_played"],
                name="pair_self_play",
                tags="cpu",
            ),
            Node(
                selfplay.rank_self_play,
                [
                    *("sft_refine_rows", "self_play_generations", "judge", "prompt_library"),
                    *("reward_values", "params:preference"),
                ],
                ["sppo_preferences", "sppo_drops", "sppo_tried"],
                name="rank_self_play",
                tags="llm",
                preview_fn=diagrams.shows("ranking"),
            ),
            Node(
                selfplay.assess_self_play,
                [
                    *("sft_refine_rows", "self_play_model", "self_play_generations"),
                    *("model_store", "params:preference"),
                ],
                "self_play_report",
                name="assess_self_play",
                tags="gpu",
            ),
            Node(
                merging.pool_preferences,
                [
                    *("open_preferences", "rlaif_preferences"),
                    *("self_play_preferences", "sppo_preferences"),
                ],
                "pooled_preferences",
                name="pool_preferences",
                tags="cpu",
            ),
            Node(
                merging.find_leaked_preferences,
                [
                    *(
                        "pooled_preferences",
                        "benchmark_questions",
                        "suite_questions",
                        "protected_texts",
                    ),
                    "params:contamination",
                ],
                "preference_contamination",
                name="find_leaked_preferences",
                tags="cpu",
            ),
            Node(
                merging.draw_leaked_preferences,
                [
                    *("preference_contamination", "pooled_preferences", "benchmark_questions"),
                    *("suite_questions", "protected_texts", "params:contamination"),
                ],
                "preference_contamination_page",
                name="draw_leaked_preferences",
                tags="cpu",
            ),
            Node(
                merging.merge_preferences,
                [
                    *("pooled_preferences", "preference_contamination", "sft_refine_rows"),
                    "params:preference",
                ],
                ["preferences", "merge_drops", "preference_sources_summary"],
                name="merge_preferences",
                tags="cpu",
            ),
            Node(
                merging.draw_preferences,
                ["preferences", "preference_sources_summary"],
                ["preference_mix", "preference_margins"],
                name="draw_preferences",
                tags="cpu",
            ),
            Node(
                merging.close_preference,
                [
                    *("pooled_preferences", "preferences", "merge_drops"),
                    *("prompts", "rlaif_preferences", "rlaif_drops"),
                    *("candidate_responses", "response_drops", "responses_tried"),
                    *("verdicts", "verdict_drops", "verdicts_tried"),
                    *("self_play_preferences", "self_play_drops", "self_played"),
                    *("sppo_preferences", "sppo_drops", "sppo_tried"),
                ],
                ["preference_drops", "preference_summary"],
                name="close_preference",
                tags="cpu",
            ),
        ],
        namespace="preference",
        prefix_datasets_with_namespace=False,
    )
