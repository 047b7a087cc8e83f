"""One canonical form for every text that enters the house, before it is counted or hashed.

Most text needs nothing, so every rewriting step stands behind a cheap question: one look at each
code point in a table for the rare characters, substring searches for runs of blanks and lines.
"""

import re
import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.text.script import code_points

_LINE_ENDS = "\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
_UNSEEN = (
    "\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f"  # controls
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200c\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"  # zero width and direction
    "\ud800-\udfff\U000e0000-\U000e0fff"  # lone surrogates, tags and glyph selectors
)
_BLANKS = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_LINE_END = re.compile(f"[{_LINE_ENDS}]")
_INVISIBLE = re.compile(f"[{_UNSEEN}]")
# Joiners stay inside emoji.
_JOINER = re.compile("\u200d(?<![\ufe0f\u2600-\u27bf\U0001f000-\U0001faff]\u200d)")
_BLANK = re.compile(f"[{_BLANKS}]")
_INDENT = re.compile("\n[ \t]*\u3000[ \t\u3000]*")
_TRAILING = re.compile(r"[ \t](?<![ \t]{2})[ \t]*+$", re.MULTILINE)
_INNER_BLANKS = re.compile(r"  (?<=[^ \n]  ) *")
_INNER_TABS = re.compile(r"[ \t](?<=[^ \t\n][ \t])[ \t]*")
_EMPTY_LINES = re.compile(r"\n\n\n+")
_FENCE = re.compile(r"```[^`\n]*\n")
_CLOSING_FENCE = re.compile(r"^[ \t]*```$", re.MULTILINE)
_CR, _OTHER_LINE_END, _HIDDEN, _WIDE_BLANK = 1, 2, 4, 8


def visible(text: str) -> str:
    """Remove control, zero-width, direction and tag characters and lone surrogates.

    Line feeds and tabs stay, as does the joiner inside an emoji.
    """
    if "\u200d" in text:
        text = _JOINER.sub("", text)
    return _INVISIBLE.sub("", text)


def normalise(text: str) -> str:
    """Bring a text to canonical form; applying it twice changes nothing more.

    NFC, line feeds only, nothing invisible, one blank between words, at most one empty line between
    paragraphs. Ideographic spaces become blanks and vanish as an indent; full-width punctuation
    stays. Indents made of ASCII blanks and whatever stands inside a fenced code block are kept.
    """
    rare = int(np.bitwise_or.reduce(_rare()[code_points(text)], initial=0))
    if rare & _CR:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if rare & _OTHER_LINE_END:
        text = _LINE_END.sub("\n", text)
    if rare & _HIDDEN:
        text = visible(text)
    text = unicodedata.normalize("NFC", text)
    if rare & _WIDE_BLANK:
        text = _BLANK.sub(" ", _INDENT.sub("\n", f"\n{text}")[1:])
    tabs = "\t" in text
    text = text.replace(" \n", "\n")
    if " \n" in text or tabs or text.endswith(" "):
        text = _TRAILING.sub("", text)
    if "\n\n\n" in text or "  " in text or tabs:
        inner = _INNER_TABS if tabs else _INNER_BLANKS
        parts = _by_code_blocks(text)
        parts[::2] = [_EMPTY_LINES.sub("\n\n", inner.sub(" ", part)) for part in parts[::2]]
        text = "".join(parts)
    return text.strip("\n").rstrip()


def _by_code_blocks(text: str) -> list[str]:
    """A text in parts, every second of them a fenced block; one never closed runs to the end."""
    parts, done = [], 0
    for fence in _FENCE.finditer(text):
        start = text.rfind("\n", done, fence.start()) + 1 or done
        if fence.start() < done or text[start : fence.start()].strip(" \t"):
            continue
        closing = _CLOSING_FENCE.search(text, fence.end())
        end = closing.end() if closing else len(text)
        parts += [text[done:start], text[start:end]]
        done = end
    return [*parts, text[done:]]


@cache
def _rare() -> NDArray[np.uint8]:
    """What may have to be done about a character, by its code point, as bits; shape [0x110000]."""
    table = np.zeros(0x110000, dtype=np.uint8)
    every = "".join(map(chr, range(0x110000)))
    for letters, bit in (
        ("\r", _CR),
        (_LINE_ENDS, _OTHER_LINE_END),
        (_UNSEEN + "\u200d", _HIDDEN),
        (_BLANKS, _WIDE_BLANK),
    ):
        table[[found.start() for found in re.finditer(f"[{letters}]", every)]] |= bit
    return table
