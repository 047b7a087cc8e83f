"""synthesize: passages and personas -> questions, references and grounded conversations."""

from kedro.pipeline import Node, Pipeline

from kyara_kedro.pipelines import diagrams
from kyara_kedro.pipelines.synthesize import nodes

_ASKED = ["writer", "checker", "prompt_library", "params:synthesize"]


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            Node(
                nodes.inject_knowledge,
                ["passages", "earlier_references", "knowledge_base", *_ASKED],
                [
                    *("questions", "search_queries", "references"),
                    *("knowledge_conversations", "rag_conversations"),
                    *("knowledge_drops", "knowledge_tally"),
                ],
                name="inject_knowledge",
                tags="llm",
                preview_fn=diagrams.shows("waves"),
            ),
            Node(
                nodes.write_document_conversations,
                ["documents", "passages", "knowledge_base", *_ASKED],
                ["document_conversations", "document_conversation_drops", "document_tally"],
                name="write_document_conversations",
                tags="llm",
                preview_fn=diagrams.shows("document"),
            ),
            Node(
                nodes.write_math_conversations,
                ["personas", *_ASKED],
                ["math_conversations", "math_problems", "math_drops", "math_tally"],
                name="write_math_conversations",
                tags="llm",
                preview_fn=diagrams.shows("votes"),
            ),
            Node(
                nodes.write_dialogue_conversations,
                ["questions", "passages", *_ASKED],
                ["dialogue_conversations", "dialogue_drops", "dialogue_tally"],
                name="write_dialogue_conversations",
                tags="llm",
                preview_fn=diagrams.shows("dialogue"),
            ),
            Node(
                nodes.write_told_conversations,
                ["questions", "passages", *_ASKED],
                ["told_conversations", "told_drops", "told_tally"],
                name="write_told_conversations",
                tags="llm",
                preview_fn=diagrams.shows("told"),
            ),
            Node(
                nodes.write_magpie_conversations,
                ["magpie", "prompt_library", "params:synthesize"],
                ["magpie_conversations", "magpie_drops", "magpie_tally"],
                name="write_magpie_conversations",
                tags="llm",
                preview_fn=diagrams.shows("magpie"),
            ),
            Node(
                nodes.write_own_conversations,
                ["documents", "passages", "questions", "personas", *_ASKED],
                ["own_conversations", "own_drops", "own_tally"],
                name="write_own_conversations",
                tags="llm",
            ),
            Node(
                nodes.merge_conversations,
                [
                    *("knowledge_conversations", "rag_conversations", "document_conversations"),
                    *("math_conversations", "dialogue_conversations", "told_conversations"),
                    *("magpie_conversations", "own_conversations"),
                ],
                "synthetic_conversations",
                name="merge_conversations",
                tags="cpu",
            ),
            Node(
                nodes.close_synthesize,
                [
                    *("passages", "documents", "personas", "questions", "synthetic_conversations"),
                    *("knowledge_tally", "document_tally", "math_tally", "dialogue_tally"),
                    *("told_tally", "magpie_tally", "own_tally"),
                    *("knowledge_drops", "document_conversation_drops", "math_drops"),
                    *("dialogue_drops", "told_drops", "magpie_drops", "own_drops"),
                ],
                ["synthesize_drops", "synthesize_summary", "reply_leaks"],
                name="close_synthesize",
                tags="cpu",
            ),
        ],
        namespace="synthesize",
        prefix_datasets_with_namespace=False,
    )
