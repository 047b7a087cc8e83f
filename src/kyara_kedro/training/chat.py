"""The chat format: how conversations become the tokens that a model reads and learns.

The template is Gemma 2's with Gemma 3's place for a system message (in front of the first user
turn, followed by a blank line). A prompt is an exact token prefix of the same prompt with its
answer, and an assistant turn is learned up to and including its ``<end_of_turn>``.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple, TypedDict

from kyara_kedro.content import Message
from kyara_kedro.records import ROLES

START_OF_TURN = "<start_of_turn>"
END_OF_TURN = "<end_of_turn>"
CONTROL_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>", START_OF_TURN, END_OF_TURN)
IGNORED = -100

_CONTROL = re.compile("|".join(map(re.escape, CONTROL_TOKENS)))


class PreferencePair(TypedDict):
    """Two answers to one prompt.

    With a ``prefix`` both are continuations of an assistant turn that begins with it and stays
    open, as in step-wise preference data (Step-DPO, arXiv:2406.18629); without one, whole turns.
    """

    prompt: list[Message]
    chosen: str
    rejected: str
    prefix: str | None


class Encoded(NamedTuple):
    """A conversation as token ids and, of equal length, labels (-100 where nothing is learned)."""

    input_ids: list[int]
    labels: list[int]


class EncodedPair(TypedDict):
    """A preference pair as token ids; the answers start where they leave the prompt's tokens."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


@cache
def template() -> str:
    """The chat template, in Jinja."""
    return resources.files(__package__).joinpath("chat_template.jinja").read_text("utf-8")


def check_messages(messages: Sequence[Message]) -> str | None:
    """Say why a conversation cannot be trained on.

    Returns:
        None for a good conversation, else the first that applies of ``empty_conversation``,
        ``non_string_content``, ``unknown_role``, ``roles_not_alternating``,
        ``unanswered_turn``, ``blank_turn`` and ``control_token`` (a token of the chat format
        written out in the content, which would become a real one).
    """
    return next((reason for reason, applies in _faults(messages) if applies), None)


def _faults(messages: Sequence[Message]) -> Iterator[tuple[str, bool]]:
    """Reasons and whether they apply; each may take for granted that the former do not."""
    contents = [message["content"] for message in messages]
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    yield "empty_conversation", not turns
    yield "non_string_content", not all(isinstance(content, str) for content in contents)
    yield "unknown_role", not set(roles) <= set(ROLES)
    expected = [("user", "assistant")[turn % 2] for turn in range(len(turns))]
    yield "roles_not_alternating", turns != expected
    yield "unanswered_turn", turns[-1] == "user"
    yield "blank_turn", not all(content.strip() for content in contents)
    yield "control_token", any(_CONTROL.search(content) for content in contents)


def check_pair(pair: PreferencePair) -> str | None:
    """Say why a preference pair cannot be trained on.

    Returns:
        None for a good pair, ``identical_answers``, or a reason of :func:`check_messages` that
        applies to the prompt with one of its answers.
    """
    for answer in (pair["chosen"], pair["rejected"]):
        if not answer.strip():
            return "blank_turn"
        turn = Message(role="assistant", content=(pair["prefix"] or "") + answer)
        if reason := check_messages([*pair["prompt"], turn]):
            return reason
    same = pair["chosen"].strip() == pair["rejected"].strip()
    return "identical_answers" if same else None


def encode(tokenizer: Any, messages: Sequence[Message]) -> Encoded:
    """Tokenise a whole conversation and label what its assistant says."""
    encoded = tokenizer.apply_chat_template(
        list(messages),
        chat_template=template(),
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    labels = [
        token if learned else IGNORED
        for token, learned in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
    ]
    return Encoded(encoded["input_ids"], labels)


def prompt_text(tokenizer: Any, messages: Sequence[Message]) -> str:
    """Render a conversation that ends with a user turn, up to where the model starts to write."""
    text: str = tokenizer.apply_chat_template(
        list(messages), chat_template=template(), tokenize=False, add_generation_prompt=True
    )
    return text


def encode_pair(tokenizer: Any, pair: PreferencePair) -> EncodedPair:
    """Tokenise a preference pair.

    Tokens may merge across the end of a prefix; then the answers start with the first token in
    which prompt and answer differ, for both answers at the same place.
    """
    head = prompt_text(tokenizer, pair["prompt"])
    if pair["prefix"] is None:
        answers = [pair[side].strip() + END_OF_TURN for side in ("chosen", "rejected")]
    else:
        head += pair["prefix"]
        answers = [pair["chosen"], pair["rejected"]]
    texts = [head, *(head + answer for answer in answers)]
    prompt, chosen, rejected = tokenizer(texts, add_special_tokens=False)["input_ids"]
    cut = min(_shared(prompt, chosen), _shared(prompt, rejected))
    return EncodedPair(
        prompt_ids=prompt[:cut], chosen_ids=chosen[cut:], rejected_ids=rejected[cut:]
    )


def pair_length(pair: EncodedPair) -> int:
    """Tokens of the prompt and of the longer answer."""
    return len(pair["prompt_ids"]) + max(len(pair["chosen_ids"]), len(pair["rejected_ids"]))


def _shared(left: list[int], right: list[int]) -> int:
    """Length of the common beginning of two sequences."""
    pairs = zip(left, right, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))
