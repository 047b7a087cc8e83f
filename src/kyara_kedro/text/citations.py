"""Citations of reference documents, 【id_1a2b3c4d】: who cites what, and does it say so?

Whether a passage supports a sentence is judged by what can be seen without a model: shared words,
numbers by value, negation. A sentence that is accepted repeats its passage; most that say the same
in other words are rejected, and one that joins the passage's own words to a falsehood is accepted.
Where a model judges entailment besides, words only have to deny what no wording explains.
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
from itertools import islice, pairwise
from typing import NamedTuple

from kyara_kedro.text.chunk import sentences
from kyara_kedro.text.fold import fold, is_cjk
from kyara_kedro.text.numbers import quantities, without_tallies
from kyara_kedro.text.sources import without_sources

CITATION = re.compile(r"【(id_[0-9a-f]{8,32})】")
THRESHOLD = 0.6
"""Least score of a supported sentence: above what one missing number, name or negation leaves. Of
the sentences of DRCD's development set that cite another paragraph of their article, it accepts
0.7 %."""
GLIMPSE = 0.2
"""Least overlap of a sentence with the document that it was taken from, in any words. Of DRCD's
sentences, 95 % do not reach it in a paragraph of any article, or are wrong there besides."""

_NUMBER = 3
"""Weight of a number that is found, in the overlap of a sentence with its document."""
_ASKED = 0.2
"""Weight of what the question says already, in the score."""
_LATIN = re.compile("[A-Za-z]{2,}")
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
    r"(?:正確|正确)?答案(?:是|為|为)[：:]?"
    r"|(?:綜上所述|综上所述|總而言之|总而言之|整體(?:而言|來說)|整体(?:而言|来说)|總之|总之|換句話說|换句话说|也就是說|也就是说"
    r"|具體(?:來說|而言)|具体(?:来说|而言)|簡單來說|简单来说|簡言之|简言之|簡而言之|简而言之|換言之|换言之"
    r"|相較之下|相较之下|除此之外|值得注意的是|需要注意的是|此外|另外|因此|所以|例如|同時|同时|首先|其次|最後|最后|不過|不过|然而|其中|答|註)[，,：:]"
    r"|\banswer:|\b(?:the answer is|in (?:addition|summary|short|other words|conclusion)"
    r"|therefore|moreover|furthermore|for example|finally|first|second|thus|overall"
    r"|additionally|however)\b,?",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    fold(
        r"^\s*(?:希望(?:以上|這些|上述|這).{0,10}(?:幫助|有用|有助|幫到)"
        r"|(?:如有|如果[您你]|若有|若[您你]|如還有).{0,10}(?:問題|疑問|需要).{0,16}(?:歡迎|隨時|告訴我|提問)"
        r"|以上[^，,]{0,10}(?:資訊|說明|整理|介紹|內容|回答|重點)(?:供您參考)?[。！!]?$)"
        r"|\b(?:i )?hope (?:this|that) helps\b|^\W*let me know\b|\bplease feel free\b"
    )
)
"""Sentences that say something to the reader, not about the matter."""
_ID = re.compile(r"id_[0-9a-f]{8,32}")
_LABEL = (
    r"(?:(?:參考|参考|引用)?(?:文件|文檔|文档|資料|资料|來源|来源)\s*(?:編號|编号|id)?"
    r"|(?:reference |source )?documents?(?: id)?|sources?|ref(?:erence)?s?|見|参见|參見)?"
    r"\s*[:：]?\s*"
)
_LOOSE_ID = r"[iIｉＩ][dDｄＤ][_＿][0-9A-Fa-f０-９ａ-ｆ]{8,32}"
_BRACKETED = re.compile(
    rf"[\[［(（〔〖｛{{「<＜【]\s*{_LABEL}{_LOOSE_ID}"
    rf"(?:\s*(?:[、,，;；/]|和|與|及|and|】\s*[、,，]\s*【)?\s*{_LABEL}{_LOOSE_ID})*\s*[\]］)）〕〗}}｝」>＞】]",
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
_COMMON = re.compile(
    fold(
        "西元|公元|通常|一般|普遍|往往|經常|常常|視為|稱為|稱作|叫作|叫做|名為|作為|成為|認為|屬於|位於|來自|許多|眾多|多數|大多|部分|特殊"
        "|大約|約有|約為|約|甚至|之後|之前|之間|之中|之一|以前|以後|以來|其後|隨後|此後|後來|最終|當時|當年|當地|目前|現在|如今|長期|主要"
        "|其中|其他|包括|包含|例如|由於|因為|因此|因而|所以|之所以|以及|並且|而且|不僅|同時|然而|不過|雖然|但是|如果|只有|除了|相較"
        "|透過|通過|藉由|利用|使用|採用|採行|用來|用於|進行|開始|展開|結束|發生|出現|形成|建立|成立|設立|擁有|具有|具備|存在|提供|帶來|造成|導致"
        "|產生|增加|減少|上升|下降|升至|降至|達到|高達|直到|時期|時候|期間|高度|長度|寬度|深度|數量|原因|特點|特色|用途|範圍|日期|類型|結果|成因|背景|年份|時間|地點|名稱|時節|情況|方式|關係|相關|有關|影響|共有|共計|總計"
        "|總共|分別|各自|均為|皆為|即為|便是|就是|正是|而是|仍然|仍舊|已經|曾經|逐漸|逐步|陸續|先後|再度|首次|最早|最高|最大|可達|也是|亦即"
        "|為了|為止|來到|前往|他是|她是|它是|這是|人們|居民|當中|本身|自己|整體|官方|全國"
        "|也|它|他|她|用|時|至|來|到|從|了|的|是|在|被|把|與|又|仍|還|再|則|約|某|每|各|內|間|名|稱|作|叫|做|已|曾|才|只|共|均|皆|亦|即|便|且|若|如|那|哪"
    )
)
"""Verbs, adverbs and other words that any text may use: no content, and no part of a name."""
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
        wrong: What of it no other wording explains: numbers, but for the years between two years,
            Latin names, and negations.
        overlap: Share of the sentence's content found there, what the question says included.
    """

    score: float
    missing: tuple[str, ...]
    wrong: tuple[str, ...]
    overlap: float

    def denied(self) -> bool:
        """Whether the passages cannot be what the sentence rests on, however it is worded."""
        return bool(self.wrong) or self.overlap < GLIMPSE


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


def normalised_citations(answer: str, ids: Collection[str]) -> str:
    """Write every citation of a given document as 【id】.

    Rewritten are brackets that hold nothing but ids and words for a document: 【文件編號：id_x】,
    【id_x、id_y】, 【 ID_x 】, [id_x], （id_x）. Where any of the ids is not given they stay, for
    `citation_report` to find.

    Args:
        answer: The answer.
        ids: The documents that were given.
    """

    def normal(match: re.Match[str]) -> str:
        names = _ID.findall(unicodedata.normalize("NFKC", match[0]).casefold())
        known = all(name in ids for name in names)
        return "".join(f"【{name}】" for name in dict.fromkeys(names)) if known else match[0]

    return _BRACKETED.sub(normal, answer)


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
    said, asked = _said(without_tallies(essence(claim))), _said(question)
    sources = [_said(passage) for passage in passages]
    found, total, gaps = _coverage(said, sources, asked)
    held, content, literal = _coverage(said, sources, _said(""))
    if not total and said.quantities <= asked.quantities:
        found, total, gaps = held, content, literal
    missing, derived = [], []
    years = {value for source in sources for value, unit in source.quantities if unit == "年"}
    for value, unit in said.quantities:
        known = (value, unit) in asked.quantities or any(
            (value, unit) in source.quantities if unit else value in source.values
            for source in sources
        )
        if not known and unit == "年" and any(year + value in years for year in years):
            derived.append(f"{value}{unit}")
        elif not known:
            missing.append(f"{value}{unit}")
    missing.extend(_turned(said, sources, asked))
    names = [gap for gap, is_name in gaps if is_name]
    wrong = (*missing, *(name for name in names if _is_proper(name, said)))
    missing += derived
    matched = _NUMBER * len(said.quantities)
    whole = total + _ASKED * (content - total)
    score = (found + _ASKED * (held - found)) / whole if whole else 1.0
    score *= 0.5 ** len(missing + names)
    others = [gap for gap, is_name in gaps if not is_name]
    overlap = (held + matched) / (content + matched) if content else 1.0
    return Support(score, (*names, *missing, *others), wrong, overlap)


def citation_report(
    answer: str,
    passages: Mapping[str, str],
    question: str = "",
    threshold: float = THRESHOLD,
    reworded: bool = False,
) -> CitationReport:
    """Check and count the citations of an answer; a refusal has none and is not asked about here.

    Args:
        answer: The answer.
        passages: What was given, by id; best with titles.
        question: What the answer replies to.
        threshold: Least score of a supported sentence.
        reworded: Whether a sentence counts as supported unless it is denied (`Support.denied`),
            since somebody else decides about paraphrases.
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
            found = supported(text, [passages[name] for name in some], question)
            return not found.denied() if reworded else found.score >= threshold

        if not holds(names):
            found_here = supported(claim.text, [passages[name] for name in names], question)
            missing = found_here.wrong if reworded and found_here.wrong else found_here.missing
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
    """Whether a sentence states something: it has content, and neither leads to a list nor closes.

    A closing says something to the reader alone: 希望以上資訊對您有幫助.
    """
    if sentence.rstrip().endswith(_INTRODUCES) or _CLOSING.search(fold(sentence)):
        return False
    return bool(content_terms(essence(sentence)))


def essence(sentence: str) -> str:
    """A sentence without markup, list marks and turns of phrase that lead to a statement."""
    plain = _MARKER.sub("", _MARKUP.sub("", sentence))
    return _CONNECTIVE.sub("", without_sources(plain))


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
        pairs: How often each pair of neighbouring ideographs, and each other word, occurs.
        words: Other words, and single ideographs.
        quantities: Numbers, each with the unit of time that it counts.
        values: The numbers alone.
        negated: What follows each negation closely: literally, and its terms.
        denied: Those of the pairs that a negation stands right before, and how often.
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
        pairs.update(unit for unit in folded if not is_cjk(unit[0]))
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
            worded = (word for word in following if word not in _EMPTY and not is_cjk(word[0]))
            denied.update(islice(worded, 1))
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
        common = _common("".join(unit if is_cjk(unit[0]) else "\0" for unit in folded))
        gap: list[str] = []
        content = 0
        for position, (literal, unit) in enumerate(clause):
            near = folded[max(0, position - 1) : position + 2]
            pairs = _pairs(near)
            if unit[0].isdigit() or (position and folded[position - 1][0].isdigit()):
                known = empty = True  # numbers are compared by value, and what they count varies
            else:
                known = any(_holds(source, unit, pairs) for source in [*sources, asked])
                empty = unit in _EMPTY or position in common or _holds(asked, unit, pairs)
            total += not empty
            found += known and not empty
            if not known:
                content += not empty
                gap.append(literal)
                if not is_cjk(unit[0]) and not empty:
                    first = number == position == 0
                    content += _NAME * (is_chinese or (literal[0].isupper() and not first))
            if gap and (known or position in common or position == len(clause) - 1):
                if content:
                    gaps.append(("".join(gap) if is_chinese else " ".join(gap), content >= _NAME))
                gap, content = [], 0
    return found, total, gaps


def without_common(text: str) -> str:
    """A folded text without the verbs, adverbs and turns of phrase that any text may use."""
    return _COMMON.sub(" , ", fold(_CONNECTIVE.sub("", text)))


def _common(clause: str) -> frozenset[int]:
    """Places of a clause, one character for each unit, that common words take."""
    return frozenset(place for found in _COMMON.finditer(clause) for place in range(*found.span()))


def _is_proper(gap: str, said: _Said) -> bool:
    """Whether a gap holds a name in Latin letters: any in Chinese, a capitalised one in English."""
    words = _LATIN.findall(gap)
    if any(is_cjk(unit[0]) for clause in said.clauses for _, unit in clause):
        return bool(words)
    first = said.clauses[0][0][0] if said.clauses else ""
    return any(word[0].isupper() and word != first for word in words)


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
        parts = set(pair) if is_cjk(pair[0]) else {pair}
        if pair in own or pair in asked.pairs or not parts.isdisjoint(_FUNCTION):
            continue
        denied = sum(source.denied.get(pair, 0) for source in sources)
        if denied and denied == sum(source.pairs.get(pair, 0) for source in sources):
            yield f"不{pair}" if is_cjk(pair[0]) else f"not {pair}"
