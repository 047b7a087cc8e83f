"""The Taiwan guard: Simplified passages of a text become Traditional as Taiwan writes it.

OpenCC corrupts text that is Traditional already (了解 becomes 瞭解, 里長 becomes 裡長), so it is
given only clauses that are Simplified by their own characters or, where these prove nothing, by the
line and the text around them.
"""

import re
from functools import cache
from typing import NamedTuple

import numpy as np
import opencc
from numpy.typing import NDArray

from kyara_kedro.text import script
from kyara_kedro.text.vocabulary import SEGMENTS, SURNAMES, TAIWAN, TITLES

_PROTECTED = re.compile(
    r"^[ \t]*```.*?(?:^[ \t]*```|\Z)"  # fenced code
    r"|`[^`\n]+`"
    r"|(?:https?|ftp)://[^\s\u3000-\uffef]+",
    re.MULTILINE | re.DOTALL,
)
_CLAUSE = re.compile(r"[^\n。！？；…「」『』“”‘’《》〈〉（）()\"]+")


_QUOTES = {"“": "「", "”": "」", "‘": "『", "’": "』"}
_QUOTED = (
    re.compile(r"“(?=[^“”\n\u4e00-\u9fff]*[\u4e00-\u9fff])[^“”\n]*”"),
    re.compile(r"‘(?=[^‘’\n\u4e00-\u9fff]*[\u4e00-\u9fff])[^‘’\n]*’"),
)
_LINE = re.compile(r"[^\n]+")
_WORDS = SEGMENTS | TAIWAN | SURNAMES


class Change(NamedTuple):
    """A clause or quotation mark that was converted, by its offsets in the text before."""

    start: int
    end: int
    before: str
    after: str


class TaiwanText(NamedTuple):
    """A text as Taiwan writes it, and what was changed to make it so."""

    text: str
    changed: tuple[Change, ...]


def to_taiwan(text: str) -> TaiwanText:
    """Convert the Simplified clauses of a text to Taiwan's script, words and quotation marks.

    Traditional clauses, code and addresses stay as they are, so converting twice changes nothing
    more. A clause is what stands between sentence ends, quotation marks and brackets.
    """
    masked = _PROTECTED.sub(lambda match: "。" * len(match[0]), text)
    seen = _evidence(masked)
    if not seen[-1, 0]:
        return TaiwanText(text, ())
    changed = []
    whole = _is_simplified(seen, 0, len(text), unknown=False)
    for line in _LINE.finditer(masked):
        context = _is_simplified(seen, line.start(), line.end(), unknown=whole)
        if context:
            changed += _corner_quotes(line)
        for clause in _CLAUSE.finditer(masked, line.start(), line.end()):
            start, end = clause.span()
            if _is_simplified(seen, start, end, unknown=context):
                before, after = text[start:end], _convert(text[start:end])
                if after != before:
                    changed.append(Change(start, end, before, after))
    changed.sort()
    return TaiwanText(_replaced(text, changed), tuple(changed))


def simplified_share(text: str) -> float:
    """Share of Simplified among the characters that prove a script, in [0, 1]; 0 without any."""
    count = script.script_share(text)
    return count.simplified / max(1, count.simplified + count.traditional)


def _evidence(text: str) -> NDArray[np.int64]:
    """Simplified-only and Traditional-only characters up to each position, shape [len + 1, 2]."""
    seen = np.zeros((len(text) + 1, 2), dtype=np.int64)
    kinds = script.classes(text)
    np.cumsum(kinds == script.SIMPLIFIED, out=seen[1:, 0])
    np.cumsum(kinds == script.TRADITIONAL, out=seen[1:, 1])
    return seen


def _is_simplified(seen: NDArray[np.int64], start: int, end: int, *, unknown: bool) -> bool:
    simplified, traditional = seen[end] - seen[start]
    return unknown if simplified == traditional == 0 else bool(simplified > traditional)


def _corner_quotes(line: re.Match[str]) -> list[Change]:
    """Curved quotation marks around Chinese become corner brackets."""
    found = [match.span() for quoted in _QUOTED for match in quoted.finditer(line[0])]
    marks = [line.start() + i for start, end in found for i in (start, end - 1)]
    return [Change(i, i + 1, line.string[i], _QUOTES[line.string[i]]) for i in marks]


def _convert(clause: str) -> str:
    """Convert a Simplified clause: known words by the vocabulary, the rest by OpenCC."""
    parts = _known().split(clause)
    parts[::2] = [_opencc().convert(part) if part else part for part in parts[::2]]
    parts[1::2] = [_WORDS[part] for part in parts[1::2]]
    return "".join(parts)


def _replaced(text: str, changes: list[Change]) -> str:
    parts, position = [], 0
    for change in changes:
        parts += [text[position : change.start], change.after]
        position = change.end
    return "".join([*parts, text[position:]])


@cache
def _opencc() -> opencc.OpenCC:
    return opencc.OpenCC("s2tw")


@cache
def _known() -> re.Pattern[str]:
    """The vocabulary's words, the longest first, and surnames beside what marks them as such."""
    words = "|".join(sorted(SEGMENTS | TAIWAN, key=lambda word: (-len(word), word)))
    surnames = "".join(SURNAMES)
    return re.compile(f"({words}|(?<=姓)[{surnames}]|[{surnames}](?={'|'.join(TITLES)}))")
