"""Sentences in documents that try to speak to the model instead of to the reader.

Text from documents enters prompts. A sentence that orders a model about, or that forges the
delimiters around documents, must not get there (prompt injection).
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.text.chunk import Span, sentences
from kyara_kedro.text.fold import fold
from kyara_kedro.text.normalise import visible
from kyara_kedro.text.script import code_points

_PROMPT = "指示|指令|提示詞|提示語|prompt"
_ORDERS = f"{_PROMPT}|命令|提示|規則|規定|設定|對話"
_FORGET = (
    "(忽略|無視|忘記|忘掉|不要理會|不用理會|不必理會"
    "|不必遵守|不要遵守|停止遵守|拋棄|覆蓋|繞過|略過|跳過)"
)
_MODEL = (
    "(((人工智慧|人工智能|ai|語言|生成式|對話)(助理|助手|模型|系統|機器人)|聊天機器人|chatgpt)"
    "|出題者|作答者|答題者|評分者)"
)
_SHALL = "(請|必須|務必|一律|只能|只要|應該?|不要|都要|只)"
_REPLY = "(回答|回覆|回應|答覆|輸出|寫出|寫上|作答|出題|改答|忽略|評為|給出)"
_FORBIDDEN = (
    # Orders to whoever reads for the model.
    rf"{_MODEL}.{{0,40}}{_SHALL}[^。]{{0,12}}{_REPLY}",
    r"\b(note|message|instructions?) (to|for) (the |any |all )?"
    r"(ai|assistant|(large )?language model|chatbot|llm|grader|annotator)s?\b",
    r"\b(dear|any|every|the) (ai|assistant|(large )?language model|chatbot|llm|grader"
    r"|annotator)s?\b.{0,30}\b(must|should|shall|has to|have to|please)\b.{0,16}"
    r"\b(reply|respond|output|answer|write|say|ignore|rate)\b",
    # Delimiters of documents, of turns and of common chat templates.
    r"<\s*/?\s*(documents?|references?|context|system|instructions?|user|assistant)\b",
    r"<(start_of_turn|end_of_turn|bos|eos|\|[a-z_]{2,}\|)>|\[/?inst\]|<</?sys>>",
    r"【\s*id_[0-9a-f]{4,}\s*】|\bid\s*[=:]\s*[\"']?id_[0-9a-f]{8}",
    r"^\s*#+\s*(參考文件|參考文檔|任務說明|使用者問題|用戶問題)\s*$",
    r"^\s*#+\s*(reference documents?|task description|user's question)\s*$",
    r"^\W*(new instructions?|updated instructions?|system prompt)\s*:",
    r"^\W*(新的?指令|新的?指示|更新的?指令|系統提示詞?)\s*:",
    # Orders to drop the instructions.
    rf"{_FORGET}.{{0,6}}(以上|上面|上述|之前|先前|前面|此前|前述|原本|原有|系統).{{0,8}}({_ORDERS})",
    rf"{_FORGET}.{{0,4}}(所有|一切|任何|全部|你的).{{0,4}}({_PROMPT})",
    rf"(以上|上述|之前|先前|前面).{{0,4}}(所有|一切|全部)?的?({_PROMPT})(都|全部|一律|已)?.{{0,2}}"
    "(作廢|無效|失效|取消|不算)",
    r"\b(ignore|disregard|forget|override|bypass)\b.{0,24}"
    r"\b(previous|above|prior|preceding|earlier|system)\b.{0,24}"
    r"\b(instructions?|prompts?|rules?|directions?|guidelines?|directives?)\b",
    r"\b(ignore|disregard|forget|override) (all|any|your|the)( of)?( the| your)? "
    r"(instructions|prompt)",
    r"\b(ignore|disregard|forget) (everything|all|anything) (above|before this|you (were|have been)"
    r" told|said before)",
    r"\b(do not|don't|stop) (follow|obey)(ing)? (the|your|any)( \w+)? "
    r"(instructions|system prompt|guidelines)",
    # New roles, and requests for the hidden instructions.
    r"(從現在起|從現在開始|接下來|以下開始).{0,3}(請)?你(是一個|將扮演|要扮演|必須|只能|只會|不再)",
    r"你現在(是|扮演|進入)(一個)?.{0,3}(dan\b|開發者模式|沒有(任何)?限制|不受(任何)?限制)",
    r"(如果|若|假如)你是(一個)?(ai|人工智慧|人工智能|語言模型|大語言模型|聊天機器人).{0,6}(請|必須|就)",
    r"\bfrom now on,? you (are|will|must|should)\b",
    r"\byou are now (dan|in developer mode|an? (ai|unrestricted|uncensored)|unrestricted)\b",
    r"\bif you are an? (ai|llm|language model|assistant|chatbot)\b.{0,40}"
    r"\b(please|must|should|include|respond|reply|say|write|output|ignore)\b",
    r"(輸出|顯示|印出|透露|洩露|洩漏|公開|說出|列出|重複|告訴我).{0,8}"
    r"(系統提示|系統指令|系統訊息|你的(提示詞|指令|初始指示)|system prompt)",
    r"\b(reveal|print|show|output|repeat|leak|tell me)\b.{0,24}"
    r"\b(system|hidden|initial) (prompt|instructions?)\b",
)
_UNSAFE = re.compile("|".join(f"(?:{fold(pattern)})" for pattern in _FORBIDDEN))
_VANISHES, _SEVERAL = 0xFFFFFFFF, 0xE000
# What matches a pattern holds at least one of these.
_HINTS = tuple(
    fold(hint)
    for hint in (
        *("[inst", "[/inst", "id_", "參考文件", "參考文檔", "任務說明", "使用者問題", "用戶問題"),
        *("reference doc", "task description", "user's question", "prompt", "instruction"),
        *("忽略", "無視", "忘記", "忘掉", "拋棄", "覆蓋", "繞過", "略過", "跳過", "要理會"),
        *(
            "用理會",
            "必理會",
            "必遵守",
            "要遵守",
            "止遵守",
            "指令",
            "指示",
            "提示詞",
            "提示語",
            "系統提示",
        ),
        *("系統訊息", "從現在", "接下來", "以下開始", "你現在", "若你是", "果你是", "如你是"),
        *("ignore", "disregard", "forget", "override", "bypass", "from now on", "are now"),
        *("if you are", "guidelines", "note to", "dear ", "assistant", "language model", "llm"),
        *("chatbot", "chatgpt", "grader", "annotator", "ai助", "ai系", "ai模", "ai機", "智慧助"),
        *("人工智", "語言模型", "語言助", "生成式", "對話", "聊天機器人", "出題者", "作答者"),
        *("答題者", "評分者"),
    )
)
_SIGNS = ("<", chr(_SEVERAL))
_BY_FREQUENCY = " etaoinshrdlcumwfgypbvkjxqz"


def unsafe_sentences(text: str) -> list[Span]:
    """Sentences that give a model orders or forge delimiters, whatever their script or width.

    An order that a line feed cuts in two makes both lines unsafe.
    """
    suspects = _suspects(text)
    if not suspects:
        return []
    spans = sentences(text)
    starts = [span.start for span in spans]
    unsafe: set[int] = set()
    for number in sorted({max(0, bisect_right(starts, place) - 1) for place in suspects}):
        if _is_unsafe(spans[number].of(text)):
            unsafe.add(number)
        for first, second in ((number - 1, number), (number, number + 1)):
            if first >= 0 and second < len(spans) and not unsafe & {first, second}:
                joined = text[spans[first].start : spans[second].end]
                if "\n" in joined and _is_unsafe(" ".join(joined.split())):
                    unsafe |= {first, second}
    return [spans[number] for number in sorted(unsafe)]


def _is_unsafe(sentence: str) -> bool:
    return bool(_UNSAFE.search(fold(visible(sentence))))


def remove_spans(text: str, spans: Sequence[Span]) -> str:
    """Cut spans out of a text; they are in order and do not overlap."""
    starts = [0, *(span.end for span in spans)]
    ends = [*(span.start for span in spans), len(text)]
    return "".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def _suspects(text: str) -> list[int]:
    """Places at which a text holds what every unsafe sentence holds."""
    points = _folded()[code_points(text)]
    seen = points != _VANISHES
    hidden = not seen.all()
    if hidden:
        points = points[seen]
    folded = points.tobytes().decode("utf-32-le", "surrogatepass")
    pairs = _hints()
    found = [
        place
        for place in pairs.marks[_pair(points[:-1], points[1:])].nonzero()[0].tolist()
        if any(
            folded.startswith(hint, max(0, place - offset))
            for offset, hint in pairs.hints.get(folded[place : place + 2], ())
        )
    ]
    for sign in _SIGNS:
        found += [match.start() for match in re.finditer(sign, folded)]
    return seen.nonzero()[0][found].tolist() if hidden else found


class _Hints(NamedTuple):
    """The hints by their rarest two letters: as a table of hashes and with the letters' offset."""

    marks: NDArray[np.bool_]
    hints: dict[str, list[tuple[int, str]]]


@cache
def _hints() -> _Hints:
    hints = defaultdict(list)
    for hint in _HINTS:
        rarity = [_BY_FREQUENCY.find(letter) % 99 for letter in hint]
        offset = max(range(len(hint) - 1), key=lambda i: rarity[i] + rarity[i + 1])
        hints[hint[offset : offset + 2]].append((offset, hint))
    marks = np.zeros(0x10000, dtype=np.bool_)
    letters = np.array([[ord(letter) for letter in pair] for pair in hints], dtype=np.uint32)
    marks[_pair(letters[:, 0], letters[:, 1])] = True
    return _Hints(marks, hints)


def _pair(first: NDArray[np.uint32], second: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """A hash of two neighbouring letters."""
    return (first * np.uint32(40503) + second).astype(np.uint16)


@cache
def _folded() -> NDArray[np.uint32]:
    """The one character that a character folds to, by its code point, shape [0x110000].

    `_VANISHES` for those that vanish, `_SEVERAL` for those that fold to several of which one is a
    letter.
    """
    table = np.arange(0x110000, dtype="<u4")
    for point in (*range(0x30000), *range(0xE0000, 0xE1000)):
        letter = chr(point)
        said = fold(visible(letter))
        if len(said) == 1:
            table[point] = ord(said)
        elif not said:
            table[point] = _VANISHES
        elif any(map(str.isalnum, said)):
            table[point] = _SEVERAL
    return table
