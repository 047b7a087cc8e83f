"""Constraints that a system prompt can set and code can verify, in the manner of IFEval.

A constraint has several wordings in each language, a strict check, and a way to put given sentences
so that they keep it. (Zhou et al., Instruction-Following Evaluation for Large Language Models,
arXiv 2311.07911.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from kyara_kedro.content import content_id
from kyara_kedro.text.chunk import sentences as spans
from kyara_kedro.text.citations import CITATION
from kyara_kedro.text.constraint_wordings import VALUES, WORDINGS
from kyara_kedro.text.fold import fold

T = TypeVar("T")

_TW, _CN, _EN = "zh-TW", "zh-CN", "en"
_BULLET = re.compile(r"[ \t]*- \S.*")
_ROW = re.compile(r"\|[^|]*[^|\s][^|]*\|[^|]*[^|\s][^|]*\|")
_RULER = re.compile(r":?-+:?")
_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*)\n```", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"【[^【】]+】")
_HEADING = re.compile(r"# \S.*")
_BOLD = re.compile(r"\*\*(?! )([^*\n]+)(?<! )\*\*")
_LETTER = re.compile(r"[A-Za-zＡ-Ｚａ-ｚ]")
_ENDED = re.compile(r"[。！？.!?][」』”’）)\]\"']*\Z")
_HALVES = str.maketrans("；;…", "，,，")
_UNTITLED = {_TW: "說明", _CN: "说明", _EN: "Answer"}


@dataclass(frozen=True)
class _Given:
    """What sentences are put with: the constraint's value, the language, a title, a key point."""

    value: str
    language: str
    title: str
    key: str

    def joined(self, parts: Sequence[str]) -> str:
        return (" " if self.language == _EN else "").join(parts)


@dataclass(frozen=True)
class _Kind:
    """How a kind of constraint is checked and kept.

    Attributes:
        slot: What of an answer it governs; two of one slot contradict each other.
        holds: Whether an answer without blanks around it keeps the constraint of a value.
        sign: Pattern of what a text has to mention, beside the value, that states the constraint.
        marked: Changes the sentences.
        shaped: Makes the answer out of them.
        framed: Adds to the answer.
    """

    slot: str
    holds: Callable[[str, str], bool]
    sign: str = ""
    marked: Callable[[Sequence[str], _Given], list[str]] | None = None
    shaped: Callable[[Sequence[str], _Given], str] | None = None
    framed: Callable[[str, _Given], str] | None = None


@dataclass(frozen=True)
class Constraint:
    """One verifiable demand on every answer.

    Attributes:
        kind: One of :func:`kinds`.
        language: ``zh-TW``, ``zh-CN`` or ``en``.
        value: Its parameter, empty for kinds without one.

    Raises:
        ValueError: there is no such kind in the language, or no such value of it.
    """

    kind: str
    language: str
    value: str = ""

    def __post_init__(self) -> None:
        if self.kind not in kinds(self.language):
            raise ValueError(
                f"constraint {self.kind!r}: unknown in {self.language!r}; "
                f"there are {', '.join(kinds(self.language))}"
            )
        if self.value not in values(self.kind, self.language):
            raise ValueError(
                f"constraint {self.kind!r}: value {self.value!r}; "
                f"there are {values(self.kind, self.language)}"
            )

    @property
    def id(self) -> str:
        """``<language>:<kind>``, with ``=<value>`` where it has one."""
        return f"{self.language}:{self.kind}" + (f"={self.value}" if self.value else "")

    @property
    def wordings(self) -> tuple[str, ...]:
        """All ways to state it, each a whole sentence."""
        parts = self.value.split("|")
        quoted = {
            _TW: "與".join(f"「{part}」" for part in parts),
            _CN: "和".join(f"“{part}”" for part in parts),
            _EN: " and ".join(f'"{part}"' for part in parts),
        }[self.language]
        return tuple(
            text.format(value=self.value, quoted=quoted)
            for text in WORDINGS[self.kind][self.language]
        )

    def wording(self, seed: str) -> str:
        """One of the wordings, drawn by a seed."""
        return _chosen(self.wordings, seed, self.id)

    def is_named(self, system: str) -> bool:
        """Whether a text may state the constraint, in whatever words.

        It has to mention the value letter by letter, and what the kind is about.
        """
        parts = self.value.split("|") if self.value else []
        sign = re.search(_KINDS[self.kind].sign, system, re.IGNORECASE)
        return sign is not None and all(part in system for part in parts)

    def holds(self, answer: str) -> bool:
        """Whether an answer keeps the constraint; blanks around the answer do not count."""
        return _KINDS[self.kind].holds(answer.strip(), self.value)


def compose(
    constraints: Sequence[Constraint], sentences: Sequence[str], title: str = "", key: str = ""
) -> str | None:
    """Put sentences so that they keep all constraints, as many of the sentences as possible.

    Nothing is added to them but signs, and the words that a constraint asks for.

    Args:
        constraints: Of one language.
        sentences: Whole sentences, the most important first.
        title: What a title line says.
        key: The key point, a part of one of the sentences.

    Returns:
        The answer; None when the sentences cannot be put so.
    """
    if not constraints:
        raise ValueError("compose: no constraints; give at least one")
    language = constraints[0].language
    whole = [_whole(one, language) for one in sentences if one.strip()]
    for count in range(len(whole), 0, -1):
        for heading in dict.fromkeys((title, "")):
            answer = _put(constraints, whole[:count], heading, key)
            if all(one.holds(answer) for one in constraints):
                return answer
    return None


def draw(seed: str, language: str) -> tuple[Constraint, ...]:
    """One or two constraints that can be kept together; the same seed draws the same.

    Args:
        seed: Such as a row's id.
        language: ``zh-TW``, ``zh-CN`` or ``en``.

    Raises:
        ValueError: another language.
    """
    names = sorted(kinds(language), key=lambda kind: content_id(seed, kind))
    if not names:
        raise ValueError(f"constraints in {language!r}: there are some in {_TW}, {_CN}, {_EN} only")
    fitting = [kind for kind in names[1:] if not contradict(names[0], kind)]
    return tuple(
        Constraint(kind, language, _chosen(values(kind, language), seed, kind, "value"))
        for kind in (names[0], *fitting[: _chosen((0, 1), seed, "second")])
    )


def kinds(language: str) -> tuple[str, ...]:
    """The kinds that exist in a language."""
    return tuple(kind for kind in _KINDS if language in WORDINGS[kind])


def values(kind: str, language: str) -> tuple[str, ...]:
    """The values of a kind in a language; an empty one alone when it takes none."""
    return VALUES[kind][language] if kind in VALUES else ("",)


def contradict(one: str, other: str) -> bool:
    """Whether no answer can keep constraints of both kinds, or hardly any."""
    slots = frozenset({_KINDS[one].slot, _KINDS[other].slot})
    return len(slots) == 1 or slots in _APART or {one, other} == {"json", "bold"}


def stated(system: str, language: str) -> tuple[Constraint, ...]:
    """The constraints that a system prompt states in one of their own wordings, in its order.

    A Chinese text may be in either script.
    """
    folded = fold(system)
    found = {
        constraint: place
        for wording, constraint in _folded_wordings(language)
        if (place := folded.find(wording)) >= 0
    }
    return tuple(sorted(found, key=lambda one: (found[one], one.id)))


@cache
def _folded_wordings(language: str) -> tuple[tuple[str, Constraint], ...]:
    scripts = (_EN,) if language == _EN else (_TW, _CN)
    return tuple(
        (fold(wording), Constraint(kind, language, value))
        for kind in kinds(language)
        for script in scripts
        for value, theirs in zip(values(kind, language), values(kind, script), strict=True)
        for wording in Constraint(kind, script, theirs).wordings
    )


def _chosen(options: Sequence[T], *seed: str) -> T:
    return options[int(content_id(*seed)[:8], 16) % len(options)]


def _put(constraints: Sequence[Constraint], sentences: Sequence[str], title: str, key: str) -> str:
    order = list(_KINDS)
    plans = [
        (_KINDS[one.kind], _Given(one.value, one.language, title.strip(), key.strip()))
        for one in sorted(constraints, key=lambda one: order.index(one.kind))
    ]
    marked = list(sentences)
    for kind, given in plans:
        marked = kind.marked(marked, given) if kind.marked and marked else marked
    shapes = [(kind.shaped, given) for kind, given in plans if kind.shaped]
    shaped, given = shapes[0] if shapes else (_prose, plans[0][1])
    text = shaped(marked, given) if marked else ""
    for kind, given in plans:
        text = kind.framed(text, given) if kind.framed and text else text
    return text


def _whole(sentence: str, language: str) -> str:
    """A sentence in one line, with a mark at its end."""
    line = " ".join(sentence.split())
    if _ENDED.search(line):
        return line
    return line.rstrip("；;，,、：:。. ") + ("." if language == _EN else "。")


def _prose(sentences: Sequence[str], given: _Given) -> str:
    return given.joined(sentences)


def _every_line(answer: str, keeps: Callable[[int, str], object]) -> bool:
    """Whether there are two lines or more, and each with its number keeps to something."""
    lines = answer.split("\n")
    return len(lines) > 1 and all(keeps(number, line) for number, line in enumerate(lines, 1))


def _items(answer: str) -> str:
    """A list without the blank lines between its items."""
    return "\n".join(line for line in answer.split("\n") if line.strip())


def _is_bulleted(answer: str, value: str) -> bool:
    return _every_line(_items(answer), lambda _, line: _BULLET.fullmatch(line))


def _bulleted(sentences: Sequence[str], given: _Given) -> str:
    return "\n".join(f"- {one}" for one in sentences)


def _is_numbered(answer: str, value: str) -> bool:
    return _every_line(_items(answer), lambda n, line: re.fullmatch(rf"{n}\. \S.*", line))


def _numbered(sentences: Sequence[str], given: _Given) -> str:
    return "\n".join(f"{number}. {one}" for number, one in enumerate(sentences, 1))


def _is_one_sentence(answer: str, value: str = "") -> bool:
    text = answer.translate(_HALVES)
    return "\n" not in text and len(spans(text)) == 1 and _ENDED.search(text) is not None


def _first(sentences: Sequence[str], given: _Given) -> str:
    return sentences[0]


def _is_one_per_line(answer: str, value: str) -> bool:
    return _every_line(answer, lambda _, line: _is_one_sentence(line))


def _one_per_line(sentences: Sequence[str], given: _Given) -> str:
    return "\n".join(sentences)


def _is_two_paragraphs(answer: str, value: str) -> bool:
    return len(re.split(r"\n[^\S\n]*\n\s*", answer)) == 2


def _two_paragraphs(sentences: Sequence[str], given: _Given) -> str:
    return f"{sentences[0]}\n\n{given.joined(sentences[1:])}"


def _is_table(answer: str, value: str) -> bool:
    if not _every_line(answer, lambda _, line: _ROW.fullmatch(line)):
        return False
    head, ruler, *rows = (
        [cell.strip() for cell in line[1:-1].split("|")] for line in answer.split("\n")
    )
    names = [_BOLD.sub(r"\1", cell) for cell in head]
    return names == value.split("|") and all(map(_RULER.fullmatch, ruler)) and bool(rows)


def _table(sentences: Sequence[str], given: _Given) -> str:
    rows = [(str(number), one.replace("|", "｜")) for number, one in enumerate(sentences, 1)]
    cells = [given.value.split("|"), ("---", "---"), *rows]
    return "\n".join(f"| {left} | {right} |" for left, right in cells)


def _is_object(answer: str, value: str) -> bool:
    fenced = _FENCED.fullmatch(answer)
    answer = fenced[1].strip() if fenced else answer
    if not answer.startswith("{"):
        return False
    try:
        pairs: list[tuple[str, object]] = json.loads(answer, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return False
    named = [name for name, _ in pairs] == value.split("|")
    return named and all(isinstance(said, str) and said.strip() for _, said in pairs)


def _object(sentences: Sequence[str], given: _Given) -> str:
    names = given.value.split("|")
    said = [*sentences[: len(names) - 1], given.joined(sentences[len(names) - 1 :])]
    return json.dumps(dict(zip(names, said, strict=False)), ensure_ascii=False)


def _opens(answer: str, value: str) -> bool:
    return answer.startswith(value) and len(answer) > len(value)


def _opened(text: str, given: _Given) -> str:
    return given.joined((given.value, text))


def _closes(answer: str, value: str) -> bool:
    return answer.endswith(value) and len(answer) > len(value)


def _closed(text: str, given: _Given) -> str:
    return given.joined((text, given.value))


def _has_heading(answer: str, value: str) -> bool:
    first, _, body = answer.partition("\n")
    return bool(_HEADING.fullmatch(first) and body.strip())


def _headed(text: str, given: _Given) -> str:
    return f"# {_title(given)}\n\n{text}"


def _has_title(answer: str, value: str) -> bool:
    first, _, body = answer.partition("\n")
    return bool(_TITLE.fullmatch(first) and not CITATION.match(first) and body.strip())


def _titled(text: str, given: _Given) -> str:
    return f"【{_title(given)}】\n{text}"


def _title(given: _Given) -> str:
    return " ".join(re.sub("[【】#]", " ", given.title).split()) or _UNTITLED[given.language]


def _is_short(answer: str, value: str) -> bool:
    return 0 < len(answer) <= int(value)


def _has_one_bold(answer: str, value: str) -> bool:
    bold = _BOLD.findall(answer)
    return len(bold) == 1 and answer.count("*") == 4 and len(answer) > len(bold[0]) + 4


def _bold(sentences: Sequence[str], given: _Given) -> list[str]:
    """The key point in bold, or the first clause when no sentence holds it."""
    held = [place for place, one in enumerate(sentences) if given.key and given.key in one]
    place = held[0] if held else 0
    line = sentences[place]
    key = given.key if held else re.split("[，,：:]", _ENDED.sub("", line))[0].rstrip()
    return [*sentences[:place], line.replace(key, f"**{key}**", 1), *sentences[place + 1 :]]


def _has_no_letters(answer: str, value: str) -> bool:
    return bool(answer) and not _LETTER.search(answer)


def _without_letters(sentences: Sequence[str], given: _Given) -> list[str]:
    return [one for one in sentences if not _LETTER.search(one)]


_APART = frozenset({frozenset({"form", "first"}), frozenset({"form", "last"})})
"""Slots that exclude each other: a form is that of the whole answer."""

_KINDS: Mapping[str, _Kind] = {
    "bullets": _Kind("form", _is_bulleted, r'- |["「“]-', shaped=_bulleted),
    "numbered": _Kind("form", _is_numbered, r"1\.|[編编][號号]|number", shaped=_numbered),
    "one_sentence": _Kind("form", _is_one_sentence, "句|sentence", shaped=_first),
    "one_per_line": _Kind("form", _is_one_per_line, "行|line", shaped=_one_per_line),
    "two_paragraphs": _Kind("form", _is_two_paragraphs, "段|paragraph", shaped=_two_paragraphs),
    "table": _Kind("form", _is_table, "表|table", shaped=_table),
    "json": _Kind("form", _is_object, "json", shaped=_object),
    "greeting": _Kind("first", _opens, framed=_opened),
    "heading": _Kind("first", _has_heading, "#", framed=_headed),
    "title": _Kind("first", _has_title, "【.*】", framed=_titled),
    "closing": _Kind("last", _closes, framed=_closed),
    "at_most": _Kind("length", _is_short),
    "no_letters": _Kind("letters", _has_no_letters, "英文|字母", marked=_without_letters),
    "bold": _Kind("mark", _has_one_bold, r"\*\*", marked=_bold),
}
"""Of kinds that change sentences, the first is done first."""
