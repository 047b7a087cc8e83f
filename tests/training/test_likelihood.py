import math

import pytest

from kyara_kedro.content import Message
from kyara_kedro.training import likelihood
from kyara_kedro.training.chat import END_OF_TURN, prompt_text
from kyara_kedro.training.likelihood import answer_lengths, log_likelihoods
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.resident import load_model


def said(*turns: str) -> list[Message]:
    return [
        Message(role=("user", "assistant")[number % 2], content=turn)
        for number, turn in enumerate(turns)
    ]


CONVERSATIONS = [
    said("玉山主峰的海拔是多少公尺？", "3,952公尺。"),
    said("濁水溪全長？", "186公里，出海口在彰化。", "玉山", "玉山主峰。"),
    said("Answer, please.", "玉"),
    said("請回答。" * 9, "濁水溪" * 5),
]


def one_by_one(model: ModelRef, messages: list[Message]) -> tuple[float, int]:
    """The chain rule, a forward pass for each token."""
    import torch

    network, tokenizer = load_model(model)
    prompt = prompt_text(tokenizer, messages[:-1])
    head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    whole = tokenizer(prompt + messages[-1]["content"] + END_OF_TURN, add_special_tokens=False)
    tokens = whole["input_ids"]
    assert tokens[: len(head)] == head
    total = 0.0
    with torch.inference_mode():
        for end in range(len(head), len(tokens)):
            logits = network(torch.tensor([tokens[:end]])).logits[0, -1]
            total += math.log(torch.softmax(logits.double(), dim=-1)[tokens[end]].item())
    return total, len(tokens) - len(head)


def test_the_last_answer_and_its_end_are_counted(embedded: ModelRef) -> None:
    found = log_likelihoods(embedded, CONVERSATIONS, batch_size=3)
    for (total, tokens), messages in zip(found, CONVERSATIONS, strict=True):
        expected, length = one_by_one(embedded, messages)
        assert tokens == length
        assert total == pytest.approx(expected, abs=1e-3)
    assert [tokens for _, tokens in found] == answer_lengths(embedded, CONVERSATIONS)


def test_nothing_has_no_likelihood(embedded: ModelRef) -> None:
    assert log_likelihoods(embedded, []) == []


@pytest.mark.parametrize("logits", [1 << 29, 1])
def test_logits_are_kept_only_where_an_answer_is(
    embedded: ModelRef, monkeypatch: pytest.MonkeyPatch, logits: int
) -> None:
    """Those of whole rows of a large vocabulary do not fit into memory, nor do many rows'."""
    monkeypatch.setattr(likelihood, "_LOGITS", logits)
    network, _ = load_model(embedded)
    shapes = []
    hook = network.lm_head.register_forward_hook(lambda *told: shapes.append(told[2].shape))
    found = log_likelihoods(embedded, CONVERSATIONS[:2])
    hook.remove()
    answers = [tokens for _, tokens in found]
    if logits == 1:
        assert sorted(shape[1] for shape in shapes) == sorted(answers)
        assert found == [
            pytest.approx(log_likelihoods(embedded, [one])[0]) for one in CONVERSATIONS[:2]
        ]
    else:
        ((rows, kept, _),) = shapes
        assert (rows, kept) == (2, sum(answers))
