"""The question inside a prompt of the retrieval-augmented format."""

import re

_HEADING = re.compile(r"^# (?:使用者問題|用户问题|User's Question)\s*$", re.MULTILINE)
_REFERENCE = re.compile(r"^<reference>$.*?^</reference>$", re.MULTILINE | re.DOTALL)


def has_references(prompt: str) -> bool:
    """Whether a user's turn shows reference documents."""
    return _REFERENCE.search(prompt) is not None


def question_of(prompt: str) -> str:
    """The question that a user's turn asks; the turn itself when it shows no references."""
    if not has_references(prompt):
        return prompt
    return _HEADING.split(prompt)[-1].strip()
