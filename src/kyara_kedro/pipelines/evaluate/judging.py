"""Judges say what rules cannot: each trial is asked once, read strictly, and kept as it was."""

import polars as pl

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks import build_tasks
from kyara_kedro.params import EvaluateParams
from kyara_kedro.pipelines.asking import judgements
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.records import drops
from kyara_kedro.teachers.base import Teacher

PIPELINE = "evaluate"


def judge_outputs(
    evaluation_questions: pl.DataFrame,
    model_outputs: pl.DataFrame,
    imported_judgements: pl.DataFrame,
    judge: Teacher,
    prompt_library: PromptLibrary,
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Ask the judge what the benchmarks want to know of the outputs.

    What others have judged is not asked again. Of several judges each trial goes to one. A
    judgement that cannot be read is asked for once more, with the reason, and then kept as it is.

    Returns:
        Judgements, the imported ones among them; a drop for each trial that the judge gave no reply
        to; and the number of trials.
    """
    there = set(imported_judgements.select("benchmark", "item_id", "model").iter_rows())
    trials = (
        trial
        for task in build_tasks(evaluation_questions)
        for trial in task.trials(model_outputs)
        if (trial.benchmark, trial.item_id, trial.model) not in there
    )
    said = judgements(judge, prompt_library, trials, "judgements")
    table = pl.concat([said.table, imported_judgements])
    return table, drops(PIPELINE, said.dropped), said.tried


def check_judgements(judgements: pl.DataFrame, params: EvaluateParams) -> None:
    """See that enough of what each judge said could be read.

    Raises:
        UserError: a larger share than ``max_unread`` could not.
    """
    said = judgements.group_by("benchmark", "judge").agg(
        number=pl.len(),
        unread=pl.col("value").is_null().sum(),
        example=pl.col("id").filter(pl.col("value").is_null()).first(),
    )
    over = said.filter(pl.col("unread") > params.max_unread * pl.col("number"))
    if over.height:
        rows = over.sort("benchmark", "judge").to_dicts()
        listed = ", ".join(
            f"{row['unread']} of {row['number']} judgements of {row['benchmark']} by {row['judge']}"
            for row in rows
        )
        raise UserError(
            f"{listed} cannot be read, more than evaluate.max_unread ({params.max_unread:.0%}) "
            f"allows; look at the text of {rows[0]['example']} in 'judgements', and name another "
            "judge or raise the limit"
        )
