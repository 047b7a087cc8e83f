"""Answers from a model in this process: left-padded batches, sorted by length, reproducible."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from tqdm import tqdm

from kyara_kedro.records import Message, content_id
from kyara_kedro.training.chat import END_OF_TURN, prompt_text
from kyara_kedro.training.loading import ATTENTION, load_tokenizer, quiet
from kyara_kedro.training.model_ref import ModelRef, verify
from kyara_kedro.training.options import GenerationOptions


class Generated(NamedTuple):
    """An answer, whether the model ended it itself, and its length in tokens without the end."""

    text: str
    stopped: bool
    tokens: int


def generate(
    model: ModelRef, conversations: Sequence[list[Message]], options: GenerationOptions
) -> list[Generated]:
    """Answer conversations that end with a user turn.

    A sample depends on the seed and on its conversation, not on its neighbours: logits get Gumbel
    noise from a generator of the row's own, and the largest wins (the Gumbel-max trick), which is
    a draw from the softmax. The k-th copy of a conversation gets the k-th draw.

    Args:
        model: The model that answers.
        conversations: Optional system turn, then user and assistant turns in alternation.
        options: How to generate.

    Returns:
        One answer a conversation, in their order.
    """
    verify(model)
    with quiet(options.threads):
        network, tokenizer = _load(model)
        prompts = [
            tokenizer(prompt_text(tokenizer, messages), add_special_tokens=False)["input_ids"]
            for messages in conversations
        ]
        seeds = _seeds(conversations, options.seed)
        order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), seeds[i]))
        answers: dict[int, Generated] = {}
        with tqdm(total=len(order), desc="answers", disable=None, leave=False) as bar:
            for first in range(0, len(order), options.batch_size):
                batch = order[first : first + options.batch_size]
                written = _answer(
                    network,
                    tokenizer,
                    [prompts[i] for i in batch],
                    [seeds[i] for i in batch],
                    options,
                )
                answers.update(zip(batch, written, strict=True))
                bar.update(len(batch))
    return [answers[i] for i in range(len(prompts))]


@lru_cache(maxsize=1)
def _load(model: ModelRef) -> tuple[Any, Any]:
    """The last model used stays in memory."""
    import torch
    from transformers import AutoModelForCausalLM

    accelerated = torch.cuda.is_available()
    network = AutoModelForCausalLM.from_pretrained(
        model.path,
        dtype=torch.bfloat16 if accelerated else torch.float32,
        attn_implementation=ATTENTION,
    )
    return network.to("cuda" if accelerated else "cpu").eval(), load_tokenizer(model)


def _seeds(conversations: Sequence[list[Message]], seed: int) -> list[int]:
    """A 63-bit seed for each conversation and each of its copies."""
    copies: Counter[str] = Counter()
    seeds = []
    for messages in conversations:
        key = content_id(messages, seed)
        seeds.append(int(content_id(key, copies[key])[:16], 16) >> 1)
        copies[key] += 1
    return seeds


def _answer(
    network: Any,
    tokenizer: Any,
    prompts: list[list[int]],
    seeds: list[int],
    options: GenerationOptions,
) -> list[Generated]:
    """Answer one batch."""
    import torch

    inputs = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
    inputs = inputs.to(network.device)
    ends = {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END_OF_TURN)}
    with torch.inference_mode():
        output = network.generate(
            **inputs,
            max_new_tokens=options.max_new_tokens,
            do_sample=False,
            eos_token_id=sorted(ends),
            pad_token_id=tokenizer.pad_token_id,
            logits_processor=_samplers(seeds, options, network.device),
        )
    written = output[:, inputs["input_ids"].shape[1] :].tolist()
    answers = []
    for tokens in written:
        length = next((i for i, token in enumerate(tokens) if token in ends), None)
        text = tokenizer.decode(tokens[:length], skip_special_tokens=True).strip()
        answers.append(
            Generated(text, length is not None, len(tokens) if length is None else length)
        )
    return answers


def _samplers(seeds: list[int], options: GenerationOptions, device: Any) -> Any:
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

    if options.temperature == 0:
        return LogitsProcessorList()
    return LogitsProcessorList(
        [
            TemperatureLogitsWarper(options.temperature),
            TopPLogitsWarper(options.top_p),
            GumbelNoise(),
        ]
    )
