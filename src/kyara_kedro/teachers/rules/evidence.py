"""What in a document bears on a question: weighted overlap of character pairs and words.

Coverage is the share of the question's weight found in a sentence or passage. A term's weight is
its inverse document frequency when a corpus was counted, else a prior: function words nothing,
numbers and names more than common pairs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from kyara_kedro.text.chunk import sentences
from kyara_kedro.text.fold import fold, is_cjk

_RUN = re.compile(r"[\u3400-\u9fff]+|[^\W\u3400-\u9fff_]+(?:[.,]\d+)*")
_FUNCTION = frozenset(fold("的了在是和與及也為之於有不這其中一個而以被由從到對將並或但就都很更最把讓使等所此該那些們上下"))
_STOP = frozenset(
    "a an the of in on at to for from by with and or but is are was were be been being has have had do"
    " does did can could will would should may might it its this that these those they them he she his"
    " her their there what which who whom whose when where why how many much as about into than then so"
    " not no year date please answer question following according document tell me i you we".split()
)
_ASKING = re.compile(
    fold(
        "請問|請回答|請說明|哪一[年天位部項家所個份]|哪[裡些位個年種]|什麼時候|什麼|為什麼|為何|多少|幾|誰|如何|怎麼"
        "|關於|何時|何地|何人|何處|是否|嗎|呢"
    )
)


class Weights(Protocol):
    """How much a term tells."""

    def weight(self, term: str) -> float:
        """Weight of a term, at least 0."""


@dataclass(frozen=True)
class Prior:
    """Weights without a corpus, by the kind of characters."""

    def weight(self, term: str) -> float:
        """0 for function words, 2 for numbers, 1.5 for words in Latin letters, else 1."""
        if is_cjk(term[0]):
            return (1.0, 0.4, 0.0)[sum(letter in _FUNCTION for letter in term[:2])]
        if term in _STOP or (len(term) == 1 and not term.isdigit()):
            return 0.0
        return 2.0 if term[0].isdigit() else 1.5


@dataclass(frozen=True)
class DocumentFrequency:
    """Inverse document frequencies counted over a corpus.

    Attributes:
        documents: Number of texts counted.
        counts: Texts that hold a term.
    """

    documents: int
    counts: Mapping[str, int]

    @classmethod
    def count(cls, texts: Iterable[str]) -> Self:
        """Count over texts, one pass, memory in the number of distinct terms."""
        counts: Counter[str] = Counter()
        documents = 0
        for text in texts:
            counts.update(set(terms(text)))
            documents += 1
        return cls(documents, counts)

    def weight(self, term: str) -> float:
        """log((documents + 1) / (count + 0.5)), the prior's zeros kept."""
        if not Prior().weight(term):
            return 0.0
        return max(0.0, math.log((self.documents + 1) / (self.counts.get(term, 0) + 0.5)))


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


def coverage(asked: Sequence[str], text: str, weights: Weights) -> float:
    """Share of the asked terms' weight that a text holds; 0 when nothing is asked."""
    held = set(terms(text))
    total = sum(weights.weight(term) for term in asked)
    return sum(weights.weight(term) for term in asked if term in held) / total if total else 0.0


def rank_sentences(
    question: str, documents: Sequence[Mapping[str, str]], weights: Weights
) -> list[Sentence]:
    """Sentences of all documents, best coverage first, then in reading order.

    A sentence also counts the terms of its document's title, which it seldom repeats.

    Args:
        question: The question.
        documents: Mappings with ``title`` and ``text``.
        weights: The terms' weights.
    """
    asked = question_terms(question)
    found = [
        Sentence(
            text=sentence,
            document=number,
            position=position,
            coverage=coverage(asked, f"{document['title']}\n{sentence}", weights),
        )
        for number, document in enumerate(documents)
        for position, sentence in enumerate(
            span.of(document["text"]) for span in sentences(document["text"])
        )
    ]
    return sorted(found, key=lambda s: (-s.coverage, s.document, s.position))
