"""What an answer states, sentence by sentence, out of the form that it is put in."""

import json
import re

from kyara_kedro.text.chunk import sentences

_FENCE = re.compile(r"^\s*```[^\n]*$", re.MULTILINE)
_HEAD = re.compile(r"^[ \t]*\|.*\n[ \t]*\|[ \t]*:?-[-:| \t]*$", re.MULTILINE)
_ROW = re.compile(r"^[ \t]*\|.*\|.*$", re.MULTILINE)
_MARK = re.compile(r"^[ \t]*(?:[-*+•]|#{1,6})[ \t]+", re.MULTILINE)
_HEADING = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]+[^\d。！？.!?\n]{1,24}"
    r"|\*\*[^\d。！？.!?*\n]{1,24}\*\*[ \t]*[:：]?)[ \t]*$",
    re.MULTILINE,
)
"""A line that is a heading, and short enough to state nothing."""
_NUMBERED = re.compile(r"^[ \t]*1([.)、．])(?s:.*?)^[ \t]*2\1", re.MULTILINE)
_NUMBER = re.compile(r"^[ \t]*\d{1,2}(?:[.)](?=[ \t])|[、．])[ \t]*", re.MULTILINE)
_STEP = re.compile(
    r"^[ \t]*(?:步[驟骤]|Step )[一二三四五六七八九十\d]+[：:、.][ \t]*", re.MULTILINE
)


def statements(answer: str) -> list[str]:
    """Sentences of an answer, without the form that they are put in (`unformed`)."""
    text = unformed(answer)
    return [span.of(text) for span in sentences(text)]


def unformed(answer: str, joined: str = "\n") -> str:
    """An answer without the marks of lists, tables and JSON, and without short headings.

    The head of a table, the numbers of rows and steps, and the keys of a JSON object are form;
    cells and values are content. A heading is content only when there is nothing else.

    Args:
        answer: The answer.
        joined: What stands between two cells of a row.
    """
    text = _FENCE.sub("", answer).strip()
    text = _HEADING.sub("", text).strip() or text
    try:
        text = "\n".join(_leaves(json.loads(text)))
    except (ValueError, RecursionError):
        text = _ROW.sub(lambda row: _cells(row[0], joined), _HEAD.sub("", text))
    text = _STEP.sub("", _MARK.sub("", text.replace("**", "")))
    return _NUMBER.sub("", text) if _NUMBERED.search(text) else text


def _cells(row: str, joined: str) -> str:
    cells = [cell.strip() for cell in row.strip().strip("|").split("|")]
    if len(cells) > 1 and cells[0].isdigit():
        cells = cells[1:]
    return joined.join(filter(None, cells))


def _leaves(value: object) -> list[str]:
    """The scalars of a JSON value, in their order."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [] if value is None else [str(value)]
