"""How nodes ask teachers: all requests at once, answers by row, faults as reasons of drops."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypedDict

import polars as pl
from tqdm import tqdm

from kyara_kedro.content import Message, content_id
from kyara_kedro.errors import UserError
from kyara_kedro.judging.verdicts import parse_verdict
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import VERDICT
from kyara_kedro.teachers.base import ChatRequest, Completion, Teacher, ask
from kyara_kedro.text.length import estimate_tokens
from kyara_kedro.text.script import language_of

logger = logging.getLogger("kyara_kedro")
Fault = tuple[str, str]


class Call(TypedDict):
    """One call on the way to a record, see ``records.CALLS``."""

    task: str
    teacher: str
    prompt_version: str
    key: str


def answers(teacher: Teacher, requests: Sequence[ChatRequest], told: str) -> dict[str, Completion]:
    """Ask everything and give the completions by row id, in the order of the requests.

    What it will take is told before anything is sent, and the yield and the cost while it goes on.

    Args:
        teacher: Who is asked.
        requests: At most one for each row id.
        told: What the log and the progress bar say.

    Raises:
        UserError: the teacher's budget is spent, not only a strategy's share of it; what was
            answered is in the ledger.
    """
    estimate = teacher.estimate(requests)
    if estimate is not None:
        logger.info("%s: %s %s is asked %s", told, teacher.role, teacher.name, estimate)
    arrived: dict[str, Completion] = {}
    good, cost = 0, 0.0
    with tqdm(None, told, len(requests), disable=None, leave=False, delay=2) as bar:
        for completion in teacher.map(requests):
            arrived[completion.row_id] = completion
            good += completion.status == "ok"
            cost += completion.cost
            bar.set_postfix_str(f"{good / len(arrived):.0%} ok, cost {cost:.4g}", refresh=False)
            bar.update()
    ending = [one for one in arrived.values() if teacher.ends_run(one)]
    if ending:
        answered = sum(one.status != "deferred" for one in arrived.values())
        raise UserError(
            f"{told}: {ending[0].error}; {answered:,} of {len(requests):,} requests "
            f"to {teacher.role} {teacher.name} are answered and kept: run again to go on, "
            "raise the budget, or set 'when_spent: go_on' to do without the rest"
        )
    return {request.row_id: arrived[request.row_id] for request in requests}


def fault(completion: Completion) -> Fault | None:
    """Give the reason why a completion cannot be used, or None."""
    if completion.status == "ok":
        return None
    why = completion.error or completion.text[:80]
    return f"teacher_{completion.status}", f"{completion.fault}: {why}" if completion.fault else why


class Duel(NamedTuple):
    """Two answers to one prompt, in the order in which a judge sees them.

    Attributes:
        prompt_id: What both answer.
        prompt: The prompt's text.
        first: Id and text of the first answer.
        second: Id and text of the second answer.
    """

    prompt_id: str
    prompt: str
    first: tuple[str, str]
    second: tuple[str, str]


def verdicts(
    judge: Teacher, prompts: PromptLibrary, duels: Iterable[Duel], told: str
) -> tuple[pl.DataFrame, list[tuple[str, str, str]]]:
    """Let a judge compare answers.

    Returns:
        Table of ``records.VERDICT``, and for every reply without a verdict (id, reason, detail).
    """
    sides = {content_id("verdict", duel.first[0], duel.second[0]): duel for duel in duels}
    requests = [
        ask(
            prompts,
            name,
            "judge_pair",
            language if (language := language_of(duel.prompt)) in ("en", "zh-Hans-CN") else "zh-TW",
            prompt=duel.prompt,
            answer_a=duel.first[1],
            answer_b=duel.second[1],
        )
        for name, duel in sides.items()
    ]
    rows, dropped = [], []
    for name, completion in answers(judge, requests, told).items():
        verdict = parse_verdict(completion.text)
        if found := fault(completion):
            dropped.append((name, *found))
        elif verdict is None:
            dropped.append((name, "no_verdict", completion.text[-80:]))
        else:
            rows.append(
                {
                    "id": name,
                    "prompt_id": sides[name].prompt_id,
                    "first_id": sides[name].first[0],
                    "second_id": sides[name].second[0],
                    "verdict": verdict,
                    "judge": completion.teacher,
                    "reason": completion.text,
                }
            )
    return VERDICT.frame(rows), dropped


def synthetic(
    messages: Iterable[Message],
    source: str,
    language: str,
    completion: Completion | None,
    parents: Sequence[str],
    licence: str,
    passage_ids: Sequence[str] = (),
    calls: Iterable[Call] = (),
) -> dict[str, Any]:
    """Make the row of a synthesised conversation, in the shape of ``records.CONVERSATION``.

    Args:
        messages: The turns.
        source: The strategy that made it.
        language: The language it was asked for in.
        completion: What the last turn is.
        parents: Ids of the records it was made from.
        licence: Licence of the text.
        passage_ids: Passages that it rests on or shows.
        calls: All calls on the way to it, the last turn's own excepted.
    """
    turns = list(messages)
    return {
        "id": content_id("conversation", source, turns),
        "messages": turns,
        "source": source,
        "language": language,
        "rounds": sum(turn["role"] == "user" for turn in turns),
        "tokens": sum(estimate_tokens(turn["content"]) for turn in turns),
        "teacher": completion.teacher if completion else None,
        "prompt_version": completion.prompt_version if completion else None,
        "parents": list(parents),
        "passage_ids": list(dict.fromkeys(passage_ids)),
        "calls": _with_last(calls, completion),
        "licence": licence,
    }


def _with_last(calls: Iterable[Call], completion: Completion | None) -> list[Call]:
    if completion is None:
        return list(calls)
    last = call_of(completion)
    return [*(call for call in calls if call != last), last]


def call_of(completion: Completion) -> Call:
    """What a record keeps of a call: enough to find the reply in the ledger."""
    return Call(
        task=completion.task,
        teacher=completion.teacher,
        prompt_version=completion.prompt_version,
        key=completion.key,
    )


def user(content: str) -> Message:
    """A user's turn."""
    return Message(role="user", content=content)


def assistant(content: str) -> Message:
    """An assistant's turn."""
    return Message(role="assistant", content=content)
