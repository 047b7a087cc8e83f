"""Multiple choice for models behind a chat endpoint: ask for a letter, find it in what they write.

Without access to log-likelihoods the letter has to be read from free text, as in MediaTek's
TC-Eval (https://github.com/mtkresearch/MR-Models). The rules go from explicit to vague, and an
output in which they find no single letter is no answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

from kyara_kedro.content import Message
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import (
    Question,
    Task,
    one_turn,
    scorer_version,
    wording,
)
from kyara_kedro.text.fold import fold, tokens

LETTERS = "ABCDEFGHIJ"
PROMPTS = {
    "zh-TW": (
        "以下是一題單選題，請選出正確的選項，只回覆選項的英文字母。\n\n"
        "題目：{question}\n\n{choices}\n\n答案：",
    ),
    "en": (
        "Here is a multiple-choice question. Choose the right option and reply with its letter "
        "only.\n\nQuestion: {question}\n\n{choices}\n\nAnswer:",
    ),
}
_WINDOW = 2_000
_OPEN = r"[\s(\[{【「『\"'*_:=$\\]{0,6}"
_CLOSE = r"(?![A-Za-z0-9])"
_SAYS = (
    r"(?:答案|正解|[選选](?![項项])[擇择]?|answer|choose|choice)"
    r"[^\S\n]{0,2}(?:應該|应该|應|应|會|会|就|should|would)?[^\S\n]{0,2}(?:選|选|是|為|为|is|be)?"
    r"[^\S\n]{0,2}(?:選項|选项|option)?"
)


class Choice(Task):
    """Multiple-choice questions; the metric is ``accuracy``."""

    kind = "choice"
    title = "Multiple choice"
    version = scorer_version("choice-1", PROMPTS)
    metrics = ("accuracy",)

    def __init__(self, name: str, questions: Iterable[Question]) -> None:
        super().__init__(name, questions)
        self._right = {item_id: _right(name, q) for item_id, q in self.questions.items()}

    def messages(self, question: Question) -> tuple[Message, ...]:
        """One user turn with the question and its lettered choices."""
        choices = "\n".join(
            f"{letter}. {text}" for letter, text in zip(LETTERS, question.choices, strict=False)
        )
        prompt = wording(PROMPTS, question.language, question.item_id)
        return one_turn(prompt.format(question=question.question, choices=choices))

    def gold(self, question: Question) -> tuple[str, ...]:
        """The right letter."""
        return (self._right[question.item_id],)

    def score_output(self, question: Question, output: str) -> dict[str, float] | None:
        """1 for the right letter, 0 for another one, None for none."""
        letter = chosen_letter(output, question.choices)
        if letter is None:
            return None
        return {"accuracy": float(letter == self._right[question.item_id])}


def chosen_letter(output: str, choices: Sequence[str]) -> str | None:
    """Find the letter that a model chose.

    In order: the last statement such as 「答案是 B」 or a boxed letter; a letter that opens the
    output (``B``, ``(B)``, ``B. ...``); a letter that is alone on the last line; the only bracketed
    letter; the only letter that stands free; the only choice whose text is repeated. Full-width
    letters count. Only the first and the last 2,000 characters are read, so any output takes
    bounded time.

    Args:
        output: What the model wrote.
        choices: The texts of the choices, in the order of their letters.

    Returns:
        The letter, or None when there is none or no single one.
    """
    short = output if len(output) <= 2 * _WINDOW else f"{output[:_WINDOW]}\n{output[-_WINDOW:]}"
    text = unicodedata.normalize("NFKC", short).strip()[: 4 * _WINDOW]
    patterns = _patterns(LETTERS[: len(choices)])
    if stated := patterns["stated"].findall(text):
        return str(stated[-1]).upper()
    for name in ("first", "last"):
        if found := patterns[name].search(text):
            return found.group(1).upper()
    for name in ("bracketed", "free"):
        letters = set(patterns[name].findall(text))
        if letters:
            return letters.pop() if len(letters) == 1 else None
    return _repeated(text, choices)


@cache
def _patterns(letters: str) -> dict[str, re.Pattern[str]]:
    """The rules for choices with these letters. All repetitions are bounded."""
    letter = f"([{letters}{letters.lower()}])"
    # "The answer is a matter of ..." and "I" are words, unless a reason follows.
    word = r"(?:(?<=[AI])(?! +(?!(?:because|since|as|and|for)\b)[a-z])|(?<![AI]))"
    capital = f"([{letters}])"
    return {
        "stated": re.compile(
            rf"(?:{_SAYS}{_OPEN}|\\boxed{{(?:\\text{{)?){letter}{word}{_CLOSE}", re.IGNORECASE
        ),
        "first": re.compile(
            rf"\A[(\[【「*_\s]{{0,6}}{letter}(?:\Z|[)\]】」*_.:、。]|\s*\n|,(?! ?{capital}\b))"
        ),
        "last": re.compile(rf"(?:\A|\n)[(\[【「*_ ]{{0,6}}{letter}[)\]】」*_.。 ]{{0,6}}\Z"),
        "bracketed": re.compile(rf"[(\[【「]\s?{capital}\s?[)\]】」]"),
        "free": re.compile(rf"(?<![A-Za-z0-9]){capital}{word}(?![A-Za-z0-9'])"),
    }


def _repeated(text: str, choices: Sequence[str]) -> str | None:
    """The only choice whose words occur in the text; a longer choice hides those within it."""
    said = _joined(text)
    words = [_joined(choice) for choice in choices]
    found = [i for i, choice in enumerate(words) if choice.strip() and choice in said]
    whole = [i for i in found if not any(i != j and words[i] in words[j] for j in found)]
    return LETTERS[whole[0]] if len(whole) == 1 else None


def _joined(text: str) -> str:
    return f" {' '.join(tokens(text))} "


def right_letter(answer: str, choices: Sequence[str]) -> str:
    """The letter of the right choice, from a letter or from the choice's text.

    Raises:
        UserError: the answer is not one of the choices, or there are more choices than letters.
    """
    letters = LETTERS[: len(choices)]
    plain = unicodedata.normalize("NFKC", answer).strip()
    if len(choices) > len(LETTERS):
        raise UserError(f"{len(choices)} choices, but at most {len(LETTERS)} have letters")
    matching = [i for i, choice in enumerate(choices) if fold(choice) == fold(plain)]
    if len(matching) == 1:
        return letters[matching[0]]
    if len(plain) == 1 and plain.upper() in letters:
        return plain.upper()
    raise UserError(
        f"answer {answer!r} is neither one of the letters {letters} nor exactly one of the choices"
    )


def _right(benchmark: str, question: Question) -> str:
    try:
        return right_letter(question.answer, question.choices)
    except UserError as error:
        raise UserError(f"benchmark '{benchmark}', item '{question.item_id}': {error}") from error
