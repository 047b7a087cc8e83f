"""The models tuned here, asked like teachers: every answer is in a ledger before it is used."""

from collections.abc import Sequence
from typing import Any

from kyara_kedro.content import Message
from kyara_kedro.teachers.base import ChatRequest, Teacher, complete
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.training.chat import END_OF_TURN, prompt_text
from kyara_kedro.training.loading import fetched
from kyara_kedro.training.model_ref import ModelRef, verify


def tuned_request(
    row_id: str,
    tokenizer: Any,
    messages: Sequence[Message],
    version: str,
    *,
    sample: int,
    temperature: float,
    top_p: float,
    max_tokens: int,
    task: str = "self_play",
    room: int | None = None,
) -> ChatRequest:
    """Ask for an answer to a prompt as the model was trained to read it.

    Whatever template a server has does not matter. The token that begins a sequence is left out
    where the tokenizer puts it in front of a text itself, as servers then do, too.

    Args:
        row_id: Of the row.
        tokenizer: Of the model.
        messages: Turns that end with the user.
        version: What the answer is for.
        sample: Which of several.
        temperature: Of the sampling.
        top_p: Of the sampling.
        max_tokens: Longest answer.
        task: What it is for, among the tasks of teachers.
        room: Tokens that prompt and answer may have together; a longer answer is cut there.
    """
    text = prompt_text(tokenizer, messages)
    if room is not None:
        used = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        max_tokens = max(1, min(max_tokens, room - used))
    begun = tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
    return complete(
        row_id,
        task,
        text.removeprefix(tokenizer.bos_token) if begun else text,
        language="zh-TW",
        prompt_version=version,
        sample=sample,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        stop=(END_OF_TURN,),
    )


def tuned_teacher(model: ModelRef, role: str, batch_size: int, ledger: Ledger) -> Teacher:
    """The model itself, loaded when an answer is missing from the ledger.

    Raises:
        ModelRefError: another model lies in its place.
    """
    from kyara_kedro.teachers.local import LocalOptions, LocalTeacher

    verify(model)
    options = LocalOptions(path=fetched(model), role=role, batch_size=batch_size)
    return LocalTeacher(options, ledger)
