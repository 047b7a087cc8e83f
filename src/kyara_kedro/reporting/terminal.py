"""Text for a terminal, where a full-width character takes two columns."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence


def aligned(lines: Iterable[Sequence[str]]) -> str:
    """Lines of cells, every column but the last padded to one width on the screen."""
    rows = [list(line) for line in lines]
    room = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  " + "  ".join(_padded(row, room)).rstrip() for row in rows)


def _padded(row: Sequence[str], room: Sequence[int]) -> list[str]:
    return [
        cell + " " * (width - display_width(cell)) for cell, width in zip(row, room, strict=True)
    ]


def display_width(text: str) -> int:
    """Columns that a text takes on a terminal: two for a full-width character."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def shortened(text: str, width: int) -> str:
    """A line of at most so many columns, without its middle if it is longer."""
    if display_width(text) <= width:
        return text
    half = (width - 5) // 2
    head, tail = _within(text, half), _within(text[::-1], half)[::-1]
    return f"{head} ... {tail}"


def _within(text: str, width: int) -> str:
    """The longest beginning of at most so many columns."""
    taken = 0
    for number, letter in enumerate(text):
        taken += display_width(letter)
        if taken > width:
            return text[:number]
    return text


def clipped(text: str, width: int) -> str:
    """A line of at most so many columns, without its end if it is longer."""
    return text if display_width(text) <= width else f"{_within(text, width - 1)}…"


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most so many columns, broken at a blank where one is near, else anywhere."""
    lines = []
    rest = " ".join(text.split())
    while display_width(rest) > width:
        line = _within(rest, width)
        if not line:
            line = rest[0]
        blank = line.rfind(" ")
        if blank > len(line) // 2 and rest[len(line)] != " ":
            line = line[:blank]
        lines.append(line.rstrip())
        rest = rest[len(line) :].lstrip()
    return [*lines, rest]
