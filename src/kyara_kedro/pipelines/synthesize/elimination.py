"""Which evolved questions are no gain: the elimination rules of Evol-Instruct.

Xu et al. 2023 (arXiv:2304.12244) eliminate an evolution that equals its parent, whose response
shows that the teacher could not cope, whose response says nothing, or that leaks the rewriting
prompt. Equality is judged by a teacher; here are the forms of it that need none.
"""

import re

from kyara_kedro.pipelines.asking import Fault
from kyara_kedro.text.citations import content_terms
from kyara_kedro.text.fold import fold, match_key
from kyara_kedro.text.numbers import numbers_in
from kyara_kedro.text.refusals import shows_difficulty
from kyara_kedro.text.sources import BARE, DOCUMENT, TEXTS

_SHOWN = 80
_POLITE = re.compile(
    fold("請問|請你|請您|麻煩|謝謝|想請教|請|嗎|呢|please|could you|thanks?(?: you)?")
)
_LEAK = re.compile(
    fold(
        r"(?:給定|改寫[前後]?|重寫[前後]?|原始|原本|原|新|進化後|演化後)的?(?:提示詞?|指令|prompt)"
        r"|(?:改寫|重寫|演化|進化)後的?(?:題目|問題|版本)|原(?:題目?|問題)(?:是|為|中|改|的)|給定的?(?:題目|問題)"
        r"|#[^#\n]{0,12}(?:提示|指令|問題|題目|prompt)[^#\n]{0,6}#"
        r"|\b(?:given|rewritten|evolved|original|new|created)[ -](?:prompt|instruction)s?\b"
        r"|\b(?:rewritten|evolved) (?:question|version)\b"
    )
)
_START = r"(?:^|[，,。；？?、問在從由據依以與和])"
_SAYS = "(?:提到|提及|指出|所述|所提|敘述|描述|說明|記載|介紹|認為|推測|推知|可知|沒有)"
_LEANS_ZH = re.compile(
    fold(
        rf"(?:上面|以上|上述|前述|下面|以下|下列|上方|下方)的?(?:[一兩幾]?[篇段則份些個])?(?:{TEXTS})"
        rf"|(?:根據|依據|依照|依|按照|按)[上下本前內原全引該此]?(?:文|{TEXTS})[中裡內所的來，,可提]"
        rf"|[從由在][上下本前內原全引該此]?(?:文|{BARE})[中裡內所來，,可提]"
        rf"|[從由在]{TEXTS}[中裡內]?[可，,]"
        rf"|[從由在][這該此本][一兩幾]?[篇段則份些]?{BARE}[中裡內]"
        rf"|{TEXTS}[中裡內]?{_SAYS}|{_START}{BARE}[中裡內]"
        rf"|{_START}[本上下前全內]文(?=[中裡內所的提指，,說敘描可介認為是有對關])"
        rf"|{_START}文[中內裡末首](?=[的所提說指描敘哪誰有，,沒述是將認介曾主另也並還對關講作]|$)"
        r"|本[篇段則]|第[一二三四五六七八]段(?:落|文|中|裡|的|提|指|說)"
        r"|(?<![a-z\d度歲元人分級層斤尺里克噸坪次倍件個名])(?:下列|以下|上述|前述)(?![^？?。\n]{0,20}[:\n])"
        r"(?:何者|哪|選項|敘述|關於|有關|的|各|那|這|三|兩|二|四|五|人|國|事|情|現|原|因|中|問)"
        rf"|{_START}[附上下]?[圖表]中|(?:如|見|由)[附上下]?[圖表](?:所|中|，)"
    )
)
_THIS_ZH = re.compile(fold(rf"^[^。！？]*?((?:這|該|此)(?:[一兩幾]?[篇段則份些])?(?:{TEXTS}))"))
_AUTHOR = re.compile(
    fold(r"(?:^|[，,。；、？?])(?:請問)?(?:本文|原)?(?:作者|筆者)(?!是|為|有|之|群|權)")
)
_WORK = re.compile("[《〈「『]")
_LEANS_EN = re.compile(
    r"\b(?:according to|based on|in|from|as (?:stated|described|mentioned) in|of)"
    rf" (?:the|this|that|these) (?:above |following |given |provided )?{DOCUMENT}\b"
    r"|\b(?:the|this) (?:above |following |given |provided )?"
    r"(?:passage|text|paragraph|excerpt|article|document)"
    r" (?:say|state|mention|describe|discuss|suggest|explain|give|provide|list|refer|impl)\w*"
    r"|\b(?:does|did|do) the (?:passage|text|paragraph|excerpt|article|document|author|writer)\b"
    r"(?! of\b| \d| object)"
    r"|\b(?:mentioned|described|discussed|listed|stated|given) (?:above|below|here)\b"
    r"|\b(?:the|this) (?:above|following) (?:passage|text|paragraph|statements?|options?|list)\b"
    r"|\bwhich of the following\b"
)


def equals_parent(parent: str, question: str) -> Fault | None:
    """Rule (a), the cheap form: the evolution says what its parent says.

    Equal are texts of the same letters and digits in any script and width, and texts of the same
    content terms and the same numbers in order, politeness aside.
    """
    if match_key(parent) == match_key(question) or _substance(parent) == _substance(question):
        return "equal_evolution", f"says what its parent says: {question[:_SHOWN]}"
    return None


def shows_trouble(response: str, language: str) -> Fault | None:
    """Rule (b): the response is short and apologises."""
    if shows_difficulty(response, language):
        return "difficult_evolution", f"the response is {response.strip()[:_SHOWN]!r}"
    return None


def says_nothing(response: str) -> Fault | None:
    """Rule (c): the response holds nothing but punctuation and function words."""
    if content_terms(response):
        return None
    return "empty_response", f"the response is {response.strip()[:_SHOWN]!r}"


def leaks_prompt(parent: str, question: str) -> Fault | None:
    """Rule (d): the evolution holds words of the rewriting prompt that its parent does not hold."""
    known = fold(parent)
    for match in _LEAK.finditer(fold(question)):
        if match[0] not in known:
            return "leaked_prompt", f"it says {match[0]!r}: {question[:_SHOWN]}"
    return None


def leans_on_document(question: str, language: str) -> str | None:
    """The words by which a question points at a text that its reader does not see, or None.

    An author (作者認為, not 某書的作者) and "this text" are those of the text in hand only when the
    question quotes nothing and names no work.
    """
    folded = fold(question)
    if language.startswith("en"):
        found = _LEANS_EN.search(folded)
    else:
        found = _LEANS_ZH.search(folded)
        if found is None and not _WORK.search(question):
            found = _AUTHOR.search(folded) or _THIS_ZH.search(folded)
    if found is None:
        return None
    start, end = found.span(found.lastindex or 0)
    words = (question if len(question) == len(folded) else folded)[start:end]
    return words.strip("，,。；、？? ")


def _substance(question: str) -> tuple[object, ...]:
    plain = _POLITE.sub("", fold(question))
    return content_terms(plain), tuple(numbers_in(plain))
