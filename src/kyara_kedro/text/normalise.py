"""One canonical form for every text that enters the house, before it is counted or hashed."""

import re
import unicodedata

_LINE_END = re.compile(r"\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f"  # controls
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200c\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"  # zero width and direction
    "\ud800-\udfff\U000e0000-\U000e0fff]"  # lone surrogates, tags and glyph selectors
    "|(?<![\ufe0f\u2600-\u27bf\U0001f000-\U0001faff])\u200d"  # joiners, but inside emoji
)
_BLANK = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_INDENT = re.compile("^[ \t]*\u3000[ \t\u3000]*", re.MULTILINE)
_TRAILING = re.compile(r"(?<![ \t])[ \t]+$", re.MULTILINE)
# A block that is never closed runs to the end.
_CODE_BLOCK = re.compile(r"^([ \t]*```[^`\n]*\n(?:.*?^[ \t]*```$|.*))", re.MULTILINE | re.DOTALL)
_INNER_BLANKS = re.compile(r"(?<=[^ \t\n])[ \t]+")
_EMPTY_LINES = re.compile(r"\n{3,}")


def visible(text: str) -> str:
    """Remove control, zero-width, direction and tag characters and lone surrogates.

    Line feeds and tabs stay, as does the joiner inside an emoji.
    """
    return _INVISIBLE.sub("", text)


def normalise(text: str) -> str:
    """Bring a text to canonical form; applying it twice changes nothing more.

    NFC, line feeds only, nothing invisible, one blank between words, at most one empty line between
    paragraphs. Ideographic spaces become blanks and vanish as an indent; full-width punctuation
    stays. Indents made of ASCII blanks and whatever stands inside a fenced code block are kept.
    """
    text = unicodedata.normalize("NFC", visible(_LINE_END.sub("\n", text)))
    text = _TRAILING.sub("", _BLANK.sub(" ", _INDENT.sub("", text)))
    parts = _CODE_BLOCK.split(text)
    parts[::2] = [_EMPTY_LINES.sub("\n\n", _INNER_BLANKS.sub(" ", part)) for part in parts[::2]]
    return "".join(parts).strip("\n").rstrip()
