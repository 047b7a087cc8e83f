"""Benchmark items as contamination sees them: what is asked, the options and the right answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import polars as pl

from kyara_kedro.text.fold import fold, tokens

_LETTERS = "abcdefghij"
_WH = ("who", "whom", "whose", "what", "when", "where", "which", "why", "how")
_LETTER = "([A-Ja-jＡ-Ｊａ-ｊ])"
_OPTION = re.compile(
    rf"(?<![A-Za-z0-9])[(（]\s*{_LETTER}\s*[)）]|^[ \t]*{_LETTER}\s*[.．、:：)）]", re.MULTILINE
)
_NUMBER = re.compile(r"\s*(?:【題組】)?\s*\d{1,3}\s*[.．、](?!\d)\s*(?=\S)")
_BLANK_LINE = re.compile(r"\n\s*\n")
_CONTEXT_TOKENS, _ASKING_TOKENS = 24, 8
_ASKING = frozenset({*"谁何哪怎吗", *_WH})
_MEASURES = frozenset("少久大长高远重快深")
_SEVERAL = frozenset("这那好近十了隔每来")
"""Characters after which 幾 means some, not how many."""


class Item(NamedTuple):
    """One benchmark item.

    Attributes:
        benchmark: The benchmark that it belongs to.
        item_id: Its id there.
        stem: What is asked, without the options and the paragraph that it is asked about.
        options: The options; none for an open question.
        answer: Text of the right answer; empty when it is not known or a mere letter.
    """

    benchmark: str
    item_id: str
    stem: str
    options: tuple[str, ...]
    answer: str


def read_items(questions: pl.DataFrame) -> Iterator[Item]:
    """Read the rows of a table with the columns of ``records.BENCHMARK_QUESTION``.

    Options that stand in the question's text, as (A) ... (B) ..., are told from the stem, and its
    number in an exam is left out. A long
    text before a question that asks by itself, as reading comprehension has it, is left out: it is
    what the question is about, and may be taught. Choices and answer may be empty.
    """
    columns = ("benchmark", "item_id", "question", "choices", "answer")
    for benchmark, item_id, question, choices, answer in questions.select(columns).iter_rows():
        number = _NUMBER.match(question)
        stem, inline = _split_options(question[number.end() if number else 0 :])
        options = tuple(choices or inline)
        yield Item(benchmark, item_id, _last_block(stem), options, _right(answer or "", options))


def asking_word(words: Sequence[str]) -> int | None:
    """Place of the last of folded tokens that asks; 幾 asks only where nothing else does."""
    surely, perhaps = None, None
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        after = words[place + 1] if place + 1 < len(words) else ""
        if (
            (word in _ASKING and before + word not in ("任何", "几何"))
            or (word in ("什", "甚") and after == "么")
            or (word == "多" and after in _MEASURES)
        ):
            surely = place
        elif word == "几" and before not in _SEVERAL and after != "何":
            perhaps = place
    return perhaps if surely is None else surely


def ends_with_mark(stem: str) -> bool:
    """Whether a question mark ends a stem."""
    return stem.rstrip().endswith(("?", "？"))


def _split_options(question: str) -> tuple[str, tuple[str, ...]]:
    """Stem and inline options, which are lettered in order from A on, at least to B."""
    marks: list[re.Match[str]] = []
    for mark in _OPTION.finditer(question):
        if _LETTERS[len(marks) :].startswith(fold(mark[1] or mark[2])):
            marks.append(mark)
    if len(marks) < 2 or not tokens(question[: marks[0].start()]):
        return question, ()
    ends = [*(mark.start() for mark in marks[1:]), len(question)]
    options = (question[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True))
    return question[: marks[0].start()], tuple(options)


def _last_block(stem: str) -> str:
    """What stands after the last blank line, when it asks by itself and long text precedes it."""
    blanks = list(_BLANK_LINE.finditer(stem.rstrip()))
    if not blanks:
        return stem
    context, block = stem[: blanks[-1].start()], stem[blanks[-1].end() :]
    words = tokens(block)
    asks = asking_word(words) is not None or ends_with_mark(block)
    alone = len(words) >= _ASKING_TOKENS and len(tokens(context)) >= _CONTEXT_TOKENS
    return block if asks and alone else stem


def _right(answer: str, options: Sequence[str]) -> str:
    """Text of the right answer; of a single letter the option that it names, or none."""
    word = fold(answer).strip()
    if len(word) > 1 or word.isdigit():
        return answer
    place = _LETTERS.find(word) if word else -1
    return options[place] if 0 <= place < len(options) else ""
