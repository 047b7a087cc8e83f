"""Answers that are none: the prescribed refusal, a refusal in other words, signs of difficulty."""

from __future__ import annotations

import re
from typing import Literal

from kyara_kedro.text.chunk import sentences
from kyara_kedro.text.citations import cited
from kyara_kedro.text.fold import fold, match_key, tokens
from kyara_kedro.text.normalise import visible
from kyara_kedro.text.sources import SHOWN, TEXTS

Refusal = Literal["exact", "worded"]

_LONGEST = 200
"""Characters of an answer that may be a refusal as a whole; a longer one only begins as one."""
_HEAD, _SHORT, _SHORT_WORDS = 20, 120, 80
_FINAL = "。.．"
_SOURCES = rf"(?:{SHOWN}|本){{0,4}}(?:{TEXTS}|文獻|資訊)"
_LACKS = "(?:缺乏|缺少|沒有|並沒有|並無|並未|未|無|不含|不包含|不足以|找不到|查不到|無從|無法)"
_SAYING = (
    "(?:提到|提及|提供|說明|記載|包含|涉及|指出|寫明|交代|談到|述及|相關|與|關於|任何|足夠|足以"
    "|回答|得知|判斷|確認|找到|您|你|答案|資訊)"
)
_ZH = re.compile(
    fold(
        rf"{_SOURCES}(?:中|裡|內|裡面|之中)?[，,]?(?:都|均|皆|也|似乎|目前)?{_LACKS}.{{0,4}}?{_SAYING}"
        rf"|(?:從|由|根據|依據|依).{{0,4}}{_SOURCES}.{{0,4}}(?:無法|無從|不能|難以)"
        rf"(?:得知|回答|判斷|確認|確定|找到|推斷|得出)"
        rf"|(?:無法|沒辦法|不能|難以).{{0,4}}(?:從|由|根據|依據|依).{{0,4}}{_SOURCES}"
        rf"|{_LACKS}(?:在)?{_SOURCES}(?:中|裡)?(?:找到|發現|看到)"
        r"|(?:^|[，。,!！ ])(?:很|非常|真的)?(?:抱歉|對不起|不好意思|遺憾)?[，, ]?"
        r"我?們?(?:目前|暫時|恐怕|實在)?(?:無法|沒辦法|不能)(?:直接|完整|準確)?"
        r"(?:回答|回覆|作答|解答|提供答案)(?:這|此|該|您|你|問題|$|[，。])"
        r"|(?:問題).{0,6}(?:無法|不能|沒辦法)(?:回答|作答|解答)"
        r"|我(?:並)?不(?:知道|清楚|曉得)(?:答案)?|與(?:問題|提問)(?:有關|相關)的?(?:資訊|資料|內容|信息)(?:不足|缺乏)"
        r"|(?:缺乏|沒有|缺少|無)(?:與|和|跟).{0,8}(?:相關|有關)的?(?:資訊|資料|內容|信息)"
    )
)
_EN = re.compile(
    r"(?:documents?|references?|passages?|texts?|context|sources?|materials?|information provided)"
    r"\b.{0,40}?\b(?:do(?:es)? not|don't|doesn't|did not|lacks?|contains? no|provides? no"
    r"|has no|have no|makes? no mention|is not enough|are not enough|is insufficient)"
    r"|\b(?:i |we )?(?:cannot|can't|could not|couldn't|am unable to|are unable to|not able to)"
    r" (?:answer|find|determine|provide|tell)\b.{0,60}"
    r"(?:question|documents?|references?|passages?|texts?|context|sources?|provided|given|answer)"
    r"|\b(?:i|we) (?:do not|don't) (?:know|have (?:enough|sufficient|any|the) )"
    r"|\bno (?:relevant )?(?:information|answer|mention)\b.{0,40}"
    r"(?:documents?|references?|passages?|texts?|context|sources?)"
    r"|\b(?:there is|there's) (?:no|not enough|insufficient) (?:relevant )?information"
    r"|\bnot (?:mentioned|stated|specified|found|provided|given|covered) in the "
    r"(?:\w+ )?(?:documents?|references?|passages?|texts?|context|sources?)"
    r"|\bthe question (?:cannot|can't|could not) be answered"
)
_HARD = {
    "zh": re.compile(
        fold(
            r"抱歉|對不起|不好意思|\bsorry\b"
            r"|(?:^|[，,。！!\s])(?:我們?|本模型|作為.{0,8}(?:模型|助理|ai))[^，,。]{0,6}?(?:無法|沒辦法|不能)"
            r"|(?:^|[，,。！!\s])(?:目前|恐怕|暫時)?(?:無法|沒辦法)(?:直接|完整|準確|詳細|為您|為你|對此|在此|提供)?(?:回答|回覆|回應|作答|解答|提供|完成|協助"
            r"|判斷|確定|確認|得知|理解|處理|找到|給出|生成|滿足)"
        )
    ),
    "en": re.compile(
        r"\bsorry\b|^(?:unfortunately, )?(?:i|we|as an ai[^.]{0,30}) "
        r"(?:cannot|can't|(?:am|are) unable)"
    ),
}


def refusal_kind(text: str, language: str, refusal: str) -> Refusal | None:
    """Say whether an answer refuses, and how.

    Args:
        text: The answer.
        language: BCP 47 tag of the answer's language.
        refusal: The sentence that is prescribed.

    Returns:
        "exact" for the prescribed sentence alone, with or without its full stop; "worded" for a
        refusal with other or further words, or in another script; None for an answer. A long
        answer, or one that cites, is taken for a refusal only when it begins as one.
    """
    said = text.strip()
    if said and said.rstrip(_FINAL) == refusal.rstrip(_FINAL):
        return "exact"
    key = match_key(said)
    if match_key(refusal) in key:
        return "worded"
    plain = fold(visible(said)).replace("’", "'")
    pattern = _EN if language.startswith("en") else _ZH
    spans = sentences(plain)
    if not spans:
        return None
    whole = len(plain) <= _LONGEST and not cited(said)
    read = plain if whole else spans[0].of(plain)
    return "worded" if pattern.search(read) else None


def shows_difficulty(text: str, language: str) -> bool:
    """Whether a short answer begins with its speaker's difficulty.

    The rule is Evol-Instruct's (arXiv:2304.12244). Difficulty is an apology, or that the speaker
    cannot answer; 無法飛行的鳥類 is none. Chinese: within 20 characters of an answer of fewer than
    120. English: an answer of fewer than 80 words.
    """
    plain = fold(visible(text)).strip()
    if language.startswith("en"):
        return bool(_HARD["en"].search(plain)) and len(tokens(plain)) < _SHORT_WORDS
    return bool(_HARD["zh"].search(plain[:_HEAD])) and len(plain) < _SHORT
