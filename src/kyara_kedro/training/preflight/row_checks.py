"""What can be wrong with the tokens: looked at in the store, before any of them is learned."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray

from kyara_kedro.content import Message
from kyara_kedro.training.chat import (
    END_OF_TURN,
    IGNORED,
    START_OF_TURN,
    Encoded,
    encode,
    missing_token,
    template,
)
from kyara_kedro.training.preflight.flight import Flight
from kyara_kedro.training.tokens import Pairs

_TURN = re.compile(f"{START_OF_TURN}(user|model)\n(.*?){END_OF_TURN}", re.DOTALL)
_ROLES = {"user": "user", "model": "assistant"}
_RENDERED = 64
"""Sampled rows that are rendered again."""
_PROBE = [
    Message(role="system", content="請用一句話回答。"),
    Message(role="user", content="玉山主峰有多高？"),
    Message(role="assistant", content="3,952 公尺。"),
]


def check_something_to_learn(flight: Flight) -> str | None:
    """Every row must have a token that is learned."""
    return _first(
        flight, lambda row: None if (row.labels != IGNORED).any() else "nothing of it is learned"
    )


def check_one_bos(flight: Flight) -> str | None:
    """A row has one beginning of sequence, where it begins."""
    bos = flight.tokenizer.bos_token_id

    def wrong(row: Encoded) -> str | None:
        found = np.flatnonzero(row.input_ids == bos).tolist()
        if found == [0]:
            return None
        return (
            f"it has {len(found)} <bos> at {found[:3]}, not one at its beginning; "
            "the template writes it, so tokenise with add_special_tokens=False"
        )

    return None if bos is None else _first(flight, wrong)


def check_turns_end(flight: Flight) -> str | None:
    """Every turn must be closed, or the model never learns to stop; a cut row loses its end."""
    marks = _Marks.of(flight.tokenizer)

    def wrong(row: Encoded) -> str | None:
        if all(turn.closed for turn in marks.turns(row) if not _stays_open(flight, row, turn)):
            return None
        return (
            f"a turn has no {END_OF_TURN}, it ends in "
            f"'{flight.text(row.input_ids[-8:])}'; the row was cut or the template "
            "does not close turns: select the rows of this stage again"
        )

    return _first(flight, wrong)


def check_answers_learned(flight: Flight) -> str | None:
    """What the assistant says is learned with its end of turn, and nothing else is."""
    marks = _Marks.of(flight.tokenizer)

    def shown(row: Encoded, which: NDArray[np.bool_]) -> str:
        return flight.text(row.input_ids[which][:12])

    def wrong(row: Encoded) -> str | None:
        learned = row.labels != IGNORED
        if (row.labels[learned] != row.input_ids[learned]).any():
            return "labels are not the row's own tokens; they must not be shifted"
        said = _said(flight, row, marks)
        if (said & ~learned).any():
            return f"the assistant's '{shown(row, said & ~learned)}' is not learned"
        if (learned & ~said).any():
            return f"'{shown(row, learned & ~said)}' is learned, but not the assistant's"
        return None

    return _first(flight, wrong)


def check_template(flight: Flight) -> str | None:
    """The rows must be in the chat format, and the format be saved with the model."""
    tokenizer = flight.tokenizer
    if tokenizer.chat_template != template():
        return (
            "the tokenizer that is saved with the model has another chat template than the rows; "
            "load it with kyara_kedro.training.loading.load_tokenizer"
        )
    rows = flight.sampled[:: -(-len(flight.sampled) // _RENDERED)]
    strange = [number for number, row in rows if not _is_rendered(tokenizer, row)]
    if 2 * len(strange) <= len(rows):  # a rare row may not survive decoding; a wrong format is all
        return None
    return (
        f"row {flight.tokens.ids[strange[0]]}: its tokens are not what the chat template makes of "
        f"its text ({len(strange)} of {len(rows)} looked at); select the rows of this stage again"
    )


def check_system(flight: Flight) -> str | None:
    """A system message must reach the model, in training and in generation."""
    tokenizer, system = flight.tokenizer, _PROBE[0]["content"]
    learned = tokenizer.decode(encode(tokenizer, _PROBE).input_ids)
    asked = tokenizer.apply_chat_template(_PROBE[:2], tokenize=False, add_generation_prompt=True)
    for where, text in (("training", learned), ("generation", asked)):
        if system not in text:
            return f"the chat template drops the system message in {where}; mend the template"
    return None


def check_lengths(flight: Flight) -> str | None:
    """A row longer than a sequence would lose its end; one longer than the positions, its order."""
    longest = int(np.argmax(flight.tokens.lengths))
    length = int(flight.tokens.lengths[longest])
    positions = getattr(flight.network.config, "max_position_embeddings", None) or length
    for room, what in ((flight.job.recipe.max_length, "max_length"), (positions, "the model")):
        if length > room:
            return (
                f"row {flight.tokens.ids[longest]} has {length} tokens, {what} allows {room}; "
                "select the rows of this stage again with its max_length"
            )
    return None


def check_answers_differ(flight: Flight) -> str | None:
    """A pair of equal answers teaches nothing and counts as a row."""
    both = list(zip(flight.sampled[::2], flight.sampled[1::2], strict=True))
    equal = [n for (n, one), (_, other) in both if np.array_equal(one.input_ids, other.input_ids)]
    return _several(flight, equal, len(both), "both answers are the same tokens; drop it")


def check_preferred(flight: Flight) -> str | None:
    """The chosen answer must be the one that was judged the better."""
    pairs = cast(Pairs, flight.tokens)
    swapped = np.flatnonzero(pairs.p_chosen < pairs.p_rejected).tolist()
    fault = "the rejected answer was judged the better; are chosen and rejected swapped?"
    return _several(flight, swapped, len(pairs), fault)


def check_forbidden(flight: Flight) -> str | None:
    """No row that was found to hold benchmark items may be learned."""
    found = flight.tokens.ids.is_in(list(flight.job.forbidden)).arg_true().to_list()
    fault = "it was found contaminated and must not be learned; run dedup and this stage again"
    return _several(flight, found, len(flight.tokens), fault)


def check_vocabulary(flight: Flight) -> str | None:
    """Every token must have an embedding, and the chat format's tokens be tokens."""
    tokenizer, room = flight.tokenizer, flight.network.get_input_embeddings().weight.shape[0]
    if token := missing_token(tokenizer):
        return f"the tokenizer does not know {token}; start from a model with Gemma's tokens"
    highest = max(int(row.input_ids.max()) for _, row in flight.sampled)
    if max(len(tokenizer) - 1, highest) >= room:
        return (
            f"the tokenizer has {len(tokenizer)} tokens and the rows' highest is {highest}, but "
            f"the model has {room} embeddings; are they of the same model?"
        )
    return None


class _Turn(NamedTuple):
    """What the model says in a turn: its first token, its end (exclusive), and if it is closed."""

    start: int
    end: int
    closed: bool


class _Marks(NamedTuple):
    """The tokens that turns are told apart by."""

    opening: int
    closing: int
    header: NDArray[np.int64]

    @classmethod
    def of(cls, tokenizer: Any) -> "_Marks":
        header = tokenizer(f"{START_OF_TURN}model\n", add_special_tokens=False)["input_ids"]
        opening, closing = tokenizer.convert_tokens_to_ids([START_OF_TURN, END_OF_TURN])
        return cls(opening, closing, np.array(header))

    def turns(self, row: Encoded) -> list[_Turn]:
        """The model's turns."""
        ids, size = row.input_ids, len(self.header)
        starts = np.flatnonzero(ids == self.opening).tolist()
        found = []
        for start, limit in zip(starts, [*starts[1:], len(ids)], strict=False):
            if np.array_equal(ids[start : start + size], self.header):
                ends = np.flatnonzero(ids[start:limit] == self.closing)
                end = start + int(ends[0]) + 1 if len(ends) else limit
                found.append(_Turn(start + size, end, bool(len(ends))))
        return found


def _stays_open(flight: Flight, row: Encoded, turn: _Turn) -> bool:
    """Whether a turn is one that a continuation adds to, which needs no end."""
    return (
        isinstance(flight.tokens, Pairs)
        and turn.end == len(row.input_ids)
        and bool(row.labels[turn.start] == IGNORED)
    )


def _said(flight: Flight, row: Encoded, marks: _Marks) -> NDArray[np.bool_]:
    """Which tokens are to be learned: all turns of a conversation, the answer of a pair."""
    said = np.zeros(len(row.input_ids), bool)
    turns = marks.turns(row)
    if isinstance(flight.tokens, Pairs):
        turns = turns[-1:]
        begun = int(np.argmax(row.labels != IGNORED))
        turns = [turn._replace(start=max(turn.start, begun)) for turn in turns]
    for turn in turns:
        said[turn.start : turn.end] = True
    return said


def _is_rendered(tokenizer: Any, row: Encoded) -> bool:
    """Whether the closed turns of a row come out the same when their text is encoded again."""
    text = tokenizer.decode(row.input_ids)
    turns = [Message(role=_ROLES[role], content=content) for role, content in _TURN.findall(text)]
    if not turns:
        return False
    try:
        again = encode(tokenizer, turns).input_ids[:-1]  # the last turn's line break, which a
    except (TemplateError, ValueError):  # pair has not
        return False
    return np.array_equal(row.input_ids[: len(again)], again)


def _first(flight: Flight, wrong: Callable[[Encoded], str | None]) -> str | None:
    """The first fault among the sampled rows, and in how many of them there is one."""
    faults = [(number, fault) for number, row in flight.sampled if (fault := wrong(row))]
    numbers = [number for number, _ in faults]
    return _several(flight, numbers, len(flight.sampled), faults[0][1] if faults else "")


def _several(flight: Flight, numbers: list[int], looked: int, fault: str) -> str | None:
    if not numbers:
        return None
    return f"row {flight.tokens.ids[numbers[0]]}: {fault} ({len(numbers)} of {looked} looked at)"
