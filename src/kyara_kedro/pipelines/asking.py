"""How nodes ask teachers: all requests at once, answers by row, faults as reasons of drops."""

from collections.abc import Iterable, Sequence
from typing import Any

from tqdm import tqdm

from kyara_kedro.records import Message, content_id
from kyara_kedro.teachers.base import ChatRequest, Completion, Teacher
from kyara_kedro.text.length import estimate_tokens

Fault = tuple[str, str]


def answers(teacher: Teacher, requests: Sequence[ChatRequest], told: str) -> dict[str, Completion]:
    """Ask everything and give the completions by row id, in the order of the requests.

    Args:
        teacher: Who is asked.
        requests: At most one for each row id.
        told: What the progress bar says.
    """
    arrived = {
        completion.row_id: completion
        for completion in tqdm(
            teacher.map(requests), told, len(requests), disable=None, leave=False, delay=2
        )
    }
    return {request.row_id: arrived[request.row_id] for request in requests}


def fault(completion: Completion) -> Fault | None:
    """Give the reason why a completion cannot be used, or None."""
    if completion.status == "ok":
        return None
    return f"teacher_{completion.status}", completion.error or completion.text[:80]


def synthetic(
    messages: Iterable[Message],
    source: str,
    language: str,
    completion: Completion | None,
    parents: Sequence[str],
    licence: str,
) -> dict[str, Any]:
    """Make the row of a synthesised conversation, in the shape of ``records.CONVERSATION``."""
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
        "licence": licence,
    }


def user(content: str) -> Message:
    """A user's turn."""
    return Message(role="user", content=content)


def assistant(content: str) -> Message:
    """An assistant's turn."""
    return Message(role="assistant", content=content)
