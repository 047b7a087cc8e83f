"""The rules in Simplified Chinese: they work on Traditional text, so their inputs take that script.

Letters are exchanged one for one, and only where the way back is certain; whatever a rule copies
from its inputs therefore comes back letter by letter as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import opencc

from kyara_kedro.text.fold import fold, is_cjk


def in_traditional(inputs: Mapping[str, Any]) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """Inputs with Simplified letters exchanged for those of Taiwan, and the way back.

    A letter is exchanged when no other one of the inputs would become the same. On the way back,
    the rules' own words become Simplified too.

    Args:
        inputs: Strings, or mappings and sequences of strings.

    Returns:
        The inputs in Traditional script, and what turns a reply made from them into Simplified.
    """
    texts = list(_strings(inputs))
    letters = set("".join(texts))
    sources: dict[str, set[str]] = {}
    for text in texts:
        for old, new in zip(text, _converted(text), strict=True):
            if new not in letters:
                sources.setdefault(new, set()).add(old)
    back = {new: old.pop() for new, old in sources.items() if len(old) == 1}

    def traditional(text: str) -> str:
        pairs = zip(text, _converted(text), strict=True)
        return "".join(new if new in back else old for old, new in pairs)

    def simplified(text: str) -> str:
        return "".join(
            back.get(letter) or (fold(letter) if is_cjk(letter) else letter)
            if letter not in letters
            else letter
            for letter in text
        )

    return _mapped(inputs, traditional), lambda reply: _mapped(reply, simplified)


@cache
def _converter() -> opencc.OpenCC:
    return opencc.OpenCC("s2tw")


def _converted(text: str) -> str:
    """The text as Taiwan writes it; the text itself when that is not letter for letter."""
    converted: str = _converter().convert(text)
    return converted if len(converted) == len(text) else text


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | Sequence):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(part)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A value with all its strings changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(part, change) for key, part in value.items()}
    if isinstance(value, Sequence):
        return [_mapped(part, change) for part in value]
    return value
