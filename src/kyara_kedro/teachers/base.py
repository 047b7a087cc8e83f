"""The face that every teacher shows: requests in, completions out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from kyara_kedro.errors import UserError
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.prompts.library import template_language
from kyara_kedro.records import Message
from kyara_kedro.teachers.tasks import TASKS, Reply

Status = Literal["ok", "truncated", "filtered", "invalid", "refused", "failed", "deferred"]
"""Outcome of a request.

ok: a usable reply; truncated: cut at the token limit; filtered: withheld by the server's content
filter; invalid: not in the task's form, even after being asked again; refused: the teacher declined
or cannot do it; failed: no reply could be had; deferred: not sent, the budget is exhausted.
"""


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
        language: ``zh-TW`` or ``en``.
        sample: Index among several samples of the same prompt.
        temperature: Sampling temperature; None leaves it to the server.
        top_p: Nucleus mass; None leaves it to the server.
        max_tokens: Longest completion in tokens.
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
    max_tokens: int = 2048


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


class Teacher(Protocol):
    """Answers requests; a language model behind an endpoint, or rules."""

    @property
    def name(self) -> str:
        """Name on every record made with this teacher."""

    @property
    def kind(self) -> Literal["rules", "llm"]:
        """What stands behind the name."""

    @property
    def licence_note(self) -> str:
        """What may be done with the output, in words."""

    def map(self, requests: Iterable[ChatRequest]) -> Iterator[Completion]:
        """Answer all requests, lazily and in any order; one completion for each request."""


def ask(
    library: PromptLibrary,
    row_id: str,
    task: str,
    language: str,
    *,
    sample: int = 0,
    temperature: float | None = None,
    top_p: float | None = None,
    max_tokens: int = 2048,
    **inputs: Any,
) -> ChatRequest:
    """Make a request: check its inputs and render its prompt.

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
    return ChatRequest(
        row_id=row_id,
        task=task,
        inputs=inputs,
        messages=prompt.messages,
        prompt_version=prompt.version,
        language=template_language(language),
        sample=sample,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
    )


def request_key(
    model: str,
    messages: Iterable[Message],
    parameters: Mapping[str, Any],
    schema: Mapping[str, Any] | None = None,
    sample: int = 0,
) -> str:
    """Hash of all that determines a reply; never the endpoint's address or a secret.

    Returns:
        64 hexadecimal digits (SHA-256 of canonical JSON).
    """
    canonical = json.dumps(
        [1, model, list(messages), dict(parameters), schema, sample],
        ensure_ascii=False,
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(canonical.encode()).hexdigest()
