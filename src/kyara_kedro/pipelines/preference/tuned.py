"""The models tuned here, asked like teachers: every answer is in a ledger before it is used."""

from pathlib import Path

from kyara_kedro.teachers.base import ChatRequest, Teacher, complete
from kyara_kedro.teachers.ledger import Ledger
from kyara_kedro.training.chat import END_OF_TURN
from kyara_kedro.training.model_ref import ModelRef, verify


def tuned_request(
    row_id: str,
    text: str,
    version: str,
    *,
    sample: int,
    temperature: float,
    top_p: float,
    max_tokens: int,
) -> ChatRequest:
    """Ask for an answer.

    Args:
        row_id: Of the row.
        text: The prompt as the model was trained to read it, whatever template a server has.
        version: What the answer is for.
        sample: Which of several.
        temperature: Of the sampling.
        top_p: Of the sampling.
        max_tokens: Longest answer.
    """
    return complete(
        row_id,
        "self_play",
        text,
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
    options = LocalOptions(path=Path(model.path), role=role, batch_size=batch_size)
    return LocalTeacher(options, ledger)
