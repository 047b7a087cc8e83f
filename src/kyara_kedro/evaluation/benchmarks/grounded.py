"""Are answers grounded in the documents that they are given, and do they cite what they rest on?

Counted as in ALCE (Gao et al. 2023, arXiv:2305.14627): recall is the share of statements that what
they cite supports, precision the share of citations that support their statement, or are needed to.
Where ALCE asks a model for entailment, support is judged here by words, numbers and negations
(`text.citations`), which denies most paraphrases and holds for what a run without a judge can see.
"""

from __future__ import annotations

from itertools import islice

import polars as pl

from kyara_kedro.content import Message
from kyara_kedro.evaluation.benchmarks.base import (
    Question,
    Task,
    question_row,
    scorer_version,
)
from kyara_kedro.evaluation.benchmarks.documents import (
    PROMPTS,
    asked,
    drawn,
    texts_of,
)
from kyara_kedro.evaluation.benchmarks.open_answer import LONGEST_OUTPUT, match
from kyara_kedro.records import EVALUATION_QUESTION
from kyara_kedro.text.citations import CITATION, citation_report, normalised_citations
from kyara_kedro.text.statements import unformed


class Grounded(Task):
    """Questions with documents, one of which holds the answer.

    The metrics are ``citation_recall``, ``citation_precision`` (0 without a citation) and
    ``contains``, whether the known answer is in the text.
    """

    kind = "grounded"
    title = "Grounded answers"
    version = scorer_version("grounded-1", PROMPTS)
    metrics = ("citation_recall", "citation_precision", "contains")

    def messages(self, question: Question) -> tuple[Message, ...]:
        """The documents and the question, as one user turn."""
        return asked(question)

    def score_output(self, question: Question, output: str) -> dict[str, float] | None:
        """Check statement by statement; None for an output without words."""
        texts = texts_of(question.details["documents"])
        answer = unformed(normalised_citations(output[:LONGEST_OUTPUT], texts), "，")
        found = match(CITATION.sub(" ", answer), self.gold(question))
        if found is None:
            return None
        report = citation_report(answer, texts, question.question)
        return {
            "citation_recall": report.supported_sentences / (report.sentences or 1),
            "citation_precision": report.supported_citations / (report.citations or 1),
            "contains": found["contains"],
        }


def grounded_questions(
    questions: pl.DataFrame,
    references: pl.DataFrame,
    passages: pl.DataFrame,
    limit: int,
    chars: int | None = None,
) -> pl.DataFrame:
    """Ask questions of the knowledge base with the passage that answers them, and another.

    Args:
        questions: Rows of ``records.QUESTION``, without those that training asks with documents.
        references: Rows of ``records.REFERENCE``.
        passages: Rows of ``records.PASSAGE``.
        limit: Number of questions; the choice depends on the ids alone.
        chars: Longest document, cut at sentences; None shows whole passages.

    Returns:
        Rows of ``records.EVALUATION_QUESTION``, fewer than ``limit`` when there are no more.
    """
    chosen = islice(drawn(questions, references, passages, limit), limit)
    return EVALUATION_QUESTION.frame(
        question_row(
            Grounded.kind,
            Grounded.kind,
            one.question(one.row["kind"], answerable=True, chars=chars),
            source=one.row["id"],
            licence=one.licence,
        )
        for one in chosen
    )
