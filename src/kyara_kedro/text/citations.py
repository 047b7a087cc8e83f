"""Citations of reference documents, 【id_1a2b3c4d】: who cites what, and does it say so?

Whether a passage supports a sentence is judged by what can be seen without a model: shared words,
numbers by value, negation. A sentence that is accepted repeats its passage; one that says the same
in other words is rejected, and one that joins the passage's own words to a falsehood is accepted.
Where that is not enough, a model has to judge entailment.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from kyara_kedro.text.chunk import sentences
from kyara_kedro.text.fold import fold, is_cjk
from kyara_kedro.text.numbers import quantities

CITATION = re.compile(r"【(id_[0-9a-f]{8,32})】")
THRESHOLD = 0.6
"""Least score of a supported sentence: above what one missing number, name or negation leaves. On
the half of DRCD's development set that it was not chosen on, it accepts 1.5 % of the sentences
that cite another paragraph of their article."""

_MALFORMED = re.compile(
    r"[\[［(（〔〖{｛「<＜【]{0,3}[^\S\n]{0,3}"
    r"(?:(?:參考|参考)?(?:文件|文檔|文档|資料|资料)(?:編號|编号)?|documents?(?: id)?|source)?"
    r"[\s:：]{0,3}"
    r"(?<![A-Za-z0-9_])[iIｉＩ][dDｄＤ][_＿\-][0-9A-Za-z０-９]{4,40}"
    r"[^\S\n]{0,3}[\]］)）〕〗}｝」>＞】]{0,3}"
    r"|[\[［]\d{1,2}[\]］]"
    r"|【\s{0,3}(?:[0-9a-f]{8,32}|id|(?:參考|参考)?(?:文件|文檔|文档|資料|资料)?(?:編號|编号)?\s?[\d一二三四五]{0,2}"
    r"|(?:reference )?documents?(?: id)?\s?\d{0,2})\s{0,3}】",
    re.IGNORECASE,
)
_JOINED = ("；", ";")
_INTRODUCES = ("：", ":")
_MARKER = re.compile(r"^\s*(?:[-*•#>]+\s+|[(（]?\d{1,2}(?:[)）、]|\.(?!\d))\s*)")
_MARKUP = re.compile(r"\*\*|__|`")


_CONNECTIVE = re.compile(
    r"(?:根據|根据|依據|依据|依照|從|从|由)(?:上述|以上|所附|提供的)?(?:參考|参考)?(?:文件|文檔|文档|資料|资料|文獻|文献|內容|内容)"
    r"(?:中|裡|里)?(?:所述|所載|的記載|的记载|內容|内容|指出|顯示|显示|可知|可以得知|來看|来看)?[，,]?"
    r"|(?:參考|参考)?(?:文件|文檔|文档|資料|资料)(?:中|裡|里)?(?:還|还|也|並)?(?:指出|提到|顯示|显示|記載|记载|說明|说明)[，,：:]?"
    r"|(?:正確|正确)?答案(?:是|為|为)[：:]?|(?:綜上所述|综上所述|總而言之|总而言之|總之|总之|換句話說|换句话说|也就是說|也就是说"
    r"|具體來說|具体来说|簡單來說|简单来说|值得注意的是|需要注意的是|此外|另外|因此|所以|例如|同時|同时|首先|其次|最後|最后)[，,]"
    r"|\b(?:according to|based on|as stated in) (?:the )?(?:provided |given |reference )?"
    r"documents?,?"
    r"|\bthe (?:reference )?documents? (?:also )?(?:states?|says?|notes?|mentions?|shows?) that"
    r"|\b(?:the answer is|in (?:addition|summary|short|other words)|therefore|moreover|furthermore"
    r"|for example|finally|first|second|thus|overall|additionally)\b,?",
    re.IGNORECASE,
)
_CJK = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_CLAUSE = re.compile(r"(?:[^，。,.;:；：!?！？…、\n]|(?<=\d)[.,](?=\d))+")
_UNIT = re.compile(rf"[{_CJK}]|\d+(?:[.,]\d+)*|(?:(?![{_CJK}])[^\W\d_])+")
_NOT = re.compile(r"n['’]t\b|(?<=can)not\b", re.IGNORECASE)
_INFLECTION = re.compile(r"(?<=\w{3})(?:ing|ed|es|s|ly)$")
_NUMERALS = frozenset(fold("零〇一二三四五六七八九十百千萬億兩"))
_FUNCTION = frozenset(
    fold(
        "的了在是和與及也為之於有其中而以被由從到對將並或但就都很更最把讓使等所此該那些們這個上下"
        "後前又則且因得著過可會要能"
    )
)
_STOP = (
    "a about also an and are as at be been but by can did do does for from had has have he her his "
    "how i in into is it its may of on or s she so that the their them then there these they this "
    "those to was we were what when where which who whom whose why will with would you"
)
_FUNCTION |= frozenset(_STOP.split())
_EMPTY = _FUNCTION | _NUMERALS
_NEGATIONS: Mapping[str, frozenset[str]] = {
    fold(negation): frozenset(fold(others))
    for negation, others in {
        "不": "但僅同過斷少久論管只光",
        "沒": "收落",
        "無": "論線限數機黨錡",
        "未": "來",
        "非": "常洲",
        "勿": "",
        **dict.fromkeys(("not", "no", "never", "without", "nor", "neither"), ""),
    }.items()
}
"""Words that negate, each with the characters after which it is part of another word."""
_MODAL = frozenset(fold("有法能會可曾被是必應該得要再"))
_REACH = 6
"""Units after a negation that it is taken to negate."""
_NAME = 3
"""Characters in a row that, found nowhere, look like a name or another fact."""
FAULTS = ("unknown_citation", "malformed_citation", "no_citation", "unsupported_claim")
"""The faults of a report, the gravest first."""


class Claim(NamedTuple):
    """A sentence without its citations, and the documents that it cites, each as often."""

    text: str
    cited: tuple[str, ...]


class Support(NamedTuple):
    """How far passages say what a sentence says.

    Attributes:
        score: Share of the sentence's content found there, in [0, 1], halved for every number, name
            and negation that is not.
        missing: What is not found, as the sentence writes it.
    """

    score: float
    missing: tuple[str, ...]


@dataclass(frozen=True)
class CitationReport:
    """The citations of one answer, counted as in ALCE (Gao et al. 2023, arXiv:2305.14627).

    Attributes:
        sentences: Sentences that state something.
        cited_sentences: Those that cite.
        supported_sentences: Those that what they cite supports.
        citations: Citations of given documents.
        supported_citations: Those of supported sentences, but for documents that neither support
            the sentence alone nor are needed beside the others.
        redundant_citations: Citations that could go: a document cited twice by one sentence, or
            where the sentence's other documents support it without this one; one that the sentence
            before, on the same line, cites alike; and any of a sentence that states nothing.
        faults: Reason and detail of each fault, the gravest reason first, then in order.
    """

    sentences: int
    cited_sentences: int
    supported_sentences: int
    citations: int
    supported_citations: int
    redundant_citations: int
    faults: tuple[tuple[str, str], ...]

    def fault(self) -> tuple[str, str] | None:
        """The gravest fault: an unknown or malformed citation, none, or an unsupported claim."""
        return self.faults[0] if self.faults else None


def cited(text: str) -> list[str]:
    """The documents that a text cites, in order, each as often as it is cited."""
    return CITATION.findall(text)


def citation_fault(text: str, allowed: Collection[str]) -> tuple[str, str] | None:
    """Say what is wrong with an answer's citations.

    Args:
        text: The answer.
        allowed: Ids of the documents that were given.

    Returns:
        Reason and detail, or None when there is a citation and all of them name given documents.
    """
    names = cited(text)
    if not names:
        return "no_citation", "the answer cites no document"
    unknown = [name for name in names if name not in allowed]
    if unknown:
        return "unknown_citation", f"{unknown[0]} is not among the documents"
    return None


def malformed(text: str) -> list[str]:
    """What is meant as a citation but has another form: [id_…], 【id_…、id_…】, 【文件一】."""
    return [match[0].strip() for match in _MALFORMED.finditer(CITATION.sub("", text))]


def claims(answer: str) -> list[Claim]:
    """The sentences of an answer, each with the citations in it or right after it.

    A citation after the full stop belongs to the sentence before, one that opens a line to the
    sentence that follows. Clauses that end in a semicolon and cite nothing are read with the next.
    """
    return [claim for claim, _ in _claims(answer)]


def content_terms(text: str) -> frozenset[str]:
    """Folded words, and pairs of neighbouring ideographs, that are not function words alone."""
    clauses = ([unit for _, unit in clause] for clause in _clauses(text))
    return frozenset(term for clause in clauses for term in _terms(clause))


def supported(claim: str, passages: Sequence[str], question: str = "") -> Support:
    """Judge whether passages, taken together, say what a sentence says, by its words.

    A Chinese character counts as found when a pair with one of its neighbours is in a passage, a
    word when it is. Function words and what the question says already count nothing; a sentence
    that says no more than the question is measured as a whole. Each of these halves the score: a
    number (or a number of years, days, ...) that no passage states; three or more characters in a
    row, a Latin word in Chinese or a capitalised word inside English that no passage has; a
    negation that no passage has before the same words, or a passage's that the sentence drops.

    Args:
        claim: One sentence without citations.
        passages: Texts, best with their titles.
        question: What the answer replies to.
    """
    said, asked = _said(_bare(claim)), _said(question)
    sources = [_said(passage) for passage in passages]
    found, total, gaps = _coverage(said, sources, asked)
    if not total and said.quantities <= asked.quantities:
        found, total, gaps = _coverage(said, sources, _said(""))
    missing = [gap for gap, is_name in gaps if is_name]
    for value, unit in said.quantities:
        known = (value, unit) in asked.quantities or any(
            (value, unit) in source.quantities if unit else value in source.values
            for source in sources
        )
        if not known:
            missing.append(f"{value}{unit}")
    missing.extend(_turned(said, sources, asked))
    score = found / total if total else 1.0
    named = [gap for gap, is_name in gaps if not is_name]
    return Support(score * 0.5 ** len(missing), (*missing, *named))


def citation_report(
    answer: str,
    passages: Mapping[str, str],
    question: str = "",
    threshold: float = THRESHOLD,
) -> CitationReport:
    """Check and count the citations of an answer; a refusal has none and is not asked about here.

    Args:
        answer: The answer.
        passages: What was given, by id; best with titles.
        question: What the answer replies to.
        threshold: Least score of a supported sentence.
    """
    unknown = [name for name in cited(answer) if name not in passages]
    found = [("unknown_citation", f"{name} is not among the documents") for name in unknown]
    found += [("malformed_citation", f"{text!r} is no 【id】") for text in malformed(answer)]
    if not cited(answer):
        found.append(("no_citation", "the answer cites no document"))
    stating = citing = supporting = citations = precise = redundant = 0
    before: tuple[frozenset[str], int] = frozenset(), -1
    for claim, line in _claims(answer):
        names = [name for name in dict.fromkeys(claim.cited) if name in passages]
        citations += sum(name in passages for name in claim.cited)
        redundant += sum(name in passages for name in claim.cited) - len(names)
        if not states(claim.text):
            redundant += len(names)
            continue
        stating += 1
        citing += bool(claim.cited)
        repeats = bool(names) and before == (frozenset(names), line)
        before = frozenset(names), line
        if not names:
            continue

        def holds(some: Sequence[str], text: str = claim.text) -> bool:
            texts = [passages[name] for name in some]
            return supported(text, texts, question).score >= threshold

        if not holds(names):
            missing = supported(claim.text, [passages[name] for name in names], question).missing
            detail = f"{claim.text!r} is not in {', '.join(names)}: {', '.join(missing[:5])}"
            found.append(("unsupported_claim", detail))
            continue
        needed = list(names)
        for name in reversed(names):
            if len(needed) > 1 and holds([other for other in needed if other != name]):
                needed.remove(name)
        supporting += 1
        precise += sum(name in needed or holds([name]) for name in claim.cited if name in passages)
        redundant += len(names) if repeats else len(names) - len(needed)
    return CitationReport(stating, citing, supporting, citations, precise, redundant, tuple(found))


def summary(reports: Iterable[CitationReport]) -> dict[str, float]:
    """Counts over many answers, and ALCE's recall and precision of citations, for a report."""
    known = list(reports)
    counts: dict[str, float] = {"answers": len(known)}
    for name in (
        "sentences",
        "cited_sentences",
        "supported_sentences",
        "citations",
        "supported_citations",
        "redundant_citations",
    ):
        counts[name] = sum(getattr(report, name) for report in known)
    reasons = Counter(report.faults[0][0] for report in known if report.faults)
    return counts | {
        "citation_recall": counts["supported_sentences"] / (counts["sentences"] or 1),
        "citation_precision": counts["supported_citations"] / (counts["citations"] or 1),
        "over_citation": counts["redundant_citations"] / (counts["citations"] or 1),
        **{f"fault_{reason}": reasons[reason] for reason in FAULTS},
    }


def states(sentence: str) -> bool:
    """Whether a sentence states something: it has content and does not just lead to a list."""
    return not sentence.rstrip().endswith(_INTRODUCES) and bool(content_terms(_bare(sentence)))


def _bare(sentence: str) -> str:
    """A sentence without markup, list marks and turns of phrase that lead to a statement."""
    return _CONNECTIVE.sub("", _MARKER.sub("", _MARKUP.sub("", sentence)))


def _claims(answer: str) -> list[tuple[Claim, int]]:
    """Claims with the number of the line that each stands on."""
    found: list[tuple[Claim, int]] = []
    for number, line in enumerate(answer.split("\n")):
        plain, marks = _without_citations(line)
        spans = _whole_sentences(plain, [position for position, _ in marks])
        if not spans:
            if marks and found:
                claim, at = found[-1]
                names = tuple(name for _, name in marks)
                found[-1] = claim._replace(cited=claim.cited + names), at
            continue
        starts = [start for start, _ in spans]
        owned: list[list[str]] = [[] for _ in spans]
        for position, name in marks:
            owned[max(bisect_left(starts, position) - 1, 0)].append(name)
        for (start, end), own in zip(spans, owned, strict=True):
            found.append((Claim(plain[start:end], tuple(own)), number))
    return found


def _without_citations(line: str) -> tuple[str, list[tuple[int, str]]]:
    """A line without its citations, and the place and the id of each."""
    parts: list[str] = []
    marks: list[tuple[int, str]] = []
    length = last = 0
    for match in CITATION.finditer(line):
        part = line[last : match.start()]
        blank = " " if part.endswith((".", "!", "?")) else ""  # else no sentence would end there
        marks.append((length + len(part), match[1]))
        parts += [part, blank]
        length += len(part) + len(blank)
        last = match.end()
    return "".join([*parts, line[last:]]), marks


def _whole_sentences(line: str, cuts: Sequence[int]) -> list[tuple[int, int]]:
    """Sentences; a clause that ends in a semicolon goes on, unless a citation follows it."""
    joined: list[tuple[int, int]] = []
    for start, end in sentences(line):
        if joined and line[joined[-1][1] - 1] in _JOINED:
            first = joined[-1][0]
            if bisect_right(cuts, start) == bisect_right(cuts, first):
                joined[-1] = first, end
                continue
        joined.append((start, end))
    return joined


class _Said(NamedTuple):
    """What a text says, as far as it can be compared.

    Attributes:
        clauses: Units (ideographs, words, numerals) up to each comma or stop, literal and folded.
        pairs: How often each pair of neighbouring ideographs occurs.
        words: Other words, and single ideographs.
        quantities: Numbers, each with the unit of time that it counts.
        values: The numbers alone.
        negated: What follows each negation closely: literally, and its terms.
        denied: Pairs that a negation stands right before, and how often.
    """

    clauses: tuple[tuple[tuple[str, str], ...], ...]
    pairs: Mapping[str, int]
    words: frozenset[str]
    quantities: frozenset[tuple[Fraction, str]]
    values: frozenset[Fraction]
    negated: tuple[tuple[str, frozenset[str]], ...]
    denied: Mapping[str, int]


@lru_cache(maxsize=256)
def _said(text: str) -> _Said:
    clauses = tuple(_clauses(text))
    pairs: Counter[str] = Counter()
    denied: Counter[str] = Counter()
    words: set[str] = set()
    negated = []
    for clause in clauses:
        folded = [unit for _, unit in clause]
        pairs.update(_pairs(folded))
        words.update(folded)
        for position, unit in enumerate(folded):
            following = folded[position + 1 : position + 1 + _REACH]
            if unit not in _NEGATIONS or (following and following[0] in _NEGATIONS[unit]):
                continue
            literal = "".join(word for word, _ in clause[position : position + 3])
            negated.append((literal, frozenset(_terms(following))))
            while following and following[0] in _MODAL:
                following = following[1:]
            denied.update(_pairs(following[:2]))
    stated = frozenset(quantities(text))
    values = frozenset(value for value, _ in stated)
    return _Said(clauses, pairs, frozenset(words), stated, values, tuple(negated), denied)


def _clauses(text: str) -> Iterator[tuple[tuple[str, str], ...]]:
    plain = _NOT.sub(" not", unicodedata.normalize("NFKC", text))
    for clause in _CLAUSE.findall(plain):
        yield tuple((unit, _stem(fold(unit))) for unit in _UNIT.findall(clause))


def _stem(word: str) -> str:
    """An English word without its inflection."""
    return _INFLECTION.sub("", word) if word.isascii() and word not in _FUNCTION else word


def _pairs(units: Sequence[str]) -> list[str]:
    return [a + b for a, b in pairwise(units) if is_cjk(a[0]) and is_cjk(b[0])]


def _terms(units: Sequence[str]) -> Iterator[str]:
    """Pairs of ideographs and words, without those that function words make alone."""
    alone = [True, *(not (is_cjk(a[0]) and is_cjk(b[0])) for a, b in pairwise(units)), True]
    for position, unit in enumerate(units):
        if not is_cjk(unit[0]) or (alone[position] and alone[position + 1]):
            if unit not in _FUNCTION:
                yield unit
        elif not alone[position + 1] and not {unit, units[position + 1]} <= _FUNCTION:
            yield unit + units[position + 1]


def _coverage(
    said: _Said, sources: Sequence[_Said], asked: _Said
) -> tuple[int, int, list[tuple[str, bool]]]:
    """Units with content that the sources have, all of them, and the gaps.

    Units that the question has count neither way. A gap is a run of units that are in no source,
    with whether it looks like a name.
    """
    found = total = 0
    gaps: list[tuple[str, bool]] = []
    is_chinese = any(is_cjk(unit[0]) for clause in said.clauses for _, unit in clause)
    for number, clause in enumerate(said.clauses):
        folded = [unit for _, unit in clause]
        gap: list[str] = []
        content = 0
        for position, (literal, unit) in enumerate(clause):
            near = folded[max(0, position - 1) : position + 2]
            pairs = _pairs(near)
            if unit[0].isdigit() or (position and folded[position - 1][0].isdigit()):
                known = empty = True  # numbers are compared by value, and what they count varies
            else:
                known = any(_holds(source, unit, pairs) for source in [*sources, asked])
                empty = unit in _EMPTY or _holds(asked, unit, pairs)
            total += not empty
            found += known and not empty
            if not known:
                content += not empty
                gap.append(literal)
                if not is_cjk(unit[0]) and not empty:
                    first = number == position == 0
                    content += _NAME * (is_chinese or (literal[0].isupper() and not first))
            if gap and (known or position == len(clause) - 1):
                if content:
                    gaps.append(("".join(gap) if is_chinese else " ".join(gap), content >= _NAME))
                gap, content = [], 0
    return found, total, gaps


def _holds(source: _Said, unit: str, pairs: Sequence[str]) -> bool:
    return any(pair in source.pairs for pair in pairs) if pairs else unit in source.words


def _turned(said: _Said, sources: Sequence[_Said], asked: _Said) -> Iterator[str]:
    """Negations that no source has before the same words, and those that the sentence drops."""
    known = [terms for source in [*sources, asked] for _, terms in source.negated]
    for literal, terms in said.negated:
        if terms and not any(terms & other for other in known):
            yield literal
    own = frozenset[str]().union(*(terms for _, terms in said.negated))
    for pair in said.pairs:
        if pair in own or pair in asked.pairs or not set(pair).isdisjoint(_FUNCTION):
            continue
        denied = sum(source.denied.get(pair, 0) for source in sources)
        if denied and denied == sum(source.pairs.get(pair, 0) for source in sources):
            yield f"不{pair}"
