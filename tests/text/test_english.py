import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.text.english import sentences, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("One\ntwo\n\nthree.", ["One\ntwo\n\nthree."]),
        ("Mr. Ross came at 5 p.m. on Jan. 3. He left.", 2),
        ("He works for the U.S. Department of State.", 1),
        ("She lives in the U.S. However, he does not.", 2),
        ("It is read by J. R. Smith and T. S. Eliot.", 1),
        ("So do I. The cat does too.", 2),
        ("Well... maybe. Well... However!", 3),
        ("1. First\n2. Second", ["1.", "First\n2.", "Second"]),
        ("It cost 3.50 in 1990. then more", 1),
        (
            '"It is." He said (so.) Then "what?!" Yes',
            ['"It is."', "He said (so.)", 'Then "what?!"', "Yes"],
        ),
        ("Why?! Really...", 2),
        ("no end", 1),
        ("。中文。沒有。", 1),
        ("", []),
    ],
)
def test_sentences_are_those_of_the_original(text: str, expected: list[str] | int) -> None:
    found = sentences(text)
    assert (len(found) if isinstance(expected, int) else found) == expected


@given(st.text(st.one_of(st.characters(), st.sampled_from(" .?!\"')]-\nA1a"))))
def test_sentences_lose_nothing_but_blanks(text: str) -> None:
    whole = "".join(sentences(text)).split()
    assert "".join(whole) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I don't, I CAN'T!", ["I", "do", "n't", "I", "CA", "N'T"]),
        ("We'll see John's 'new' car.", ["We", "'ll", "see", "John", "'s", "new", "car."]),
        ("AND/OR 3D A:B A:1 x--y", ["AND/OR", "3D", "A", "B", "A:1", "x", "y"]),
        ("CANNOT gonna IT’S", ["CAN", "NOT", "gon", "na", "IT", "S"]),
    ],
)
def test_tokens_are_those_of_a_treebank(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected
