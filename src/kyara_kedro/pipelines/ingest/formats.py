"""The foreign formats of conversations and preference pairs, and how each becomes our record.

Every function takes one raw row and returns plain values, or raises :class:`Malformed` with the
reason that the row's drop will carry.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kyara_kedro.content import Message
from kyara_kedro.records import ROLES
from kyara_kedro.text.normalise import visible

_LARGEST_SCORE = 1e9
_SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}


class Malformed(Exception):
    """A row that does not fit its format.

    Args:
        reason: Snake-case word for the drop.
        detail: What is wrong, in words.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Pair:
    """One preference pair in the making; see :data:`kyara_kedro.records.PREFERENCE`."""

    kind: str
    prompt: list[Message]
    prefix: str | None
    chosen: str
    rejected: str
    score_chosen: float | None
    score_rejected: float | None
    source: str


def conversation(row: Mapping[str, Any]) -> list[Message]:
    """Read a conversation in ShareGPT, messages or Alpaca form, told by its keys.

    Raises:
        Malformed: for an unknown form, a missing or non-text field, an unknown role, turns that do
            not alternate, or a blank turn.
    """
    if "conversations" in row:
        turns = [_sharegpt_turn(turn) for turn in _sequence(row, "conversations")]
    elif "messages" in row:
        turns = [_turn(turn) for turn in _sequence(row, "messages")]
    elif "instruction" in row and "output" in row:
        asked = _text(row, "instruction")
        if row.get("input"):
            asked += "\n\n" + _text(row, "input")
        turns = [
            Message(role="user", content=asked),
            Message(role="assistant", content=_text(row, "output")),
        ]
    else:
        raise Malformed("unknown_format", f"no known conversation form has keys {_keys(row)}")
    return _alternating(turns, last="assistant")


def preference(row: Mapping[str, Any]) -> Pair:
    """Read a preference pair in UltraFeedback-binarized, H4 or Math-Step-DPO form.

    Step pairs keep the steps that precede them as ``prefix``: they continue an assistant turn that
    stays open.

    Raises:
        Malformed: for an unknown form, a missing field, or equal sides.
    """
    if "initial_reason_steps" in row:
        pair = Pair(
            kind="continuation",
            prompt=[Message(role="user", content=_text(row, "prompt"))],
            prefix=_text(row, "initial_reason_steps") + "\n",
            chosen=_text(row, "chosen"),
            rejected=_text(row, "rejected"),
            score_chosen=None,
            score_rejected=None,
            source="math_step",
        )
    elif "chosen_response" in row:
        pair = Pair(
            kind="conversation",
            prompt=[Message(role="user", content=_text(row, "instruction"))],
            prefix=None,
            chosen=_text(row, "chosen_response"),
            rejected=_text(row, "rejected_response"),
            score_chosen=_number(row, "chosen_avg_rating"),
            score_rejected=_number(row, "rejected_avg_rating"),
            source="ultrafeedback",
        )
    elif "chosen" in row and "rejected" in row:
        pair = _h4(row)
    else:
        raise Malformed("unknown_format", f"no known preference form has keys {_keys(row)}")
    if pair.chosen == pair.rejected:
        raise Malformed("equal_sides", "chosen and rejected are the same")
    if None not in (pair.score_chosen, pair.score_rejected) and _margin(pair) <= 0:
        raise Malformed("no_margin", "the chosen answer is not rated above the rejected one")
    return pair


def _margin(pair: Pair) -> float:
    return (pair.score_chosen or 0.0) - (pair.score_rejected or 0.0)


def _h4(row: Mapping[str, Any]) -> Pair:
    chosen = _alternating([_turn(turn) for turn in _sequence(row, "chosen")], last="assistant")
    rejected = _alternating([_turn(turn) for turn in _sequence(row, "rejected")], last="assistant")
    if chosen[:-1] != rejected[:-1]:
        raise Malformed("different_prompts", "chosen and rejected answer different prompts")
    return Pair(
        kind="conversation",
        prompt=chosen[:-1],
        prefix=None,
        chosen=chosen[-1]["content"],
        rejected=rejected[-1]["content"],
        score_chosen=_number(row, "score_chosen"),
        score_rejected=_number(row, "score_rejected"),
        source="h4",
    )


def _sequence(row: Mapping[str, Any], key: str) -> list[Any]:
    value = row[key]
    if not isinstance(value, list) or not value:
        raise Malformed("no_turns", f"'{key}' must be a filled list")
    return value


def _sharegpt_turn(turn: Any) -> Message:
    if not isinstance(turn, Mapping):
        raise Malformed("malformed_turn", "a turn must be an object")
    role = _SHAREGPT_ROLES.get(str(turn.get("from")))
    if role is None:
        raise Malformed("unknown_role", f"unknown speaker {turn.get('from')!r}")
    return Message(role=role, content=_text(turn, "value"))


def _turn(turn: Any) -> Message:
    if not isinstance(turn, Mapping):
        raise Malformed("malformed_turn", "a turn must be an object")
    if turn.get("role") not in ROLES:
        raise Malformed("unknown_role", f"unknown role {turn.get('role')!r}")
    return Message(role=turn["role"], content=_text(turn, "content"))


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise Malformed("not_text", f"'{key}' must be text, not {type(value).__name__}")
    seen = visible(value).strip()
    if not seen:
        raise Malformed("blank_text", f"'{key}' is blank")
    return seen


def _number(row: Mapping[str, Any], key: str) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if not known or not abs(value) <= _LARGEST_SCORE:
        raise Malformed("not_a_number", f"'{key}' must be a finite number, not {value!r:.40}")
    return float(value)


def _keys(row: Mapping[str, Any]) -> list[str]:
    return sorted(map(str, row))


def _alternating(turns: list[Message], last: str) -> list[Message]:
    spoken = turns[1:] if turns[0]["role"] == "system" else turns
    expected = [("user", "assistant")[i % 2] for i in range(len(spoken))]
    if [turn["role"] for turn in spoken] != expected or not spoken or expected[-1] != last:
        raise Malformed("roles_not_alternating", "user and assistant must alternate")
    return turns
