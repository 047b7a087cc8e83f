"""What reasoning models say before they answer."""

import re

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_CLOSED = re.compile(r"<think>.*?</think>", re.DOTALL)


def breaks_off_in_thoughts(text: str) -> bool:
    """Whether a reply ends before its thoughts do."""
    return "<think>" in _CLOSED.sub("", text)


def without_thoughts(text: str) -> str:
    """Remove a reasoning model's ``<think>`` part, closed or cut off.

    Some chat templates open it in the prompt, so that only its end is in the reply.
    """
    return _THOUGHT.sub("", text).rpartition("</think>")[2].strip()
