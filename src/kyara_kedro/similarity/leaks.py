"""Whether a record gives a benchmark question away, where the two have words in common.

The stem of a question is laid beside the record, token by token. It is given away by

- the **whole** of it, but for one token or one in sixteen;
- a **part** of a long one: the asked share of its counted tokens, at least 24 words;
- its **beginning**: 55 % of its tokens from the first on, 8 of them beyond what others begin with.

What looks like a question and is none:

- A *statement*: the words of a question without its question word and mark. Documents may teach
  the answer. It counts all the same when the answer is nowhere in the record and the stretch holds
  several sentences of the question, or breaks off as no statement does.
- A *variant*: the same words with other numbers, since its answer is another one.
- *Another question* that begins like this one.
- A *bare stem*, which does not tell an item from others: it counts as a whole only, and with half
  of the options or the right answer beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, takewhile
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.similarity.benchmark_items import Item, asking_word, ends_with_mark
from kyara_kedro.similarity.shingles import token_spans, tokenise
from kyara_kedro.text.fold import fold, is_cjk, tokens

Hashes = NDArray[np.uint64]
Flags = NDArray[np.bool_]
Shape = Literal["whole", "part", "beginning"]

SPECIFIC = 8
"""Tokens of the shortest stem that is compared token by token; others stand as a whole or not."""
SHORT = 12
"""A stem of fewer tokens, one of them missing, must stand at the beginning of a phrase."""
LONG = 24
"""Counted words of a stem that a part holds at least."""
BEGINNING = 0.55
"""Share of a stem's tokens that its beginning has at least."""
_CONTENT = 4
"""Tokens besides digits and exam words that a stem needs to tell its item from others."""
_SLIPS = range(-2, 3)
"""Tokens by which edits move the rest of a stretch against its stem."""
_NEAR = 64
"""Tokens around a stretch, options not counted, among which an answer is beside it."""
_LITERAL = 12
"""Characters from which on a text tells an open item by its spelling alone."""
_SPELLINGS = 4
"""Ways to write the same tokens that are one question; more of them differ in their signs."""
_PASSAGE = 60
"""Characters of the shortest stretch of several sentences that is no chance."""

_EXAM_WORDS = frozenset(
    {
        *"下列以下各何者哪项个叙述选项正确错误最适当的是关于有关请问为",
        *("which", "of", "the", "following", "statement", "statements", "is", "are"),
        *("true", "false", "correct", "not"),
    }
)
_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_WORD = re.compile(r"\s*([^\W_]+)")
_OPENING = re.compile(r"(?:\A|[^\w\s]\s*|\n\s*|\s{2,})\Z")
_TORN = re.compile(rf"\s*\Z|[^\S\n]*\n|(?<=[{_CJK}])\s")
_CLOSED = re.compile(r"\W{0,3}(?:[。．!！…?？]|\.(?!\w))")
_BLANK = re.compile(r"\s*[:：_＿(（—–…-]")
_MARKED = re.compile(r"[^\n]{0,3}?[?？]")
_ASKS_ON = re.compile(r"[^。．.!！…\n]*[?？]")
_SENTENCE = re.compile(r"[。．!！?？;；\n]|\.(?!\w)")
_NO_TOKEN = np.zeros(1, np.uint64)


@dataclass(frozen=True)
class Sought:
    """An item, and what is looked for beside its stem, as the bytes of token hashes.

    Attributes:
        item: The item.
        options: Its options.
        answer: Its right answer; empty when it is not known or stands in the stem.
        bare: Whether the stem does not tell it from other items.
        literal: What the record must hold besides, without spaces, where tokens do not tell enough.
    """

    item: Item
    options: tuple[bytes, ...]
    answer: bytes
    bare: bool
    literal: str

    @cached_property
    def room(self) -> int:
        """Tokens behind the stem among which options and answer are looked for."""
        return _NEAR + sum(len(option) // 8 + 4 for option in self.options)


@dataclass(frozen=True)
class Stem:
    """What one or more items ask, the same tokens in all of them.

    Attributes:
        text: As the first of the items has it.
        words: Folded tokens.
        hashes: Their hashes.
        counted: Which of them are no boilerplate.
        shared: Tokens of its longest beginning that is boilerplate.
        sought: The items.
    """

    text: str
    words: tuple[str, ...]
    hashes: Hashes
    counted: Flags
    shared: int
    sought: tuple[Sought, ...]

    @cached_property
    def weight(self) -> int:
        """Number of counted tokens."""
        return int(self.counted.sum())

    @cached_property
    def asking(self) -> int | None:
        """Place of the word that asks."""
        return asking_word(self.words)

    @cached_property
    def marked(self) -> bool:
        """Whether it ends with a question mark."""
        return ends_with_mark(self.text)

    @cached_property
    def answerable(self) -> bool:
        """Whether all items are open questions with an answer of two tokens or more."""
        return all(not sought.options and len(sought.answer) > 8 for sought in self.sought)

    @cached_property
    def numbers(self) -> list[int]:
        """Places of the tokens with digits."""
        return [i for i, word in enumerate(self.words) if any(map(str.isdigit, word))]

    @cached_property
    def plain_words(self) -> Flags:
        """Which counted tokens are ideographs or words of two letters or more."""
        long = [len(word) > 1 or is_cjk(word) for word in self.words]
        return self.counted & np.array(long, np.bool_)

    @cached_property
    def sentences(self) -> NDArray[np.int64]:
        """Number of each token's sentence."""
        spans = token_spans(self.text)
        gaps = [self.text[a[1] : b[0]] for a, b in pairwise(spans.tolist())]
        return np.cumsum([0, *(bool(_SENTENCE.search(gap)) for gap in gaps)])


class Record:
    """A text that may give questions away.

    Attributes:
        id: Its id.
        text: Its text.
        hashes: The hashes of its tokens.
    """

    def __init__(self, record_id: str, text: str, hashes: Hashes) -> None:
        self.id, self.text, self.hashes = record_id, text, hashes

    @cached_property
    def spans(self) -> NDArray[np.int64]:
        """Start and end of each token, as character offsets; shape [tokens, 2]."""
        return token_spans(self.text)

    @cached_property
    def all_hashes(self) -> bytes:
        """The hashes as bytes."""
        return self.hashes.tobytes()

    @cached_property
    def fenced(self) -> Hashes:
        """The hashes with a number at each end that is no token's."""
        return np.concatenate([_NO_TOKEN, self.hashes, _NO_TOKEN])

    @cached_property
    def literal(self) -> str:
        """The folded text without spaces."""
        return literal(self.text)

    @cached_property
    def _before_marks(self) -> list[str]:
        """The texts shortly before each question mark."""
        return [part[-24:] for part in self.text.replace("？", "?").split("?")[:-1]]

    @cached_property
    def _folded_before_marks(self) -> str:
        return fold("\n".join(self._before_marks))

    @cached_property
    def _asked(self) -> frozenset[str]:
        """The last tokens before each question mark."""
        return frozenset(word for text in self._before_marks for word in tokens(text)[-4:])

    def asks(self, words: Sequence[str]) -> bool:
        """Whether one of some tokens stands shortly before a question mark.

        Few texts hold one there at all, and only those are cut into tokens.
        """
        near = any(word in self._folded_before_marks for word in words)
        return near and not self._asked.isdisjoint(words)

    def stretch(self, first: int, last: int) -> tuple[int, int]:
        """Offsets of the first character of a token, and behind the last one of another."""
        return int(self.spans[first, 0]), int(self.spans[last, 1])

    def holds(self, words: bytes, start: int, end: int) -> bool:
        """Whether tokens follow one another between two places."""
        return held(words, self.hashes[max(start, 0) : end].tobytes())


class Leak(NamedTuple):
    """A question that a record gives away.

    Attributes:
        item: The item.
        part: What the record holds of it: question, with +options or +answer behind it.
        coverage: Share of the stem's counted tokens that stand in the stretch.
        likeness: Share of all its tokens that do.
        start: Offset of the stretch's first character in the record.
        end: Offset behind its last character.
    """

    item: Item
    part: str
    coverage: float
    likeness: float
    start: int
    end: int


class _Match(NamedTuple):
    """Which tokens of a stem stand in a record, and from which of its tokens to which they do."""

    covered: Flags
    first: int
    last: int

    @property
    def complete(self) -> bool:
        return bool(self.covered.all())

    @property
    def lead(self) -> int:
        """Number of tokens from the stem's first on that are covered."""
        return len(self.covered) if self.complete else int(self.covered.argmin())


def find_leaks(stem: Stem, record: Record, shifts: Sequence[int], share: float) -> Iterator[Leak]:
    """Lay a stem beside a record and tell which of its items are given away there.

    Args:
        stem: What is asked.
        record: The record.
        shifts: Places of the record's tokens less those of the stem's tokens that they equal. For
            a stem of under 4 tokens, places of tokens of its options.
        share: Smallest share of a long stem's counted tokens that gives it away.
    """
    if _teaches(stem, record, shifts):
        return
    match = _lay(stem, record, shifts)
    shape = _shape(stem, record, match, share) if match else None
    if match is None or shape is None:
        return
    for sought in stem.sought:
        after = (match.last + 1, match.last + 1 + sought.room)
        options = [record.holds(option, *after) for option in sought.options]
        listed = bool(options) and 2 * sum(options) >= len(options)
        answered = bool(sought.answer) and record.holds(sought.answer, *after)
        if sought.bare:
            given = match.complete and (listed or answered)
        else:
            given = listed or _asks(stem, sought, record, match, shape)
        if given and sought.literal in (record.literal if sought.literal else ""):
            part = "question" + "+options" * listed + "+answer" * answered
            counted = stem.counted if stem.weight else np.ones_like(stem.counted)
            coverage = float(match.covered[counted].mean())
            start, end = record.stretch(match.first, match.last)
            likeness = float(match.covered.mean())
            yield Leak(sought.item, part, coverage, likeness, start, end)


def make_stem(
    items: Sequence[Item], hashes: Hashes, counted: Flags, shared: int, minimum_tokens: int
) -> Stem:
    """Put together what is known of a stem.

    The stem of a choice question is bare when it is short, made of exam words, or used with several
    lists of options; that of an open one when it has fewer than the minimum of tokens. Where
    signs, pictures or digits make the question, a text must hold them too.

    Args:
        items: The items that ask it, at least one.
        hashes: Hashes of its tokens.
        counted: Which of them are no boilerplate.
        shared: Tokens of its longest beginning that is boilerplate.
        minimum_tokens: Of an open question that counts without its answer.
    """
    words = tuple(tokens(items[0].stem))
    content = sum(word not in _EXAM_WORDS and not word.isdigit() for word in words)
    lists = {item.options for item in items if item.options}
    spellings = {literal(item.stem) for item in items}
    own = hashes.tobytes()
    sought = []
    for item in items:
        if item.options:
            bare = len(words) < SPECIFIC or content < _CONTENT or len(lists) > 1
        else:
            bare = len(words) < minimum_tokens
        pictures = any(ord(letter) >= 0x1F000 for letter in item.stem)
        signs = len(spellings) > _SPELLINGS or pictures or (content < _CONTENT and not item.options)
        spelling = literal(item.stem) if signs else ""
        if not item.options and len(spelling) >= _LITERAL:
            bare = False
        options = tuple(filter(None, map(_token_bytes, item.options)))
        answer = _token_bytes(item.answer)
        answer = b"" if held(answer, own) else answer
        sought.append(Sought(item, options, answer, bare, spelling))
    return Stem(items[0].stem, words, hashes, counted, shared, tuple(sought))


def literal(text: str) -> str:
    """A folded text without spaces."""
    return "".join(fold(text).split())


def held(words: bytes, text: bytes) -> bool:
    """Whether token hashes stand one after another among those of a text."""
    place = text.find(words)
    while place > 0 and place % 8:
        place = text.find(words, place + 1)
    return place >= 0


def _token_bytes(text: str) -> bytes:
    return tokenise([text]).hashes.tobytes()


def _teaches(stem: Stem, record: Record, shifts: Sequence[int]) -> bool:
    """Whether a record, at a glance, states the answer to an open question and does not ask it."""
    if stem.asking is None or not stem.answerable:
        return False
    low, high = stem.asking + shifts[0] + _SLIPS[0], stem.asking + shifts[-1] + _SLIPS[-1]
    return (
        not record.holds(stem.hashes[stem.asking].tobytes(), low, max(high + 1, 0))
        and all(held(sought.answer, record.all_hashes) for sought in stem.sought)
        and not record.asks(stem.words[-3:])
    )


def _lay(stem: Stem, record: Record, shifts: Sequence[int]) -> _Match | None:
    """Lay a stem beside a record at the given shifts and at those up to two tokens away.

    A token counts as covered when it equals the record's and lies within three tokens of a run of
    three that do, where the two are moved against each other with a neighbour that does.
    """
    size = len(stem.hashes)
    if size < len(_SLIPS) - 1:
        return _lay_before(stem, record, shifts)
    steps = sorted({shift + slip for shift in shifts for slip in _SLIPS})
    places = np.arange(size) + np.array(steps)[:, None]
    equal = record.fenced.take(places + 1, mode="clip") == stem.hashes
    if not _promising(equal.any(axis=0)):
        return None
    pairs = equal[:, :-1] & equal[:, 1:]
    runs = pairs[:, :-1] & pairs[:, 1:]
    moved = _reach(pairs, 2, 0) & _reach(runs.any(axis=0, keepdims=True), 3, 3)
    equal &= _reach(runs, 3, 3) | moved
    if not equal.any():
        return None
    found = places[equal]
    return _Match(equal.any(axis=0), int(found.min()), int(found.max()))


def _reach(runs: Flags, size: int, margin: int) -> Flags:
    """Tokens in runs of a size, given by their first tokens, and in a margin on either side."""
    rows, starts = runs.shape
    length, width = starts + size - 1, size + 2 * margin
    reach = np.zeros((rows, starts + width - 1), np.bool_)
    reach[:, :starts] = runs
    done = 1
    while done < width:
        # what is spread over some tokens is spread over up to as many more
        step = min(done, width - done)
        reach[:, step:] |= reach[:, :-step]
        done += step
    return reach[:, margin : margin + length]


def _promising(found: Flags) -> bool:
    """Whether the tokens of a stem that are found at all may be enough of it."""
    size, number = len(found), int(np.count_nonzero(found))
    return (
        size - number <= max(2, size // 16)
        or int(found.argmin()) >= BEGINNING * size
        or (size >= LONG and 2 * number >= size)
    )


def _lay_before(stem: Stem, record: Record, places: Sequence[int]) -> _Match | None:
    """Find a stem of a few tokens shortly before a place where its options stand."""
    start = max(0, places[0] - 4 * _NEAR)
    text, size = record.hashes[start : places[-1]].tobytes(), len(stem.hashes)
    place = text.rfind(stem.hashes.tobytes())
    if place < 0 or place % 8:
        return None
    first = start + place // 8
    return _Match(np.ones(size, np.bool_), first, first + size - 1)


def _shape(stem: Stem, record: Record, match: _Match, share: float) -> Shape | None:
    """What of a stem is covered, if that is enough."""
    covered, size = match.covered, len(match.covered)
    if match.complete:
        return "whole"
    if size < SPECIFIC or _other_numbers(stem, covered):
        return None
    counted = stem.counted if stem.weight >= SPECIFIC else np.ones_like(covered)
    weight, got = int(counted.sum()), int((covered & counted).sum())
    if weight - got <= max(1, weight // 16) or _one_edit(stem, record, match):
        return "whole"
    if got >= share * weight and (covered & stem.plain_words).sum() >= LONG:
        return "part"
    begins = match.lead >= max(BEGINNING * size, stem.shared + SPECIFIC)
    return "beginning" if begins else None


def _one_edit(stem: Stem, record: Record, match: _Match) -> bool:
    """Whether two words are missing because they became one, or letters of one joined the next."""
    missing = np.flatnonzero(~match.covered).tolist()
    if len(missing) != 2 or any(is_cjk(stem.words[place][0]) for place in missing):
        return False
    start, end = record.stretch(match.first, match.last)
    stretch = record.text[start:end]
    one, other = "".join(stem.words), "".join(tokens(stretch))
    same = _in_common(one, other) + _in_common(one[::-1], other[::-1])
    return same >= max(len(one), len(other)) - 1


def _in_common(one: str, other: str) -> int:
    """Number of letters with which both begin."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _other_numbers(stem: Stem, covered: Flags) -> bool:
    """Whether most numbers in the covered stretch, or next to it, are not those of the stem."""
    if not stem.numbers:
        return False
    places = np.flatnonzero(covered)
    low, high = places[0] - 1, places[-1] + 1
    same = [bool(covered[place]) for place in stem.numbers if low <= place <= high]
    return 2 * sum(same) < len(same)


def _asks(stem: Stem, sought: Sought, record: Record, match: _Match, shape: Shape) -> bool:
    """Whether a stretch asks what the stem asks: no statement and no other question."""
    covered, text = match.covered, record.text
    by_word = stem.asking is not None and _with_neighbour(covered, stem.asking)
    ending = [word for word, has in zip(stem.words[-3:], covered[-3:].tolist(), strict=True) if has]
    by_mark = stem.marked and record.asks(ending)
    is_order = stem.asking is None and not stem.marked
    if not (by_word or by_mark or is_order) and _told(sought, record, match):
        return False
    start, end = record.stretch(match.first, match.last)
    opens = _OPENING.search(text, max(0, start - 4), start)
    if len(covered) < SHORT and not match.complete and not opens:
        return False
    torn = bool(_TORN.match(text, end)) or _torn_word(stem, match.lead, text, end)
    broken = torn or bool(_CLOSED.match(text, end))
    if is_order and sought.options:
        return broken or bool(_BLANK.match(text, end))
    if by_word or is_order or (by_mark and _MARKED.match(text, end)):
        return shape != "beginning" or broken or not _ASKS_ON.match(text, end)
    if by_mark and _told(sought, record, match):
        return False
    passage = end - start >= _PASSAGE and _sentences(stem, covered) > 1
    return passage or (torn and match.lead > 0)


def _with_neighbour(covered: Flags, place: int) -> bool:
    """Whether a token is covered, and one beside it too: alone it may be there by chance."""
    return bool(covered[place]) and int(covered[max(place - 1, 0) : place + 2].sum()) > 1


def _told(sought: Sought, record: Record, match: _Match) -> bool:
    """Whether the record holds the answer; one of a single token counts near the stretch only."""
    if not sought.answer:
        return False
    if len(sought.answer) > 8:
        return held(sought.answer, record.all_hashes)
    return record.holds(sought.answer, match.first - _NEAR, match.last + _NEAR)


def _torn_word(stem: Stem, lead: int, text: str, end: int) -> bool:
    """Whether a text breaks off within the stem's next word."""
    word = _WORD.match(text, end)
    if word is None or lead == len(stem.words):
        return False
    torn = fold(word[1])
    return torn != stem.words[lead] and stem.words[lead].startswith(torn)


def _sentences(stem: Stem, covered: Flags) -> int:
    """Number of the stem's sentences that have three covered tokens or more."""
    return int((np.bincount(stem.sentences[covered]) > 2).sum())
