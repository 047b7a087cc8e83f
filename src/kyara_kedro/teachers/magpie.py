"""What Magpie sends: a chat template up to where the user speaks, so that a model writes questions.

An aligned model that is given no more than the text in front of a user's turn goes on with a
question of its own (Magpie, arXiv:2406.08464).

The texts do not hold the token that begins a sequence (``<bos>``, ``<|begin_of_text|>``). Servers
put it in front of a raw text themselves, as vLLM, SGLang and llama.cpp do by default and ``kedro
serve-model`` too; a text with it would have it twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kyara_kedro.teachers.base import TeacherError

_SYSTEM = "{system}"


class _Form(NamedTuple):
    """A family of chat templates.

    Attributes:
        bare: The text in front of the user's turn without a system prompt.
        steered: The same with one.
        stop: What ends the user's turn, the end token of raw texts included.
    """

    bare: str
    steered: str
    stop: tuple[str, ...]


_CHATML = "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n"
_CHATML_STOP = ("<|im_end|>", "<|im_start|>", "<|endoftext|>")
_LLAMA_3 = "<|start_header_id|>user<|end_header_id|>\n\n"
_GEMMA = "<start_of_turn>user\n"

TEMPLATES: Mapping[str, _Form] = {
    "gemma-2": _Form(
        _GEMMA, f"{_GEMMA}{_SYSTEM}\n\n", ("<end_of_turn>", "<start_of_turn>", "<eos>")
    ),
    "llama-3": _Form(
        _LLAMA_3,
        "<|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|>" + _LLAMA_3,
        ("<|eot_id|>", "<|start_header_id|>", "<|end_of_text|>"),
    ),
    "chatml": _Form("<|im_start|>user\n", _CHATML, _CHATML_STOP),
    "qwen2": _Form(_CHATML.replace(_SYSTEM, "You are a helpful assistant."), _CHATML, _CHATML_STOP),
}
"""Families by name. Gemma has no place of its own for a system prompt: it opens the user's turn, as
in Gemma 3's template and in ours. Qwen2 has a system prompt when nobody gives one."""


def pre_query(name_or_text: str, system: str | None = None) -> str:
    """The text that a model continues with a user's question.

    Args:
        name_or_text: A key of :data:`TEMPLATES`, or the text itself; ``{system}`` in it is the
            place of the system prompt.
        system: The system prompt, which steers language and subject; None or empty for none.

    Raises:
        TeacherError: it is neither, or the text has no place for the system prompt, or wants one.
    """
    form = TEMPLATES.get(name_or_text)
    if form is not None:
        return form.steered.replace(_SYSTEM, system) if system else form.bare
    if not any(sign in name_or_text for sign in "<[{|\n"):
        raise TeacherError(
            f"magpie template {name_or_text!r}: unknown; there are {', '.join(TEMPLATES)}, or "
            "write the text in front of the user's turn itself, such as '<|user|>\\n'"
        )
    if bool(system) != (_SYSTEM in name_or_text):
        lack = "no place for a system prompt" if system else "a place for a system prompt"
        fix = "put {system} into it" if system else "give one, or take {system} out of it"
        raise TeacherError(f"magpie template {name_or_text!r} has {lack}: {fix}")
    return name_or_text.replace(_SYSTEM, system or "")


def stops(name_or_text: str) -> tuple[str, ...]:
    """What ends the user's turn; nothing for a text of one's own, where the model's end has to do.

    No more than the four that OpenAI's API takes. Servers that leave special tokens out of a reply
    cannot see them as texts; there the model's own end tokens, which these are, end the turn.
    """
    form = TEMPLATES.get(name_or_text)
    return form.stop if form is not None else ()
