"""Questions from Traditional Chinese sentences: the wh-word stands where the answer stood.

Chinese keeps the word order in questions (「他在1912年提出」, 「他在哪一年提出」), so a question
is a sentence with one span replaced. The rules are few and strict: a sentence that leans on its
neighbours gives no question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from kyara_kedro.teachers.rules import grammar_zh as grammar
from kyara_kedro.teachers.rules.cloze import Blank, Cloze
from kyara_kedro.text.chunk import sentences
from kyara_kedro.text.fold import fold


def clozes(title: str, text: str) -> list[Cloze]:
    """All questions that the rules find in a text, in its order.

    Args:
        title: The text's subject; it scopes a question that does not name it.
        text: Traditional Chinese prose.
    """
    subject = plain_title(title)
    found: list[Cloze] = []
    for span in sentences(text):
        evidence = text[span.start : span.end].strip()
        if not 8 <= len(evidence) <= 160 or "？" in evidence or not _balanced(evidence):
            continue
        sentence = grammar.FOLDED_COMMA.sub("，", evidence)
        for rule in _RULES:
            for blank in rule(sentence, subject):
                question = _question(sentence, blank, subject)
                if question is not None and blank.answer in evidence:
                    found.append(Cloze(question, blank.kind, blank.answer, evidence))
    return found


def spans(sentence: str, title: str) -> list[tuple[str, str]]:
    """All (kind, span) of a sentence that a question could ask for, whether or not it leans."""
    subject = plain_title(title)
    return [(blank.kind, blank.answer) for rule in _RULES for blank in rule(sentence, subject)]


def plain_title(title: str) -> str:
    """A title without its disambiguation, 「腓力五世_(西班牙)」 to 「腓力五世」."""
    return re.sub(r"[_\s]*[（(].*?[)）]\s*$", "", title).replace("_", " ").strip()


def _question(sentence: str, blank: Blank, title: str) -> str | None:
    """The part of the sentence around the blank as a question; None when it cannot stand alone."""
    stem = blank.wh if blank.whole else _asked(sentence, blank, title)
    if stem is None:
        return None
    stem = grammar.CONNECTIVE.sub("", grammar.ASIDE.sub("", stem))
    stem = re.sub(r"^(?P<wh>哪一年|什麼時候|哪一天)，(?![以之前後起來])", r"\g<wh>", stem)
    stem = stem.strip("，。；：、！ \n")
    body = re.sub(r"^(?:為什麼|哪一年|什麼時候|哪一天)", "", stem)
    if (
        "：" in stem
        or "\n" in stem
        or blank.answer.strip("《》") in stem
        or stem.count("，") > grammar.MOST_COMMAS
        or not grammar.SHORTEST_STEM <= len(stem) <= grammar.LONGEST_STEM
        or not _balanced(stem)
        or grammar.LEANS.search(stem)
        or grammar.LEANS.search(body)
        or grammar.NO_SUBJECT.search(stem)
        or (
            grammar.UNFINISHED.search(stem)
            and not grammar.HAPPENED.search(stem.removesuffix(blank.wh))
        )
    ):
        return None
    if not _names(stem, title):
        if len(body) < grammar.SHORTEST_UNNAMED:
            return None
        if fold(title) in fold(blank.answer) or fold(blank.answer) in fold(title):
            return None
        stem = f"關於「{title}」，{stem}"
    return f"{stem}？"


def _asked(sentence: str, blank: Blank, title: str) -> str | None:
    """The clauses around the blank with the wh-word in its place; None when no verb is left."""
    end = _end(sentence, blank)
    before, after = sentence[: blank.start], sentence[blank.end : end]
    if not grammar.VERB.search(grammar.ASIDE.sub("", before + after)):
        return None
    clause = before[before.rfind("，") + 1 :]
    owner = grammar.OWNER.match(before)
    if owner and grammar.OWNED.match(clause) and (blank.kind == "place" or _names(owner[1], title)):
        before = f"{owner['owner']}{clause}"
    return f"{before}{blank.wh}{after}"


def _end(sentence: str, blank: Blank) -> int:
    """The end of the first clause that has the blank and is whole."""
    stops = sentence[blank.end : blank.end + 1] in ("，", "；", "。", "")
    if stops and (blank.wh in ("哪裡", "什麼") or grammar.HAPPENED.search(sentence[: blank.start])):
        return blank.end
    cuts = [match.start() for match in re.finditer(r"[，；：。！]", sentence)] + [len(sentence)]
    ends = [cut for cut in cuts if cut >= blank.end and _balanced(sentence[:cut])]
    if len(sentence) <= grammar.SHORT and blank.kind in ("time", "number"):
        return len(sentence)
    first = max(sentence.rfind(mark, 0, blank.start) for mark in "，；：") + 1
    for start, end in zip([first, *ends], ends, strict=False):
        final = sentence[end : end + 1] in ("。", "！", "")
        clause = sentence[max(start, blank.end if blank.kind == "time" else 0) : end]
        waits = (
            grammar.UNFINISHED.search(sentence[:end])
            or grammar.WAITS.search(clause)
            or _is_fragment(clause)
        )
        if final or not waits:
            return end
    return len(sentence)


def _is_fragment(clause: str) -> bool:
    """Whether a clause seems to be a noun phrase or adverbial that waits for its verb."""
    if re.search(r"[是為有將被把使讓令成了]", clause):
        return False
    return not grammar.PREDICATE.search(re.sub(r"^[^，]*的|在|於", "", clause))


def _names(stem: str, title: str) -> bool:
    """Whether a question shares a pair of characters with the title, or the whole short title."""
    stem, title = fold(stem), fold(title)
    if len(title) < 2:
        return title in stem
    return any(title[i : i + 2] in stem for i in range(len(title) - 1))


def _balanced(text: str) -> bool:
    return all(text.count(left) == text.count(right) for left, right in grammar.PAIRS)


def _dates(sentence: str, title: str) -> Iterator[Blank]:
    for match in grammar.DATE.finditer(sentence):
        if not match["era"] and len(match["year"]) < 3:
            continue
        if not match["era"] and not match["year"].isdigit():
            continue
        if _inside_marks(sentence, match.start()):
            continue
        if grammar.NOT_WHEN.search(sentence[: match.start()]):
            continue
        wh = "哪一天" if match["day"] else "什麼時候" if match["month"] else "哪一年"
        yield Blank(match.start(), match.end(), wh, "time", match[0])


def _numbers(sentence: str, title: str) -> Iterator[Blank]:
    for match in grammar.NUMBER.finditer(sentence):
        value, unit = match["value"], match["unit"]
        chinese = value[0] in grammar.NUMERAL
        if value in ("一", "1", "零", "〇", "百", "千", "萬", "億", "兩") and unit not in ("倍",):
            continue
        rest = sentence[match.end() :]
        if re.match(rf"[{grammar.HAN}]{{0,5}}(?:中的|中有|的第)|是", rest):
            continue
        if unit == "人" and not grammar.BEFORE_PEOPLE.search(sentence[: match.start()]):
            continue
        dated = unit == "年" and (
            chinese
            or len(value) >= 3
            or rest[:1] in ("初", "末", "底", "間")
            or _era(sentence, match)
        )
        if dated or _inside_marks(sentence, match.start()):
            continue
        if "之一" in re.split("[，；。]", rest)[0] or (
            unit in grammar.SPANS and rest.startswith("後")
        ):
            continue
        if chinese and unit in (
            "國",
            "度",
            "級",
            "元",
            "人",
            "部",
            "本",
            "家",
            "省",
            "州",
            "層",
            "字",
            "首",
            "天",
            "屆",
            "次",
        ):
            continue
        yield Blank(match.start(), match.end(), f"多少{unit}", "number", match[0])
    for match in grammar.PERCENT.finditer(sentence):
        if not _inside_marks(sentence, match.start()):
            yield Blank(match.start(), match.end(), "百分之多少", "number", match["value"])
    for match in grammar.ORDINAL.finditer(sentence):
        if not sentence[match.end() :].startswith("世"):
            yield Blank(match.start(), match.end(), f"第幾{match['unit']}", "number", match[0])


def _era(sentence: str, match: re.Match[str]) -> bool:
    """Whether a number of years counts from an emperor or republic."""
    return bool(re.search(rf"(?:{grammar.ERAS})$", sentence[: match.start()]))


def _persons(sentence: str, title: str) -> Iterator[Blank]:
    for match in grammar.ROLE_NAME.finditer(sentence):
        role, name = match["role"], match["name"]
        named = grammar.IS_NAME.search(name) or "日本" in role
        if named and not grammar.NOT_ROLE.search(role) and not grammar.NOT_IN_NAME.search(name):
            yield Blank(match.start(), match.end(), f"哪一位{role}", "person", name)
    for match in grammar.SURNAME_NAME.finditer(sentence):
        if not grammar.NOT_IN_NAME.search(match["name"]):
            yield Blank(match.start("name"), match.end("name"), "誰", "person", match["name"])
    for match in grammar.AGENT.finditer(sentence):
        name = match["name"].strip()
        wh = next((wh for body, wh in grammar.BODIES if body.search(name)), None)
        if wh is None and grammar.PERSON.search(name) and not grammar.NOT_PERSON.search(name):
            wh = "誰"
        if wh is not None and "的" not in name:
            yield Blank(match.start("name"), match.end("name"), wh, "person", name)


def _places(sentence: str, title: str) -> Iterator[Blank]:
    for pattern in (grammar.PLACE, grammar.ORIGIN):
        for match in pattern.finditer(sentence):
            place = match["place"]
            loose = re.search(r"劃歸|[該此其]|^[市區縣境]內$|[後前時]$", place) or (
                "的" in place and not re.search(r"[側部方面邊界處間內岸端區帶角旁麓緣濱]$", place)
            )
            if not loose and not re.search(r"[是有原]$", sentence[: match.start()]):
                yield Blank(match.start("place"), match.end("place"), "哪裡", "place", place)


def _works(sentence: str, title: str) -> Iterator[Blank]:
    if sentence.count("《") != 1:
        return
    for match in grammar.WORK.finditer(sentence):
        named = sentence[: match.start()].endswith(grammar.WORK_CLASSES)
        if named or not grammar.AFTER_WORK.match(sentence, match.end()):
            continue
        wh = next((wh for kind, wh in grammar.WORK_KINDS if kind.search(match["work"])), None)
        if wh is None and match["noun"] and grammar.BEFORE_NOUN.search(sentence[: match.start()]):
            wh = f"哪一{grammar.CLASSIFIERS.get(match['noun'], '部')}{match['noun']}"
        if wh is None and (match["after"] or grammar.WRITES.search(sentence[: match.start()])):
            wh = "哪一部作品"
        if wh is not None:
            yield Blank(match.start(), match.end(), wh, "work", f"《{match['work']}》")


def _terms(sentence: str, title: str) -> Iterator[Blank]:
    for match in grammar.CALLED.finditer(sentence):
        opened, closed = match["open"], match["close"]
        if bool(opened) != bool(closed) or re.search(r"[或和與及]", match["term"]):
            continue
        clause = grammar.ASIDE.sub("", sentence[: match.start()]).rpartition("，")[2]
        if re.search(r"[的是在了]", match["term"]) or grammar.NOT_NAMED.search(clause):
            continue
        yield Blank(match.start("open"), match.end("close"), "什麼", "term", match["term"])


def _definitions(sentence: str, title: str) -> Iterator[Blank]:
    match = (
        grammar.COPULA.match(grammar.ASIDE.sub("", sentence))
        if sentence.startswith(title)
        else grammar.COPULA.match(sentence)
    )
    if match is None or match["what"] not in sentence:
        return
    subject, what = match["subject"].strip(), match["what"]
    about = fold(subject) == fold(title)
    if not about and (grammar.NOT_SUBJECT.search(subject) or match["verb"] == "為"):
        return
    if re.match(r"[在因由不否非很最了否誰]|什麼", what) or re.search(
        r"[的是為和與及在]$|[該此其]", what
    ):
        return
    if not (about or _names(subject, title) or grammar.IS_KIND.search(what)):
        return
    tells = len(set(what) - set(subject)) > grammar.LEAST_NEWS
    if tells and grammar.DEFINES.match(what) and not grammar.NO_DEFINITION.search(what):
        somebody = what.startswith(("一位", "一名")) or bool(grammar.SOMEBODY.search(what))
        wh, kind = ("誰", "person") if somebody else ("什麼", "definition")
        yield Blank(0, 0, f"{subject}是{wh}", kind, what, whole=True)


def _causes(sentence: str, title: str) -> Iterator[Blank]:
    body = grammar.CONNECTIVE.sub("", sentence)
    if match := grammar.BECAUSE.match(body):
        effect = match["effect"]
        if _is_effect(effect) and not grammar.POINTS.search(match["cause"]):
            yield Blank(0, 0, f"為什麼{effect}", "cause", match["cause"], whole=True)
    for match in grammar.BECAUSE_INSIDE.finditer(sentence):
        subject = sentence[: match.start()]
        effect = re.split("[，；。]", sentence[match.end() :])[0]
        if (
            2 <= len(subject) <= 20
            and not re.search(r"[，雖是]|儘管|而後|[常又會要能]$", subject)
            and _is_effect(f"{subject}{effect}")
            and not grammar.POINTS.search(match["cause"])
        ):
            yield Blank(0, 0, f"{subject}為什麼{effect}", "cause", match["cause"], whole=True)
    if match := grammar.BECAUSE_AFTER.search(body):
        effect = body[: match.start()]
        if "，" not in effect and not grammar.POINTS.search(match["cause"]):
            yield Blank(0, 0, f"為什麼{effect}", "cause", match["cause"], whole=True)


def _is_effect(clause: str) -> bool:
    """Whether a clause says by itself that something happened or is so."""
    return not re.search(r"[上時後前外]$", clause) and bool(
        re.search(r"[是為有將被把使讓令成了]", clause)
        or grammar.PREDICATE.search(clause.rpartition("的")[2])
        or re.search(r"[需應須購訂任稱遷升降增減聚較很更越]", clause.rpartition("的")[2])
    )


def _inside_marks(sentence: str, position: int) -> bool:
    """Whether a position lies in brackets or quotation marks."""
    before = sentence[:position]
    return any(before.count(left) > before.count(right) for left, right in grammar.PAIRS)


_RULES: tuple[Callable[[str, str], Iterator[Blank]], ...] = (
    _dates,
    _numbers,
    _persons,
    _places,
    _works,
    _terms,
    _definitions,
    _causes,
)
