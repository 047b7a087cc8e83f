"""Headings, lists, tables and fenced code of a plain or Markdown text, by its lines.

Chinese documents number their headings (第一章, 壹、, 一、, （一）) more often than they mark them;
such a line is a heading when it stands alone, is short, is no sentence, and text follows it.
"""

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

_HEADING_CHARS = 40
_NUMBER = "[一二三四五六七八九十百零〇0-9０-９]{1,4}"
_CAPITAL = "[壹貳參肆伍陸柒捌玖拾贰叁陆]{1,3}"
_NUMBERED = re.compile(
    rf"第{_NUMBER}(?:(?P<d7>[編篇部卷编])|(?P<d8>[章回])|(?P<d9>[節节])|(?P<d10>[條款条]))"
    r"(?=$|[\s:：、.．]|.{1,16}$)"
    rf"|(?P<d11>{_CAPITAL})[、.．\s]|(?P<d12>[一二三四五六七八九十]{{1,3}})[、.．]"
    r"|(?P<d13>[（(][一二三四五六七八九十]{1,3}[）)])"
)
_SENTENCE = re.compile("[。！？；]|[，、：,:;.!?]$")
_ATX = re.compile(r"(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE = re.compile(r"(=+|-{3,})$")
_FENCE = re.compile(r"`{3,}(?!.*`)|~{3,}")
_ITEM = re.compile(
    r"[-*+•‧・◦●○■□▪※][ \t]+\S|[•●○■□▪※]\S|\d{1,3}[.)．、）](?!\d)|[（(]\d{1,3}[）)]"
    rf"|{_CAPITAL}、|[一二三四五六七八九十]{{1,3}}、|[（(][一二三四五六七八九十]{{1,3}}[）)]"
)
OPENINGS = "#=-*+`~|•‧・◦●○■□▪※（(第" + "0123456789０１２３４５６７８９一二三四五六七八九十"
OPENINGS += "壹貳參肆伍陸柒捌玖拾贰叁陆"
"""First characters of the lines that may belong to a structure."""


class Heading(NamedTuple):
    """A heading of lines `first` up to, not including, `last`; a smaller depth stands above."""

    first: int
    last: int
    depth: int
    title: str


class Block(NamedTuple):
    """A list, table or piece of code of lines `first` up to `last`, and where its rows begin."""

    first: int
    last: int
    rows: tuple[int, ...]


class Lines(NamedTuple):
    """The lines of a text that are not blank, without the blanks around them."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def of(self, line: int) -> str:
        """The characters of a line."""
        return self.text[self.starts[line] : self.ends[line]]

    def adjoins(self, line: int) -> bool:
        """Whether no empty line stands between a line and the one before it."""
        return line > 0 and self.text.count("\n", self.ends[line - 1], self.starts[line]) == 1

    def is_indented(self, line: int) -> bool:
        """Whether blanks stand before a line."""
        start = self.starts[line]
        return start > 0 and self.text[start - 1] in " \t"


def elements(lines: Lines, opening: Sequence[int]) -> list[Heading | Block]:
    """Find the headings and blocks of a text, in order and without overlap.

    Args:
        lines: Its lines.
        opening: The lines that begin with one of `OPENINGS`, in order.
    """
    found: list[Heading | Block] = []
    done = 0
    for place, line in enumerate(opening):
        if line >= done:
            element = _element(lines, opening, place, done)
            if element:
                found.append(element)
                done = element.last
    return found


def _element(lines: Lines, opening: Sequence[int], place: int, done: int) -> Heading | Block | None:
    """The heading or block that begins with a line; those before `done` belong to others."""
    line = opening[place]
    said = lines.of(line)
    if fence := _FENCE.match(said):
        later = (opening[i] for i in range(place + 1, len(opening)))
        closing = (i for i in later if _closes(fence[0], lines.of(i)))
        last = next(closing, len(lines.starts) - 1) + 1
        return Block(line, last, tuple(range(line, last)))
    if said[0] == "|":
        following = range(line + 1, len(lines.starts))
        rows = [line, *takewhile(lambda i: lines.adjoins(i) and lines.of(i)[0] == "|", following)]
        return Block(line, rows[-1] + 1, tuple(rows)) if len(rows) > 1 else None
    if atx := _ATX.match(said):
        return Heading(line, line + 1, len(atx[1]), (atx[2] or "").strip())
    if _UNDERLINE.match(said) and _is_underlined(lines, line, done):
        return Heading(line - 1, line + 1, 1 if said[0] == "=" else 2, lines.of(line - 1))
    depth = _depth(said)
    if depth and line + 1 < len(lines.starts) and _depth(lines.of(line + 1)) != depth:
        return Heading(line, line + 1, depth, said)
    return _list(lines, line) if _ITEM.match(said) else None


def _closes(fence: str, said: str) -> bool:
    return said.startswith(fence) and not said.strip(fence[0])


def _is_underlined(lines: Lines, line: int, done: int) -> bool:
    """Whether a line of = or - makes a heading of the one before, a paragraph of its own."""
    above = line - 1
    return (
        above >= done
        and lines.adjoins(line)
        and not lines.adjoins(above)
        and lines.ends[above] - lines.starts[above] <= 2 * _HEADING_CHARS
    )


def _depth(said: str) -> int:
    """How deep a numbered Chinese heading stands, below all of Markdown's; 0 for other lines."""
    if len(said) > _HEADING_CHARS:
        return 0
    number = None if _SENTENCE.search(said) else _NUMBERED.match(said)
    return int(number.lastgroup[1:]) if number and number.lastgroup else 0


def _list(lines: Lines, line: int) -> Block | None:
    """The list that begins with an item: the items and the indented lines that follow."""
    rows, last = [line], line + 1
    while last < len(lines.starts):
        said = lines.of(last)
        if _ITEM.match(said) and not _UNDERLINE.match(said):
            rows.append(last)
        elif not lines.is_indented(last):
            break
        last += 1
    return Block(line, last, tuple(rows)) if len(rows) > 1 else None
