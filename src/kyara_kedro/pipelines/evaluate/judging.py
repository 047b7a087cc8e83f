"""Judges say what rules cannot: each trial is asked once, read strictly, and kept as it was."""

from typing import Any

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks import Trial, build_tasks
from kyara_kedro.params import EvaluateParams
from kyara_kedro.pipelines.asking import answers, fault
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.records import JUDGEMENT, drops
from kyara_kedro.teachers.base import Completion, Teacher, ask
from kyara_kedro.teachers.panel import Panel
from kyara_kedro.teachers.tasks import Judgement
from kyara_kedro.teachers.team import order

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
    panel = Panel.of(judge)
    there = set(imported_judgements.select("benchmark", "item_id", "model").iter_rows())
    trials: dict[str, tuple[Trial, str]] = {}
    for task in build_tasks(evaluation_questions):
        for trial in task.trials(model_outputs):
            if (trial.benchmark, trial.item_id, trial.model) not in there:
                member = order(panel.weights, content_id("trial", trial.benchmark, trial.item_id))[
                    0
                ]
                trials[_row_id(trial, member)] = trial, member
    requests = [
        ask(prompt_library, f"{row_id}:{member}", trial.task, trial.language, **trial.inputs)
        for row_id, (trial, member) in trials.items()
    ]
    replies = answers(panel, requests, "judgements") if requests else {}
    rows, dropped = [], []
    for row_id, (trial, member) in trials.items():
        reply = replies[f"{row_id}:{member}"]
        if reply.status in ("ok", "invalid", "truncated"):
            rows.append(_row(row_id, trial, panel.direct[member], reply))
        else:
            dropped.append((row_id, *(fault(reply) or ("", ""))))
    asked = JUDGEMENT.frame(rows)
    return pl.concat([asked, imported_judgements]), drops(PIPELINE, dropped), len(trials)


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
    for row in said.sort("benchmark", "judge").iter_rows(named=True):
        if row["unread"] > params.max_unread * row["number"]:
            raise UserError(
                f"{row['benchmark']}: {row['unread']} of {row['number']} judgements of "
                f"{row['judge']} cannot be read, more than evaluate.max_unread "
                f"({params.max_unread:.0%}) allows; look at the text of {row['example']} in "
                "'judgements', and name another judge or raise the limit"
            )


def _row_id(trial: Trial, judge: str) -> str:
    return content_id(
        *("judgement", trial.benchmark, trial.item_id, trial.model),
        *(trial.opponent, trial.swapped, judge),
    )


def _row(row_id: str, trial: Trial, judge: Teacher, reply: Completion) -> dict[str, Any]:
    said = reply.parsed if isinstance(reply.parsed, Judgement) else None
    unread = reply.fault if reply.status == "invalid" else reply.status
    return {
        "id": row_id,
        "benchmark": trial.benchmark,
        "item_id": trial.item_id,
        "model": trial.model,
        "opponent": trial.opponent or None,
        "swapped": trial.swapped,
        "verdict": said.verdict if said else None,
        "value": said.value(swapped=trial.swapped) if said else None,
        "problem": None if said else unread,
        "chars": trial.chars,
        "opponent_chars": trial.opponent_chars,
        "judge": reply.teacher,
        "judge_family": judge.family,
        "prompt_version": reply.prompt_version,
        "judged_at": reply.received_at,
        "text": reply.text,
    }
