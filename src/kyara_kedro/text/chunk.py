"""Sentences and passages as literal slices of a text, for Chinese and English.

Boundaries are found by looking every character up in a table; Python sees only what is left to
decide: full stops of ASCII, and lines that may be headings, lists, tables or code.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from string import ascii_letters, ascii_lowercase
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.text.length import UNITS_PER_TOKEN, token_units
from kyara_kedro.text.script import code_points
from kyara_kedro.text.structure import OPENINGS, Heading, Lines, elements

Count = Callable[[Sequence[str]], Sequence[int]]
"""Lengths of several texts in tokens, as a tokenizer counts them."""

_BLANK, _FEED, _WIDE, _STOP, _CLOSER, _FOLLOWS, _OPENS, _LETTER, _LOWER = (1 << i for i in range(9))
_WIDE_ENDS = "。！？；…"
_STOPS = ".!?"
_CLOSERS = "」』”’）》〉】〕])\"'"
_CJK = ((0x3000, 0x3040), (0x3400, 0xA000), (0xFF00, 0xFFF0), (0x20000, 0x2FA20))
_ABBREVIATIONS = frozenset(
    re.findall(
        "[a-z]+",
        "mr mrs ms dr prof rev gen sen gov st jr sr vs etc cf al ca approx fig figs eq vol no pp"
        " ed eds inc ltd co corp dept univ",
    )
)
_DOTTED = re.compile(r"\b(?i:e\.g|i\.e|a\.m|p\.m|u\.s|u\.k|u\.n|ph\.d)$")
_LIST_NUMBER = re.compile(r"(?:^|\n)\s*\d{1,3}$")
_CONTINUES = re.compile(r"\s+[a-z]")
_COMMA = re.compile(r"[，、：；]\s*|[,:;]?\s+")
_LOOK_BACK = 12
_FIRST = np.zeros(1, dtype=np.intp)
_Kinds = NDArray[np.uint16]
_Places = NDArray[np.intp]


class Span(NamedTuple):
    """A slice of a text: characters `start` up to, not including, `end`."""

    start: int
    end: int

    def of(self, text: str) -> str:
        """The characters of the text that the span covers."""
        return text[self.start : self.end]


class Passage(NamedTuple):
    """A slice of a text, and the titles of the headings it stands under, the outermost first."""

    start: int
    end: int
    headings: tuple[str, ...]

    def of(self, text: str) -> str:
        """The characters of the text that the passage covers."""
        return text[self.start : self.end]


def sentences(text: str) -> list[Span]:
    """Split a text into sentences, without the blanks around them.

    Chinese sentences end after 。！？；… and the closing quotes that follow, English ones after
    . ! ? before a blank, though not after abbreviations, initials and list numbers or before a
    lower-case word; a line feed ends any. Together the spans hold every non-blank character, in
    order.
    """
    points = code_points(f"{text}\n")
    starts, ends = _sentences(text, points, _table()[points])
    return list(map(Span._make, zip(starts.tolist(), ends.tolist(), strict=True)))


def chunk(
    text: str,
    max_chars: int,
    overlap_sentences: int = 0,
    *,
    max_tokens: int | None = None,
    count: Count | None = None,
) -> list[Passage]:
    """Cut a text into passages by its structure and, within that, by its sentences.

    A heading starts a passage and stays with the text that follows it. A list, table or piece of
    code stays whole when it fits into a passage, and otherwise each of its rows does. Whole lines
    are packed while they fit; a line is broken between sentences only when the passage would
    otherwise stay less than half full, and a sentence longer than a passage is cut after a comma or
    blank or, failing both, anywhere. Together the passages hold every non-blank character, in
    order.

    Args:
        text: The text to cut.
        max_chars: Longest passage, in characters.
        overlap_sentences: Sentences that a passage repeats from the end of the one before, as far
            as they fit beside a new one; never those from before a heading.
        max_tokens: Longest passage in tokens, too; no limit by default.
        count: Counts tokens. By default they are estimated (`length.estimate_tokens`).

    Raises:
        ValueError: if `max_chars` or `max_tokens` is below 1 or `overlap_sentences` below 0, or if
            a single character takes more than `max_tokens`.
    """
    if max_chars < 1 or overlap_sentences < 0 or (max_tokens is not None and max_tokens < 1):
        raise ValueError(
            f"chunk: max_chars is {max_chars}, overlap_sentences {overlap_sentences} and "
            f"max_tokens {max_tokens}; give at least 1, 0 and 1"
        )
    points = code_points(f"{text}\n")
    kinds = _table()[points]
    starts, ends = _sentences(text, points, kinds)
    if not len(starts):
        return []
    budget = _budget(text, max_chars, max_tokens, count)
    starts, ends = _cut_long(budget, starts, ends)
    sections = _sections(budget, kinds, starts, ends)
    while True:
        plans = [(section, _packed(section, budget, overlap_sentences)) for section in sections]
        if not budget.correct(plans):
            return [
                Passage(section.starts[first], section.ends[stop - 1], section.headings)
                for section, plan in plans
                for first, stop in plan
            ]


Plan = list[tuple[int, int]]
"""Passages as (first, stop) of a section's pieces."""


@dataclass(slots=True)
class _Section:
    """The text under a heading in pieces that are not cut any more; the heading's come first.

    `line_ends` are the numbers of pieces after which a line ends; `before` and `after` the tokens
    up to the start and the end of each piece.
    """

    headings: tuple[str, ...]
    glued: int
    starts: list[int]
    ends: list[int]
    line_ends: list[int]
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)


class _Characters:
    """A budget in characters alone."""

    max_tokens = 0

    def __init__(self, text: str, max_chars: int) -> None:
        self.text = text
        self.max_chars = max_chars

    def too_long(self, starts: _Places, ends: _Places) -> _Places:
        """The numbers of the slices that do not fit."""
        return _where(ends - starts > self.max_chars)

    def fits(self, start: int, end: int) -> bool:
        """Whether a slice fits."""
        return end - start <= self.max_chars

    def reach(self, start: int, end: int) -> int:
        """End of the longest slice from `start` that fits, not after `end` nor after a blank."""
        last = min(start + self.max_chars, end)
        while last > start + 1 and self.text[last - 1].isspace():
            last -= 1
        return last

    def weigh(self, sections: Iterable[_Section]) -> None:
        """Fill in the tokens of the sections' pieces."""

    def correct(self, plans: Iterable[tuple[_Section, Plan]]) -> bool:
        """Correct the tokens of pieces whose passages turn out too long; whether there were any."""
        return False


class _Estimated(_Characters):
    """A budget in characters and in estimated tokens; the unit is the estimate's own."""

    def __init__(self, text: str, max_chars: int, max_tokens: int) -> None:
        super().__init__(text, max_chars)
        self.max_tokens = max_tokens * UNITS_PER_TOKEN
        self.units = token_units(text)

    def too_long(self, starts: _Places, ends: _Places) -> _Places:
        taken = self.units[ends] - self.units[starts]
        return _where((ends - starts > self.max_chars) | (taken > self.max_tokens))

    def fits(self, start: int, end: int) -> bool:
        taken = self.units[end] - self.units[start]
        return end - start <= self.max_chars and bool(taken <= self.max_tokens)

    def reach(self, start: int, end: int) -> int:
        limit = self.units[start] + self.max_tokens
        last = int(np.searchsorted(self.units, limit, side="right")) - 1
        return super().reach(start, min(last, end))

    def weigh(self, sections: Iterable[_Section]) -> None:
        for section in sections:
            section.before = self.units[section.starts].tolist()
            section.after = self.units[section.ends].tolist()


class _Counted(_Characters):
    """A budget in characters and in tokens that a tokenizer counts.

    Tokens of a passage are not the sum of its sentences' tokens, which therefore only plan it; what
    is planned is counted as a whole, and planned anew where it is too long.
    """

    def __init__(self, text: str, max_chars: int, max_tokens: int, count: Count) -> None:
        super().__init__(text, max_chars)
        self.max_tokens = max_tokens
        self.count = count
        self.known: dict[tuple[int, int], int] = {}

    def tokens(self, spans: Sequence[tuple[int, int]]) -> list[int]:
        """Tokens of several slices, counted together."""
        new = [span for span in dict.fromkeys(spans) if span not in self.known]
        if new:
            counts = self.count([self.text[start:end] for start, end in new])
            self.known.update(zip(new, map(int, counts), strict=True))
        return [self.known[span] for span in spans]

    def too_long(self, starts: _Places, ends: _Places) -> _Places:
        tokens = self.tokens(list(zip(starts.tolist(), ends.tolist(), strict=True)))
        return _where((ends - starts > self.max_chars) | (np.array(tokens) > self.max_tokens))

    def fits(self, start: int, end: int) -> bool:
        return end - start <= self.max_chars and self.tokens([(start, end)])[0] <= self.max_tokens

    def reach(self, start: int, end: int) -> int:
        last = super().reach(start, end)
        while (taken := self.tokens([(start, last)])[0]) > self.max_tokens:
            if last == start + 1:
                raise ValueError(
                    f"chunk: {self.text[start]!r} alone takes {taken} tokens, more than max_tokens,"
                    f" {self.max_tokens}"
                )
            shorter = start + max(1, (last - start) * self.max_tokens // taken)
            last = super().reach(start, min(shorter, last - 1))
        return last

    def weigh(self, sections: Iterable[_Section]) -> None:
        listed = list(sections)
        self.tokens([span for section in listed for span in _spans(section)])
        for section in listed:
            ends_line = set(section.line_ends)
            total = 0
            for i, tokens in enumerate(self.tokens(_spans(section))):
                section.before.append(total)
                section.after.append(total + tokens)
                total += tokens + (i + 1 in ends_line)

    def correct(self, plans: Iterable[tuple[_Section, Plan]]) -> bool:
        planned = [
            (section, stop - 1, (section.starts[first], section.ends[stop - 1]))
            for section, plan in plans
            for first, stop in plan
        ]
        corrected = False
        counted = self.tokens([span for *_, span in planned])
        for (section, last, _), tokens in zip(planned, counted, strict=True):
            if tokens > self.max_tokens:
                corrected = True
                more = tokens - self.max_tokens
                section.after[last:] = [value + more for value in section.after[last:]]
                section.before[last + 1 :] = [value + more for value in section.before[last + 1 :]]
        return corrected


def _spans(section: _Section) -> list[tuple[int, int]]:
    return list(zip(section.starts, section.ends, strict=True))


def _budget(text: str, max_chars: int, max_tokens: int | None, count: Count | None) -> _Characters:
    if max_tokens is None:
        return _Characters(text, max_chars)
    if count is None:
        return _Estimated(text, max_chars, max_tokens)
    return _Counted(text, max_chars, max_tokens, count)


def _packed(section: _Section, budget: _Characters, overlap: int) -> Plan:
    """Pack a section's pieces into passages."""
    starts, ends, line_ends = section.starts, section.ends, section.line_ends
    before, after = section.before, section.after
    plan: Plan = []
    first = new = 0
    while new < len(starts):
        stop = bisect_right(ends, starts[first] + budget.max_chars)
        if before:
            stop = min(stop, bisect_right(after, before[first] + budget.max_tokens))
        stop = max(stop, new + 1, section.glued + 1 if section.glued < len(starts) else 0)
        if stop < len(starts):
            line = bisect_right(line_ends, stop) - 1
            if line >= 0 and line_ends[line] > max(new, section.glued):
                end = line_ends[line]
                half_full = 2 * (ends[end - 1] - starts[first]) >= budget.max_chars or (
                    bool(before) and 2 * (after[end - 1] - before[first]) >= budget.max_tokens
                )
                stop = end if half_full else stop
        plan.append((first, stop))
        first, new = max(first + 1, stop - overlap), stop
        while first < new < len(starts) and (
            ends[new] - starts[first] > budget.max_chars
            or (before and after[new] - before[first] > budget.max_tokens)
        ):
            first += 1
    return plan


def _sections(
    budget: _Characters,
    kinds: _Kinds,
    starts: _Places,
    ends: _Places,
) -> list[_Section]:
    """Arrange sentences by the headings that they stand under, and join those of a block."""
    feeds = _where(kinds & _FEED)
    line_ends = _where(feeds.searchsorted(ends[:-1]) < feeds.searchsorted(starts[1:])) + 1
    firsts = np.concatenate((_FIRST, line_ends))
    opening = _where(kinds[starts[firsts]] & _OPENS)
    if len(opening):
        pieces = _Pieces(
            budget,
            starts.tolist(),
            ends.tolist(),
            [*firsts.tolist(), len(starts)],
        )
        sections = pieces.sections(opening.tolist())
    else:
        sections = [_Section((), 0, starts.tolist(), ends.tolist(), line_ends.tolist())]
    budget.weigh(sections)
    return sections


@dataclass(slots=True)
class _Pieces:
    """Sentences by line: those of line i are `firsts[i]` up to `firsts[i + 1]`."""

    budget: _Characters
    starts: list[int]
    ends: list[int]
    firsts: list[int]

    def sections(self, opening: list[int]) -> list[_Section]:
        """Sections of a text that has lines which may be more than sentences."""
        lines = Lines(
            self.budget.text,
            [self.starts[first] for first in self.firsts[:-1]],
            [self.ends[stop - 1] for stop in self.firsts[1:]],
        )
        found = [_Section((), 0, [], [], [])]
        path: list[Heading] = []
        done = 0
        for element in elements(lines, opening):
            self._sentences(found[-1], done, element.first)
            done = element.last
            if isinstance(element, Heading):
                path = [above for above in path if above.depth < element.depth] + [element]
                if len(found[-1].starts) > found[-1].glued:
                    found.append(_Section((), 0, [], [], []))
                found[-1].headings = tuple(heading.title for heading in path)
                if not self._whole(found[-1], element.first, element.last):
                    self._sentences(found[-1], element.first, element.last)
                found[-1].glued = len(found[-1].starts)
            elif not self._whole(found[-1], element.first, element.last):
                for row, end in zip(element.rows, [*element.rows[1:], element.last], strict=True):
                    if not self._whole(found[-1], row, end):
                        self._sentences(found[-1], row, end)
        self._sentences(found[-1], done, len(lines.starts))
        return [part for section in found for part in _led(section, self.budget)]

    def _sentences(self, section: _Section, first: int, last: int) -> None:
        """Give a section the sentences of some lines."""
        begin = len(section.starts) - self.firsts[first]
        some = slice(self.firsts[first], self.firsts[last])
        section.starts += self.starts[some]
        section.ends += self.ends[some]
        section.line_ends += [begin + end for end in self.firsts[first + 1 : last + 1]]

    def _whole(self, section: _Section, first: int, last: int) -> bool:
        """Give a section some lines as one piece, if it fits, also beside a heading before it."""
        start, end = self.starts[self.firsts[first]], self.ends[self.firsts[last] - 1]
        leads = len(section.starts) == section.glued > 0
        if self.budget.fits(section.starts[0] if leads else start, end):
            section.starts.append(start)
            section.ends.append(end)
            section.line_ends.append(len(section.starts))
            return True
        return False


def _led(section: _Section, budget: _Characters) -> list[_Section]:
    """Make the first sentence short enough to stand in a passage with its headings."""
    text, starts, ends, glued = budget.text, section.starts, section.ends, section.glued
    if not 0 < glued < len(starts) or budget.fits(starts[0], ends[glued]):
        return [section]
    room = (i for i in range(glued) if budget.reach(starts[i], ends[glued]) > starts[glued])
    lead = next(room, glued)
    if lead < glued and not budget.fits(starts[lead], ends[glued]):
        cut = _cut(budget, starts[lead], starts[glued], ends[glued])
        starts.insert(glued + 1, _skip_blanks(text, cut))
        ends.insert(glued, cut)
        section.line_ends = [end + (end > glued) for end in section.line_ends]
    if not lead:
        return [section]
    alone = _Section(
        section.headings, 0, starts[:lead], ends[:lead], [e for e in section.line_ends if e <= lead]
    )
    rest = [end - lead for end in section.line_ends if end > lead]
    return [alone, _Section(section.headings, glued - lead, starts[lead:], ends[lead:], rest)]


def _cut_long(budget: _Characters, starts: _Places, ends: _Places) -> tuple[_Places, _Places]:
    """Cut the sentences that do not fit into a passage."""
    long = budget.too_long(starts, ends).tolist()
    if not long:
        return starts, ends
    parts = [list(_fitting(budget, int(starts[i]), int(ends[i]))) for i in long]
    more = [len(part) for part in parts]
    bounds = np.array([span for part in parts for span in part], dtype=np.intp)
    places = np.repeat(long, more)
    kept = np.delete(np.arange(len(starts)), long)
    order = np.argsort(np.concatenate((kept, places)), kind="stable")
    return (
        np.concatenate((starts[kept], bounds[:, 0]))[order],
        np.concatenate((ends[kept], bounds[:, 1]))[order],
    )


def _fitting(budget: _Characters, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Pieces of a sentence that fit into a passage each."""
    while not budget.fits(start, end):
        cut = _cut(budget, start, start, end)
        yield start, cut
        start = _skip_blanks(budget.text, cut)
    yield start, end


def _cut(budget: _Characters, first: int, start: int, end: int) -> int:
    """Where a sentence ends when it is cut so that the slice from `first` fits into a passage."""
    text, last = budget.text, budget.reach(first, end)
    cut = max((match.end() for match in _COMMA.finditer(text, start + 1, last)), default=last)
    while text[cut - 1].isspace():
        cut -= 1
    return cut if budget.fits(first, cut) else last


def _skip_blanks(text: str, start: int) -> int:
    while text[start].isspace():
        start += 1
    return start


def _sentences(text: str, points: NDArray[np.uint32], kinds: _Kinds) -> tuple[_Places, _Places]:
    """Starts and ends of a text's sentences; `points` and `kinds` have a line feed at the end."""
    marks = _where(kinds & (_WIDE | _STOP | _FEED))
    kind = kinds[marks]
    is_last = (kind[:-1] & kinds[marks[:-1] + 1] & (_WIDE | _STOP)) == 0
    if not is_last.all():
        is_last = np.append(is_last, True)
        marks, kind = marks[is_last], kind[is_last]
    bounds = _after_closers(kinds, marks, kind)
    stops = _where(kind & _STOP)
    if len(stops):
        keep = np.ones(len(marks), dtype=np.bool_)
        keep[stops] = (kinds[bounds[stops]] & _FOLLOWS) != 0
        stops = stops[keep[stops]]
        stops = stops[_may_go_on(points, kinds, marks[stops], bounds[stops])]
        places = zip(marks[stops].tolist(), bounds[stops].tolist(), strict=True)
        keep[stops] = [not _goes_on(text, mark, end) for mark, end in places]
        bounds = bounds[keep]
    bounds[-1] = len(text)
    return _trimmed(kinds, bounds)


def _after_closers(kinds: _Kinds, marks: _Places, kind: _Kinds) -> _Places:
    """The places behind the marks and, unless these are line feeds, the closing marks there."""
    places = marks + 1
    closed = _where(kinds[places[:-1]] & _CLOSER)
    closed = closed[(kind[closed] & _FEED) == 0]
    if len(closed):
        closers = _where(kinds & _CLOSER)
        last = closers[(kinds[closers + 1] & _CLOSER) == 0]
        places[closed] = last[last.searchsorted(places[closed])] + 1
    return places


def _may_go_on(
    points: NDArray[np.uint32], kinds: _Kinds, marks: _Places, ends: _Places
) -> NDArray[np.bool_]:
    """Whether `_goes_on` has to be asked: false for full stops behind and before plain words."""
    word = kinds[marks - 1] & kinds[marks - 2] & _LETTER
    following = kinds[np.minimum(ends + 1, len(kinds) - 1)] & (_BLANK | _LOWER)
    ask = _endings()[_pair(points[marks - 2], points[marks - 1])]
    ask |= word == 0
    ask |= following != 0
    return ask


def _goes_on(text: str, mark: int, end: int) -> bool:
    """Whether the sentence continues after the ASCII full stop at `mark`, to `end` with quotes."""
    while mark and text[mark - 1] in _STOPS:
        mark -= 1
    if text[mark] != "." or text.startswith("..", mark):
        return False
    before = text[max(0, mark - _LOOK_BACK) : mark]
    return _is_unfinished(before) or bool(_CONTINUES.match(text, end))


def _is_unfinished(before: str) -> bool:
    """Whether an abbreviation, an initial or a list item's number stands before a full stop."""
    stem = before.rstrip(ascii_letters)
    word, last = before[len(stem) :], stem[-1:]
    if not word:
        return bool(_LIST_NUMBER.search(before))
    if len(word) == 1 and word.isupper():
        return not last or last in ".(" or last.isspace()
    if word.lower() in _ABBREVIATIONS:
        return not (last.isalnum() or last == "_")
    return last == "." and bool(_DOTTED.search(before))


def _trimmed(kinds: _Kinds, bounds: _Places) -> tuple[_Places, _Places]:
    """Starts and ends of the slices up to each bound that are not blank, without blanks around."""
    blank = (kinds & _BLANK) != 0
    edges = _where(blank[1:] != blank[:-1]) + 1
    if not blank[0]:
        edges = np.concatenate((_FIRST, edges))
    words, gaps = edges[::2], edges[1::2]
    starts = np.concatenate((_FIRST, bounds[:-1]))
    first, last = gaps.searchsorted(starts, side="right"), words.searchsorted(bounds)
    some = first < last
    if not some.all():
        starts, bounds, first, last = starts[some], bounds[some], first[some], last[some]
    return np.maximum(starts, words[first]), np.minimum(bounds, gaps[last - 1])


def _where(found: NDArray[Any]) -> _Places:
    """The places of what is not zero."""
    places: _Places = (found != 0).nonzero()[0]
    return places


def _pair(first: NDArray[np.uint32], second: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """A hash of two neighbouring ASCII letters, whatever their case."""
    return ((first | np.uint32(0x20)) << np.uint32(7) ^ (second | np.uint32(0x20))).astype(
        np.uint16
    )


@cache
def _endings() -> NDArray[np.bool_]:
    """Whether an abbreviation ends with a pair of letters, by its hash, shape [0x10000]."""
    table = np.zeros(0x10000, dtype=np.bool_)
    letters = np.array([list(map(ord, word[-2:])) for word in _ABBREVIATIONS], dtype=np.uint32)
    table[_pair(letters[:, 0], letters[:, 1])] = True
    return table


@cache
def _table() -> _Kinds:
    """What a character means for boundaries, by its code point, as bits; shape [0x110000]."""
    table = np.zeros(0x110000, dtype=np.uint16)
    blanks = [point for point in range(0x3001) if chr(point).isspace()]
    table[blanks] = _BLANK | _FOLLOWS
    for start, stop in _CJK:
        table[start:stop] |= _FOLLOWS
    for letters, kind in (
        ("\n", _FEED),
        (_WIDE_ENDS, _WIDE),
        (_STOPS, _STOP),
        (_CLOSERS, _CLOSER),
        (OPENINGS, _OPENS),
        (ascii_lowercase, _LOWER),
        (filter(str.isalpha, map(chr, range(0x30000))), _LETTER),
    ):
        table[list(map(ord, letters))] |= kind
    return table
