"""Every stage's model on the same questions, what is significant, and promotion on evidence."""

import json
import logging
from dataclasses import asdict
from itertools import permutations
from pathlib import Path
from typing import Any

import polars as pl

from kyara_kedro.evaluation.benchmarks import (
    Grounded,
    InstructionsTw,
    Refusal,
    Script,
    build_tasks,
    grounded_questions,
    instruction_questions,
    output_metrics,
    plain_questions,
    recall_questions,
    refusal_questions,
    script_questions,
)
from kyara_kedro.evaluation.comparison import compare
from kyara_kedro.evaluation.gate import decide
from kyara_kedro.evaluation.scores import WHOLE, benchmark_scores
from kyara_kedro.params import EvaluateParams
from kyara_kedro.pipelines.asking import Duel, Side, verdicts
from kyara_kedro.pipelines.balance import Flow, close
from kyara_kedro.pipelines.evaluate.answering import PIPELINE
from kyara_kedro.pipelines.evaluate.judging import check_judgements
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.records import drops
from kyara_kedro.teachers.base import Teacher
from kyara_kedro.tracking.registry import CHAMPION as CHAMPION_ALIAS
from kyara_kedro.tracking.registry import ModelRegistry
from kyara_kedro.training.model_ref import ModelRef

logger = logging.getLogger("kyara_kedro")
HELD_OUT = "held_out"
RULED = (HELD_OUT, Grounded.kind, Refusal.kind, InstructionsTw.kind, Script.kind)
"""Benchmarks that the judge of stages passes over: their rules see more than it does."""
CANDIDATE_MODEL = "dpo"
BASELINE = "sft_base"


def compose_own_suite(
    questions: pl.DataFrame,
    references: pl.DataFrame,
    passages: pl.DataFrame,
    sft_base_rows: pl.LazyFrame,
    params: EvaluateParams,
) -> pl.DataFrame:
    """Make our own suite from the knowledge base.

    No question of it is asked with documents in training, and no sentence of its prompts is in any.
    """
    asked = sft_base_rows.filter(pl.col("source") == "rag").select(pl.col("parents").explode())
    unseen = questions.filter(pl.col("id").is_in(asked.collect()["parents"].to_list()).not_())
    size, chars = params.own_suite, params.own_suite.document_chars
    made = {
        "grounded": grounded_questions(unseen, references, passages, size.grounded, chars),
        "refusal": refusal_questions(unseen, references, passages, size.refusal, chars),
        "instructions": instruction_questions(passages, size.instructions),
        "script": script_questions(passages, size.script),
    }
    for name, rows in made.items():
        if rows.height < (wanted := getattr(size, name)):
            logger.warning(
                "own suite: %d of %d questions of '%s'; the knowledge base gives no more",
                *(rows.height, wanted, name),
            )
    return pl.concat(made.values())


def compose_questions(
    benchmark_questions: pl.DataFrame,
    own_questions: pl.DataFrame,
    suite_questions: pl.DataFrame,
    imported_questions: pl.DataFrame,
    harness_questions: pl.DataFrame,
    sft_base_rows: pl.LazyFrame,
    sft_refine_rows: pl.DataFrame,
    questions: pl.DataFrame,
    params: EvaluateParams,
) -> pl.DataFrame:
    """Put all benchmarks and the held-out phrasings of known questions into one table.

    Known are the root questions with a bare answer that both stages were trained on, in whatever
    wording; they are asked again in phrasings that occur in no training row.

    Raises:
        UserError: a benchmark lacks what its judge has to see.
    """
    roots = questions.filter(pl.col("operation") == "none")["text"].to_list()
    asked = pl.col("messages").list.first().struct.field("content")
    root = pl.col("parents").list.first()
    known = sft_base_rows.filter(
        pl.col("source") == "knowledge_brief",
        asked.is_in(roots),
        root.is_in(sft_refine_rows["parents"].list.first().to_list()),
    )
    asked_of_all = pl.concat(
        [
            plain_questions(benchmark_questions),
            own_questions,
            suite_questions,
            imported_questions,
            harness_questions,
            recall_questions(known.collect(), params.held_out, HELD_OUT),
        ]
    )
    for task in build_tasks(asked_of_all):
        task.check()
    return asked_of_all


def find_champion(model_registry: ModelRegistry) -> dict[str, Any]:
    """Look up the present champion; an empty mapping when there is none yet.

    Raises:
        UserError: the registry does not answer. Nothing comes before this node, so a run learns it
            before it spends anything.
    """
    champion = model_registry.resolve(CHAMPION_ALIAS)
    return {"version": champion.version, "path": str(champion.path)} if champion else {}


def gather_outputs(generated_outputs: pl.DataFrame, imported_outputs: pl.DataFrame) -> pl.DataFrame:
    """Put what our models wrote beside what others have published."""
    return pl.concat([generated_outputs, imported_outputs])


def compare_stages(
    generated_outputs: pl.DataFrame, judge: Teacher, prompts: PromptLibrary, params: EvaluateParams
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Compare the candidate's answers with the first stage's, each pair in both orders.

    Returns:
        Verdicts, a drop for each judgement without one, and the number of judgements.
    """
    wanted = generated_outputs.filter(
        pl.col("benchmark").is_in(RULED).not_(), pl.col("output").str.strip_chars() != ""
    ).sort("benchmark", "item_id", "id")
    mine = wanted.filter(pl.col("model") == CANDIDATE_MODEL).head(params.judged_items)
    pairs = mine.join(
        wanted.filter(pl.col("model") == BASELINE),
        on=["benchmark", "item_id"],
        suffix="_other",
        maintain_order="left",
    )
    duels = []
    for row in pairs.iter_rows(named=True):
        sides = [
            Side(row["id"], row["output"], CANDIDATE_MODEL),
            Side(row["id_other"], row["output_other"], BASELINE),
        ]
        for first, second in permutations(sides):
            duels.append(Duel(row["item_id"], row["messages"][-1]["content"], first, second))
    judged, dropped, tried = verdicts(judge, prompts, duels, "judgements")
    return judged, drops(PIPELINE, dropped), tried


def score_outputs(
    evaluation_questions: pl.DataFrame,
    model_outputs: pl.DataFrame,
    judgements: pl.DataFrame,
    imported_items: pl.DataFrame,
    harness_items: pl.DataFrame,
    params: EvaluateParams,
) -> pl.DataFrame:
    """Score every output by its benchmark's rule, and for script, repetition and its end.

    Raises:
        UserError: too many judgements cannot be read.
    """
    check_judgements(judgements, params)
    tasks = build_tasks(evaluation_questions)
    scored = [task.score(model_outputs, judgements) for task in tasks]
    return pl.concat([*scored, output_metrics(model_outputs), imported_items, harness_items])


def summarise_scores(
    evaluation_questions: pl.DataFrame,
    benchmark_items: pl.DataFrame,
    judgements: pl.DataFrame,
    params: EvaluateParams,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Average with confidence intervals, and compare every model with every other, paired."""
    tasks = build_tasks(evaluation_questions)
    return (
        benchmark_scores(benchmark_items, tasks, judgements, params.statistics),
        compare(benchmark_items, None, params.statistics, tasks),
    )


def decide_promotion(
    dpo_model: ModelRef,
    scores: pl.DataFrame,
    comparisons: pl.DataFrame,
    champion: dict[str, Any],
    sft_base_rows: pl.LazyFrame,
    params: EvaluateParams,
) -> dict[str, Any]:
    """Apply the gate to the candidate."""
    return decide(
        CANDIDATE_MODEL,
        scores,
        comparisons,
        params.gate,
        has_champion=bool(champion),
        fingerprint=dpo_model.fingerprint,
        rules_corpus=by_rules(sft_base_rows),
    ).to_dict()


def promote(
    dpo_model: ModelRef,
    decision: dict[str, Any],
    scores: pl.DataFrame,
    model_registry: ModelRegistry,
) -> dict[str, Any]:
    """Note scores and decision on the candidate, and make it the champion when the gate says so.

    A version that a person has taken back stays back until a person says otherwise.
    """
    mine = scores.filter(pl.col("model") == CANDIDATE_MODEL, pl.col("part") == WHOLE)
    tags = {
        f"{benchmark}.{metric}": f"{score:.4f}"
        for benchmark, metric, score in mine.select("benchmark", "metric", "score").iter_rows()
    }
    tags |= {
        "verdict": decision["verdict"],
        "decision": json.dumps(decision, ensure_ascii=False),
        "training_fingerprint": dpo_model.fingerprint,
    }
    version = model_registry.nominate(Path(dpo_model.path), dpo_model.run_id, tags)
    back = model_registry.withdrawn(version)
    if back:
        logger.warning(
            "version %d stays back: %s took it back on %s (%s); `kedro promote %d` promotes it",
            *(version, back.by, back.at, back.reason, version),
        )
    elif decision["verdict"] == "promote":
        model_registry.promote(version, by="gate", reason="; ".join(decision["reasons"]))
    champion = model_registry.resolve(CHAMPION_ALIAS)
    return {
        "model": model_registry.name,
        "fingerprint": dpo_model.fingerprint,
        "candidate": version,
        "champion": champion.version if champion else None,
        "verdict": decision["verdict"],
        "reasons": decision["reasons"],
        "withdrawn": asdict(back) if back else None,
    }


def close_evaluate(
    generated_outputs: pl.DataFrame,
    output_drops: pl.DataFrame,
    outputs_asked: int,
    judgements: pl.DataFrame,
    imported_judgements: pl.DataFrame,
    judgement_drops: pl.DataFrame,
    judged: int,
    stage_verdicts: pl.DataFrame,
    stage_verdict_drops: pl.DataFrame,
    stage_duels: int,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Check that every answer and every judgement that was asked for is accounted for."""
    own = judgements.height - imported_judgements.height
    return close(
        [
            Flow("outputs", outputs_asked, generated_outputs.height, output_drops),
            Flow("judgements", judged, own, judgement_drops),
            Flow("stage_verdicts", stage_duels, stage_verdicts.height, stage_verdict_drops),
        ]
    )


def by_rules(rows: pl.LazyFrame) -> bool:
    """Whether any of the rows was written by rules instead of a language model."""
    written = pl.col("teacher").str.contains("rules").any()
    return bool(rows.select(written).collect().item())
