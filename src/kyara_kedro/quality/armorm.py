"""ArmoRM without its remote code: 19 rewards and the gate that weighs them by the prompt.

Interpretable Preferences via Multi-Objective Reward Modeling and Mixture-of-Experts (arXiv
2406.12845); checkpoints as RLHFlow/ArmoRM-Llama3-8B-v0.1. The rewards are linear in the hidden
state of the last token. The gate is a small network over the hidden state where the last answer
begins, so it sees the prompt and no answer: on the end-of-turn token in front of the assistant's
header. The score is the sum of gate times rewards, the rewards first freed of verbosity by a
fixed matrix.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kyara_kedro.checkpoints import load_network, weight_names, weights
from kyara_kedro.content import Message
from kyara_kedro.errors import UserError
from kyara_kedro.quality.padding import padded

ATTRIBUTES = (
    "helpsteer-helpfulness",
    "helpsteer-correctness",
    "helpsteer-coherence",
    "helpsteer-complexity",
    "helpsteer-verbosity",
    "ultrafeedback-overall_score",
    "ultrafeedback-instruction_following",
    "ultrafeedback-truthfulness",
    "ultrafeedback-honesty",
    "ultrafeedback-helpfulness",
    "beavertails-is_safe",
    "prometheus-score",
    "argilla-overall_quality",
    "argilla-judge_lm",
    "code-complexity",
    "code-style",
    "code-explanation",
    "code-instruction-following",
    "code-readability",
)
"""What the rewards stand for, in their order."""

_HEADER = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
_REGRESSION, _TRANSFORM = "regression_layer.weight", "reward_transform_matrix"
_SCALE = "gating.logit_scale"


class ArmoRM:
    """The reward model in memory.

    Args:
        directory: Its folder.
        device: ``cpu`` (float32) or an accelerator (the body in bfloat16, the heads in float32).
        tokenizer: With Llama 3's chat template.

    Raises:
        UserError: the folder holds no ArmoRM: a tensor is missing, unknown or of another shape, or
            the chat template is not Llama 3's.
    """

    aspects = ATTRIBUTES

    def __init__(self, directory: Path, device: str, tokenizer: Any) -> None:
        from transformers import LlamaConfig, LlamaModel

        config = LlamaConfig.from_pretrained(directory)
        said = json.loads((directory / "config.json").read_text("utf-8"))
        if (number := said.get("num_objectives", len(ATTRIBUTES))) != len(ATTRIBUTES):
            raise UserError(
                f"{directory}: num_objectives is {number}; ArmoRM's attributes are "
                f"{len(ATTRIBUTES)}, for others there are no names"
            )
        self._depth: int = said.get("gating_n_hidden", 3)
        self._temperature: float = said.get("gating_temperature", 10)
        shapes = self._shapes(config.hidden_size, said.get("gating_hidden_dim", 1024))
        _check_names(directory, config, frozenset(shapes))
        heads = weights(directory, frozenset(shapes))
        for name, shape in shapes.items():
            if tuple(heads[name].shape) != shape:
                raise UserError(
                    f"{directory}: {name} has shape {tuple(heads[name].shape)}, not {shape}"
                )
        self._device = device
        self._heads = {name: tensor.to(device) for name, tensor in heads.items()}
        self._body = load_network(LlamaModel, directory, device, "ArmoRM")
        self._header: list[int] = tokenizer(_HEADER, add_special_tokens=False)["input_ids"]
        self._check_template(directory, tokenizer)

    def _shapes(self, hidden: int, gating: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the tensors that are not the body's."""
        number = len(ATTRIBUTES)
        widths = [hidden, *[gating] * self._depth, number]
        layers = {
            f"gating.layers.{i}.{part}": shape
            for i in range(self._depth + 1)
            for part, shape in (
                ("weight", (widths[i + 1], widths[i])),
                ("bias", (widths[i + 1],)),
            )
        }
        heads = {_REGRESSION: (number, hidden), _TRANSFORM: (number, number), _SCALE: (1,)}
        return heads | layers

    def _check_template(self, directory: Path, tokenizer: Any) -> None:
        probe = [Message(role="user", content="?"), Message(role="assistant", content="!")]
        text = tokenizer.apply_chat_template(probe, tokenize=False)
        if self._gate(tokenizer(text, add_special_tokens=False)["input_ids"]) is None:
            raise UserError(
                f"{directory}: the chat template does not put {_HEADER!r} in front of an answer; "
                "ArmoRM needs Llama 3's"
            )

    def _gate(self, tokens: Sequence[int]) -> int | None:
        """Where the last assistant's header begins, on the end of the turn before it."""
        length = len(self._header)
        for start in range(len(tokens) - length, -1, -1):
            if list(tokens[start : start + length]) == self._header:
                return start
        return None

    def __call__(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Score token ids of conversations; shape [rows, 1 + 19]: the score, then the rewards.

        Raises:
            ValueError: a row has no assistant's turn.
        """
        import torch

        gates = [self._gate(row) for row in rows]
        if None in gates:
            raise ValueError("a conversation without an assistant's turn has no gate")
        ids, mask = padded(rows, 0, self._device)
        with torch.inference_mode():
            hidden = self._body(input_ids=ids, attention_mask=mask).last_hidden_state
            number = torch.arange(len(rows), device=self._device)
            last = mask.sum(1) - 1
            rewards = hidden[number, last].float() @ self._heads[_REGRESSION].T
            gate = self._weigh(hidden[number, torch.tensor(gates, device=self._device)].float())
            score = (gate * (rewards @ self._heads[_TRANSFORM])).sum(1, keepdim=True)
            found: NDArray[np.float32] = torch.cat([score, rewards], 1).cpu().numpy()
        return found

    def _weigh(self, prompt: Any) -> Any:
        """The gate: a weight for each reward, from the hidden state at the end of the prompt."""
        import torch

        for i in range(self._depth + 1):
            layer = f"gating.layers.{i}"
            prompt = prompt @ self._heads[f"{layer}.weight"].T + self._heads[f"{layer}.bias"]
            if i < self._depth:
                prompt = torch.relu(prompt)
        return torch.softmax(prompt / self._temperature, 1) * self._heads[_SCALE]


def _check_names(directory: Path, config: Any, heads: frozenset[str]) -> None:
    import torch
    from transformers import LlamaModel

    with torch.device("meta"):
        body = {f"model.{name}" for name in LlamaModel(config).state_dict()}
    there = weight_names(directory)
    for wrong, said in ((body | heads) - there, "is missing"), (there - body - heads, "is unknown"):
        if wrong:
            raise UserError(
                f"{directory}: the tensor {min(wrong)} {said} ({len(wrong)} such); this is no "
                "ArmoRM, or not the whole of one"
            )
