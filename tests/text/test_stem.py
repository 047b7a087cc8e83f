import pytest

from kyara_kedro.text.stem import stem

PAPER = (
    "caresses caress, ponies poni, ties ti, cats cat, feed feed, agreed agre, plastered plaster, "
    "bled bled, motoring motor, sing sing, conflated conflat, troubled troubl, sized size, "
    "hopping hop, falling fall, hissing hiss, fizzed fizz, failing fail, filing file, happy happi, "
    "sky sky, relational relat, conditional condit, rational ration, digitizer digit, "
    "radicalli radic, vietnamization vietnam, predication predic, operator oper, feudalism feudal, "
    "decisiveness decis, hopefulness hope, sensibiliti sensibl, triplicate triplic, "
    "formalize formal, electrical electr, goodness good, revival reviv, allowance allow, "
    "airliner airlin, gyroscopic gyroscop, adjustable adjust, irritant irrit, replacement replac, "
    "adjustment adjust, dependent depend, adoption adopt, homologou homolog, communism commun, "
    "effective effect, bowdlerize bowdler, probate probat, rate rate, cease ceas, "
    "controll control, roll roll"
)
"""Examples of Porter's paper (1980)."""


@pytest.mark.parametrize(("word", "stemmed"), [pair.split() for pair in PAPER.split(", ")])
def test_the_examples_of_the_paper(word: str, stemmed: str) -> None:
    assert stem(word) == stemmed


def test_what_is_no_english_word_stays() -> None:
    assert [stem(word) for word in ("is", "翻譯s", "Cats", "e5s", "")] == [
        *("is", "翻譯s", "Cats", "e5s", ""),
    ]
