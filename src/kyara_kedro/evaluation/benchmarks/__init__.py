"""The benchmarks, one file each; `build_tasks` makes them from the questions of the catalog."""

from collections.abc import Iterable, Mapping

import polars as pl

from kyara_kedro.evaluation.benchmarks.align_bench import AlignBench, AlignBenchCht
from kyara_kedro.evaluation.benchmarks.alpaca_eval import AlpacaEval
from kyara_kedro.evaluation.benchmarks.arena_hard import ArenaHard
from kyara_kedro.evaluation.benchmarks.base import (
    Averaging,
    Decoding,
    Question,
    Request,
    Rows,
    Task,
    Trial,
    cluster,
    plain_questions,
    question_row,
    questions_of,
)
from kyara_kedro.evaluation.benchmarks.bbh import Bbh
from kyara_kedro.evaluation.benchmarks.chinese_reason import ChineseReasonBench
from kyara_kedro.evaluation.benchmarks.choice import Choice
from kyara_kedro.evaluation.benchmarks.crux import Crux
from kyara_kedro.evaluation.benchmarks.drcd import Drcd
from kyara_kedro.evaluation.benchmarks.grounded import Grounded, grounded_questions
from kyara_kedro.evaluation.benchmarks.gsm import Gsm
from kyara_kedro.evaluation.benchmarks.harness import HarnessTask
from kyara_kedro.evaluation.benchmarks.held_out import HeldOut, recall_questions
from kyara_kedro.evaluation.benchmarks.ifeval import IFEval
from kyara_kedro.evaluation.benchmarks.instructions_tw import InstructionsTw, instruction_questions
from kyara_kedro.evaluation.benchmarks.math_l5 import MathL5
from kyara_kedro.evaluation.benchmarks.mmlu_redux import MmluRedux
from kyara_kedro.evaluation.benchmarks.mt_bench import MtBench, MtBenchTw
from kyara_kedro.evaluation.benchmarks.open_answer import OpenAnswer
from kyara_kedro.evaluation.benchmarks.output import output_lengths, output_metrics
from kyara_kedro.evaluation.benchmarks.penguins_tc import PenguinsTc
from kyara_kedro.evaluation.benchmarks.refusal import Refusal, refusal_questions
from kyara_kedro.evaluation.benchmarks.script import Script, script_questions
from kyara_kedro.evaluation.benchmarks.tmmlu import Tmmlu
from kyara_kedro.evaluation.benchmarks.tmmluplus import Tmmluplus, Tmmluplus67
from kyara_kedro.evaluation.benchmarks.ttqa import Ttqa
from kyara_kedro.evaluation.benchmarks.zebra_grid import ZebraGrid

__all__ = [
    "BENCHMARKS",
    "AlignBench",
    "AlignBenchCht",
    "AlpacaEval",
    "ArenaHard",
    "Averaging",
    "Bbh",
    "ChineseReasonBench",
    "Choice",
    "Crux",
    "Decoding",
    "Grounded",
    "Gsm",
    "HeldOut",
    "IFEval",
    "InstructionsTw",
    "MathL5",
    "MmluRedux",
    "MtBench",
    "MtBenchTw",
    "OpenAnswer",
    "Question",
    "Refusal",
    "Request",
    "Rows",
    "Script",
    "Task",
    "Trial",
    "ZebraGrid",
    "build_tasks",
    "cluster",
    "expected_items",
    "grounded_questions",
    "instruction_questions",
    "output_lengths",
    "output_metrics",
    "plain_questions",
    "question_row",
    "questions_of",
    "recall_questions",
    "refusal_questions",
    "script_questions",
]

BENCHMARKS: Mapping[str, type[Task]] = {
    task.kind: task
    for task in (
        Choice,
        OpenAnswer,
        HarnessTask,
        HeldOut,
        IFEval,
        Grounded,
        Refusal,
        InstructionsTw,
        Script,
        Tmmlu,
        Tmmluplus,
        Tmmluplus67,
        Ttqa,
        PenguinsTc,
        Drcd,
        Gsm,
        MathL5,
        Crux,
        MmluRedux,
        ZebraGrid,
        Bbh,
        MtBench,
        MtBenchTw,
        AlignBench,
        AlignBenchCht,
        ChineseReasonBench,
        AlpacaEval,
        ArenaHard,
    )
}
"""Every protocol by its kind."""


def build_tasks(questions: pl.DataFrame) -> list[Task]:
    """Make a task of each benchmark and kind of question, sorted by name and kind.

    Args:
        questions: Rows of ``records.EVALUATION_QUESTION`` of any number of benchmarks.
    """
    keys = questions.select("benchmark", "kind").unique().sort("benchmark", "kind").rows()
    return [
        BENCHMARKS[kind](
            name,
            questions_of(questions.filter(pl.col("benchmark") == name, pl.col("kind") == kind)),
        )
        for name, kind in keys
    ]


def expected_items(tasks: Iterable[Task]) -> dict[tuple[str, str], int]:
    """How many items each benchmark and metric has, so that missing outputs are noticed."""
    return {
        (task.name, metric): number for task in tasks for metric, number in task.expected().items()
    }
