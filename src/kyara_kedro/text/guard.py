"""Sentences in documents that try to speak to the model instead of to the reader.

Text from documents enters prompts. A sentence that orders a model about, or that forges the
delimiters around documents, must not get there (prompt injection).
"""

import re
from collections.abc import Sequence

from kyara_kedro.text.chunk import Span, sentences
from kyara_kedro.text.fold import fold
from kyara_kedro.text.normalise import visible

_PROMPT = "指示|指令|提示詞|提示語|prompt"
_ORDERS = f"{_PROMPT}|命令|提示|規則|規定|設定|對話"
_FORGET = "(忽略|無視|忘記|忘掉|不要理會|不用理會|不必遵守|停止遵守|拋棄|覆蓋)"
_FORBIDDEN = (
    # Delimiters of documents, of turns and of common chat templates.
    r"<\s*/?\s*(documents?|references?|context|system|instructions?|user|assistant)\b",
    r"<(start_of_turn|end_of_turn|bos|eos|\|[a-z_]{2,}\|)>|\[/?inst\]|<</?sys>>",
    r"【\s*id_[0-9a-f]{4,}\s*】|\bid\s*[=:]\s*[\"']?id_[0-9a-f]{8}",
    r"^\s*#+\s*(參考文件|參考文檔|任務說明|使用者問題|用戶問題)\s*$",
    r"^\s*#+\s*(reference documents?|task description|user's question)\s*$",
    # Orders to drop the instructions.
    rf"{_FORGET}.{{0,6}}(以上|上面|上述|之前|先前|前面|此前|原本|系統).{{0,8}}({_ORDERS})",
    rf"{_FORGET}.{{0,4}}(所有|一切|任何|全部|你的).{{0,4}}({_PROMPT})",
    r"\b(ignore|disregard|forget|override|bypass)\b.{0,24}"
    r"\b(previous|above|prior|preceding|earlier|system)\b.{0,24}"
    r"\b(instructions?|prompts?|rules?|directions?|guidelines?|directives?)\b",
    r"\b(ignore|disregard|forget|override) (all|any|your|the)( of)?( the| your)? "
    r"(instructions|prompt)",
    # New roles, and requests for the hidden instructions.
    r"(從現在起|從現在開始|接下來|以下開始).{0,3}(請)?你(是一個|將扮演|要扮演|必須|只能|只會|不再)",
    r"\bfrom now on,? you (are|will|must|should)\b",
    r"\byou are now (dan|in developer mode|an? (ai|unrestricted|uncensored)|unrestricted)\b",
    r"(輸出|顯示|透露|洩露|洩漏|公開|說出|列出|重複).{0,8}"
    r"(系統提示|系統指令|系統訊息|system prompt)",
    r"\b(reveal|print|show|output|repeat|leak)\b.{0,24}"
    r"\b(system|hidden|initial) (prompt|instructions?)\b",
)
_UNSAFE = re.compile("|".join(f"(?:{fold(pattern)})" for pattern in _FORBIDDEN))


def unsafe_sentences(text: str) -> list[Span]:
    """Sentences that give a model orders or forge delimiters, whatever their script or width."""
    return [span for span in sentences(text) if _UNSAFE.search(fold(visible(span.of(text))))]


def remove_spans(text: str, spans: Sequence[Span]) -> str:
    """Cut spans out of a text; they are in order and do not overlap."""
    starts = [0, *(span.end for span in spans)]
    ends = [*(span.start for span in spans), len(text)]
    return "".join(text[start:end] for start, end in zip(starts, ends, strict=True))
