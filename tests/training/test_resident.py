import math
import weakref
from collections import Counter
from pathlib import Path

import pytest

from kyara_kedro.content import Message
from kyara_kedro.decoding import Decoder, Prompt, Sampling
from kyara_kedro.training import launchers
from kyara_kedro.training.job import StageJob
from kyara_kedro.training.launchers import run_stage
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import GenerationOptions, SFTOptions
from kyara_kedro.training.resident import load_model
from kyara_kedro.training.tokens import TokensRef

from .writing import generate

QUESTIONS = (
    "玉山主峰的海拔是多少公尺？",
    "濁水溪全長？",
    "Answer, please.",
    "玉山",
    "請回答。" * 9,
)
CONVERSATIONS = [[Message(role="user", content=question)] for question in QUESTIONS]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_do_not_depend_on_batch_or_order(embedded: ModelRef, temperature: float) -> None:
    together = GenerationOptions(max_new_tokens=12, temperature=temperature, batch_size=3)
    alone = GenerationOptions(max_new_tokens=12, temperature=temperature, batch_size=1)
    answers = generate(embedded, CONVERSATIONS, together)
    assert answers == generate(embedded, CONVERSATIONS, alone)
    assert answers[::-1] == generate(embedded, CONVERSATIONS[::-1], together)


def test_seed_and_copy_give_other_samples(embedded: ModelRef) -> None:
    options = GenerationOptions(max_new_tokens=12, temperature=1.0)
    first, second = generate(embedded, [CONVERSATIONS[0]] * 2, options)
    other = generate(
        embedded, CONVERSATIONS[:1], GenerationOptions(max_new_tokens=12, temperature=1.0, seed=1)
    )
    assert len({first.text, second.text, other[0].text}) == 3


def test_length_and_stop(embedded: ModelRef) -> None:
    options = GenerationOptions(max_new_tokens=3)
    for answer in generate(embedded, CONVERSATIONS, options):
        assert answer.stopped == (answer.tokens < 3)
        assert "<end_of_turn>" not in answer.text


def test_long_prompts_are_fewer_at_once_on_a_cpu_and_no_short_ones_are_with_them(
    embedded: ModelRef,
) -> None:
    network, tokenizer = load_model(embedded)
    short = Prompt([5] * 100, 0, Sampling(1))
    long = Prompt([5] * 2100, 0, Sampling(1))
    decoder = Decoder(network, tokenizer, {tokenizer.eos_token_id}, batch_size=8)
    sizes = [len(batch) for batch in decoder.write([short] * 8 + [long] * 4)]
    assert sizes == [3, 1, 8]
    medium, half = Prompt([5] * 300, 0, Sampling(1)), Prompt([5] * 150, 0, Sampling(1))
    sizes = [len(batch) for batch in decoder.write([short] * 2 + [half] * 2 + [medium])]
    assert sizes == [3, 2]


def test_nothing_to_answer(embedded: ModelRef) -> None:
    assert generate(embedded, [], GenerationOptions()) == []


def test_a_stage_finds_no_other_model_in_memory(
    embedded: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would have its place on the accelerator, above all for processes of torchrun.

    Nor the trainer of an earlier stage, which is in a cycle with its callbacks.
    """
    network = weakref.ref(load_model(embedded)[0])

    class Trainer:
        def __init__(self) -> None:
            self.callback = self

    trainer = Trainer()
    left = weakref.ref(trainer)
    del trainer
    generate(embedded, CONVERSATIONS[:1], GenerationOptions(max_new_tokens=1))
    here = []
    monkeypatch.setattr(
        launchers, "watched", lambda job, tracking: here.extend((network(), left()))
    )
    data = TokensRef("nowhere", "digest", "conversations", 1, 0, 1)
    run_stage(StageJob(stage="s", start=embedded, data=data, recipe=SFTOptions(), store=tmp_path))
    assert here == [None, None]


def test_samples_follow_the_distribution(embedded: ModelRef) -> None:
    """Chi-square of 2,000 one-token samples against the model's own probabilities."""
    import torch

    from kyara_kedro.training.chat import prompt_text

    draws = 2000
    network, tokenizer = load_model(embedded)
    prompt = tokenizer(
        prompt_text(tokenizer, CONVERSATIONS[0]), add_special_tokens=False, return_tensors="pt"
    )
    with torch.inference_mode():
        probability = torch.softmax(network(**prompt).logits[0, -1] / 0.3, dim=-1)
    options = GenerationOptions(max_new_tokens=1, temperature=0.3, batch_size=300)
    texts = Counter(a.text for a in generate(embedded, [CONVERSATIONS[0]] * draws, options))
    expected: Counter[str] = Counter()
    for token, share in enumerate(probability.tolist()):
        expected[tokenizer.decode([token], skip_special_tokens=True).strip()] += share
    statistic = sum(
        (texts[text] - draws * share) ** 2 / (draws * share * (1 - share))
        for text, share in expected.most_common(8)
    )
    assert statistic < 8 + 5 * math.sqrt(2 * 8)
