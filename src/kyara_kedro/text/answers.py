"""Whether a text would give an answer away."""

from kyara_kedro.text.fold import match_key
from kyara_kedro.text.numbers import numbers_in


def gives_away(text: str, answer: str) -> bool:
    """Whether a text holds an answer, in its words or as the numbers that it states."""
    numbers = set(numbers_in(answer))
    return match_key(answer) in match_key(text) or bool(
        numbers and numbers <= set(numbers_in(text))
    )
