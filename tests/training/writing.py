"""Answers of a model in this process, as tests compare them."""

from collections import Counter
from collections.abc import Sequence

from kyara_kedro.content import Message, content_id
from kyara_kedro.decoding import Decoder, Prompt, Sampling, Written
from kyara_kedro.training.chat import prompt_text, stop_tokens
from kyara_kedro.training.loading import quiet
from kyara_kedro.training.model_ref import ModelRef, verify
from kyara_kedro.training.options import GenerationOptions
from kyara_kedro.training.resident import load_model


def generate(
    model: ModelRef, conversations: Sequence[list[Message]], options: GenerationOptions
) -> list[Written]:
    """Answer conversations that end with a user turn.

    A sample depends on the seed and on its conversation, not on its neighbours. The k-th copy of a
    conversation gets the k-th draw.

    Args:
        model: The model that answers.
        conversations: Optional system turn, then user and assistant turns in alternation.
        options: How to generate.

    Returns:
        One answer a conversation, in their order.
    """
    verify(model)
    sampling = Sampling(options.max_new_tokens, options.temperature, options.top_p)
    with quiet(options.threads):
        network, tokenizer = load_model(model)
        ends = set(stop_tokens(tokenizer))
        prompts = [
            Prompt(
                tokenizer(prompt_text(tokenizer, messages), add_special_tokens=False)["input_ids"],
                seed,
                sampling,
            )
            for messages, seed in zip(
                conversations, _seeds(conversations, options.seed), strict=True
            )
        ]
        answers: dict[int, Written] = {}
        for batch in Decoder(network, tokenizer, ends, options.batch_size).write(prompts):
            answers.update(batch)
    return [answers[i] for i in range(len(prompts))]


def _seeds(conversations: Sequence[list[Message]], seed: int) -> list[int]:
    """A 63-bit seed for each conversation and each of its copies."""
    copies: Counter[str] = Counter()
    seeds = []
    for messages in conversations:
        key = content_id(messages, seed)
        seeds.append(int(content_id(key, copies[key])[:16], 16) >> 1)
        copies[key] += 1
    return seeds
