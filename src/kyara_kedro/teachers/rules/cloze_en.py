"""Questions from English sentences by simple rules.

Verbs are never inflected: a date is asked for by a cleft (``In which year was it that ...``), a
number or agent where it stands (``... was written by whom?``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from kyara_kedro.teachers.rules.cloze import Cloze
from kyara_kedro.text.chunk import sentences

_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATE = re.compile(
    rf"(?:^|(?<=[ ,]))(?:[Ii]n|[Oo]n) (?P<date>(?P<day>\d{{1,2}} (?={_MONTH}))?(?:(?P<month>"
    rf"{_MONTH}) )?"
    rf"(?:\d{{1,2}}, )?(?:1\d{{3}}|20\d{{2}}))(?![\d–-]|s\b| (?:and|to|or) \d),? ?"
)
_COUNT = (
    r"\d[\d,]*(?:\.\d+)?(?: (?:million|billion|thousand))?|two|three|four|five|six|seven|eigh"
    r"t|nine|ten"
    r"|eleven|twelve|twenty|thirty|forty|fifty|hundred|one hundred|two hundred"
)
_NUMBER = re.compile(
    rf"(?<![\w.,–-])(?P<value>{_COUNT}) (?P<noun>(?:(?:different|main|major|square|cubic|light) )?"
    rf"(?!years later|times|thirds|hundreds|(?:is|was|has|does|as|its|this|always|equals)\b)[a-z]+s"
    rf"\b|people\b|metres tall\b)(?! (?:later|ear"
    rf"lier|ago|before|after))"
)
_PERCENT = re.compile(r"(?<![\w.,–-])(?P<value>\d[\d.]* ?(?:per cent|percent|%))")
_ROLE = (
    "physicist|chemist|biologist|astronomer|mathematician|botanist|engineer|architect|invento"
    "r|explorer"
    "|king|queen|emperor|president|scholar|writer|poet|painter|composer|scientist|physician|doctor"
    "|merchant|navigator|philosopher|historian|geologist|naturalist|director|designer|princes"
    "s|prince"
    "|sailor|chef|baker|priest|monk|general|missionary|psychologist|economist|teacher|student"
    "|officer"
)
_NAME = r"[A-Z][\w'-]+(?: (?:(?:of|de|von|van|der|da|al-)\s?)?[A-Z][\w.'-]*)*"
_ROLE_NAME = re.compile(
    rf"(?:^|(?<=, ))[Tt]he (?P<role>(?:[A-Z][a-z]+ )?(?:[a-z]+ )?(?:{_ROLE})) (?P<name>{_NAME})"
    r"(?= (?:[a-z]+ed|wrote|built|made|found|began|drew|led|gave|won|put|showed|took|saw|became) )"
)
_BY = re.compile(
    rf"\b(?:was|were|been|is|are|first)\b[^,;]*? by (?P<name>(?:the [\w ]{{0,24}}?(?:{_ROLE})"
    rf" )?{_NAME})(?=[ ,.;])"
)
_IS = re.compile(
    r"^(?P<subject>(?:The |An? )?[A-Z]?[\w'-]+(?: [\w'-]+){0,4}?) (?P<verb>is|are|was|were) "
    r"(?P<what>(?:an?|the|one of) [^,;.:]{8,110}?)(?=[,;.]|$)"
)
_LIST_GOES_ON = re.compile(r", [\w ]+(?:, | and | or )")
_CALLED = re.compile(
    r"\b(?:called|known as|named) (?P<term>(?:the |an? )?[\w' -]{3,40}?)(?=[,.;]|$)"
)
_BECAUSE = re.compile(
    r"^(?P<main>[^,;:]{15,110}?),? because (?P<cause>(?!of\b)[^,;:]{10,110}?)\.?$"
)
_LEANS = re.compile(
    r"^(?:It|They|He|She|This|These|Those|That|Such|Its|Their|His|Her|There|But|And|So|Both|S"
    r"ome|Others?|Another"
    r"|One|Then|Here|Most|Many|Later|After|Before|As|When|While|Although|If)\b"
    r"|\b(?:this|these|those|such|he|she|they|it|here|former|latter)\b"
)
_CONNECTIVE = re.compile(r"^(?:However|Moreover|Today|Later|In addition|For example|Therefore), ")
_FINITE = re.compile(r"\b(?:is|are|was|were|has|had|came|took|[a-z]{2,}ed)\b")
_NOT_COUNTED = re.compile(
    r"\b(?:[Ii]n|[Oo]f|[Bb]etween|from|and|or|to|[Tt]he|an?|every|each|all|these|its|number) $"
)
_SECOND_VERB = re.compile(
    r"\b(?:until|since|from|by|and|or|between|who [\w ]+)\s*$"
    r"| and (?:was|were|is|are|became|[a-z]+ed|[a-z]+s) [^,]*$"
)
_ARTICLE = re.compile(r"^(?:The|An?|Early|Modern|Most|All|In|On|At|By|For|During|Only|About)\b")
LONGEST_STEM = 190
"""Characters of the longest question."""


def clozes(title: str, text: str) -> list[Cloze]:
    """All questions that the rules find in an English text, in its order."""
    found: list[Cloze] = []
    for span in sentences(text):
        evidence = span.of(text)
        if not 20 <= len(evidence) <= 320 or evidence.count('"') % 2 or "?" in evidence:
            continue
        for kind, rule in _RULES:
            for question, answer in rule(evidence):
                whole = _scoped(question, answer, title)
                if whole is not None and answer in evidence:
                    found.append(Cloze(whole, kind, answer, evidence))
    return found


def _scoped(question: str, answer: str, title: str) -> str | None:
    stem = re.sub(r" \([^()]*\)", "", question).strip(" ,;.")
    if not 12 <= len(stem) <= LONGEST_STEM or answer.casefold() in stem.casefold():
        return None
    named = set(re.findall(r"\w{4,}", title.casefold()))
    if named & set(re.findall(r"\w{4,}", stem.casefold())) or not named:
        return f"{stem[0].upper()}{stem[1:]}?"
    if any(word in answer.casefold() for word in named):
        return None
    return f'Regarding "{title}", {stem[0].lower()}{stem[1:]}?'


def _clause(sentence: str, start: int, end: int) -> tuple[int, int] | None:
    """The main clause around a span, when it does not lean on another sentence."""
    left = max(
        (m.end() for m in re.finditer(r"; |, (?:and|but) (?=[A-Zt])", sentence[:start])), default=0
    )
    right = re.search(r";|, (?:and|but|where|which|who|when|while|so) |: ", sentence[end:])
    stop = end + right.start() if right else len(sentence)
    clause = _CONNECTIVE.sub("", sentence[left:stop])
    return None if _LEANS.search(clause) else (left, stop)


def _dates(sentence: str) -> Iterator[tuple[str, str]]:
    for match in _DATE.finditer(sentence):
        if (bounds := _clause(sentence, match.start(), match.end())) is None:
            continue
        before, after = sentence[bounds[0] : match.start()], sentence[match.end() : bounds[1]]
        if before and match[0].endswith(", "):
            if not _FINITE.search(before):
                continue
            after = ""
        rest = f"{before}{after}".strip(" .,")
        if _SECOND_VERB.search(before) or len(rest) < 20:
            continue
        wh = "On which date" if match["day"] else "When" if match["month"] else "In which year"
        yield f"{wh} was it that {_lower(rest)}", match["date"]


def _numbers(sentence: str) -> Iterator[tuple[str, str]]:
    for pattern, wh in ((_NUMBER, "how many {noun}"), (_PERCENT, "what percentage")):
        for match in pattern.finditer(sentence):
            bounds = _clause(sentence, match.start(), match.end())
            if bounds is None or _NOT_COUNTED.search(sentence[: match.start()]):
                continue
            if re.fullmatch(r"1[5-9]\d\d|20\d\d", match["value"]):
                continue
            asked = wh.format(**match.groupdict())
            rest = sentence[match.end() : bounds[1]]
            if not re.match(r" (?:or|to|and) \d", rest):
                yield f"{sentence[bounds[0] : match.start()]}{asked}{rest}", match["value"]


def _persons(sentence: str) -> Iterator[tuple[str, str]]:
    for match in _ROLE_NAME.finditer(sentence):
        if (bounds := _clause(sentence, match.start(), match.end())) is not None:
            before, after = sentence[bounds[0] : match.start()], sentence[match.end() : bounds[1]]
            yield f"{before}which {match['role']}{after}", match["name"]
    for match in _BY.finditer(sentence):
        bounds = _clause(sentence, match.start(), match.end())
        if bounds is not None and not sentence[match.end("name") :].startswith(" and "):
            before = sentence[bounds[0] : match.start("name")]
            yield f"{before}whom{sentence[match.end('name') : bounds[1]]}", match["name"]


def _definitions(sentence: str) -> Iterator[tuple[str, str]]:
    match = _IS.match(sentence)
    if match is None or _LEANS.search(match[0]) or _LIST_GOES_ON.match(sentence, match.end()):
        return
    subject = match["subject"]
    if len(subject.split()) <= 4 and not re.search(r"\b(?:what|who|which|and|that)\b", subject):
        yield f"What {match['verb']} {_lower(subject)}", match["what"]


def _terms(sentence: str) -> Iterator[tuple[str, str]]:
    for match in _CALLED.finditer(sentence):
        bounds = _clause(sentence, match.start(), match.end())
        if bounds is not None and re.search(r"\b[a-z]+(?:s|ed|re)\b", sentence[: match.start()]):
            yield f"{sentence[bounds[0] : match.start('term')]}what", match["term"]


def _causes(sentence: str) -> Iterator[tuple[str, str]]:
    match = _BECAUSE.match(sentence)
    if match and not _LEANS.search(match["main"]):
        yield f"Why is it that {_lower(match['main'])}", match["cause"]


def _lower(clause: str) -> str:
    return clause[0].lower() + clause[1:] if _ARTICLE.match(clause) else clause


_RULES: tuple[tuple[str, Callable[[str], Iterator[tuple[str, str]]]], ...] = (
    ("time", _dates),
    ("number", _numbers),
    ("person", _persons),
    ("definition", _definitions),
    ("term", _terms),
    ("cause", _causes),
)
