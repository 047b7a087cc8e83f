"""Questions that passages answer, and their evolved forms."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.params import SynthesizeParams
from kyara_kedro.pipelines.asking import answers, fault
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import QUESTION, drops
from kyara_kedro.teachers.base import ChatRequest, Teacher, ask
from kyara_kedro.teachers.tasks import KINDS, Question, WrittenQuestions
from kyara_kedro.text.fold import match_key

PIPELINE = "synthesize"


class Evolution(NamedTuple):
    """One planned rewriting of a question."""

    id: str
    operation: str
    question: dict[str, Any]


def ask_questions(
    passages: pl.DataFrame, writer: Teacher, prompts: PromptLibrary, params: SynthesizeParams
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Write the questions that a reader of each passage would ask.

    Returns:
        Root questions, and a drop for each passage that yields none.
    """
    rows: dict[str, dict[str, Any]] = {}
    dropped: list[tuple[str, str, str]] = []
    by_id = {passage["id"]: passage for passage in passages.iter_rows(named=True)}
    requests = [
        ask(
            prompts,
            passage["id"],
            "write_questions",
            passage["language"],
            title=passage["title"],
            text=passage["text"],
            passage_id=passage["passage_id"],
            count=params.questions_per_passage,
            kinds=list(KINDS),
        )
        for passage in by_id.values()
        if passage["language"] in params.languages
    ]
    for row_id, completion in answers(writer, requests, "questions").items():
        if found := fault(completion):
            dropped.append((row_id, *found))
            continue
        assert isinstance(completion.parsed, WrittenQuestions)  # noqa: S101 - narrows the type
        if not completion.parsed.questions:
            dropped.append((row_id, "no_question", "the passage supports no question"))
        for question in completion.parsed.questions[: params.questions_per_passage]:
            row = {
                "id": content_id("question", question.text, row_id),
                "text": question.text,
                "passage_ids": [by_id[row_id]["passage_id"]],
                "kind": question.kind,
                "operation": "none",
                "parent": None,
                "round": 0,
                "language": by_id[row_id]["language"],
            }
            rows[row["id"]] = row
    for passage in by_id.values():
        if passage["language"] not in params.languages:
            detail = f"language {passage['language']} is not among {list(params.languages)}"
            dropped.append((passage["id"], "language_not_wanted", detail))
    return QUESTION.frame(rows.values()), drops(PIPELINE, dropped)


def planned_evolutions(roots: pl.DataFrame, params: SynthesizeParams) -> Iterator[Evolution]:
    """Plan the rewritings of each root question; operations are drawn by the question's id."""
    operations = params.operations
    for question in roots.iter_rows(named=True):
        for number in range(params.evolutions if operations else 0):
            name = content_id("evolution", question["id"], number)
            yield Evolution(name, operations[int(name, 16) % len(operations)], question)


def evolve_questions(
    roots: pl.DataFrame,
    passages: pl.DataFrame,
    writer: Teacher,
    prompts: PromptLibrary,
    params: SynthesizeParams,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rewrite root questions by drawn operations (Evol-Instruct, arXiv:2304.12244).

    An evolution that equals its parent or an earlier question is eliminated; its parent stays.

    Returns:
        Root and evolved questions together, and a drop for each eliminated evolution.
    """
    plan = {evolution.id: evolution for evolution in planned_evolutions(roots, params)}
    requests = _evolution_requests(plan.values(), passages, prompts)
    seen = {match_key(text) for text in roots["text"]}
    rows, dropped = [], []
    for row_id, completion in answers(writer, requests, "evolutions").items():
        evolution = plan[row_id]
        if found := fault(completion):
            dropped.append((row_id, *found))
            continue
        assert isinstance(completion.parsed, Question)  # noqa: S101 - narrows the type
        text = completion.parsed.question
        if match_key(text) in seen:
            dropped.append((row_id, "equal_evolution", f"says what another question says: {text}"))
            continue
        seen.add(match_key(text))
        rows.append(
            {
                "id": content_id("question", text, evolution.question["passage_ids"]),
                "text": text,
                "passage_ids": evolution.question["passage_ids"],
                "kind": evolution.question["kind"],
                "operation": evolution.operation,
                "parent": evolution.question["id"],
                "round": 1,
                "language": evolution.question["language"],
            }
        )
    return pl.concat([roots, QUESTION.frame(rows)]), drops(PIPELINE, dropped)


def _evolution_requests(
    plan: Iterable[Evolution], passages: pl.DataFrame, prompts: PromptLibrary
) -> list[ChatRequest]:
    by_passage = {row["passage_id"]: row for row in passages.iter_rows(named=True)}
    return [
        ask(
            prompts,
            evolution.id,
            "evolve_question",
            evolution.question["language"],
            question=evolution.question["text"],
            operation=evolution.operation,
            title=by_passage[evolution.question["passage_ids"][0]]["title"],
            text=by_passage[evolution.question["passage_ids"][0]]["text"],
        )
        for evolution in plan
    ]
