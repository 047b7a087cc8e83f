"""JSON objects within what models write, found by their braces alone."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from typing import Any

_BRACE = re.compile("[{}]")


def first_object(text: str) -> dict[str, Any] | None:
    """Parse the first balanced ``{...}``; None where there is none or it is no JSON.

    Braces within strings count like others. Newlines are removed before parsing, so strings may
    run over lines.
    """
    return _parsed(next(_balanced(text), ""))


def last_object(text: str) -> dict[str, Any] | None:
    """Parse the last balanced ``{...}`` as ``first_object`` does the first."""
    last = deque(_balanced(text), maxlen=1)
    return _parsed(last[0] if last else "")


def _balanced(text: str) -> Iterator[str]:
    """The outermost balanced spans; a closing brace without an opening one is passed over."""
    depth = start = 0
    for brace in _BRACE.finditer(text):
        if brace[0] == "{":
            if not depth:
                start = brace.start()
            depth += 1
        elif depth:
            depth -= 1
            if not depth:
                yield text[start : brace.end()]


def _parsed(span: str) -> dict[str, Any] | None:
    try:
        found = json.loads(span.replace("\n", ""))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
