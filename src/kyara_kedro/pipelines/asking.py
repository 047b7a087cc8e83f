"""How nodes ask teachers: all requests at once, answers by row, faults as reasons of drops."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypedDict

import polars as pl
from tqdm import tqdm

from kyara_kedro.content import Message, batched, content_id
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import Trial
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.records import JUDGEMENT, VERDICT
from kyara_kedro.teachers.base import ChatRequest, Completion, Teacher, ask
from kyara_kedro.teachers.panel import Panel
from kyara_kedro.teachers.tasks import Judgement, PairVerdict
from kyara_kedro.teachers.team import order
from kyara_kedro.text.length import estimate_tokens
from kyara_kedro.text.script import language_of

logger = logging.getLogger("kyara_kedro")
Fault = tuple[str, str]

OWN_FAMILY = "own_family"
_AT_ONCE = 50_000
"""Prompts of judges that are in memory."""


def about(what: str, name: str, why: Fault) -> Fault:
    """A fault whose detail begins with the record that the attempt was about."""
    return why[0], f"{what} {name}: {why[1]}"


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


class Side(NamedTuple):
    """An answer that is judged.

    Attributes:
        id: Of the answer.
        text: What the judge sees.
        contestant: Who gave it.
        family: Whose model that is; empty where it does not matter.
    """

    id: str
    text: str
    contestant: str
    family: str = ""


class Duel(NamedTuple):
    """Two answers to one prompt, in the order in which a judge sees them.

    Attributes:
        prompt_id: What both answer.
        prompt: The prompt's text.
        first: The answer shown as A.
        second: The answer shown as B.
    """

    prompt_id: str
    prompt: str
    first: Side
    second: Side


class Judged(NamedTuple):
    """What judges said.

    Attributes:
        table: Of ``records.VERDICT`` or ``records.JUDGEMENT``, unread replies among them.
        dropped: Id, reason and detail of every duel or trial that there is no reply to.
        tried: How many both are together: every duel or trial once for each of its judges.
    """

    table: pl.DataFrame
    dropped: list[tuple[str, str, str]]
    tried: int


def verdicts(
    judge: Teacher,
    prompts: PromptLibrary,
    duels: Iterable[Duel],
    told: str,
    *,
    judges: int = 1,
    allow_own_family: bool = False,
) -> Judged:
    """Let judges compare answers.

    Of a team or panel every two answers go to as many members as are asked for, the same ones in
    both orders. A reply without a verdict is asked for once more, with the reason, and then kept
    as it is.

    Args:
        judge: One judge, or several.
        prompts: Holds the judge's protocol.
        duels: What is compared.
        told: What the log says.
        judges: Judges of each two answers.
        allow_own_family: Whether a judge may judge answers of its own family of models.

    Raises:
        UserError: no judge may judge any of the answers; nothing was asked.
    """
    panel = Panel.of(judge)
    asked: dict[str, tuple[Duel, str]] = {}
    dropped = []
    for duel in duels:
        sides = sorted((duel.first.id, duel.second.id))
        families = {duel.first.family, duel.second.family} - {""}
        chosen = [
            name
            for name in order(panel.weights, content_id("duel", *sides))
            if allow_own_family or panel.direct[name].family not in families
        ][:judges]
        for name in chosen:
            asked[content_id("verdict", name, duel.first.id, duel.second.id)] = duel, name
        if not chosen:
            name = content_id("verdict", "", duel.first.id, duel.second.id)
            dropped.append((name, OWN_FAMILY, f"{duel.first.contestant}, {duel.second.contestant}"))
    _tell_own_family(panel, len(dropped), len(asked), told)
    rows = []
    for some in batched(asked.items(), _AT_ONCE):
        requests = [_question(prompts, f"{name}:{member}", duel) for name, (duel, member) in some]
        replies = answers(panel, requests, told)
        for (name, (duel, member)), reply in zip(some, replies.values(), strict=True):
            said = _verdict_row(name, duel, panel.direct[member], reply)
            if said is None:
                dropped.append((name, *(fault(reply) or ("no_verdict", ""))))
            else:
                rows.append(said)
    return Judged(VERDICT.frame(rows), dropped, len(rows) + len(dropped))


def judgements(
    judge: Teacher,
    prompts: PromptLibrary,
    trials: Iterable[Trial],
    told: str,
    *,
    judges: int = 1,
) -> Judged:
    """Let judges say what trials ask.

    A reply that cannot be read is asked for once more, with the reason, and then kept as it is.

    Args:
        judge: One judge, or several.
        prompts: Holds the judges' protocols.
        trials: What is asked.
        told: What the log says.
        judges: Judges of each trial.
    """
    panel = Panel.of(judge)
    asked: dict[str, tuple[Trial, str]] = {}
    for trial in trials:
        members = order(panel.weights, content_id("trial", trial.benchmark, trial.item_id))
        for name in members[:judges]:
            asked[_judgement_id(trial, name)] = trial, name
    requests = [
        ask(prompts, f"{row_id}:{name}", trial.task, trial.language, **trial.inputs)
        for row_id, (trial, name) in asked.items()
    ]
    replies = answers(panel, requests, told) if requests else {}
    rows, dropped = [], []
    for row_id, (trial, name) in asked.items():
        reply = replies[f"{row_id}:{name}"]
        if reply.status in ("ok", "invalid", "truncated"):
            rows.append(_judgement_row(row_id, trial, panel.direct[name], reply))
        else:
            dropped.append((row_id, *(fault(reply) or ("", ""))))
    return Judged(JUDGEMENT.frame(rows), dropped, len(asked))


def prompt_language(language: str) -> str:
    """The language to ask in about a text: its own, or Taiwan's Chinese where no prompt is."""
    return language if language in ("en", "zh-Hans-CN") else "zh-TW"


def _tell_own_family(panel: Panel, skipped: int, asked: int, told: str) -> None:
    if not skipped:
        return
    families = ", ".join(sorted({one.family for one in panel.direct.values()}))
    fix = "name a judge of another family in the catalog, or set preference.allow_own_family"
    if not asked:
        raise UserError(
            f"{told}: every duel has an answer of the judge's own family ({families}), so none may "
            f"be judged: {fix}"
        )
    logger.warning(
        "%s: %s of %s duels are not judged, for they have an answer of the judge's own family "
        "(%s): %s",
        *(told, f"{skipped:,}", f"{skipped + asked:,}", families, fix),
    )


def _question(prompts: PromptLibrary, row_id: str, duel: Duel) -> ChatRequest:
    return ask(
        prompts,
        row_id,
        "judge_pair",
        prompt_language(language_of(duel.prompt)),
        prompt=duel.prompt,
        answer_a=duel.first.text,
        answer_b=duel.second.text,
    )


def _verdict_row(name: str, duel: Duel, judge: Teacher, reply: Completion) -> dict[str, Any] | None:
    """Row of ``records.VERDICT``; None when the judge did not get to say anything."""
    judgement = reply.parsed
    if not isinstance(judgement, PairVerdict) and reply.status not in ("invalid", "truncated"):
        return None
    verdict = judgement.verdict if isinstance(judgement, PairVerdict) else None
    return {
        "id": name,
        "prompt_id": duel.prompt_id,
        "first_id": duel.first.id,
        "second_id": duel.second.id,
        "first_contestant": duel.first.contestant,
        "second_contestant": duel.second.contestant,
        "first_family": duel.first.family,
        "second_family": duel.second.family,
        "first_chars": len(duel.first.text),
        "second_chars": len(duel.second.text),
        "verdict": verdict,
        "problem": None if verdict else _unread(reply),
        "judge": reply.teacher,
        "judge_family": judge.family,
        "reason": reply.text,
    }


def _unread(reply: Completion) -> str:
    """Why a judge's reply says nothing that can be used."""
    return reply.fault if reply.status == "invalid" else reply.status


def _judgement_id(trial: Trial, judge: str) -> str:
    return content_id(
        *("judgement", trial.benchmark, trial.item_id, trial.model),
        *(trial.opponent, trial.swapped, judge),
    )


def _judgement_row(row_id: str, trial: Trial, judge: Teacher, reply: Completion) -> dict[str, Any]:
    said = reply.parsed if isinstance(reply.parsed, Judgement) else None
    return {
        "id": row_id,
        "benchmark": trial.benchmark,
        "item_id": trial.item_id,
        "model": trial.model,
        "opponent": trial.opponent or None,
        "swapped": trial.swapped,
        "verdict": said.verdict if said else None,
        "value": said.value(swapped=trial.swapped) if said else None,
        "problem": None if said else _unread(reply),
        "chars": trial.chars,
        "opponent_chars": trial.opponent_chars,
        "judge": reply.teacher,
        "judge_family": judge.family,
        "prompt_version": reply.prompt_version,
        "judged_at": reply.received_at,
        "text": reply.text,
    }


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
