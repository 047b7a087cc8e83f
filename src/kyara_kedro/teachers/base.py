"""The face that every teacher shows: requests in, completions out."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kyara_kedro.content import Message
from kyara_kedro.errors import UserError
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.prompts.library import template_language
from kyara_kedro.teachers.accounts import Account, Estimate
from kyara_kedro.teachers.tasks import TASKS, Reply

Status = Literal["ok", "truncated", "filtered", "invalid", "rejected", "failed", "deferred"]
"""Outcome of a request.

ok: a usable reply; truncated: cut at the token limit; filtered: withheld by the server's content
filter; invalid: not in the task's form, even after being asked again; rejected: the server, the
model or the rules declined it; failed: no reply could be had; deferred: not sent, the budget is
exhausted.
"""


DEFAULT_MAX_TOKENS = 2048


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
        priority: Requests of a lower number are sent before others that wait.
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
    priority: int = 0


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
    )


class Teacher(ABC):
    """Answers requests; a language model, or rules.

    Attributes:
        name: Name on every record made with this teacher.
        kind: What stands behind the name.
        role: What it does in this project: writer, judge, contestant, ...
        licence_note: What may be done with the output, in words.
        when_spent: Whether a spent budget ends the run, or drops what could not be asked.
        account: What it was asked in this run, and what came of it.
    """

    name: str
    kind: Literal["rules", "llm"]
    role: str
    licence_note: str
    when_spent: Literal["stop", "go_on"] = "stop"

    def __init__(self) -> None:
        self.account = Account()

    def map(self, requests: Iterable[ChatRequest]) -> Iterator[Completion]:
        """Answer all requests, lazily and in any order; one completion for each.

        A model's completion is handed out only after its reply is on disk.

        Raises:
            TeacherError: the server rejects the credentials, does not know the model or is out of
                reach; replies that came before are in the ledger.
            LedgerError: the ledger cannot be written.
        """
        for completion in self._answers(requests):
            self.account.add(completion)
            yield completion

    @abstractmethod
    def _answers(self, requests: Iterable[ChatRequest]) -> Iterator[Completion]:
        """Answer all requests, lazily and in any order."""

    def estimate(self, requests: Iterable[ChatRequest]) -> Estimate | None:
        """What asking will take before anything is sent; None where nothing has a price."""
        return None


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

    What is not set here is taken from the task's ``meta.yml``.

    Raises:
        TeacherError: the task is unknown, or an input is missing or unknown.
        PromptError: the task has no prompt in the language.
    """
    if task not in TASKS:
        raise TeacherError(f"task {task!r}: unknown; there are {', '.join(TASKS)}")
    if wrong := TASKS[task].inputs.symmetric_difference(inputs):
        raise TeacherError(
            f"task {task!r}: missing or unknown inputs {sorted(wrong)}; "
            f"it takes {sorted(TASKS[task].inputs)}"
        )
    prompt = library.render(task, language, **inputs)
    usual = library.meta(task).parameters
    return ChatRequest(
        row_id=row_id,
        task=task,
        inputs=inputs,
        messages=prompt.messages,
        prompt_version=prompt.version,
        language=template_language(language),
        sample=sample,
        temperature=usual.temperature if temperature is None else temperature,
        top_p=usual.top_p if top_p is None else top_p,
        max_tokens=max_tokens or usual.max_tokens or DEFAULT_MAX_TOKENS,
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
