"""preference: prompts, the refined corpus and its model -> preference pairs."""

from kedro.pipeline import Node, Pipeline

from kyara_kedro.pipelines.preference import contest, nodes


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            Node(
                contest.collect_responses,
                [
                    *("prompts", "passages", "knowledge_base", "contestants", "prompt_library"),
                    *("sft_base_model", "sft_refine_model", "params:preference"),
                ],
                [
                    *("candidate_responses", "response_drops", "responses_tried"),
                    "contest_summary",
                ],
                name="collect_responses",
                tags="llm",
            ),
            Node(
                contest.judge_responses,
                ["candidate_responses", "judge", "prompt_library", "params:preference"],
                ["verdicts", "verdict_drops", "verdicts_tried"],
                name="judge_responses",
                tags="llm",
            ),
            Node(
                contest.pair_responses,
                ["prompts", "candidate_responses", "verdicts", "params:preference"],
                ["rlaif_preferences", "rlaif_drops"],
                name="pair_responses",
                tags="cpu",
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
            ),
            Node(
                contest.measure_judges,
                ["verdicts", "labelled_pairs", "labelled_verdicts", "params:preference"],
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
                nodes.play_against_itself,
                ["sft_refine_rows", "sft_refine_model", "params:preference"],
                ["self_play_preferences", "self_play_drops", "self_played"],
                name="play_against_itself",
                tags="gpu",
            ),
            Node(
                nodes.pool_preferences,
                ["open_preferences", "rlaif_preferences", "self_play_preferences"],
                "pooled_preferences",
                name="pool_preferences",
                tags="cpu",
            ),
            Node(
                nodes.find_leaked_preferences,
                [
                    *("pooled_preferences", "benchmark_questions", "protected_texts"),
                    "params:contamination",
                ],
                "preference_contamination",
                name="find_leaked_preferences",
                tags="cpu",
            ),
            Node(
                nodes.draw_leaked_preferences,
                [
                    *("preference_contamination", "pooled_preferences", "benchmark_questions"),
                    *("protected_texts", "params:contamination"),
                ],
                "preference_contamination_page",
                name="draw_leaked_preferences",
                tags="cpu",
            ),
            Node(
                nodes.merge_preferences,
                [
                    *("pooled_preferences", "preference_contamination"),
                    *("prompts", "candidate_responses", "response_drops", "responses_tried"),
                    *("verdicts", "verdict_drops", "verdicts_tried"),
                    *("rlaif_preferences", "rlaif_drops"),
                    *("self_play_preferences", "self_play_drops", "self_played"),
                ],
                ["preferences", "preference_drops", "preference_summary"],
                name="merge_preferences",
                tags="cpu",
            ),
        ],
        namespace="preference",
        prefix_datasets_with_namespace=False,
    )
