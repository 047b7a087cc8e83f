"""Extractive answers: the sentence that answers a question, its span, and the form asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from kyara_kedro.content import content_id
from kyara_kedro.teachers.rules import cloze_en, cloze_zh
from kyara_kedro.teachers.rules.cloze import Cloze
from kyara_kedro.teachers.rules.evidence import (
    question_terms,
    rank_sentences,
    support,
    terms,
)
from kyara_kedro.teachers.rules.evolution import Form, unwrap
from kyara_kedro.text.chunk import sentences
from kyara_kedro.text.fold import fold

Documents = Sequence[Mapping[str, str]]

_WH = (
    ("time", r"哪一?年|哪一天|什麼時候|何時|幾年|which year|what year|when|which date"),
    ("number", r"多少|幾|how many|how much|what percentage"),
    ("person", r"誰|哪[一]?位|何人|who|whom|哪一[家所個](?:公司|學校|單位)"),
    ("place", r"哪裡|何處|何地|哪[個一]?(?:地方|地區|城市|國家|縣|島)|where"),
    ("work", r"哪[一]?[部項](?:作品|書|著作|電影|小說|條約|法律|專輯)"),
    ("cause", r"為什麼|為何|原因|why"),
    ("definition", r"是什麼？?$|什麼是|^what (?:is|are|was|were)"),
    ("term", r"稱為什麼|稱作什麼|叫什麼|名為什麼|又稱|簡稱|called what|什麼"),
)
_UNIT = re.compile(r"(?:多少|幾|how many )([\u4e00-\u9fff]|[a-z]+)")
_WORDS = {
    "zh-TW": {
        "quote": "{span}。依據：{quoted}",
        "steps": "步驟一：資料中與問題相關的是這一句：{quoted}\n步驟二：由這句話得出答案：{span}。",
        "table": "| 答案 | 依據 |",
        "json": "答案",
    },
    "en": {
        "quote": "{span}. Source: {quoted}",
        "steps": "Step 1: the sentence that bears on it is {quoted}\nStep 2: the answer is {span}.",
        "table": "| answer | evidence |",
        "json": "answer",
    },
}
_ENDINGS = "。！？!?；; \n"
_NO_CITATION = str.maketrans("【】", "〔〕")
_SUPPORTS = 0.6
"""Least score of a supporting sentence, as a share of the first one's."""


@dataclass(frozen=True)
class Found:
    """What documents say about a question.

    Attributes:
        span: The literal answer; None when only a sentence could be found.
        evidence: The literal sentence that answers.
        document: Index of its document.
        support: Further (sentence, document) pairs on the question, best first.
        context: The sentence after the evidence, or before it at the end, in the same form.
    """

    span: str | None
    evidence: str
    document: int
    support: tuple[tuple[str, int], ...]
    context: tuple[tuple[str, int], ...]


@lru_cache(maxsize=4096)
def clozes(title: str, text: str, language: str) -> tuple[Cloze, ...]:
    """Questions of a text without those that ask the same for different answers."""
    made = (cloze_en if language == "en" else cloze_zh).clozes(title, text)
    answers: dict[str, set[str]] = {}
    for one in made:
        answers.setdefault(one.question, set()).add(one.answer)
    unique = {one.question: one for one in made if len(answers[one.question]) == 1}
    return tuple(unique.values())


def find(question: str, documents: Documents, language: str, threshold: float) -> Found | None:
    """The answer to a plain question; None when no sentence covers it enough.

    A question that the cloze rules make from one of the documents gets exactly the span that was
    removed. Others get their best sentence, and the span in it that fills their wh-word.

    Args:
        question: The question.
        documents: Mappings with ``title`` and ``text``.
        language: ``zh-TW`` or ``en``.
        threshold: Least score of the best sentence, see :mod:`evidence`.
    """
    ranked = rank_sentences(question, documents)
    exact = next(
        (
            (one, number)
            for number, document in enumerate(documents)
            for one in clozes(document["title"], document["text"], language)
            if one.question == question
        ),
        None,
    )
    span: str | None
    if exact is not None:
        made, number = exact
        first = next(one for one in ranked if (one.text, one.document) == (made.evidence, number))
        span = made.answer
    elif ranked and max(one.score for one in ranked) >= threshold:
        first = ranked[0]
        span = _filling(question, documents[first.document], first.text, language)
    else:
        return None
    least = max(threshold, _SUPPORTS * first.score)
    others = [one for one in ranked if one.text != first.text and one.score >= least]
    return Found(
        span=span,
        evidence=first.text,
        document=first.document,
        support=tuple((one.text, one.document) for one in support(question, first, others)),
        context=_context(documents, first.document, first.text),
    )


def _context(documents: Documents, number: int, evidence: str) -> tuple[tuple[str, int], ...]:
    text = documents[number]["text"]
    lines = [span.of(text) for span in sentences(text)]
    place = lines.index(evidence)
    beside = lines[place + 1 : place + 2] or lines[max(0, place - 1) : place]
    return tuple((line, number) for line in beside)


def _filling(
    question: str, document: Mapping[str, str], evidence: str, language: str
) -> str | None:
    """The span of a sentence that a question asks for, by the kind of its wh-word.

    Among several of a kind, one with the unit asked for (多少公里, how many days) goes first.
    """
    kinds = [kind for kind, words in _WH if re.search(words, question, re.IGNORECASE)]
    if language == "en":
        made = clozes(document["title"], document["text"], language)
        spans = [(one.kind, one.answer) for one in made if one.evidence == evidence]
    else:
        spans = cloze_zh.spans(evidence, document["title"])
    unit = _UNIT.search(question)
    candidates = [
        (kinds.index(kind), unit is None or unit[1] not in span, span)
        for kind, span in spans
        if kind in kinds and fold(span) not in fold(question)
    ]
    return min(candidates, key=lambda one: one[:2])[2] if candidates else None


@dataclass(frozen=True)
class Manner:
    """How an answer is to be written.

    Attributes:
        language: ``zh-TW`` or ``en``.
        brief: Whether a plain question gets the bare span.
        cite: Whether sources are named as 【id】.
        sentences: Most sentences of a plain answer.
        seed: Chooses among equal wordings.
    """

    language: str
    brief: bool
    cite: bool
    sentences: int
    seed: str


def answer(question: str, documents: Documents, manner: Manner, threshold: float) -> str | None:
    """Answer a question, plain or evolved; None when the documents do not bear on it.

    Args:
        question: The question, perhaps in one of the templates of ``evolution``.
        documents: Mappings with ``passage_id``, ``title`` and ``text``.
        manner: How to write the answer.
        threshold: As in :func:`find`.
    """
    asked = unwrap(question)
    found = [find(one, documents, manner.language, threshold) for one in asked.questions]
    parts = [
        _write(
            one, documents, manner, "span" if manner.brief and asked.form == "plain" else asked.form
        )
        for one in found
        if one is not None
    ]
    if len(parts) < len(found):
        return None
    if len(parts) == 1:
        return parts[0]
    return "\n".join(f"{number}. {part}" for number, part in enumerate(parts, 1))


def _write(found: Found, documents: Documents, manner: Manner, form: Form) -> str:
    zh = manner.language != "en"

    def source(number: int) -> str:
        return f"【{documents[number]['passage_id']}】" if manner.cite else ""

    def quote(text: str) -> str:
        return text.translate(_NO_CITATION) if manner.cite else text

    def stated(text: str, number: int) -> str:
        return f"{quote(text).rstrip(_ENDINGS + '.')}{source(number)}{'。' if zh else '.'}"

    def told(further: Sequence[tuple[str, int]]) -> str:
        parts = [sentence, *(stated(*one) for one in further)]
        return _opening(found, manner) + ("" if zh else " ").join(parts)

    cited = source(found.document)
    sentence = stated(found.evidence, found.document)
    evidence = quote(found.evidence)
    span = quote(found.span or found.evidence.rstrip(_ENDINGS))
    quoted = f"「{evidence}」" if zh else f'"{evidence}"'
    row = " | ".join(cell.replace("|", "／") for cell in (span, f"{evidence}{cited}"))
    words = _WORDS["zh-TW" if zh else "en"]
    forms: dict[Form, str] = {
        "plain": told(found.support[: manner.sentences - 1]),
        "background": told((found.support or found.context)[: max(1, manner.sentences - 1)]),
        "sentence": sentence,
        "span": f"{span}{cited}",
        "quote": words["quote"].format(span=f"{span}{cited}", quoted=quoted),
        "steps": words["steps"].format(span=span, quoted=f"{quoted}{cited}"),
        "table": f"{words['table']}\n| --- | --- |\n| {row} |",
        "json": json.dumps({words["json"]: f"{span}{cited}"}, ensure_ascii=False),
    }
    return forms[form]


def _opening(found: Found, manner: Manner) -> str:
    """What leads to the sentence: the answer itself, or where it comes from."""
    zh = manner.language != "en"
    if manner.cite:
        choices = (
            ["根據參考文件，", "參考文件指出，", ""] if zh else ["According to the documents, ", ""]
        )
    elif found.span is not None and len(found.span) <= 24:
        choices = (
            [f"答案是{found.span}。", f"{found.span}。", ""] if zh else [f"{found.span}. ", ""]
        )
    else:
        choices = [""]
    return choices[int(content_id(manner.seed, "opening")[:8], 16) % len(choices)]


def keywords(title: str, text: str, language: str, count: int) -> list[str]:
    """Names, places, dates and terms that a text is about, in its order."""
    wanted = [
        one.answer
        for one in clozes(title, text, language)
        if one.kind in ("person", "place", "work", "term", "time") and len(one.answer) <= 24
    ]
    if language != "en":
        wanted += re.findall(r"「([^「」，。]{2,12})」", text)
    else:
        wanted += re.findall(r"(?<=[a-z] )[A-Z][\w'-]+(?: [A-Z][\w'-]+)+", text)
    unique = dict.fromkeys(word for word in wanted if fold(word) not in fold(title))
    return sorted(list(unique)[:count], key=text.find)


def search_queries(question: str, language: str) -> list[str]:
    """Queries for a question: itself, its scope and key terms, its key terms alone."""
    plain = " ".join(unwrap(question).questions)
    scope = re.match(r"關於「(.+?)」，|Regarding \"(.+?)\", ", plain)
    subject = next((group for group in scope.groups() if group), "") if scope else ""
    body = plain[scope.end() :] if scope else plain
    if language == "en":
        core = " ".join(dict.fromkeys(word for word in terms(body) if word in question_terms(body)))
    else:
        core = re.sub(
            r"請問|為什麼|哪一[年天位部項家所個][\u4e00-\u9fff]{0,2}?(?=[\u4e00-\u9fff])|哪裡"
            r"|什麼時候|什麼|多少|誰|？",
            " ",
            body,
        )
        core = " ".join(core.split())
    return list(
        dict.fromkeys(query for query in (plain, f"{subject} {core}".strip(), core) if query)
    )
