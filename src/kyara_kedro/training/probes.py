"""Answers that a network gives in the middle of its training, which goes on as if it had not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.decoding import Decoder, Prompt, Sampling
from kyara_kedro.text.repetition import distinct_4
from kyara_kedro.training.chat import last_answer, stop_tokens
from kyara_kedro.training.loading import ATTENTION
from kyara_kedro.training.tokens import Conversations, Pairs
from kyara_kedro.training.vitals import Measures

_TOGETHER = 16
"""Prompts answered at once; the decoder takes fewer when the memory is not enough."""


@dataclass(frozen=True)
class Question:
    """A prompt of the data and the answer that it has there, as token ids."""

    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True)
class Probe:
    """A question, and what the model said to it before the first step.

    Attributes:
        question: The question.
        said: The token ids of the answer.
        log_probability: Natural logarithm of its probability at that time.
    """

    question: Question
    said: list[int]
    log_probability: float


def choose(data: Conversations | Pairs, count: int) -> list[Question]:
    """Take questions that lie evenly in the data, held-out rows first."""
    held_out = _spread(np.flatnonzero(data.held_out), count)
    learned = _spread(np.flatnonzero(~data.held_out), count - len(held_out))
    return [_question(data, int(number)) for number in (*held_out, *learned)]


def _spread(numbers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    places = np.linspace(0, len(numbers) - 1, min(count, len(numbers)))
    return numbers[places.round().astype(np.int64)]


def _question(data: Conversations | Pairs, number: int) -> Question:
    if isinstance(data, Pairs):
        pair = data.row(number)
        return Question(pair.prompt_ids.tolist(), pair.chosen_ids.tolist())
    ids, labels = data.row(number)
    start, end = last_answer(labels)
    return Question(ids[:start].tolist(), ids[start:end].tolist())


class Prober:
    """Asks a network in training.

    Args:
        tokenizer: The network's.
        max_new_tokens: Longest answer in tokens.
        bf16: Whether the training computes in bfloat16, as the answers then do.
    """

    def __init__(self, tokenizer: Any, max_new_tokens: int, bf16: bool) -> None:
        self._tokenizer = tokenizer
        self._sampling = Sampling(max_new_tokens, temperature=1.0)
        self._ends = set(stop_tokens(tokenizer))
        self._bf16 = bf16

    def begin(self, network: Any, questions: Sequence[Question]) -> list[Probe]:
        """Let the network answer before the first step."""
        with _resting(network, self._bf16) as resting:
            answers = self._answers(resting, questions)
            return [
                Probe(question, said, _log_probability(resting, question.prompt, said))
                for question, said in zip(questions, answers, strict=True)
            ]

    def measure(self, network: Any, probes: Sequence[Probe]) -> Measures:
        """Let the network answer again, and see how it likes its first answers now.

        Both times a row is drawn with the same noise, so what changes is the model. The
        Kullback-Leibler divergence of the model from its start is estimated from samples of the
        start, of which only the log-probabilities are needed, not the model.
        """
        with _resting(network, self._bf16) as resting:
            answers = self._answers(resting, [probe.question for probe in probes])
            lost = sum(
                probe.log_probability - _log_probability(resting, probe.question.prompt, probe.said)
                for probe in probes
            )
        kl = lost / sum(len(probe.said) for probe in probes)
        return self.describe(answers)._replace(kl=kl)

    def describe(self, answers: Sequence[list[int]]) -> Measures:
        """Say what answers are like, as far as they are not longer than the network's may be."""
        longest = self._sampling.max_tokens
        cut = [answer[:longest] for answer in answers]
        stopped = [bool(answer) and answer[-1] in self._ends for answer in cut]
        said = [
            answer[:-1] if ended else answer for answer, ended in zip(cut, stopped, strict=True)
        ]
        new = [distinct_4(self._tokenizer.decode(answer)) for answer in said]
        return Measures(
            answer_tokens=float(np.mean([len(answer) for answer in said])),
            unstopped=1 - float(np.mean(stopped)),
            repetition=float(np.mean([0.0 if share is None else 1 - share for share in new])),
        )

    def _answers(self, network: Any, questions: Sequence[Question]) -> list[list[int]]:
        prompts = [
            Prompt(question.prompt, seed, self._sampling) for seed, question in enumerate(questions)
        ]
        decoder = Decoder(network, self._tokenizer, self._ends, _TOGETHER)
        drawn = dict(row for batch in decoder.draw(prompts) for row in batch)
        return [drawn[number] for number in range(len(prompts))]


@contextmanager
def _resting(network: Any, bf16: bool) -> Iterator[Any]:
    """Make a network that is being trained fit to write, and then what it was.

    Yields:
        The network; of one with adapters, the network that they are in.
    """
    import torch

    adapted = network.get_base_model() if hasattr(network, "get_base_model") else network
    active = [module for module in network.modules() if module.training]
    generation, attention = adapted.generation_config, adapted.config._attn_implementation
    network.eval()
    adapted.set_attn_implementation(ATTENTION)
    try:
        with (
            torch.autocast(adapted.device.type, torch.bfloat16, enabled=bf16),
            torch.compiler.set_stance("force_eager"),  # each length would be compiled anew
        ):
            yield adapted
    finally:
        adapted.set_attn_implementation(attention)
        adapted.generation_config = generation
        for module in active:
            module.training = True


def _log_probability(network: Any, prompt: list[int], answer: list[int]) -> float:
    import torch

    ids = torch.tensor([prompt + answer], device=network.device)
    with torch.inference_mode():
        kept = network(input_ids=ids, use_cache=False, logits_to_keep=len(answer) + 1).logits
    scores = torch.log_softmax(kept[0, :-1].float(), dim=-1)
    return float(scores.gather(1, ids[0, -len(answer) :, None]).sum())
