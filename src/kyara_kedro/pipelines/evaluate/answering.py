"""Every model answers every question, turn by turn; no request is ever generated twice."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.content import Message, content_id
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks import Decoding, Request, build_tasks
from kyara_kedro.params import EvaluateParams
from kyara_kedro.pipelines.asking import answers, fault
from kyara_kedro.pipelines.tuned import tuned_request, tuned_teacher
from kyara_kedro.records import MODEL_OUTPUT, REPLY, drops
from kyara_kedro.shards import Shard
from kyara_kedro.teachers.archive import put_replies
from kyara_kedro.teachers.base import ChatRequest, Completion, Teacher
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.teachers.panel import Panel
from kyara_kedro.training.loading import fetched, load_tokenizer, quiet
from kyara_kedro.training.model_ref import ModelRef, pretrained

PIPELINE = "evaluate"
STAGES = ("base", "sft_base", "sft_refine", "dpo")
CHAMPION = "champion"
TASK = "answer_benchmark"


class _Asked(NamedTuple):
    """A request with the whole conversation that goes to the model."""

    row_id: str
    request: Request
    messages: tuple[Message, ...]
    decoding: Decoding


Answer = Callable[[Sequence[_Asked]], Mapping[str, Completion]]
"""Answers what is asked, by row id."""


def generate_outputs(
    evaluation_questions: pl.DataFrame,
    base_model: ModelRef,
    sft_base_model: ModelRef,
    sft_refine_model: ModelRef,
    dpo_model: ModelRef,
    champion: dict[str, Any],
    other_models: Panel,
    evaluation_ledger: Ledger,
    params: EvaluateParams,
    *replies: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Let every stage's model, the champion and the models of the catalog answer every question.

    Decoding is what a benchmark's protocol says, and the parameters' where it says nothing. An
    answer that follows another one is asked for when that is there. What the shards of our own
    models' answers have replied is asked for no more.

    Returns:
        Outputs, a drop for each that could not be had, and the number of both.

    Raises:
        UserError: a model of the catalog has the name of a stage.
    """
    requests = _requests(evaluation_questions)
    models = our_models(base_model, sft_base_model, sft_refine_model, dpo_model, champion)
    if taken := sorted({*STAGES, CHAMPION} & other_models.direct.keys()):
        raise UserError(f"'other_models' in the catalog: {taken[0]!r} is a stage; rename it")
    for table in replies:
        put_replies(evaluation_ledger, table)
    rows, dropped = _answers_of_ours(requests, models, evaluation_ledger, params)
    found, lost = _answers_of_others(requests, _usual(params), other_models)
    rows, dropped = rows + found, dropped + lost
    return MODEL_OUTPUT.frame(rows), drops(PIPELINE, dropped), len(rows) + len(dropped)


def answer_questions(
    evaluation_questions: pl.DataFrame,
    base_model: ModelRef,
    sft_base_model: ModelRef,
    sft_refine_model: ModelRef,
    dpo_model: ModelRef,
    champion: dict[str, Any],
    params: EvaluateParams,
    ledger: Ledger,
    *,
    shard: Shard,
) -> pl.DataFrame:
    """Let our own models answer one shard of the questions.

    A question that follows another one is in the shard of that one.

    Args:
        evaluation_questions: All questions.
        base_model: What training began with.
        sft_base_model: After the first stage.
        sft_refine_model: After the second one.
        dpo_model: After the last one.
        champion: Of the registry; empty where there is none.
        params: How they answer.
        ledger: The shard's own, since one cannot be shared over a network.
        shard: Which one.

    Returns:
        All that the ledger holds, of :data:`kyara_kedro.records.REPLY`.
    """
    first: dict[tuple[str, str], str] = {}
    requests = _requests(evaluation_questions)
    for one in requests:
        before = first.get((one.benchmark, one.after)) if one.after else None
        first[one.benchmark, one.item_id] = before or one.after or one.item_id
    mine = [
        one
        for one in requests
        if shard.holds(f"{one.benchmark}/{first[one.benchmark, one.item_id]}")
    ]
    models = our_models(base_model, sft_base_model, sft_refine_model, dpo_model, champion)
    _answers_of_ours(mine, models, ledger, params)
    return pl.concat([REPLY.frame([]), *ledger.frames()])


def served_outputs(
    evaluation_questions: pl.DataFrame, other_models: Panel, params: EvaluateParams
) -> pl.DataFrame:
    """Let the models of the catalog alone answer every question; outputs as above."""
    requests = _requests(evaluation_questions)
    return MODEL_OUTPUT.frame(_answers_of_others(requests, _usual(params), other_models)[0])


def _requests(questions: pl.DataFrame) -> list[Request]:
    return [request for task in build_tasks(questions) for request in task.requests()]


def _usual(params: EvaluateParams) -> Decoding:
    return Decoding(params.generation.temperature, params.generation.max_new_tokens)


def _answers_of_ours(
    requests: Sequence[Request],
    models: Mapping[str, ModelRef],
    ledger: Ledger,
    params: EvaluateParams,
) -> tuple[list[dict[str, Any]], list[tuple[str, str, str]]]:
    rows: list[dict[str, Any]] = []
    dropped: list[tuple[str, str, str]] = []
    for name, model in models.items():
        with quiet(params.generation.threads):
            answer = _tuned(name, model, ledger, params)
            found, lost = _answer_all(name, requests, _usual(params), answer)
        rows, dropped = rows + found, dropped + lost
    return rows, dropped


def _answers_of_others(
    requests: Sequence[Request], usual: Decoding, other_models: Panel
) -> tuple[list[dict[str, Any]], list[tuple[str, str, str]]]:
    rows: list[dict[str, Any]] = []
    dropped: list[tuple[str, str, str]] = []
    for name, teacher in other_models.direct.items():
        found, lost = _answer_all(name, requests, usual, _served(name, teacher))
        rows, dropped = rows + found, dropped + lost
    return rows, dropped


def our_models(
    base_model: ModelRef,
    sft_base_model: ModelRef,
    sft_refine_model: ModelRef,
    dpo_model: ModelRef,
    champion: dict[str, Any],
) -> dict[str, ModelRef]:
    """The models of the stages, and the champion where there is one, by their names in tables."""
    stages = base_model, sft_base_model, sft_refine_model, dpo_model
    models = dict(zip(STAGES, stages, strict=True))
    return models | ({CHAMPION: pretrained(champion["path"])} if champion else {})


def _answer_all(
    model: str, requests: Sequence[Request], usual: Decoding, answer: Answer
) -> tuple[list[dict[str, Any]], list[tuple[str, str, str]]]:
    """Rows of ``records.MODEL_OUTPUT`` of a model, and what it gave no output to.

    A reply that was cut, filtered or declined is an output, of what there is of it.
    """
    rows: list[dict[str, Any]] = []
    dropped: list[tuple[str, str, str]] = []
    said: dict[tuple[str, str], tuple[Message, ...] | None] = {}
    waiting = list(requests)
    while waiting:
        ready: list[Request] = []
        later: list[Request] = []
        for one in waiting:
            now = one.after is None or (one.benchmark, one.after) in said
            (ready if now else later).append(one)
        if not ready:
            first = waiting[0]
            raise UserError(
                f"{first.benchmark} {first.item_id}: follows {first.after}, which is not asked"
            )
        waiting = later
        asked = []
        for one in ready:
            before = () if one.after is None else said[one.benchmark, one.after]
            row_id = content_id("output", one.benchmark, one.item_id, model)
            if before is None:
                said[one.benchmark, one.item_id] = None
                dropped.append((row_id, "turn_before_is_missing", str(one.after)))
            else:
                messages = (*before, *one.messages)
                asked.append(_Asked(row_id, one, messages, one.decoding or usual))
        replies = answer(asked)
        for item in asked:
            reply = replies[item.row_id]
            key = item.request.benchmark, item.request.item_id
            if not _is_output(reply):
                said[key] = None
                dropped.append((item.row_id, *(fault(reply) or ("", ""))))
                continue
            said[key] = (*item.messages, Message(role="assistant", content=reply.text))
            rows.append(_output_row(model, item, reply))
    return rows, dropped


def _is_output(reply: Completion) -> bool:
    """Whether the model has had its say; what a server cannot do is not the model's failure."""
    return reply.status in ("ok", "truncated", "filtered") or reply.fault == "refusal"


def _output_row(model: str, asked: _Asked, reply: Completion) -> dict[str, Any]:
    return {
        "id": asked.row_id,
        "benchmark": asked.request.benchmark,
        "item_id": asked.request.item_id,
        "model": model,
        "messages": list(asked.messages),
        "output": reply.text,
        "stopped": reply.status != "truncated",
        "tokens": reply.completion_tokens,
    }


def _tuned(name: str, model: ModelRef, ledger: Ledger, params: EvaluateParams) -> Answer:
    """A model of ours, prompted as it was trained; its answers go through the ledger."""
    options, tokenizer = params.generation, load_tokenizer(model)
    room = _context(fetched(model))

    def answer(asked: Sequence[_Asked]) -> Mapping[str, Completion]:
        requests = [
            tuned_request(
                one.row_id,
                tokenizer,
                one.messages,
                TASK,
                task=TASK,
                sample=options.seed,
                temperature=one.decoding.temperature,
                top_p=options.top_p,
                max_tokens=one.decoding.max_tokens,
                room=room,
            )
            for one in asked
        ]
        teacher = tuned_teacher(model, "evaluated", options.batch_size, ledger)
        return answers(teacher, requests, f"answers of {name}")

    return answer


def _served(name: str, teacher: Teacher) -> Answer:
    """A model behind an endpoint, prompted through its own template."""

    def answer(asked: Sequence[_Asked]) -> Mapping[str, Completion]:
        requests = [
            ChatRequest(
                row_id=one.row_id,
                task=TASK,
                inputs={},
                messages=one.messages,
                prompt_version=TASK,
                language="zh-TW",
                temperature=one.decoding.temperature,
                max_tokens=one.decoding.max_tokens,
            )
            for one in asked
        ]
        return answers(teacher, requests, f"answers of {name}")

    return answer


def _context(directory: Path) -> int | None:
    """Tokens that a model can take in and write together, where its configuration says."""
    config = json.loads((directory / "config.json").read_text("utf-8"))
    found = config.get("text_config", config).get("max_position_embeddings")
    return int(found) if found else None
