"""What training records must not hold, as one table of questions, and where it is looked for."""

import polars as pl

from kyara_kedro.records import BENCHMARK_QUESTION


def all_questions(
    benchmark_questions: pl.DataFrame, suite_questions: pl.DataFrame, protected_texts: pl.DataFrame
) -> pl.DataFrame:
    """Put published benchmarks and protected texts beside benchmark questions.

    A protected text is an open question without an answer.

    Args:
        benchmark_questions: A table of :data:`kyara_kedro.records.BENCHMARK_QUESTION`.
        suite_questions: A table of :data:`kyara_kedro.records.EVALUATION_QUESTION`.
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
    choice = pl.col("choices").list.len() > 1
    suites = suite_questions.with_columns(
        kind=pl.when(choice).then(pl.lit("choice")).otherwise(pl.lit("open"))
    )
    columns = list(BENCHMARK_QUESTION.columns)
    return pl.concat([benchmark_questions, suites.select(columns), texts.select(columns)])


def conversation_texts(conversations: pl.DataFrame) -> pl.DataFrame:
    """Everything that is said in each conversation, columns id and text."""
    contents = pl.col("messages").list.eval(pl.element().struct.field("content"))
    return conversations.select("id", text=contents.list.join("\n"))


def worst_leaks(leaks: pl.DataFrame) -> dict[str, str]:
    """For each leaking record the item of which it holds most, and the words.

    Args:
        leaks: A table of :data:`kyara_kedro.records.CONTAMINATION`.
    """
    hits = leaks.sort("coverage", "id", descending=[True, False])
    worst = hits.unique("record_id", keep="first", maintain_order=True)
    told = pl.format("{} {}: {}", "benchmark", "item_id", "evidence")
    return dict(worst.select("record_id", told).iter_rows())
