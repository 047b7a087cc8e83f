"""Whether replies say what their documents say, by their words alone."""

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from kyara_kedro.pipelines.asking import Fault
from kyara_kedro.pipelines.synthesize.desk import titled
from kyara_kedro.pipelines.synthesize.harvest import Row
from kyara_kedro.text.citations import content_terms, without_common
from kyara_kedro.text.fold import fold, is_cjk, match_key
from kyara_kedro.text.numbers import measures, numbers_in, without_numbers, without_tallies
from kyara_kedro.text.statements import statements

_FREE = ("cause", "definition")
"""Kinds of questions whose answer is a clause, which every reply puts in other words."""
_COUNTED = re.compile(
    fold(
        r"平方|立方|星期|小時|分鐘|[週周天]|[公西]元|世紀|年代|公[里尺分厘斤克噸升頃畝]|[年月日號時分秒歲個位名人次種項座條隻頭棵本部件艘輛所間家層樓倍元塊度餘多約近每到至前後]"
        r"|\b(?:about|around|some|over|nearly|and|to|from|years?|people|km|m|kg|cm)\b"
    )
)
"""What stands around a number: approximations, measure words and units."""
_OR = fold("(?:與|和|或|及|跟|還是|抑或|、| or | and )")
_CHOOSES = re.compile(fold("哪|何者|誰|較|更|還是"))
_WHICH = re.compile(r"\b(?:which|who|what)\b[^.?!]* or ")


def unsupported(text: str, question: Row, documents: Sequence[Row], least: float) -> Fault | None:
    """Why an answer does not count as grounded in documents, or None.

    Looked at is the share of its content terms that the documents or the question hold; a number
    that neither states, by its value, halves it, unless it counts what the answer lists. A frame
    around what is taken from the documents is let pass, unlike in a sentence that cites.
    """
    stated = "\n".join(statements(text))
    sources = [question["text"], *map(titled, documents)]
    terms = content_terms(without_common(stated)) or content_terms(stated)
    missing = terms.difference(*map(_terms, sources))
    unknown = set(numbers_in(without_tallies(stated))).difference(*map(_numbers, sources))
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

    It has to hold every number of it, by value and with no other measure, and half of the content
    terms that are left; a short answer as such, or a part of it as the whole reply. Causes and
    definitions, which nobody repeats word for word, are not compared.
    """
    known = question["answer"]
    if question["parent"] is not None or not known or question.get("kind") in _FREE:
        return None
    if _states_numbers(known, text) and _states_words(known, text):
        return None
    return "other_answer", f"the passage answers {known[:40]!r}, the reply says {text[:60]!r}"


def _states_numbers(known: str, text: str) -> bool:
    """Whether a text has all numbers of an answer, none of them with another measure."""
    said = measures(text)
    return all(
        any(value == other and (unit in ("", named) or not named) for other, named in said)
        for value, unit in measures(known)
    )


def _states_words(known: str, text: str) -> bool:
    """Whether a text has half of an answer's words, numbers and what they count aside."""
    said, wanted = match_key(text), match_key(known)
    if measures(known):
        wanted = match_key(_COUNTED.sub(" ", fold(without_numbers(known))))
        return 2 * sum(letter in said for letter in wanted) >= len(wanted)
    if wanted in said or (len(said) > 1 and said in wanted):
        return True
    terms = content_terms(wanted)
    return 2 * len(terms & content_terms(text)) >= len(terms) > 0


@lru_cache(maxsize=1024)
def _terms(text: str) -> frozenset[str]:
    return content_terms(text)


@lru_cache(maxsize=1024)
def _numbers(text: str) -> frozenset[Fraction]:
    return frozenset(numbers_in(text))


def gives_away(question: str, answer: str) -> Fault | None:
    """Why a question that names its own answer cannot be used, or None.

    A number is given away by its value with its unit, words where they stand as words. A question
    that lets choose between the answer and others names it, as it has to.
    """
    asked, key = fold(question), fold(answer).strip(" .,。，、")
    if not key or _is_choice(asked, key):
        return None
    if numbers := measures(answer):
        found = set(numbers) <= set(measures(question)) and match_key(
            _COUNTED.sub(" ", fold(without_numbers(answer)))
        ) in match_key(question)
    elif is_cjk(key[0]):
        found = len(match_key(key)) > 1 and match_key(key) in match_key(question)
    else:
        found = re.search(rf"(?<!\w){re.escape(key)}(?![a-z\d_])", asked) is not None
    return ("answer_in_question", f"{answer[:40]!r} is in {question[:60]!r}") if found else None


def _is_choice(asked: str, answer: str) -> bool:
    """Whether a folded question lets choose between an answer and another: A 與 B 何者較高."""
    one = re.escape(answer)
    offered = re.search(rf"{_OR} ?{one}|{one} ?{_OR}", asked)
    if offered is None:
        return False
    return bool(_CHOOSES.search(asked, offered.end()) or _WHICH.search(asked))
