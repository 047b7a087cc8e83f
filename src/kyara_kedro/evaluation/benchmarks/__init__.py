"""The benchmarks, one file each; `build_tasks` makes them from the questions of the catalog."""

import polars as pl

from kyara_kedro.evaluation.benchmarks.base import Question, Request, Task, cluster, questions_of
from kyara_kedro.evaluation.benchmarks.choice import Choice
from kyara_kedro.evaluation.benchmarks.held_out import HeldOut, recall_questions
from kyara_kedro.evaluation.benchmarks.open_answer import OpenAnswer
from kyara_kedro.evaluation.benchmarks.output import output_lengths, output_metrics

__all__ = [
    "Choice",
    "HeldOut",
    "OpenAnswer",
    "Question",
    "Request",
    "Task",
    "build_tasks",
    "cluster",
    "expected_items",
    "output_lengths",
    "output_metrics",
    "questions_of",
    "recall_questions",
]

_KINDS: dict[str, type[Task]] = {"choice": Choice, "open": OpenAnswer}


def build_tasks(questions: pl.DataFrame) -> list[Task]:
    """Make a task of each benchmark and kind of question, sorted by name and kind.

    Args:
        questions: Rows of ``records.BENCHMARK_QUESTION`` of any number of benchmarks.
    """
    keys = questions.select("benchmark", "kind").unique().sort("benchmark", "kind").rows()
    return [
        _KINDS[kind](
            name,
            questions_of(questions.filter(pl.col("benchmark") == name, pl.col("kind") == kind)),
        )
        for name, kind in keys
    ]


def expected_items(tasks: list[Task]) -> dict[tuple[str, str], int]:
    """How many items each benchmark and metric has, so that missing outputs are noticed."""
    return {(task.name, metric): len(task.questions) for task in tasks for metric in task.metrics}
