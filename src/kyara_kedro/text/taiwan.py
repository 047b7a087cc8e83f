"""The Taiwan guard: Simplified Chinese and Mainland words in a text become what Taiwan writes.

OpenCC corrupts text that is Traditional already (了解 becomes 瞭解, 里長 becomes 裡長), so it is
given only what is Simplified by its own characters or, where these prove nothing, by the line and
the text around them. The rules:

* **Evidence.** A character that only Simplified Chinese has is strong. One that Japan or Korea
  writes too (国, 学, 会) is weak: it counts only in a line that is Simplified by majority, and not
  at all beside kana, kanji that only Japan has, or the mention of Japan. Characters that are in
  Big5 prove nothing (腭, 胜肽 and 拮据 are Taiwanese), but for a few that nobody uses, and for 么
  and 万 in 什么, 65万 and their like.
* **Clauses**, cut at sentence ends, quotation marks and brackets, are converted as a whole when
  Simplified characters outnumber Traditional ones. A clause without either follows its line, a
  line its text. In other clauses only words that hold a strong character are converted
  (這個软件很好用).
* **Mainland words in Traditional characters** are repaired when Taiwan has no other use for them
  (`vocabulary.UNAMBIGUOUS`), and more of them in what a model wrote (`OF_MODELS`, and
  `IN_COMPUTING` where the text speaks of computing); `leaks` reports the rest.
* **Protected** are fenced and inline code, URLs, file paths, clauses in Japanese, and what is named
  as Simplified (簡體：国家, 大陸稱「软件」). An e-mail address has no Chinese character to change.
* **Names.** In a title, 《》 or 〈〉, script is converted by these rules, words are not. A Mainland
  word in Traditional characters stays where it is alone between quotation marks, a mention, or part
  of the name of an organisation (中國軟件行業協會). A Traditional clause loses no
  character but those of a Mainland word, so its names stay (范仲淹, 鍾理和, 后羿); a Simplified
  name is converted with its clause.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain, groupby, product
from operator import itemgetter
from typing import Literal, NamedTuple

import numpy as np
import opencc
from numpy.typing import NDArray

from kyara_kedro.text import script
from kyara_kedro.text.vocabulary import (
    BOUNDARIES,
    COMPUTING,
    CONTEXTS,
    IN_COMPUTING,
    LETTERS,
    OF_MODELS,
    PREFERRED,
    SEGMENTS,
    TAIWAN,
    UNAMBIGUOUS,
)

Kind = Literal["script", "vocabulary", "quotes"]

_STRONG, _WEAK, _TRADITIONAL, _JAPANESE, _KANA, _HAN, _FIRST, _SECOND = (1 << i for i in range(8))
_COUNTED = np.array([_STRONG, _WEAK, _TRADITIONAL, _JAPANESE, _KANA, _HAN], dtype=np.uint8)
_KANA_SIGNS = "・ー"
_HAN_PER_KANA = 6

# In Big5 (level 2) for words that nobody writes any more: in print they are Simplified.
_SIMPLIFIED_IN_BIG5 = frozenset("与价优体听圣坏怀惊扰构极机岭触赶羡蚕忏党网种离确气")
# Not in Taiwan, where it is 著; in Hong Kong and Japan.
_UNUSED_IN_TAIWAN = frozenset("着")
# Outside Big5, yet older variants that Taiwan prints as well.
_VARIANTS = frozenset("腭疴膻疱叁腼猬秆糍糇籼榅揾兖橱痈霡稆")

# Taiwan writes 么 in 老么 and 么兒 and knows 万 as a short form; after these they are 麼 and 萬.
_SIMPLIFIED_AFTER = {
    "么": "什甚怎那这這多要为為",
    "万": "0123456789０１２３４５６７８９十百千数數几幾",
}

_CJK = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_END = r"\s，。；、！？：「」『』“”（）()\"'<>"
_PROTECTED = re.compile(
    r"^[ \t]*```.*?(?:^[ \t]*```|\Z)"  # fenced code
    r"|`[^`\n]+`"
    rf"|(?:https?|ftp)://(?:[!-~]|(?<=[/=_#-])[{_CJK}]+)+"
    rf"|(?<![^{_END}:=])(?:[A-Za-z]:|~|\.{{1,2}})?[/\\][^{_END}/\\.]+[/\\.][^{_END}]+"  # paths
    r"|(?:[簡简](?:[體体](?:中文|[字漢汉]字?)?|化?字|[寫写])|大[陸陆](?:用[語语]|[作稱称譯译叫]))"
    r"[為为作是寫写稱称]{0,2}"  # what is named as Simplified
    r"(?:「[^」\n]{0,99}」|『[^』\n]{0,99}』|“[^”\n]{0,99}”|[：:] ?[^\s，。；（）()「」『』“”]+)",
    re.MULTILINE | re.DOTALL,
)
_LINE = re.compile(r"[^\n]+")
_CLAUSE = re.compile(r"[^\n。！？；…「」『』“”‘’《》〈〉（）()\"]+")
_TITLE = re.compile(r"《[^《》\n]*》|〈[^〈〉\n]*〉")
_JAPAN = re.compile(r"日本|日[語语文]")
_ORGANISATION = re.compile(
    rf"[{_CJK}]{{0,6}}(?:有限公司|股份|集團|[協學]會|研究[院所]|基金會|出版社)"
)
_MENTIONS = frozenset({"「」", "『』", "“”", "‘’", '""'})
_QUOTES = {"“": "「", "”": "」", "‘": "『", "’": "』"}
_QUOTED = (
    re.compile(r"“(?=[^“”\n\u4e00-\u9fff]*[\u4e00-\u9fff])[^“”\n]*”"),
    re.compile(r"‘(?=[^‘’\n\u4e00-\u9fff]*[\u4e00-\u9fff])[^‘’\n]*’"),
)
_COMPUTING = re.compile(COMPUTING)
_TAI = re.compile("臺(?![灣北中南東澎海語籍獨資商胞])")


class Change(NamedTuple):
    """What was, or would be, changed: by its offsets in the text before.

    `kind` is what gave it away: Simplified characters ("script", with the Mainland words among
    them), a Mainland word in Traditional characters ("vocabulary"), or curved quotation marks in a
    Simplified line ("quotes").
    """

    start: int
    end: int
    before: str
    after: str
    kind: Kind


class TaiwanText(NamedTuple):
    """A text as Taiwan writes it, and what was changed to make it so, in order."""

    text: str
    changed: tuple[Change, ...]


class Examined(NamedTuple):
    """A text as Taiwan writes it, what was changed, and what else is Mainland Chinese in it."""

    text: str
    changed: tuple[Change, ...]
    reported: tuple[Change, ...]


class _Word(NamedTuple):
    """A word of the vocabulary in a text, and what Taiwan writes for it."""

    start: int
    end: int
    key: str
    after: str


class _Reading(NamedTuple):
    """A text prepared for the guard; texts and arrays go by its positions.

    `masked` has full stops for what is protected. `converted` is all of it by OpenCC, but the
    `words`, and `differs` says where that changes something. `seen` counts each of `_COUNTED`
    before every position, shape [len + 1, 6]; `titled` marks what is in a title.
    """

    masked: str
    converted: str
    words: list[_Word]
    differs: NDArray[np.bool_]
    seen: NDArray[np.int32]
    titled: NDArray[np.bool_]

    def number(self, start: int, end: int) -> list[int]:
        """Characters of each of `_COUNTED` in a slice."""
        counts: list[int] = (self.seen[end] - self.seen[start]).tolist()
        return counts

    def words_in(self, start: int, end: int) -> list[_Word]:
        """Words of a slice that ends where a word may."""
        first = bisect_left(self.words, (start,))
        return self.words[first : bisect_left(self.words, (end,), first)]


def to_taiwan(text: str, *, written_by_model: bool = False) -> TaiwanText:
    """Repair what is Simplified or Mainland Chinese in a text that should be Taiwan's.

    Only what the rules at the head of this module prove is changed, so repairing twice changes
    nothing more. A text without Simplified characters and Mainland words costs a table look-up.

    Args:
        text: The text.
        written_by_model: Whether a model wrote it that was to write as Taiwan does; then Mainland
            words are repaired too that people in Taiwan use now and then.
    """
    if not (written_by_model or _is_suspicious(text)):
        return TaiwanText(text, ())
    found = examine(text, written_by_model=written_by_model)
    return TaiwanText(found.text, found.changed)


def examine(text: str, *, written_by_model: bool = False) -> Examined:
    """Repair a text as `to_taiwan` does, and report the Mainland words that it leaves alone.

    Human text from Taiwan has such words too (信息, 數據, 網絡 ...): of 1,000 paragraphs of its
    Wikipedia, about 60 have one. A text without any costs two table look-ups.

    Args:
        text: The text.
        written_by_model: As for `to_taiwan`.
    """
    if not (_is_suspicious(text) or _holds_core(text)):
        return Examined(text, (), ())
    reading = _read(text)
    known = _words_of_models(reading) if written_by_model else UNAMBIGUOUS
    found = _found(reading)
    changed = tuple(
        change for change in found if change.kind != "vocabulary" or _key(change) in known
    )
    slices = ((change.start, change.end, change.after) for change in changed)
    left = set(found).difference(changed)
    return Examined(_replaced(text, slices), changed, tuple(sorted(left)))


def leaks(text: str) -> tuple[Change, ...]:
    """What `examine` would repair or report, in order."""
    found = examine(text)
    return tuple(sorted(found.changed + found.reported))


def _key(change: Change) -> str:
    """The word of the vocabulary that a change of that kind replaces."""
    return _text(_folds()[script.code_points(change.before)])


def _words_of_models(reading: _Reading) -> frozenset[str]:
    """Words that are repaired in a text that a model wrote."""
    told = {word.key for word in reading.words} & (OF_MODELS | IN_COMPUTING)
    on_computing = len(told) > 1 or _COMPUTING.search(reading.masked)
    return UNAMBIGUOUS | OF_MODELS | (IN_COMPUTING if on_computing else frozenset())


def _is_suspicious(text: str) -> bool:
    """Whether there is a Simplified character or the core of an unambiguous Mainland word."""
    points = script.code_points(text)
    kinds = _kinds()[points]
    if (kinds & (_STRONG | _WEAK)).any() or _simplified_after(points).size:
        return True
    pairs = np.flatnonzero((kinds[:-1] << 1) & kinds[1:] & _SECOND)
    if not pairs.size:
        return False
    first, second = points[pairs], points[pairs + 1]
    third = points[np.minimum(pairs + 2, len(points) - 1)]
    cores = _cores().unambiguous
    return bool((cores[_place(first, second, 0)] | cores[_place(first, second, third)]).any())


def _holds_core(text: str) -> bool:
    """Whether there is the core of any word of the vocabulary."""
    points = script.code_points(text)
    cores = _cores()
    places = np.flatnonzero(cores.pairs[_place(points[:-1], points[1:], 0)])
    return any(
        text[place : place + size] in cores.spelt for place in places.tolist() for size in (2, 3)
    )


def _simplified_after(points: NDArray[np.uint32]) -> NDArray[np.intp]:
    """Places of characters that are Simplified by what stands before them."""
    found = []
    for letter, before in _SIMPLIFIED_AFTER.items():
        places = np.flatnonzero(points[1:] == ord(letter))
        found.append(places[np.isin(points[places], script.code_points(before))] + 1)
    return np.concatenate(found)


def _place(
    first: NDArray[np.uint32], second: NDArray[np.uint32], third: NDArray[np.uint32] | int
) -> NDArray[np.uint32]:
    """Place of two or three characters in `_cores`."""
    return ((first * np.uint32(31) + second) * np.uint32(31) + np.uint32(third)) & np.uint32(0xFFFF)


def _core(word: str) -> str:
    """The three characters in the middle of a word (its ends are parts of common words)."""
    start = max(0, len(word) - 2) // 2
    return word[start : start + 3]


def _read(text: str) -> _Reading:
    masked = _PROTECTED.sub(lambda match: "。" * len(match[0]), text)
    points = script.code_points(masked)
    titled = np.zeros(len(text), dtype=np.bool_)
    titles = [title.span() for title in _TITLE.finditer(masked)]
    for start, end in titles:
        titled[start:end] = True
    folds = _folds()[points]
    folded = _text(folds)
    words = [word for word in _words_of(folded, 0, len(text)) if not titled[word.start]]
    if titles:
        words += chain.from_iterable(_words_of(folded, *title, titled=True) for title in titles)
        words.sort()
    kinds = _kinds()[points]
    kinds[_simplified_after(points)] |= _STRONG
    for word in words:
        if word.key in UNAMBIGUOUS:  # what will be repaired is no evidence
            kinds[word.start : word.end] &= ~np.uint8(_TRADITIONAL)
    seen = np.zeros((len(text) + 1, len(_COUNTED)), dtype=np.int32)
    np.cumsum(kinds[:, None] & _COUNTED != 0, axis=0, out=seen[1:])
    converted = points
    if seen[-1, :2].any():
        converted = script.code_points(_converted(folded, words))
        converted = np.where(folds == points, converted, points)
    differs = converted != points
    for word in words:
        differs[word.start : word.end] = False
    return _Reading(masked, _text(converted), words, differs, seen, titled)


def _text(points: NDArray[np.uint32]) -> str:
    return points.tobytes().decode("utf-32-le", "surrogatepass")


def _words_of(folded: str, start: int, end: int, *, titled: bool = False) -> list[_Word]:
    known = _segments() if titled else _words()
    found = _pattern(titled).finditer(folded, start, end)
    return [_Word(*match.span(), match[0], known[match[0]]) for match in found]


def _converted(folded: str, words: Sequence[_Word]) -> str:
    """A text by OpenCC, which writes character for character, in the forms Taiwan prefers."""
    blanks = [(word.start, word.end, "。" * (word.end - word.start)) for word in words]
    converted = _opencc().convert(_replaced(folded, blanks)).translate(PREFERRED)
    return _TAI.sub("台", converted)


def _found(reading: _Reading) -> list[Change]:
    """Changes in order, with those of ambiguous words in Traditional characters."""
    text = reading.masked
    strong, _, traditional, *_ = reading.number(0, len(text))
    whole = strong > traditional
    changes: list[Change] = []
    for line in _LINE.finditer(text):
        strong, weak, traditional, japanese, *_ = reading.number(*line.span())
        if japanese or _JAPAN.search(line[0]):
            weak = 0
        in_line = whole if strong + weak == traditional == 0 else strong + weak > traditional
        if in_line:
            changes += _corner_quotes(line)
        for clause in _CLAUSE.finditer(text, *line.span()):
            start, end = clause.span()
            if _is_japanese(reading, start, end):
                continue
            if _is_simplified(reading, start, end, in_line=in_line, weak_counts=bool(weak)):
                changes += _whole(reading, start, end)
            else:
                changes += _single_words(reading, start, end)
    return sorted(changes)


def _is_japanese(reading: _Reading, start: int, end: int) -> bool:
    strong, _, _, japanese, kana, han = reading.number(start, end)
    return bool(japanese and (not strong or _HAN_PER_KANA * kana >= han))


def _is_simplified(
    reading: _Reading, start: int, end: int, *, in_line: bool, weak_counts: bool
) -> bool:
    strong, weak, traditional, *_ = reading.number(start, end)
    simplified = strong + weak if in_line and weak_counts else strong
    return in_line if simplified == traditional == 0 else simplified > traditional


def _whole(reading: _Reading, start: int, end: int) -> Iterator[Change]:
    """A Simplified clause, converted."""
    words = [
        (word.start - start, word.end - start, word.after) for word in reading.words_in(start, end)
    ]
    before, after = reading.masked[start:end], _replaced(reading.converted[start:end], words)
    if after != before:
        yield Change(start, end, before, after, "script")


def _single_words(reading: _Reading, start: int, end: int) -> Iterator[Change]:
    """Simplified words and Mainland words of a clause that is not Simplified as a whole."""
    text = reading.masked
    strong = reading.number(start, end)[0]
    pieces = [word for word in reading.words_in(start, end) if text[slice(*word[:2])] != word.after]
    if strong:
        places = (start + np.flatnonzero(reading.differs[start:end])).tolist()
        pieces += [_Word(i, i + 1, "", reading.converted[i]) for i in places]
        pieces.sort()
    for group in _adjacent(pieces):
        first, last = group[0].start, group[-1].end
        if strong and reading.number(first, last)[0]:
            after = "".join(piece.after for piece in group)
            yield Change(first, last, text[first:last], after, "script")
            continue
        for word in group:
            if word.key in TAIWAN and not reading.titled[start] and not _is_name(text, word):
                before = text[word.start : word.end]
                yield Change(word.start, word.end, before, word.after, "vocabulary")


def _adjacent(words: Sequence[_Word]) -> list[list[_Word]]:
    """Words in groups of those that touch."""
    groups: list[list[_Word]] = []
    for word in words:
        if not groups or groups[-1][-1].end < word.start:
            groups.append([])
        groups[-1].append(word)
    return groups


def _is_name(text: str, word: _Word) -> bool:
    """Whether a word stands alone between quotation marks or in the name of an organisation."""
    marks = text[word.start - 1 : word.start] + text[word.end : word.end + 1]
    return marks in _MENTIONS or bool(_ORGANISATION.match(text, word.end))


def _corner_quotes(line: re.Match[str]) -> list[Change]:
    """Curved quotation marks around Chinese become corner brackets."""
    found = [match.span() for quoted in _QUOTED for match in quoted.finditer(line[0])]
    marks = [line.start() + i for start, end in found for i in (start, end - 1)]
    text = line.string
    return [Change(i, i + 1, text[i], _QUOTES[text[i]], "quotes") for i in marks]


def _replaced(text: str, changes: Iterable[tuple[int, int, str]]) -> str:
    """A text with other characters in some of its slices, which are in order."""
    parts, position = [], 0
    for start, end, after in changes:
        parts += [text[position:start], after]
        position = end
    return "".join([*parts, text[position:]])


@cache
def _opencc() -> opencc.OpenCC:
    return opencc.OpenCC("s2tw")


@cache
def _folds() -> NDArray[np.uint32]:
    """Simplified code point of every Traditional-only one, itself of any other; shape [0x110000].

    NUL and lone surrogates become full stops: OpenCC ends at the one and takes no other.
    """
    folds = np.arange(0x110000, dtype="<u4")
    letters = sorted(script.traditional_only())
    simplified = opencc.OpenCC("t2s").convert("\n".join(letters)).split("\n")
    for old, new in zip(letters, simplified, strict=True):
        if len(new) == 1:
            folds[ord(old)] = ord(new)
    folds[[0, *range(0xD800, 0xE000)]] = ord("。")
    return folds


@cache
def _kinds() -> NDArray[np.uint8]:
    """What each code point proves, as bits; shape [0x110000]."""
    classes = script.classes("".join(map(chr, range(0x110000))))
    simplified = {
        letter
        for letter in script.simplified_only() - _VARIANTS | _UNUSED_IN_TAIWAN
        if letter in _SIMPLIFIED_IN_BIG5 or not _encodes(letter, "cp950")
    }
    abroad = {letter for letter in simplified if _encodes(letter, "shift_jis", "euc_kr")}
    kinds = np.zeros(0x110000, dtype=np.uint8)
    kinds[classes == script.TRADITIONAL] |= _TRADITIONAL
    kinds[classes == script.KANA] |= _KANA | _JAPANESE
    kinds[classes >= script.SHARED] |= _HAN
    for letters, kind in (
        (simplified - abroad, _STRONG),
        (simplified & abroad, _WEAK),
        (_only_in_japan().union(_KANA_SIGNS), _JAPANESE),
    ):
        kinds[[ord(letter) for letter in letters]] |= kind
    for place, kind in ((0, _FIRST), (1, _SECOND)):
        for letter in {_core(word)[place] for word in UNAMBIGUOUS}:
            kinds[_spellings(letter)] |= kind
    return kinds


def _only_in_japan() -> set[str]:
    """Kanji that neither Chinese script has."""
    points = range(0x4E00, 0xA000)
    kanji = set(opencc.OpenCC("t2jp").convert("".join(map(chr, points))))
    kanji -= script.simplified_only() | script.traditional_only()
    return {letter for letter in kanji if not _encodes(letter, "cp950", "gb2312")}


def _encodes(letter: str, *encodings: str) -> bool:
    """Whether any of some national character sets has a character."""
    for encoding in encodings:
        with suppress(UnicodeEncodeError):
            return bool(letter.encode(encoding))
    return False


class _Cores(NamedTuple):
    """The cores of Mainland words.

    `unambiguous` marks the places of those that are repaired everywhere, `pairs` those of the first
    two characters of any, shapes [0x10000]; `spelt` has all as they may be written. A word of one
    character is left out.
    """

    unambiguous: NDArray[np.bool_]
    pairs: NDArray[np.bool_]
    spelt: frozenset[str]


@cache
def _cores() -> _Cores:
    unambiguous, pairs = (np.zeros(0x10000, dtype=np.bool_) for _ in range(2))
    spelt: set[str] = set()
    for word in TAIWAN:
        if len(word) < 2:
            continue
        first, second, *rest = map(_spellings, _core(word))
        third = rest[0] if rest else np.zeros(1, dtype=np.uint32)
        if word in UNAMBIGUOUS:
            unambiguous[_place(first[:, None, None], second[:, None], third)] = True
        pairs[_place(first[:, None], second, 0)] = True
        spelt.update(map("".join, product(*(map(chr, part) for part in (first, second, *rest)))))
    return _Cores(unambiguous, pairs, frozenset(spelt))


def _spellings(letter: str) -> NDArray[np.uint32]:
    """Code points of a Simplified character and its Traditional ones."""
    return np.array([*_traditional().get(letter, []), ord(letter)], dtype=np.uint32)


@cache
def _traditional() -> dict[str, list[int]]:
    """Code points of the Traditional-only characters of each Simplified one."""
    folds = _folds()
    found: dict[str, list[int]] = {}
    for point in sorted(map(ord, script.traditional_only())):
        found.setdefault(chr(folds[point]), []).append(point)
    return found


@cache
def _segments() -> dict[str, str]:
    """Words that are only kept together, and single characters by what stands beside them."""
    kept = sorted(BOUNDARIES)
    converted = _opencc().convert("\n".join(kept)).translate(PREFERRED).split("\n")
    return dict(zip(kept, converted, strict=True)) | SEGMENTS | LETTERS


@cache
def _words() -> dict[str, str]:
    return _segments() | TAIWAN


@cache
def _pattern(titled: bool) -> re.Pattern[str]:
    """The vocabulary, the longest first, and single characters beside what decides them.

    Words are grouped by their first characters, for `re` tries alternatives one by one.
    """
    words = sorted((_segments() if titled else _words()).keys() - LETTERS.keys())
    by_first = [list(group) for _, group in groupby(words, key=itemgetter(0))]
    groups = []
    for start in range(0, len(by_first), 16):
        batch = by_first[start : start + 16]
        firsts = "".join(group[0][0] for group in batch)
        longest = sorted(chain.from_iterable(batch), key=len, reverse=True)
        groups.append(f"(?=[{firsts}])(?:{'|'.join(longest)})")
    return re.compile("|".join([*groups, *CONTEXTS]))
