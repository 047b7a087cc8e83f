"""TC-Eval: what MediaTek's Chinese benchmarks for chat endpoints have in common.

Questions are asked without examples at temperature 0, and the chosen letter is read from free text
by the rules of the official ``evaluate.py`` (https://github.com/mtkresearch/MR-Models, TC-Eval,
Apache-2.0; described in arXiv 2309.08448). Those rules are kept as they are, with their gaps: a
text that begins with a letter from A to E chooses it, also "Because".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from kyara_kedro.content import Message
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import (
    Decoding,
    Question,
    Row,
    Rows,
    Task,
    field_of,
    one_turn,
    scorer_version,
)

LETTERS = "ABCDE"
DECODING = Decoding(temperature=0.0, max_tokens=128)
"""As ``inference/tasks_config.json`` has it."""
RULE = "tc-eval-1"

# The official patterns, those merged that find the same letters. Each takes the first letter that
# follows its words, so it does not matter which of several branches leads there. Their classes
# contain "|", so ours do. Possessive blanks keep the search linear.
_LETTER = r"\(?([A-Ea-e])"
_CHOOSE = r"[選|选]"
_OPTION = r"[項|项|擇|择]"
_COLON = r"[：|:]"
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"^\s*+([A-Ea-e])",
        r"^\s*+\(([A-Ea-e])\)",
        rf"^{_CHOOSE}{_OPTION}?{_LETTER}",
        rf"{_CHOOSE}[擇|择]\s*+{_LETTER}",
        rf"答案(?:可能是|[應|应][該|该]是|[應|应]?[為|为]|是|{_CHOOSE}[擇|择])?{_COLON}?"
        rf"\s*+{_CHOOSE}?{_OPTION}?\s*+{_LETTER}",
        rf"答案{_CHOOSE}{_OPTION}[為|为]\s*+{_LETTER}",
        rf"正[確|确]的(?:[選|选|一][项|項][應|应該该]*|[项|項])是\s*+{_LETTER}",
        rf"正[確|确]的?[陳|陈]述[應|应][該|该]*是\s*+{_LETTER}",
        rf"(?:[應|应][該该]*{_CHOOSE}[擇|择]|[應該|应该]是|正確的敘述是|最恰當的選項為){_COLON}?"
        rf"\s*+{_LETTER}",
        rf"正確.{{0,8}}是[選項|选项選擇选择]?{_COLON}?\s*+{_LETTER}",
        rf"{_CHOOSE}{_OPTION}\s*+{_COLON}?\s*+{_LETTER}\)?\s*+是?正[確|确]",
        r"([A-Ea-e])\)?\s*+[應該|应该]?[是|為|为]正[確|确]",
        rf"回答\s*+{_COLON}\s*+{_LETTER}",
    )
)
_ANY_LETTER = re.compile("[a-zA-Z]")


class TcEvalChoice(Task):
    """Multiple choice by TC-Eval's rules; the metric is ``accuracy``."""

    chapter = "general"
    metrics = ("accuracy",)
    prompt: ClassVar[str]
    """What is sent, with places for ``question`` and ``choices``."""

    def messages(self, question: Question) -> tuple[Message, ...]:
        """One user turn; the choices stand in one line, each after its letter in brackets."""
        listed = zip(LETTERS, question.choices, strict=False)
        choices = ";".join(f"({letter}) {text}" for letter, text in listed)
        return one_turn(self.prompt.format(question=question.question, choices=choices))

    def decoding(self, question: Question) -> Decoding:
        """The most probable token, 128 at most."""
        return DECODING

    def score_output(self, question: Question, output: str) -> dict[str, float] | None:
        """1 for the right letter, 0 for another one, None for none."""
        chosen = chosen_letter(output, question.choices)
        return None if chosen is None else {"accuracy": float(chosen == question.answer)}


def chosen_letter(output: str, choices: Sequence[str] = ()) -> str | None:
    """Find the letter that a model chose.

    In order: the only letter in statements such as 「答案是 (B)」; the only Latin letter of the
    text; the first choice with whose text the output begins.

    Args:
        output: What the model wrote.
        choices: Texts of the choices, where they are known apart from the question.

    Returns:
        A letter from A to E, or None. Takes time linear in the length of the output.
    """
    if not output.strip():
        return None
    found: set[str] = {each.upper() for rule in _PATTERNS for each in rule.findall(output)}
    if len(found) == 1:
        return found.pop()
    latin = _ANY_LETTER.findall(output)
    if len(latin) == 1 and latin[0].upper() in LETTERS:
        return str(latin[0].upper())
    said = output.strip()
    for letter, choice in zip(LETTERS, choices, strict=False):
        if said.startswith(choice.strip()):
            return letter
    return None


def keyed_rows(rows: Rows) -> Iterator[tuple[str, Row]]:
    """Id and row of each item of a file that maps ids to items, or that lists items with ids."""
    for number, row in enumerate(rows):
        if row and all(isinstance(value, Mapping) for value in row.values()):
            yield from row.items()
        else:
            yield str(row.get("id", number)), row


def choice_questions(kind: str, rows: Rows) -> list[Question]:
    """Read items with ``question``, ``choices`` and ``answer``, the place of the right choice.

    Raises:
        UserError: an item lacks a field, or its answer is not one of its choices.
    """
    questions = []
    for number, (item_id, row) in enumerate(keyed_rows(rows), start=1):
        choices = tuple(map(str, field_of(row, kind, number, "choices")))
        answer = field_of(row, kind, number, "answer")
        letters = LETTERS[: len(choices)]
        if not isinstance(answer, int) or not 0 <= answer < len(letters):
            raise UserError(
                f"{kind}, item '{item_id}': answer {answer!r} is no place from 0 to "
                f"{len(letters) - 1}"
            )
        questions.append(
            Question(
                item_id,
                str(field_of(row, kind, number, "question")),
                letters[answer],
                choices,
                stratum=str(row.get("category", "all")),
            )
        )
    return questions


def subject_questions(kind: str, rows: Rows, choices: Sequence[str] = ()) -> list[Question]:
    """Read rows with ``subject``, ``question`` and ``answer``, a letter; subjects become strata.

    Args:
        kind: Kind of the benchmark, for messages.
        rows: The rows; those without an ``id`` are numbered from 0 within their subject.
        choices: Fields that hold the choices, where these are not part of the question.

    Raises:
        UserError: a row lacks a field, or its answer is no letter from A to E.
    """
    questions = []
    seen: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        subject = str(field_of(row, kind, number, "subject"))
        answer = str(field_of(row, kind, number, "answer", "content.A")).strip()
        if len(answer) != 1 or answer not in LETTERS:
            raise UserError(f"{kind}, row {number}: answer {answer!r} is no letter from A to E")
        questions.append(
            Question(
                f"{subject}/{row.get('id', seen[subject])}",
                str(field_of(row, kind, number, "question", "content.Q")),
                answer,
                tuple(str(field_of(row, kind, number, name)) for name in choices),
                stratum=subject,
            )
        )
        seen[subject] += 1
    return questions


def version_of(prompt: str) -> str:
    """Version of a scorer that uses the rules of this file with a prompt."""
    return scorer_version(RULE, prompt)
