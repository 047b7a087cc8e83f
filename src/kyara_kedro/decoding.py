"""Batched decoding: prompts as token ids in, written text out.

What training and teachers share; how messages become tokens is theirs to say. Rows are padded on
the left, since a model goes on at a row's last position; padded on the right it would continue
from the padding.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple

from kyara_kedro.errors import UserError

LOGGER = logging.getLogger(__name__)

_CPU_SCORES = 1 << 24
"""Attention scores of one head at once on a CPU: squares of prompts' lengths; 64 MiB a head."""
_CPU_SHORT = 128
"""Tokens up to which a CPU pads prompts of any length to the longest one of a batch; longer ones
are batched with those that are at least half as long."""

_BROKEN = "\ufffd"
"""What bytes decode to that are no whole character, or not yet."""
_BYTE = re.compile("<0x[0-9A-F]{2}>")


class Sampling(NamedTuple):
    """How a row is written.

    Attributes:
        max_tokens: Longest text in tokens, its end included.
        temperature: 0 takes the most probable token, 1 samples from the model's distribution.
        top_p: Samples only from the most probable tokens that together have this probability.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0


class Prompt(NamedTuple):
    """A row to be continued.

    Attributes:
        tokens: The prompt's token ids.
        seed: Of this row's samples alone, 63 bits.
        sampling: How it is written.
    """

    tokens: Sequence[int]
    seed: int
    sampling: Sampling


class Written(NamedTuple):
    """A text, whether the model ended it itself, and its length in tokens without the end."""

    text: str
    stopped: bool
    tokens: int


class HaltedError(Exception):
    """Somebody asked to stop in the middle of a batch; what it had written is lost."""


def _never() -> bool:
    return False


class Decoder:
    """Writes with one model, in batches as large as its memory bears.

    A sample depends on the row's seed and prompt, not on its neighbours: logits get Gumbel noise
    from a generator of the row's own, and the largest wins (the Gumbel-max trick), which is a draw
    from the softmax. What neighbours can change is the rounding of logits: by a few units in the
    last place in float32, and visibly in bfloat16, where two tokens may be a tie.

    Args:
        network: A causal language model; its own generation settings are replaced, so that
            penalties and temperatures that it came with do not apply.
        tokenizer: The model's.
        ends: Token ids that end a text.
        batch_size: Rows written at once; halved whenever the accelerator's memory is not enough.
            On a CPU, where nothing tells that before the machine is out of memory, long prompts are
            fewer from the start.
    """

    def __init__(
        self, network: Any, tokenizer: Any, ends: Collection[int], batch_size: int
    ) -> None:
        from transformers import GenerationConfig

        self.batch_size = batch_size
        self._network = network
        self._tokenizer = tokenizer
        self._ends = sorted(ends)
        self._padding = self._ends[0]
        if tokenizer.pad_token_id is not None:
            self._padding = tokenizer.pad_token_id
        network.generation_config = GenerationConfig()

    def write(
        self, prompts: Sequence[Prompt], halted: Callable[[], bool] = _never
    ) -> Iterator[list[tuple[int, Written]]]:
        """Continue prompts; those of a batch share their sampling, and the longest come first.

        Args:
            prompts: In any order.
            halted: Looked at after every token.

        Yields:
            The texts of a batch, each with its prompt's number.

        Raises:
            HaltedError: as soon as ``halted`` says so.
            UserError: not even one row fits into the accelerator's memory.
        """
        for batch in self.draw(prompts, halted):
            yield [(number, self.text(tokens)) for number, tokens in batch]

    def draw(
        self, prompts: Sequence[Prompt], halted: Callable[[], bool] = _never
    ) -> Iterator[list[tuple[int, list[int]]]]:
        """Like :meth:`write`, but yields token ids, an end included where the model gave one."""
        import torch

        order = sorted(range(len(prompts)), key=lambda number: _by_length(prompts[number]))
        for sampling, same in groupby(order, key=lambda number: prompts[number].sampling):
            left = list(same)
            while left:
                batch = left[: self._rows([prompts[number] for number in left[: self.batch_size]])]
                drawn: list[list[int]] = []
                with suppress(torch.OutOfMemoryError):
                    some = [prompts[number] for number in batch]
                    drawn = self._draw(some, sampling, lambda _: halted())
                if drawn:
                    left = left[len(batch) :]
                    yield list(zip(batch, drawn, strict=True))
                else:
                    self._shrink(prompts[batch[0]], len(batch))

    def tell(self, prompt: Prompt, say: Callable[[str], None]) -> Written:
        """Continue one prompt, and say the text as it is written.

        Only whole characters are said: those that are written as bytes, in several tokens, come
        when the last byte is there, since one wrong byte would change what the others mean. White
        space comes with what follows it. All that is said, together, is the text.

        Args:
            prompt: What is continued.
            say: Given each piece.

        Raises:
            UserError: the prompt does not fit into the accelerator's memory.
        """
        import torch

        said = 0

        def go_on(tokens: Any) -> bool:
            nonlocal said
            settled = tokens[0].tolist()
            while settled and self._is_byte(settled[-1]):
                settled.pop()
            text = self.text(settled).text.rstrip(_BROKEN).rstrip()
            if len(text) > said:
                say(text[said:])
                said = len(text)
            return False

        try:
            [tokens] = self._draw([prompt], prompt.sampling, go_on)
        except torch.OutOfMemoryError as error:
            raise _too_large(prompt) from error
        written = self.text(tokens)
        if rest := written.text[said:]:
            say(rest)
        return written

    def _rows(self, prompts: Sequence[Prompt]) -> int:
        """How many of the next prompts, the longest first, are written at once."""
        if self._network.device.type != "cpu":
            return len(prompts)
        lengths = [max(1, len(prompt.tokens)) for prompt in prompts]
        least = lengths[0] / 2 if lengths[0] > _CPU_SHORT else 0
        similar = sum(length >= least for length in lengths)
        return max(1, min(similar, _CPU_SCORES // lengths[0] ** 2))

    def _shrink(self, longest: Prompt, size: int) -> None:
        import torch

        if size == 1:
            raise _too_large(longest)
        self.batch_size = size // 2
        torch.cuda.empty_cache()
        LOGGER.warning("Out of memory with %d rows: going on with %d.", size, self.batch_size)

    def _draw(
        self, prompts: Sequence[Prompt], sampling: Sampling, halts: Callable[[Any], bool]
    ) -> list[list[int]]:
        """Continue one batch; after every token ``halts`` is shown what has been written.

        Raises:
            HaltedError: it said so.
        """
        import torch
        from torch.nn.utils.rnn import pad_sequence

        halted = False

        def look(ids: Any, _: Any) -> Any:
            nonlocal halted
            halted = halts(ids[:, tokens.shape[1] :])
            return torch.full((len(ids),), halted, device=ids.device)

        device = self._network.device
        rows = [torch.tensor(prompt.tokens) for prompt in prompts]
        tokens, mask = (
            pad_sequence(some, batch_first=True, padding_value=value, padding_side="left")
            for some, value in ((rows, self._padding), ([torch.ones_like(r) for r in rows], 0))
        )
        with torch.inference_mode():
            output = self._network.generate(
                input_ids=tokens.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=sampling.max_tokens,
                do_sample=False,
                eos_token_id=self._ends,
                pad_token_id=self._padding,
                logits_processor=_samplers([prompt.seed for prompt in prompts], sampling, device),
                stopping_criteria=[look],
            )
        if halted:
            raise HaltedError
        return [self._ended(row) for row in output[:, tokens.shape[1] :].tolist()]

    def _ended(self, tokens: list[int]) -> list[int]:
        """The tokens up to the first end; what follows pads the batch."""
        end = next((i + 1 for i, token in enumerate(tokens) if token in self._ends), None)
        return tokens[:end]

    def text(self, tokens: Sequence[int]) -> Written:
        """The text of what :meth:`draw` gave for a prompt."""
        stopped = bool(tokens) and tokens[-1] in self._ends
        said = tokens[:-1] if stopped else tokens
        text = self._tokenizer.decode(said, skip_special_tokens=True).strip()
        return Written(text, stopped, len(said))

    def _is_byte(self, token: int) -> bool:
        """Whether a token stands for one byte of a character that is not in the vocabulary."""
        return _BYTE.fullmatch(self._tokenizer.convert_ids_to_tokens(token)) is not None


def _too_large(prompt: Prompt) -> UserError:
    return UserError(
        f"out of memory: one prompt of {len(prompt.tokens)} tokens and a reply of "
        f"{prompt.sampling.max_tokens} do not fit; ask for shorter replies or take a "
        "smaller model"
    )


def _by_length(prompt: Prompt) -> tuple[int, Sampling, int, int]:
    return -prompt.sampling.max_tokens, prompt.sampling, -len(prompt.tokens), prompt.seed


def _samplers(seeds: list[int], sampling: Sampling, device: Any) -> Any:
    """Logits processors after which the largest logit is the sample; none when greedy."""
    import torch
    from transformers import LogitsProcessor, LogitsProcessorList
    from transformers.generation import TemperatureLogitsWarper, TopPLogitsWarper

    class GumbelNoise(LogitsProcessor):  # type: ignore[misc]
        def __init__(self) -> None:
            self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            exponential = torch.stack(
                [
                    torch.empty_like(row, dtype=torch.float32).exponential_(generator=generator)
                    for row, generator in zip(scores, self.generators, strict=True)
                ]
            )
            return scores - exponential.log()

    if sampling.temperature == 0:
        return LogitsProcessorList()
    return LogitsProcessorList(
        [
            TemperatureLogitsWarper(sampling.temperature),
            TopPLogitsWarper(sampling.top_p),
            GumbelNoise(),
        ]
    )
