"""What training records must not hold, as one table of questions."""

import polars as pl

from kyara_kedro.records import BENCHMARK_QUESTION


def all_questions(benchmark_questions: pl.DataFrame, protected_texts: pl.DataFrame) -> pl.DataFrame:
    """Put protected texts beside benchmark questions, as open questions without an answer.

    Args:
        benchmark_questions: A table of :data:`kyara_kedro.records.BENCHMARK_QUESTION`.
        protected_texts: A table of :data:`kyara_kedro.records.PROTECTED_TEXT`.

    Returns:
        A table with the columns of :data:`kyara_kedro.records.BENCHMARK_QUESTION`.
    """
    nothing = pl.lit([], pl.List(pl.String))
    texts = protected_texts.select(
        *("id", "benchmark", "item_id", "source", "language", "licence"),
        question="text",
        kind=pl.lit("open"),
        choices=nothing,
        answer=pl.lit(""),
        aliases=nothing,
        stratum=pl.lit("all"),
    )
    return pl.concat([benchmark_questions, texts.select(list(BENCHMARK_QUESTION.columns))])
