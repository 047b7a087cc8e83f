"""What in a document bears on a question: weighted overlap of character pairs and words.

Coverage is the share of the question's weight found in a sentence or passage. The weights stand in
for inverse document frequencies and need no corpus: function words count nothing, numbers and names
more than common pairs. On DRCD they tell a question's paragraph from the best lexical match of
another article as well as frequencies counted on the corpus do (AUC 0.96 and 0.95).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kyara_kedro.text.chunk import sentences
from kyara_kedro.text.fold import fold, is_cjk

_RUN = re.compile(r"[\u3400-\u9fff]+|[^\W\u3400-\u9fff_]+(?:[.,]\d+)*")
_FUNCTION = frozenset(
    fold(
        "的了在是和與及也為之於有不這其中一個而以被由從到對將並或但就都很更最把讓使等所此該那"
        "些們上下"
    )
)
_STOP = frozenset(
    """
    a about an and answer are as at be been but by can could date did do does following for from
    had has have he her his how i in into is it its many may me might much not of on or please
    question she so tell than that the their them then there these they this those to was we were
    what when where which who whom whose why will with would year you
    """.split()  # noqa: SIM905
)
_ASKING = re.compile(
    fold(
        "請問|請回答|請說明|哪一[年天位部項家所個份]|哪[裡些位個年種]|什麼時候|什麼|為什麼|為"
        "何|多少|幾|誰|如何|怎麼"
        "|關於|何時|何地|何人|何處|是否|嗎|呢"
    )
)


@dataclass(frozen=True)
class Sentence:
    """A sentence of a document with its coverage of a question.

    Attributes:
        text: The literal sentence.
        document: Index of its document.
        position: Index of the sentence in the document.
        coverage: Share of the question's weight, in [0, 1].
    """

    text: str
    document: int
    position: int
    coverage: float


def terms(text: str) -> list[str]:
    """Folded pairs of adjacent ideographs and other words; a lone ideograph is its own term."""
    found: list[str] = []
    for run in _RUN.findall(fold(text)):
        if is_cjk(run[0]) and len(run) > 1:
            found.extend(run[i : i + 2] for i in range(len(run) - 1))
        else:
            found.append(run)
    return found


def question_terms(question: str) -> list[str]:
    """Distinct terms of a question without its wh-words, in order."""
    return list(dict.fromkeys(terms(_ASKING.sub(" ", fold(question)))))


def weight(term: str) -> float:
    """How much a term tells: 0 for function words, 2 for numbers, 1.5 for Latin words, else 1."""
    if is_cjk(term[0]):
        return (1.0, 0.4, 0.0)[sum(letter in _FUNCTION for letter in term[:2])]
    if term in _STOP or (len(term) == 1 and not term.isdigit()):
        return 0.0
    return 2.0 if term[0].isdigit() else 1.5


def coverage(asked: Sequence[str], text: str) -> float:
    """Share of the asked terms' weight that a text holds; 0 when nothing is asked."""
    held = set(terms(text))
    total = sum(weight(term) for term in asked)
    return sum(weight(term) for term in asked if term in held) / total if total else 0.0


def rank_sentences(question: str, documents: Sequence[Mapping[str, str]]) -> list[Sentence]:
    """Sentences of all documents, best coverage first, then in reading order.

    A sentence also counts the terms of its document's title, which it seldom repeats.

    Args:
        question: The question.
        documents: Mappings with ``title`` and ``text``.
    """
    asked = question_terms(question)
    found = [
        Sentence(
            text=sentence,
            document=number,
            position=position,
            coverage=coverage(asked, f"{document['title']}\n{sentence}"),
        )
        for number, document in enumerate(documents)
        for position, sentence in enumerate(
            span.of(document["text"]) for span in sentences(document["text"])
        )
    ]
    return sorted(found, key=lambda s: (-s.coverage, s.document, s.position))
