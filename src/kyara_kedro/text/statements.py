"""What an answer states, sentence by sentence, out of the form that it is put in."""

import json
import re

from kyara_kedro.text.chunk import sentences

_FENCE = re.compile(r"^\s*```[^\n]*$", re.MULTILINE)
_HEAD = re.compile(r"^[ \t]*\|.*\n[ \t]*\|[ \t]*:?-[-:| \t]*$", re.MULTILINE)
_CELL = re.compile(r"[ \t]*\|[ \t]*(?:\d+[ \t]*\|[ \t]*)?")
_MARK = re.compile(r"^[ \t]*(?:[-*+•]|#{1,6})[ \t]+", re.MULTILINE)
_NUMBERED = re.compile(r"^[ \t]*1([.)、．])(?s:.*?)^[ \t]*2\1", re.MULTILINE)
_NUMBER = re.compile(r"^[ \t]*\d{1,2}(?:[.)](?=[ \t])|[、．])[ \t]*", re.MULTILINE)
_STEP = re.compile(
    r"^[ \t]*(?:步[驟骤]|Step )[一二三四五六七八九十\d]+[：:、.][ \t]*", re.MULTILINE
)


def statements(answer: str) -> list[str]:
    """Sentences of an answer, without the marks of lists, headings, tables and JSON.

    The head of a table, the numbers of rows and steps, and the keys of a JSON object are form;
    cells and values are content.
    """
    text = _FENCE.sub("", answer).strip()
    try:
        text = "\n".join(_leaves(json.loads(text)))
    except (ValueError, RecursionError):
        text = _CELL.sub("\n", _HEAD.sub("", text))
    text = _STEP.sub("", _MARK.sub("", text.replace("**", "")))
    if _NUMBERED.search(text):
        text = _NUMBER.sub("", text)
    return [span.of(text) for span in sentences(text)]


def _leaves(value: object) -> list[str]:
    """The scalars of a JSON value, in their order."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [] if value is None else [str(value)]
