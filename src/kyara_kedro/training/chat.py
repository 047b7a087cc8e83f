"""The chat format: how conversations become the tokens that a model reads and learns.

The template is Gemma 2's with Gemma 3's place for a system message (in front of the first user
turn, followed by a blank line). A prompt is an exact token prefix of the same prompt with its
answer, and an assistant turn is learned up to and including its ``<end_of_turn>``.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.content import Message
from kyara_kedro.records import ROLES

START_OF_TURN = "<start_of_turn>"
END_OF_TURN = "<end_of_turn>"
CONTROL_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>", START_OF_TURN, END_OF_TURN)
IGNORED = -100
Ids = NDArray[np.int32]

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

    input_ids: Ids
    labels: Ids


class EncodedPair(TypedDict):
    """A preference pair as token ids; the answers start where they leave the prompt's tokens."""

    prompt_ids: Ids
    chosen_ids: Ids
    rejected_ids: Ids


@cache
def template() -> str:
    """The chat template, in Jinja."""
    return resources.files(__package__).joinpath("chat_template.jinja").read_text("utf-8")


def missing_token(tokenizer: Any) -> str | None:
    """The first token of the chat format that a tokenizer does not know, if there is one."""
    unknown = (None, tokenizer.unk_token_id)
    tokens = (START_OF_TURN, END_OF_TURN)
    return next((t for t in tokens if tokenizer.convert_tokens_to_ids(t) in unknown), None)


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
    return encode_batch(tokenizer, [messages])[0]


def encode_batch(tokenizer: Any, conversations: Sequence[Sequence[Message]]) -> list[Encoded]:
    """Tokenise whole conversations and label what the assistant says in them.

    The marks are those of the template's ``generation`` blocks; they are found by the control
    tokens, which the content does not hold, and so without the tokens' places in the text.

    Args:
        tokenizer: Of a model of the Gemma family.
        conversations: Good ones, see :func:`check_messages`.

    Raises:
        ValueError: the tokenizer joins the start of an answer with what stands before it.
    """
    if not conversations:
        return []
    texts = tokenizer.apply_chat_template(
        [list(messages) for messages in conversations], chat_template=template(), tokenize=False
    )
    start, end = tokenizer.convert_tokens_to_ids([START_OF_TURN, END_OF_TURN])
    header = next(_tokens(tokenizer, [f"{START_OF_TURN}model\n"]))
    encoded = []
    for ids in _tokens(tokenizer, texts):
        labels = np.full_like(ids, IGNORED)
        turns = (np.flatnonzero(ids == token)[1::2] for token in (start, end))
        for first, last in zip(*turns, strict=True):
            said = slice(first + len(header), last + 1)
            if not np.array_equal(ids[first : said.start], header):
                raise ValueError(
                    "the tokenizer joins the start of an answer with what stands before it: "
                    f"{tokenizer.decode(ids[first : said.start + 1])!r}"
                )
            labels[said] = ids[said]
        encoded.append(Encoded(ids, labels))
    return encoded


def _tokens(tokenizer: Any, texts: Sequence[str]) -> Iterator[Ids]:
    """Tokenise texts that hold their control tokens already; twice as fast without places."""
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    for found in backend.encode_batch_fast(texts, add_special_tokens=False):
        yield np.array(found.ids, np.int32)


def prompt_text(tokenizer: Any, messages: Sequence[Message]) -> str:
    """Render a conversation that ends with a user turn, up to where the model starts to write."""
    text: str = tokenizer.apply_chat_template(
        list(messages), chat_template=template(), tokenize=False, add_generation_prompt=True
    )
    return text


def encode_pair(tokenizer: Any, pair: PreferencePair) -> EncodedPair:
    """Tokenise a preference pair, see :func:`encode_pair_batch`."""
    return encode_pair_batch(tokenizer, [pair])[0]


def encode_pair_batch(tokenizer: Any, pairs: Iterable[PreferencePair]) -> list[EncodedPair]:
    """Tokenise preference pairs.

    Tokens may merge across the end of a prefix; then the answers start with the first token in
    which prompt and answer differ, for both answers at the same place.
    """
    texts = [text for pair in pairs for text in _rendered(tokenizer, pair)]
    found = _tokens(tokenizer, texts)
    return [_parted(*parts) for parts in zip(found, found, found, strict=True)]


def _rendered(tokenizer: Any, pair: PreferencePair) -> tuple[str, str, str]:
    """The prompt, and the prompt with each answer."""
    head = prompt_text(tokenizer, pair["prompt"])
    if pair["prefix"] is None:
        chosen, rejected = (pair[side].strip() + END_OF_TURN for side in ("chosen", "rejected"))
    else:
        head += pair["prefix"]
        chosen, rejected = pair["chosen"], pair["rejected"]
    return head, head + chosen, head + rejected


def _parted(prompt: Ids, chosen: Ids, rejected: Ids) -> EncodedPair:
    cut = min(_shared(prompt, chosen), _shared(prompt, rejected))
    return EncodedPair(
        prompt_ids=prompt[:cut], chosen_ids=chosen[cut:], rejected_ids=rejected[cut:]
    )


def pair_length(pair: EncodedPair) -> int:
    """Tokens of the prompt and of the longer answer."""
    return len(pair["prompt_ids"]) + max(len(pair["chosen_ids"]), len(pair["rejected_ids"]))


def _shared(left: Ids, right: Ids) -> int:
    """Length of the common beginning of two sequences."""
    shorter = min(len(left), len(right))
    differing = np.flatnonzero(left[:shorter] != right[:shorter])
    return int(differing[0]) if len(differing) else shorter


def last_answer(labels: Ids) -> tuple[int, int]:
    """Where the last answer of a conversation begins and ends, exclusive, by its labels."""
    learned = labels != IGNORED
    end = int(np.flatnonzero(learned)[-1]) + 1
    return int(np.flatnonzero(~learned[:end]).max(initial=-1)) + 1, end


def stop_tokens(tokenizer: Any) -> list[int]:
    """The ids at which generation stops: the end of a text and that of a turn."""
    return [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END_OF_TURN)]
