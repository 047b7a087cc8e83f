"""How probable a model finds answers."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kyara_kedro.content import Message
from kyara_kedro.training.chat import IGNORED, Encoded, encode, last_answer
from kyara_kedro.training.loading import load_tokenizer, quiet
from kyara_kedro.training.model_ref import ModelRef, verify
from kyara_kedro.training.resident import load_model

_LOGITS = 1 << 29
"""Numbers in the logits of a batch kept whole: 2,000 tokens of a vocabulary of 256,000."""


def log_likelihoods(
    model: ModelRef,
    conversations: Sequence[list[Message]],
    batch_size: int = 8,
    threads: int = 1,
) -> list[tuple[float, int]]:
    """The log-probability of each conversation's last answer with its end of turn, and its tokens.

    Args:
        model: The model.
        conversations: Turns that end with the assistant.
        batch_size: Conversations at once, those of like length together; fewer where they are long
            and the vocabulary is large.
        threads: CPU threads.

    Returns:
        Natural logarithm and number of tokens of each, in their order.
    """
    import torch

    verify(model)
    found: dict[int, tuple[float, int]] = {}
    with quiet(threads), torch.inference_mode():
        network, tokenizer = load_model(model)
        encoded = [_last_answer(encode(tokenizer, turns)) for turns in conversations]
        order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i].input_ids))
        room = _LOGITS // network.config.get_text_config().vocab_size
        for batch in _batches(order, [len(row.input_ids) for row in encoded], batch_size, room):
            sums = _sums(network, [encoded[number] for number in batch])
            found.update(zip(batch, sums, strict=True))
    return [found[number] for number in range(len(encoded))]


def answer_lengths(model: ModelRef, conversations: Sequence[list[Message]]) -> list[int]:
    """Tokens of each conversation's last answer, its end of turn included."""
    tokenizer = load_tokenizer(model)
    answers = (_last_answer(encode(tokenizer, turns)) for turns in conversations)
    return [int((answer.labels != IGNORED).sum()) for answer in answers]


def _last_answer(encoded: Encoded) -> Encoded:
    """The labels of the last answer alone."""
    start, _ = last_answer(encoded.labels)
    labels = encoded.labels.copy()
    labels[:start] = IGNORED
    return Encoded(encoded.input_ids, labels)


def _batches(
    order: Sequence[int], lengths: Sequence[int], most: int, room: int
) -> Iterator[Sequence[int]]:
    """Rows together, the longest first, as many as have room in tokens."""
    start = 0
    while start < len(order):
        end = start + max(1, min(most, room // lengths[order[start]]))
        yield order[start:end]
        start = end


def _sums(network: Any, rows: Sequence[Encoded]) -> list[tuple[float, int]]:
    """Sums over one batch; padded on the right, where no real token looks."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    device = network.device
    ids, labels, mask = (
        pad_sequence(
            [torch.tensor(row, dtype=torch.long) for row in some],
            batch_first=True,
            padding_value=value,
        )
        for some, value in (
            ([row.input_ids for row in rows], 0),
            ([row.labels for row in rows], IGNORED),
            ([np.ones_like(row.input_ids) for row in rows], 0),
        )
    )
    before = (labels != IGNORED).any(dim=0).nonzero()[:, 0].to(device) - 1
    logits = network(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        use_cache=False,
        logits_to_keep=before,
    ).logits
    sums = []
    for row, target in zip(logits, labels.to(device), strict=True):
        places = (target != IGNORED).nonzero()[:, 0]
        said = torch.log_softmax(row[torch.searchsorted(before, places - 1)].float(), dim=-1)
        chosen = said.gather(1, target[places][:, None])
        sums.append((float(chosen.sum()), len(places)))
    return sums
