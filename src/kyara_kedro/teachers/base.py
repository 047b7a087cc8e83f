"""The face that every teacher shows: requests in, completions out."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from kyara_kedro.content import Message
from kyara_kedro.errors import UserError
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.prompts.library import template_language
from kyara_kedro.teachers.accounts import Account, Estimate
from kyara_kedro.teachers.tasks import TASKS, Reply, TopLogprobs

if TYPE_CHECKING:
    from kyara_kedro.teachers.ledger import Spent

Status = Literal["ok", "truncated", "filtered", "invalid", "rejected", "failed", "deferred"]
"""Outcome of a request.

ok: a usable reply; truncated: cut at the token limit; filtered: withheld by the server's content
filter; invalid: not in the task's form, even after being asked again; rejected: the server, the
model or the rules declined it; failed: no reply could be had; deferred: not sent, the budget is
exhausted.
"""


DEFAULT_MAX_TOKENS = 2048
NOTHING_YET: Mapping[str, Spent] = MappingProxyType({})


class TeacherError(UserError):
    """A teacher cannot be asked: wrong settings, rejected credentials, unknown task or input."""


@dataclass(frozen=True)
class ChatRequest:
    """One thing asked of a teacher: messages for a language model, task and inputs for rules.

    Attributes:
        row_id: Id of the row that the reply is for; seeds what rules choose.
        task: A key of :data:`kyara_kedro.teachers.tasks.TASKS`.
        inputs: The task's inputs.
        messages: The rendered prompt.
        prompt_version: Version of the template that rendered it.
        language: Language of the prompt: ``zh-TW``, ``zh-CN`` or ``en``.
        sample: Index among several samples of the same prompt.
        temperature: Sampling temperature; None leaves it to the server.
        top_p: Nucleus mass; None leaves it to the server.
        max_tokens: Longest completion in tokens.
        stop: Texts that end the reply, and are no part of it.
        raw: A text to be continued as it is, without the model's chat template; there are no
            messages then. Empty for a chat.
        priority: Requests of a lower number are sent before others that wait.
        top_logprobs: How many of the most probable tokens are wanted at each place of the reply,
            with their log-probabilities; a server that has none answers without.
    """

    row_id: str
    task: str
    inputs: Mapping[str, Any]
    messages: tuple[Message, ...]
    prompt_version: str
    language: str
    sample: int = 0
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int = DEFAULT_MAX_TOKENS
    stop: tuple[str, ...] = ()
    raw: str = ""
    priority: int = 0
    top_logprobs: int = 0


@dataclass(frozen=True)
class Completion:
    """What came of a request.

    Attributes:
        row_id: The request's row.
        task: The request's task.
        text: The reply without a reasoning model's thoughts; empty when there is none.
        parsed: The reply in its task's shape, for ``ok`` replies of tasks that have one.
        status: See :data:`Status`.
        teacher: Name of the teacher.
        teacher_kind: ``rules`` or ``llm``.
        prompt_version: Version of the prompt's template.
        key: The request's key (:func:`request_key`).
        cached: Whether nothing was sent for it, since the ledger held the reply.
        prompt_tokens: Tokens of the prompt, 0 for rules.
        completion_tokens: Tokens of the reply, 0 for rules.
        cost: In the currency of the teacher's prices.
        latency: Seconds until the reply was there.
        attempts: Times that something was sent for it.
        fault: What class of failure it is, such as ``not_json`` or ``http_400``; empty when ``ok``.
        error: One line on what went wrong, empty when ``ok``.
        sample: The request's index among several samples.
        received_at: When the reply came, in UTC; empty where nobody sent one.
        top_logprobs: What was likely at each place of the reply; empty where nobody told.
        cached_tokens: How many of the prompt's tokens came from the server's prompt cache.
        worth: What the replies cost when they were paid for, in this run or an earlier one, with
            what this run has wasted on them.
        asked_again: Whether a first reply was not in the task's form.
    """

    row_id: str
    task: str
    text: str
    parsed: Reply | None
    status: Status
    teacher: str
    teacher_kind: str
    prompt_version: str
    key: str
    cached: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    latency: float = 0.0
    attempts: int = 0
    fault: str = ""
    error: str = ""
    sample: int = 0
    received_at: str = ""
    top_logprobs: TopLogprobs = ()
    cached_tokens: int = 0
    worth: float = 0.0
    asked_again: bool = False


def unanswered(request: ChatRequest, teacher: str, kind: str, key: str) -> Completion:
    """The completion of a request before anything has come of it."""
    return Completion(
        row_id=request.row_id,
        task=request.task,
        text="",
        parsed=None,
        status="ok",
        teacher=teacher,
        teacher_kind=kind,
        prompt_version=request.prompt_version,
        key=key,
        sample=request.sample,
    )


class Teacher(ABC):
    """Answers requests; a language model, or rules.

    Attributes:
        name: Name on every record made with this teacher.
        kind: What stands behind the name.
        role: What it does in this project: writer, judge, contestant, ...
        licence_note: What may be done with the output, in words.
        family: Whose model it is, so that a judge can be kept from its own: of the catalog, or
            guessed from the model's name; empty where there is no model.
        when_spent: Whether a spent budget ends the run, or drops what could not be asked.
        wave: Requests that it answers together; it waits until it has as many, or all.
        account: What it was asked in this run, and what came of it.
    """

    name: str
    kind: Literal["rules", "llm"]
    role: str
    licence_note: str
    family: str = ""
    when_spent: Literal["stop", "go_on"] = "stop"
    wave: int = 1

    def __init__(self) -> None:
        self.account = Account()

    def map(self, requests: Iterable[ChatRequest]) -> Generator[Completion, None, None]:
        """Answer all requests, lazily and in any order; one completion for each.

        A model's completion is handed out only after its reply is on disk.

        Raises:
            TeacherError: the server rejects the credentials, does not know the model or is out of
                reach; replies that came before are in the ledger.
            LedgerError: the ledger cannot be written.
        """
        if self.kind == "rules":
            requests = _for_rules(self.name, requests)
        for completion in self._answers(requests):
            self.account.add(completion)
            yield completion

    @abstractmethod
    def _answers(self, requests: Iterable[ChatRequest]) -> Iterator[Completion]:
        """Answer all requests, lazily and in any order."""

    def estimate(self, requests: Iterable[ChatRequest]) -> Estimate | None:
        """What asking will take before anything is sent; None where nothing has a price."""
        return None

    @property
    def members(self) -> Mapping[str, Teacher]:
        """The teachers that answer in its name, and have the accounts; itself unless a team."""
        return {"": self}

    def recast(self, change: Callable[[Teacher], Teacher]) -> Teacher:
        """The same role with another teacher in the place of each that answers.

        Args:
            change: Gives the one who takes a teacher's place.
        """
        return change(self)

    def portion(self, share: float | None, used: Mapping[str, Spent] = NOTHING_YET) -> Teacher:
        """The same teacher with a part of its budget: same ledger, endpoint, account and caps.

        What is sent through it stays within that share of every cap, and within the caps together
        with what others send. What does not fit the share is ``deferred`` with the fault ``share``,
        what does not fit the caps with the fault ``budget``.

        Args:
            share: Part of every cap, from 0 to 1; None for no further limit.
            used: What the portion has :attr:`used` before, when it goes on.

        Returns:
            Itself where there is no share or no cap.

        Raises:
            TeacherError: the share is not between 0 and 1.
        """
        if share is not None and not 0 <= share <= 1:
            raise TeacherError(f"{self.name}: a share of {share} of the budget is not in 0 … 1")
        return self

    @property
    def used(self) -> Mapping[str, Spent]:
        """What was used up of a portion, by member; empty where there is no budget to share."""
        return NOTHING_YET

    def ends_run(self, completion: Completion) -> bool:
        """Whether a completion says that the budget is spent, of a teacher that is to stop then.

        What only has to wait for another share of the budget ends no run.
        """
        late = completion.status == "deferred" and completion.fault == "budget"
        return late and self.when_spent == "stop"


def _for_rules(name: str, requests: Iterable[ChatRequest]) -> Iterator[ChatRequest]:
    """Let requests pass that rules can be asked.

    Raises:
        TeacherError: a text is to be continued.
    """
    for request in requests:
        if request.raw:
            raise TeacherError(
                f"{name} answers by rules and has no chat template to continue: set "
                "synthesize.magpie.target to 0, or name a model under 'magpie' in the catalog"
            )
        yield request


def ask(
    library: PromptLibrary,
    row_id: str,
    task: str,
    language: str,
    *,
    sample: int = 0,
    temperature: float | None = None,
    top_p: float | None = None,
    max_tokens: int | None = None,
    **inputs: Any,
) -> ChatRequest:
    """Make a request: check its inputs and render its prompt.

    What is not set here is taken from the task's ``meta.yml``. A task of the user's own is asked as
    the one that it is like, with its own prompt.

    Raises:
        TeacherError: the task is unknown, or an input is missing or unknown.
        PromptError: the task has no prompt in the language.
    """
    form = library.form(task) if task in library.tasks else task
    if form not in TASKS:
        raise TeacherError(f"task {task!r}: unknown; there are {', '.join(TASKS)}")
    if wrong := TASKS[form].inputs.symmetric_difference(inputs):
        raise TeacherError(
            f"task {task!r}: missing or unknown inputs {sorted(wrong)}; "
            f"it takes {sorted(TASKS[form].inputs)}"
        )
    prompt = library.render(task, language, **inputs)
    usual = library.meta(task).parameters
    return ChatRequest(
        row_id=row_id,
        task=form,
        inputs=inputs,
        messages=prompt.messages,
        prompt_version=prompt.version,
        language=template_language(language),
        sample=sample,
        temperature=usual.temperature if temperature is None else temperature,
        top_p=usual.top_p if top_p is None else top_p,
        max_tokens=max_tokens or usual.max_tokens or DEFAULT_MAX_TOKENS,
        top_logprobs=usual.top_logprobs,
    )


def complete(
    row_id: str,
    task: str,
    raw: str,
    *,
    language: str,
    prompt_version: str,
    sample: int = 0,
    temperature: float | None = None,
    top_p: float | None = None,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    stop: Iterable[str] = (),
) -> ChatRequest:
    """Make a request to continue a text as it is, without the model's chat template.

    Raises:
        TeacherError: the task is unknown, its reply is not plain text, or there is nothing to
            continue.
    """
    if task not in TASKS:
        raise TeacherError(f"task {task!r}: unknown; there are {', '.join(TASKS)}")
    if TASKS[task].reply is not None:
        raise TeacherError(f"task {task!r}: has a form of reply that raw text cannot ask for")
    if not raw:
        raise TeacherError(f"row {row_id}, task {task!r}: there is no text to continue")
    return ChatRequest(
        row_id=row_id,
        task=task,
        inputs={},
        messages=(),
        prompt_version=prompt_version,
        language=language,
        sample=sample,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        stop=tuple(stop),
        raw=raw,
    )


def request_key(
    model: str,
    messages: Iterable[Message],
    parameters: Mapping[str, Any],
    schema: Mapping[str, Any] | None = None,
    sample: int = 0,
    again: int = 0,
) -> str:
    """Hash of all that determines a reply; never the endpoint's address or a secret.

    Args:
        model: Who is asked.
        messages: The prompt.
        parameters: Sampling parameters and further fields of the body.
        schema: JSON schema that the server is asked to enforce.
        sample: Index among several samples of the same prompt.
        again: How often it was asked again since the reply was not in its form.

    Returns:
        64 hexadecimal digits (SHA-256 of canonical JSON).
    """
    canonical = json.dumps(
        [2, model, list(messages), dict(parameters), schema, sample, again],
        ensure_ascii=False,
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(canonical.encode()).hexdigest()
