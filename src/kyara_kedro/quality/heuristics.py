"""The embedded scorer: what can be said about an answer's quality without a model.

Every aspect is a function of one exchange, in [0, 1]; an aspect that does not apply (no format was
asked for, no references were shown) is None and stays out of the mean. The rules find answers that
are broken, off topic or in the wrong script. They do not know what is true: a reward model does
that better where one is configured.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import polars as pl
from pydantic import Field, PositiveFloat

from kyara_kedro.content import Message
from kyara_kedro.errors import UserError
from kyara_kedro.options import Options
from kyara_kedro.prompts.library import REFUSAL
from kyara_kedro.prompts.rag_format import has_references, question_of
from kyara_kedro.records import QUALITY
from kyara_kedro.text import fold as folding
from kyara_kedro.text.citations import cited
from kyara_kedro.text.fold import match_key
from kyara_kedro.text.script import script_share

# several aspects read the same answer
fold = lru_cache(maxsize=8)(folding.fold)
tokens = lru_cache(maxsize=8)(folding.tokens)

SCORER = "heuristics-rules-v1"

_GRAM = 4
_DETAIL_TOKENS, _BRIEF_TOKENS = 40, 1
_APOLOGY_CHARACTERS, _APOLOGY_HEAD = 120, 20
_CLOSED = re.compile(r"[。！？!?.…~」』”’\"')）\]】》>}|`*:：;；]\s*$")
_BARE_ANSWER = 40
_APOLOGY = re.compile(
    fold(
        r"^(?:我|很|非常|真的)*(?:抱歉|對不起|不好意思|無法|沒辦法|不能)|(?:抱歉|對不起)[，,]"
        r"|我(?:們)?無法|sorry|apologi[sz]e|i can(?:not|['’]t)|i am unable|i[’']m unable|as an ai"
    )
)
_FUNCTION_WORDS = (
    "the a an of to in is are was were be and or for on with as at by it this that what which who "
    "how why when where do does did can could should would please you your i my me give make write "
    "請 您 你 我 的 了 是 嗎 呢 吧 在 有 和 與 或 為 以 及 這 那 哪 什 麼 何 如 怎 誰 幾 一 個"
)
_STOP = frozenset(fold(_FUNCTION_WORDS).split())
_REFUSALS = frozenset(map(match_key, REFUSAL.values()))
_BRIEF = re.compile(
    fold(
        r"只(?:需)?(?:回答|輸出|寫出|給)|[一兩二三]個?(?:句|詞|字)|簡短|簡答|是否|選[出擇]"
        r"|哪一?(?:個|項)|分類|翻譯|計算|多少|找[出到]|辨識|判斷|抽取"
        r"|only (?:answer|output|the)|in (?:one|two|three|\d+) (?:words?|sentences?)"
        r"|words? (?:to|that)|brief|classify|translate|yes or no|how many|how much|identify"
        r"|calculate|determine|find|name (?:one|two|three|the)|rate|output|equation|query"
    )
)
_DETAILED = re.compile(
    fold(
        r"詳細|完整|說明|解釋|分析|比較|論述|介紹|文章|作文|故事|報告|為什麼|如何"
        r"|detail|explain|describe|analy[sz]e|compare|essay|story|report|why|how (?:to|do)"
    )
)
_ASKS = {
    "json": (
        r"(?:以|用|成|輸出|回覆|回傳|產生)[^。\n]{0,10}json|json ?(?:格式|物件|陣列)"
        r"|(?:in|as|valid) json"
    ),
    "code": (
        r"(?:寫|實作|撰寫|編寫|完成)[^。\n]{0,12}(?:程式|函式|函數|腳本|代碼|查詢)"
        r"|(?:write|implement|code)[^.\n]{0,24}(?:function|program|script|query|class)\b"
    ),
    "table": (
        r"(?:以|用|成|製作|建立|畫|做)[^。\n]{0,6}表格"
        r"|markdown table|(?:as|in|create|make) a table"
    ),
    "list": (
        r"條列|列點|列出[二三四五六七八九十\d]|(?:以|用|成|製作|建立|給我)[^。\n]{0,6}(?:列表|清單)"
        r"|bullet|numbered list|as a list|(?:create|make|give me) a list"
    ),
}
_ASKED = {name: re.compile(fold(pattern)) for name, pattern in _ASKS.items()}
_CODE = re.compile(
    r"```|^\s*(?:def|class|import|from|function|select|#include|public|const|let|var)\b"
    r"|[{};]\s*$",
    re.MULTILINE | re.IGNORECASE,
)
_CALL = re.compile(r"\w\(")
_ITEM = re.compile(
    r"^\s*(?:[-*•‧·●]|\d+[.)、．]|[（(]?[一二三四五六七八九十\d]+[)）、.])\s*\S", re.MULTILINE
)
_ENUMERATED = re.compile(r"[、,，;；]|\n+")
_TABLE_ROW = re.compile(r"^\s*\|.*\|\s*$", re.MULTILINE)
_FENCE = re.compile(r"```[\w-]*\n(.*?)```", re.DOTALL)


class HeuristicsOptions(Options):
    """How much each aspect counts in the score.

    Attributes:
        weights: Weight of each aspect; one that is not named is left out.
    """

    weights: Mapping[str, PositiveFloat] = Field(
        default={
            "completeness": 1.0,
            "repetition": 1.5,
            "adequacy": 1.0,
            "script": 1.5,
            "relevance": 1.5,
            "compliance": 1.5,
            "format": 1.0,
            "citation": 1.5,
        },
        min_length=1,
    )


_DEFAULT = HeuristicsOptions()


def score(conversations: pl.DataFrame, options: HeuristicsOptions = _DEFAULT) -> pl.DataFrame:
    """Score conversations by rules.

    An aspect of a conversation is its mean over the rounds to which it applies; the score is the
    weighted mean of the aspects, null where none of them applies.

    Args:
        conversations: A table of :data:`kyara_kedro.records.CONVERSATION`.
        options: Weights of the aspects.

    Returns:
        A table of :data:`kyara_kedro.records.QUALITY`, in the order of the conversations.

    Raises:
        UserError: A weight names no aspect.
    """
    unknown = sorted(set(options.weights) - set(ASPECTS))
    if unknown:
        raise UserError(f"quality weights: no aspect '{unknown[0]}'; choose from {list(ASPECTS)}")
    return QUALITY.frame(
        _row(row_id, messages, options.weights)
        for row_id, messages in conversations.select("id", "messages").iter_rows()
    )


def _row(
    row_id: str, messages: Sequence[Message], weights: Mapping[str, float]
) -> dict[str, object]:
    exchanges = list(_exchanges(messages))
    values: dict[str, float] = {}
    for name in weights:
        seen = [ASPECTS[name](question, answer) for question, answer in exchanges]
        known = [value for value in seen if value is not None]
        if known:
            values[name] = sum(known) / len(known)
    total = sum(weights[name] for name in values)
    weighted = sum(weights[name] * value for name, value in values.items())
    return {
        "id": row_id,
        "score": weighted / total if values else None,
        "aspects": [{"aspect": name, "value": value} for name, value in values.items()],
        "scorer": SCORER if values else "",
    }


def _exchanges(messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    for before, turn in pairwise(messages):
        if turn["role"] == "assistant":
            yield before["content"], turn["content"]


def completeness(question: str, answer: str) -> float:
    """Whether the answer ends: with punctuation, a closed code block or table, or is a bare term.

    An unclosed code fence or a long last line without an end counts as cut.
    """
    text = answer.rstrip()
    if text.count("```") % 2:
        return 0.0
    last = text.rsplit("\n", 1)[-1]
    if _CLOSED.search(last) or _ITEM.match(last) or len(text) <= _BARE_ANSWER:
        return 1.0
    return 0.6 if _holds_code(text) else 0.2


def repetition(question: str, answer: str) -> float:
    """Share of token 4-grams that say something new; a loop of one sentence comes near 0.

    Natural text repeats up to a fifth of its 4-grams, which costs nothing.
    """
    words = tokens(answer)
    grams = Counter(zip(*(words[start:] for start in range(_GRAM)), strict=False))
    if not grams:
        return 1.0
    return min(1.0, len(grams) / sum(grams.values()) / 0.8)


def adequacy(question: str, answer: str) -> float:
    """Whether the answer is as long as its question asks for.

    A question that asks to explain, describe or write wants 40 tokens, one that asks for a word or
    a choice is content with one; others lie between. Longer answers earn nothing more.
    """
    asked = fold(question_of(question))
    if _BRIEF.search(asked):
        wanted = _BRIEF_TOKENS
    elif _DETAILED.search(asked):
        wanted = _DETAIL_TOKENS
    else:
        wanted = 10
    return min(1.0, len(tokens(answer)) / wanted)


def script(question: str, answer: str) -> float | None:
    """How purely a Traditional question is answered in Traditional; None for other questions.

    A twentieth of Simplified characters among those that differ is as bad as can be: they stand in
    a text by the dozen or not at all, except in names.
    """
    asked = script_share(question)
    if asked.traditional <= asked.simplified:
        return None
    found = script_share(answer)
    different = found.traditional + found.simplified
    return max(0.0, 1.0 - 20 * found.simplified / different) if different else 1.0


def relevance(question: str, answer: str) -> float | None:
    """Share of the question's key terms that the answer takes up, half of them being enough.

    Terms are two-character runs of Chinese and Latin words. None where the answer cannot be
    expected to repeat them: translations, code, choices, or questions without terms.
    """
    asked = fold(question_of(question))
    if _BRIEF.search(asked) or _ASKED["code"].search(asked) or _ASKED["json"].search(asked):
        return None
    wanted = _terms(tokens(asked))
    if not wanted or _is_grounded_refusal(answer):
        return None
    return min(1.0, 2 * len(wanted & _terms(tokens(answer))) / len(wanted))


def compliance(question: str, answer: str) -> float:
    """Whether the answer is one, and no short apology.

    The refusal that the reference format prescribes is an answer where references were shown.
    """
    if has_references(question) and _is_grounded_refusal(answer):
        return 1.0
    text = fold(answer.strip())
    if not _APOLOGY.search(text[:_APOLOGY_HEAD]):
        return 1.0
    return 0.0 if len(text) < _APOLOGY_CHARACTERS else 0.6


def format_following(question: str, answer: str) -> float | None:
    """Whether JSON, code, a table or a list was asked for and is there; None if none was."""
    asked = fold(question_of(question))
    checks = {"json": _holds_json, "code": _holds_code, "table": _holds_table, "list": _holds_list}
    met = [checks[name](answer) for name, pattern in _ASKED.items() if pattern.search(asked)]
    return sum(met) / len(met) if met else None


def citation(question: str, answer: str) -> float | None:
    """Share of an answer's citations that name a document it was shown; None without references.

    An answer that cites nothing earns 0, the prescribed refusal 1.
    """
    if not has_references(question):
        return None
    if _is_grounded_refusal(answer):
        return 1.0
    found = cited(answer)
    return sum(name in question for name in found) / len(found) if found else 0.0


ASPECTS = {
    "completeness": completeness,
    "repetition": repetition,
    "adequacy": adequacy,
    "script": script,
    "relevance": relevance,
    "compliance": compliance,
    "format": format_following,
    "citation": citation,
}
"""The aspects by name."""


def _terms(words: Sequence[str]) -> set[str]:
    """Latin words and pairs of neighbouring Chinese characters, without function words."""
    kept = [word if word not in _STOP else "" for word in words]
    pairs = {first + second for first, second in pairwise(kept) if len(first) == len(second) == 1}
    return pairs | {word for word in kept if len(word) > 1}


def _is_grounded_refusal(answer: str) -> bool:
    return match_key(answer) in _REFUSALS


def _holds_json(answer: str) -> bool:
    for candidate in (*_FENCE.findall(answer), answer):
        try:
            json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        return True
    return False


def _holds_code(answer: str) -> bool:
    call = _CALL.search(answer)
    return bool(_CODE.search(answer)) or (call is not None and answer.find(")", call.end()) >= 0)


def _holds_table(answer: str) -> bool:
    return len(_TABLE_ROW.findall(answer)) > 1


def _holds_list(answer: str) -> bool:
    return len(_ITEM.findall(answer)) > 1 or len(_ENUMERATED.findall(answer.strip())) > 1
