"""Whether replies say what their documents say, by their words alone."""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from kyara_kedro.pipelines.asking import Fault
from kyara_kedro.pipelines.synthesize.desk import titled
from kyara_kedro.pipelines.synthesize.harvest import Row
from kyara_kedro.text.citations import content_terms
from kyara_kedro.text.fold import match_key
from kyara_kedro.text.numbers import numbers_in
from kyara_kedro.text.statements import statements


def unsupported(text: str, question: Row, documents: Sequence[Row], least: float) -> Fault | None:
    """Why an answer does not count as grounded in documents, or None.

    Looked at is the share of its content terms that the documents or the question hold; a number
    that neither states, by its value, halves it. A frame around what is taken from the documents is
    let pass, unlike in a sentence that cites.
    """
    stated = "\n".join(statements(text))
    sources = [question["text"], *map(titled, documents)]
    terms = content_terms(stated)
    missing = terms.difference(*map(_terms, sources))
    unknown = set(numbers_in(stated)).difference(*map(_numbers, sources))
    score = (1 - len(missing) / max(1, len(terms))) / 2 ** len(unknown)
    if score >= least:
        return None
    lacks = [*map(str, sorted(unknown)), *sorted(missing)][:5]
    return (
        "unsupported",
        f"{score:.0%} of it is in the documents, not {', '.join(lacks)}: {text[:40]}",
    )


def another_answer(text: str, question: Row) -> Fault | None:
    """Why a reply does not hold the known answer of a root question, or None.

    It has to hold every number of it, by value, and half of its content terms.
    """
    known = question["answer"]
    if question["parent"] is not None or not known:
        return None
    numbers = set(numbers_in(known)) - set(numbers_in(text))
    wanted = content_terms(known)
    found = wanted & content_terms(text) if wanted else match_key(known) in match_key(text)
    if numbers or (2 * len(found) < len(wanted) if isinstance(found, frozenset) else not found):
        return "other_answer", f"the passage answers {known[:40]!r}, the reply says {text[:60]!r}"
    return None


@lru_cache(maxsize=1024)
def _terms(text: str) -> frozenset[str]:
    return content_terms(text)


@lru_cache(maxsize=1024)
def _numbers(text: str) -> frozenset[Fraction]:
    return frozenset(numbers_in(text))


def gives_away(question: str, answer: str) -> Fault | None:
    """Why a question that names its own answer cannot be used, or None."""
    if match_key(answer) in match_key(question):
        return "answer_in_question", f"{answer[:40]!r} is in {question[:60]!r}"
    return None
