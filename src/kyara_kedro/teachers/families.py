"""Whose model it is, by its name: a judge likes what reads like itself."""

from __future__ import annotations

import re

_FAMILIES = {
    "openai": r"gpt|chatgpt|o[1-9]|davinci|text-davinci",
    "anthropic": r"claude",
    "google": r"gemini|gemma|palm|kyara",
    "meta": r"llama|codellama",
    "alibaba": r"qwen|qwq|qvq",
    "deepseek": r"deepseek",
    "mistral": r"mistral|mixtral|ministral|codestral|magistral",
    "01-ai": r"yi",
    "zhipu": r"glm|chatglm",
    "xai": r"grok",
    "microsoft": r"phi|wizardlm",
    "cohere": r"command|aya|c4ai",
    "baidu": r"ernie",
    "amazon": r"nova|titan",
    "moonshot": r"kimi|moonshot",
    "mediatek": r"breeze|breexe",
    "taide": r"taide",
    "internlm": r"internlm",
    "baichuan": r"baichuan",
    "minimax": r"minimax|abab",
    "tencent": r"hunyuan",
    "bytedance": r"doubao|seed",
}
_KNOWN = re.compile(
    r"(?<![a-z])(?:"
    + "|".join(f"(?P<f{i}>{names})" for i, names in enumerate(_FAMILIES.values()))
    + r")(?![a-z])"
)


def family_of(model: str) -> str:
    """Guess whose model it is.

    Args:
        model: Its name, with or without its owner (``Qwen/Qwen2.5-72B-Instruct``). Of a model that
            was made from others' (``DeepSeek-R1-Distill-Qwen``) the first one named counts.

    Returns:
        The vendor; the name itself, in lower case and without its owner, when it says nothing.
    """
    name = model.rstrip("/").rpartition("/")[2].lower()
    found = _KNOWN.search(name)
    return list(_FAMILIES)[int(str(found.lastgroup)[1:])] if found else name
