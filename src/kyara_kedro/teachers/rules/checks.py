"""Checks that rules can make for certain; where they cannot, their verdict is the stricter one."""

from __future__ import annotations

import re

from kyara_kedro.text.chunk import sentences
from kyara_kedro.text.fold import fold, match_key, tokens

_WH = {
    "time": r"哪一?[年天月日]|什麼時候|何時|\bwhen\b|\b(?:what|which) (?:year|date)\b",
    "place": r"哪[裡兒]|何處|何地|什麼地方|\bwhere\b",
    "person": r"誰|何人|什麼人|哪一?位|\bwhom?\b",
    "number": r"多少|幾|\bhow (?:many|much)\b",
    "cause": r"為什麼|為何|\bwhy\b",
    "manner": r"如何|怎[麼樣]|\bhow\b",
    "thing": r"什麼|哪一?[部項家所個種座場條]|\bwhat\b|\bwhich\b",
}
_ASKED = re.compile("|".join(f"(?P<{kind}>{fold(words)})" for kind, words in _WH.items()))
_POLITE = re.compile(
    fold(
        r"我?想(?:請問|請教|知道)|請問|請教|麻煩[你您]?|(?:可以|可否|能否|能不能)?請?[你您]?告訴我"
        r"|謝謝[你您]?|拜託|請|嗎|呢|吧"
        r"|\b(?:i would like to know|(?:could|can|would) you(?: please)?(?: tell me)?|tell me"
        r"|please|thank you|thanks)\b"
    )
)
_CLAUSE = re.compile(r"[，,、；;：:。！？!?（）()「」『』《》【】“”\"{}|\n]+")
_MARK = re.compile(r"^\s*(?:[-*#]+|\d+[.)])\s+")
_CITED = re.compile(r"[【〔]id_[0-9a-f]*[】〕]")
_SAID_OF_IT = frozenset(
    fold(
        "根據參考文件 參考文件指出 依據 答案 步驟一 步驟二 資料中與問題相關的是這一句 "
        "由這句話得出答案 according_to_the_documents answer source step_1 step_2 "
        "the_sentence_that_bears_on_it_is"
    )
    .replace("_", "")
    .split()
)
_LEAD = re.compile(fold(r"^\s*(?:答案[是為]|the answer is\b)"))


def same_question(one: str, other: str) -> bool:
    """Whether two questions differ in politeness, signs, width and script at most.

    Words that ask are compared by what they ask for: 何時 is 什麼時候, but neither 何處 nor 誰.
    """
    return _core(one) == _core(other)


def _core(question: str) -> tuple[str, list[str | None]]:
    plain = _POLITE.sub(" ", fold(question))
    return match_key(_ASKED.sub(" ", plain)), [match.lastgroup for match in _ASKED.finditer(plain)]


def supported(claim: str, text: str) -> bool:
    """Whether one sentence of a text holds all clauses of a claim literally.

    Width, case and script do not count, nor do citations and the words with which the extractive
    teacher leads to a quotation. A claim in other words, or out of two sentences, counts as
    unsupported even where it is true.
    """
    plain = _LEAD.sub(" ", fold(_MARK.sub("", _CITED.sub("", claim))))
    clauses = [
        _aligned(clause) for clause in _CLAUSE.split(plain) if match_key(clause) not in _SAID_OF_IT
    ]
    said = [clause for clause in clauses if clause.strip()]
    held = [_aligned(span.of(text)) for span in sentences(text)]
    return bool(said) and any(all(clause in sentence for clause in said) for sentence in held)


def _aligned(text: str) -> str:
    """Letters and words of a text between blanks, so that 12 is no part of 1912."""
    return f" {' '.join(tokens(text))} "
