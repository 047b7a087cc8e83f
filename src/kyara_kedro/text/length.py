"""How many tokens a text will take, estimated without loading a tokenizer."""

from math import ceil

from kyara_kedro.text import script

_IDEOGRAPHS_PER_TOKEN = 1.4
_CHARACTERS_PER_TOKEN = 4.2
_LETTERS_PER_TOKEN = 2.0


def estimate_tokens(text: str) -> int:
    """Estimate a text's length in tokens of the Gemma-2 tokenizer.

    An estimate for budgets and statistics, not for truncation: 1.4 Chinese characters, kana or
    full-width signs a token, one digit a token (the tokenizer splits numbers), 4.2 of Latin
    letters, blanks and ASCII signs, 2 letters of other scripts.
    """
    counts = script.class_counts(text)
    ideographs = counts[script.SYMBOL] + counts[script.KANA] + sum(counts[script.SHARED :])
    rest = counts[script.LATIN] + counts[script.OTHER]
    letters = counts[script.LETTER] + counts[script.ACCENTED]
    return ceil(
        ideographs / _IDEOGRAPHS_PER_TOKEN
        + counts[script.DIGIT]
        + rest / _CHARACTERS_PER_TOKEN
        + letters / _LETTERS_PER_TOKEN
    )
