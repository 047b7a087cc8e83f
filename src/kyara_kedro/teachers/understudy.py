"""Who stands in for a teacher in a rehearsal: answers, counts what it would take, sends nothing.

What the ledger holds is answered from there. For the rest of a language model's part the embedded
rules speak, since their replies pass the gates that a model's replies have to pass. How often a
model's reply is of no use and how often its verdict is yes is drawn by the share that the ledger
knows of its earlier replies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any

from kyara_kedro.content import batched, content_id
from kyara_kedro.teachers.base import ChatRequest, Completion, Teacher, unanswered
from kyara_kedro.teachers.calls import Call
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.ledger import StoredReply
from kyara_kedro.teachers.model import PAGE, LanguageModel
from kyara_kedro.teachers.replies import Got, summed
from kyara_kedro.teachers.tasks import (
    TASKS,
    Check,
    Comparison,
    Relevance,
    Reply,
    ReplyError,
    Support,
    read_reply,
)
from kyara_kedro.text.chunk import sentences
from kyara_kedro.text.length import estimate_tokens
from kyara_kedro.text.thoughts import without_thoughts

_MADE_UP = {
    "zh-TW": "這裡先寫下關於「{what}」的說明，內容與長短要等模型回答才知道。",
    "zh-CN": "这里先写下关于「{what}」的说明，内容与长短要等模型回答才知道。",
    "en": "This stands for what the model will say about “{what}”, which is not known yet.",
}
"""Replies in plain text that the rules cannot give."""


@dataclass
class Part:
    """What one task of a teacher takes in a rehearsal.

    Attributes:
        requests: How many are made.
        held: Those that nothing has to be sent for, as the ledger or an equal request answers them.
        sure: Sends that follow from what is there already.
        guessed: Sends that follow from replies that had to be made up.
        prompt: Tokens of all prompts by estimate.
        measured: Tokens of the held prompts as their server counted them.
        estimated: Tokens of the same prompts by estimate.
        played: Tokens of the replies that were made up.
        made_up: How many that are.
        limit: The longest that those replies may be, in tokens.
        versions: Versions of the prompts.
    """

    requests: int = 0
    held: int = 0
    sure: int = 0
    guessed: int = 0
    prompt: int = 0
    measured: int = 0
    estimated: int = 0
    played: int = 0
    made_up: int = 0
    limit: int = 0
    versions: set[str] = field(default_factory=set)

    @property
    def sends(self) -> int:
        """What has to be sent."""
        return self.sure + self.guessed


@dataclass(frozen=True)
class Habits:
    """How a teacher has answered a task before.

    Attributes:
        replies: How many replies this rests on.
        lengths: Their tokens, sorted.
        prompt: Mean tokens of their prompts.
        from_cache: Share of those that came from the server's prompt cache.
        unusable: Share of the replies that were not in the task's form.
        agrees: Share of the verdicts that were yes; None for tasks without one.
    """

    replies: int
    lengths: tuple[int, ...]
    prompt: float
    from_cache: float
    unusable: float
    agrees: float | None

    @classmethod
    def of(cls, task: str, replies: Sequence[StoredReply]) -> Habits | None:
        """Those of some replies to a task; None where there are none."""
        if not replies:
            return None
        read = [_read(task, reply) for reply in replies]
        verdicts = [said for one in read if one is not None for said in _verdicts(one)]
        structured = TASKS[task].reply is not None
        prompts = sum(reply.prompt_tokens for reply in replies)
        return cls(
            replies=len(replies),
            lengths=tuple(sorted(reply.completion_tokens for reply in replies)),
            prompt=prompts / len(replies),
            from_cache=sum(reply.cached_tokens for reply in replies) / max(1, prompts),
            unusable=read.count(None) / len(read) if structured else 0.0,
            agrees=fmean(verdicts) if verdicts else None,
        )


def _read(task: str, reply: StoredReply) -> Reply | None:
    try:
        return read_reply(task, without_thoughts(reply.text))
    except ReplyError:
        return None


def _verdicts(reply: Reply) -> list[bool]:
    match reply:
        case Relevance():
            return [reply.relevant]
        case Comparison():
            return [reply.equal]
        case Check():
            return [reply.correct]
        case Support():
            return reply.verdicts
    return []


@dataclass
class Stage:
    """What all understudies of a rehearsal share.

    Attributes:
        asked: Keys of the requests that were made.
        improvised: Whether a model's reply had to be made up, so that what follows is a guess; of
            the node that is played, or of those whose tables it reads.
    """

    asked: set[str] = field(default_factory=set)
    improvised: bool = False


class Understudy(Teacher):
    """Stands in for a teacher.

    Args:
        name: On the records.
        kind: What stands behind the name.
        role: What it does in this project.
        family: Whose model it is.
        model: The language model that it stands in for; None where nothing is sent.
        stage: Of the rehearsal.
    """

    licence_note = "nothing was asked"

    def __init__(
        self,
        name: str,
        kind: Any,
        role: str,
        family: str,
        model: LanguageModel | None,
        stage: Stage,
    ) -> None:
        super().__init__()
        self.name, self.kind, self.role, self.family = name, kind, role, family
        self.model = model
        self.parts: dict[str, Part] = {}
        self._stage = stage
        self._rules = ExtractiveTeacher()
        self._habits: dict[str, Habits | None] = {}

    @classmethod
    def of(cls, teacher: Teacher, stage: Stage) -> Understudy:
        """The one of a teacher."""
        model = teacher if isinstance(teacher, LanguageModel) else None
        return cls(teacher.name, teacher.kind, teacher.role, teacher.family, model, stage)

    def habits(self, task: str) -> Habits | None:
        """How the model has answered a task before; None where it has not."""
        if self.model is None:
            return None
        if task not in self._habits:
            self._habits[task] = Habits.of(task, self.model.ledger.some(self.name, task))
        return self._habits[task]

    def _answers(self, requests: Iterable[ChatRequest]) -> Iterator[Completion]:
        guess = self._stage.improvised
        for some in batched(requests, PAGE):
            if self.model is None:
                yield from map(self._by_rules, some)
                continue
            calls = [self.model.caller.call(request) for request in some]
            held = self.model.ledger.get_many(call.key for call in calls)
            for call in calls:
                yield self._asked(self.model, call, held.get(call.key), guess)

    def _by_rules(self, request: ChatRequest) -> Completion:
        found = self._improvised(request)
        part = self._part(request)
        part.requests += 1
        part.sure += 1
        part.prompt += _size(request.raw, request.messages)
        self._played(part, found, request)
        return found

    def _asked(
        self, model: LanguageModel, call: Call, reply: StoredReply | None, guess: bool
    ) -> Completion:
        """What comes of a call, and of asking again where the reply is of no use."""
        first = self._come_of(model, call, reply, guess)
        second = model.again(call, first)
        if second is None:
            return first
        held = model.ledger.get_many([second.key]).get(second.key)
        return summed(first, self._come_of(model, second, held, guess))

    def _come_of(
        self, model: LanguageModel, call: Call, reply: StoredReply | None, guess: bool
    ) -> Completion:
        part, size = self._part(call.request), _size(call.request.raw, call.messages)
        part.requests += not call.again
        part.prompt += size
        known = call.key in self._stage.asked
        self._stage.asked.add(call.key)
        if reply is not None:
            part.held += 1
            part.measured += reply.prompt_tokens
            part.estimated += size
            return model.outcome(call, Got(reply, attempts=0))
        self._stage.improvised = True
        part.held += known
        part.sure += not (known or guess)
        part.guessed += not known and guess
        found = self._improvised(call.request)
        self._played(part, found, call.request)
        habits = self.habits(call.request.task)
        if habits is not None and _draw(call, "usable") < habits.unusable:
            found = replace(found, status="invalid", fault="not_json", parsed=None)
        elif habits is not None and habits.agrees is not None and found.parsed is not None:
            found = replace(found, parsed=_said(found.parsed, call, habits.agrees))
        return replace(found, key=call.key, attempts=1)

    def _part(self, request: ChatRequest) -> Part:
        part = self.parts.setdefault(request.task, Part())
        part.versions.add(request.prompt_version)
        return part

    def _played(self, part: Part, found: Completion, request: ChatRequest) -> None:
        part.made_up += 1
        part.played += estimate_tokens(found.text)
        part.limit += request.max_tokens

    def _improvised(self, request: ChatRequest) -> Completion:
        """What the rules say, in the teacher's name; in plain text what they cannot say."""
        can = self._rules.can(request)
        blank = unanswered(request, self.name, self.kind, "")
        found = self._rules.complete(request) if can else blank
        made_up = found.status != "ok" or not found.text
        if self.kind == "llm" and TASKS[request.task].reply is None:
            if made_up or (request.task == "respond" and not request.inputs["documents"]):
                found = replace(blank, text=_made_up(request, self.name))
            elif request.task == "respond":  # two contestants never say the same
                found = replace(found, text=f"{found.text}\n{request.row_id.partition(':')[2]}")
        return replace(found, teacher=self.name, teacher_kind=self.kind)

    @cached_property
    def prices(self) -> Any:
        """What tokens cost; None where nothing has a price."""
        return None if self.model is None else self.model.caller.options.prices


def _size(raw: str, messages: Iterable[Any]) -> int:
    return sum(map(estimate_tokens, (raw, *(message["content"] for message in messages))))


def _draw(call: Call, what: str) -> float:
    """A number from 0 to 1 that depends on the call alone."""
    return int(content_id(what, call.key)[:8], 16) / 16**8


def _said(reply: Reply, call: Call, agrees: float) -> Reply:
    """A reply with the verdict that is drawn; evidence goes with it where that is asked for."""
    yes = _draw(call, "agrees") < agrees
    match reply:
        case Relevance() if yes != reply.relevant:
            text = call.request.inputs["text"]
            evidence = next((span.of(text) for span in sentences(text)), text) if yes else ""
            return reply.model_copy(
                update={"relevant": yes, "evidence": evidence, "summary": evidence}
            )
        case Comparison():
            return reply.model_copy(update={"equal": yes})
        case Check():
            return reply.model_copy(update={"correct": yes})
        case Support():
            claims = [one.model_copy(update={"supported": yes}) for one in reply.claims]
            return reply.model_copy(update={"claims": claims})
    return reply


def _made_up(request: ChatRequest, name: str) -> str:
    about = next((message["content"] for message in reversed(request.messages)), "")
    what = f"{about.strip()[-40:]} {content_id(name, request.row_id, request.sample)[:6]}"
    return _MADE_UP[request.language].format(what=what)
