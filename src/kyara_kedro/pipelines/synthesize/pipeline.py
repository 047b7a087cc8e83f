"""synthesize: passages and personas -> questions, references and grounded conversations."""

from kedro.pipeline import Node, Pipeline

from kyara_kedro.pipelines.synthesize import conversations, grounding, nodes, questions

_GROUNDS = ["questions", "references", "passages", "writer", "prompt_library", "params:synthesize"]


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            Node(
                questions.ask_questions,
                ["passages", "writer", "prompt_library", "params:synthesize"],
                ["root_questions", "question_drops"],
                name="ask_questions",
                tags="llm",
            ),
            Node(
                questions.evolve_questions,
                ["root_questions", "passages", "writer", "prompt_library", "params:synthesize"],
                ["questions", "evolution_drops"],
                name="evolve_questions",
                tags="llm",
            ),
            Node(
                grounding.expand_queries,
                ["questions", "writer", "prompt_library"],
                "search_queries",
                name="expand_queries",
                tags="llm",
            ),
            Node(
                grounding.find_references,
                [
                    *("questions", "search_queries", "passages", "knowledge_base"),
                    *("writer", "prompt_library", "params:synthesize"),
                ],
                ["references", "retrieval_quality"],
                name="find_references",
                tags="llm",
            ),
            Node(
                conversations.write_knowledge_conversations,
                _GROUNDS,
                ["knowledge_conversations", "knowledge_drops"],
                name="write_knowledge_conversations",
                tags="llm",
            ),
            Node(
                conversations.write_rag_conversations,
                _GROUNDS,
                ["rag_conversations", "rag_drops"],
                name="write_rag_conversations",
                tags="llm",
            ),
            Node(
                conversations.write_document_conversations,
                ["documents", "writer", "prompt_library", "params:synthesize"],
                ["document_conversations", "document_conversation_drops"],
                name="write_document_conversations",
                tags="llm",
            ),
            Node(
                conversations.write_math_conversations,
                ["personas", "writer", "prompt_library", "params:synthesize"],
                ["math_conversations", "math_drops"],
                name="write_math_conversations",
                tags="llm",
            ),
            Node(
                conversations.write_dialogue_conversations,
                ["questions", "passages", "writer", "prompt_library", "params:synthesize"],
                ["dialogue_conversations", "dialogue_drops"],
                name="write_dialogue_conversations",
                tags="llm",
            ),
            Node(
                nodes.merge_conversations,
                [
                    *("knowledge_conversations", "rag_conversations", "document_conversations"),
                    *("math_conversations", "dialogue_conversations"),
                ],
                "synthetic_conversations",
                name="merge_conversations",
                tags="cpu",
            ),
            Node(
                nodes.close_synthesize,
                [
                    *("passages", "documents", "personas", "root_questions", "question_drops"),
                    *("questions", "evolution_drops", "retrieval_quality"),
                    *("knowledge_conversations", "knowledge_drops"),
                    *("rag_conversations", "rag_drops"),
                    *("document_conversations", "document_conversation_drops"),
                    *("math_conversations", "math_drops"),
                    *("dialogue_conversations", "dialogue_drops", "params:synthesize"),
                ],
                ["synthesize_drops", "synthesize_summary"],
                name="close_synthesize",
                tags="cpu",
            ),
        ],
        namespace="synthesize",
        prefix_datasets_with_namespace=False,
    )
