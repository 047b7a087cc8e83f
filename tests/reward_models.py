"""Tiny reward models with random weights, in folders as published ones are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from kyara_kedro.content import Message
from kyara_kedro.records import CONVERSATION

HEADER = [128009, 128006, 78191, 128007, 271]
"""End of turn and assistant's header, as Llama 3 numbers their tokens."""
TEMPLATE = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n{{ message.content | trim }}"
    "<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where Llama 3 cuts before it joins bytes; line breaks stay together."""
THETA = 500_000.0


def tokenizer(template: str = TEMPLATE, compact: bool = False) -> Any:
    """Bytes as tokens, with the control tokens and ids of Llama 3; compact has no gaps."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("Ċ", "Ċ")]
    vocabulary["ĊĊ"] = 271
    for end in range(2, len("assistant") + 1):
        merges.append(("assistant"[: end - 1], "assistant"[end - 1]))
        vocabulary["assistant"[:end]] = 78191 if end == len("assistant") else 300 + end
    control = {
        "<|begin_of_text|>": 128000,
        "<|start_header_id|>": 128006,
        "<|end_header_id|>": 128007,
        "<|eot_id|>": 128009,
        "[PAD]": 128256,
    }
    vocabulary |= control
    if compact:
        vocabulary = {token: number for number, token in enumerate(vocabulary)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(control))
    ends = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "[PAD]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, chat_template=template, **ends)


def shape(**more: Any) -> dict[str, Any]:
    return {
        "vocab_size": 128_257,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
        "bos_token_id": 128000,
        "eos_token_id": 128009,
        "pad_token_id": 128256,
        **more,
    }


def armorm(folder: Path, seed: int = 0) -> Path:
    """A folder with the tensors and settings of ArmoRM, all small."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(seed)
    config = LlamaConfig(**shape(), tie_word_embeddings=False)
    body = LlamaModel(config)
    tensors = {f"model.{name}": tensor for name, tensor in body.state_dict().items()}
    for name, tensor in tensors.items():
        if "norm" in name:
            tensors[name] = torch.rand(tensor.shape) + 0.5
    tensors["regression_layer.weight"] = torch.randn(19, 16)
    tensors["reward_transform_matrix"] = torch.eye(19) + 0.1 * torch.randn(19, 19)
    tensors["gating.logit_scale"] = torch.tensor([1.3])
    widths = [16, 12, 12, 12, 19]
    for i in range(4):
        tensors[f"gating.layers.{i}.weight"] = torch.randn(widths[i + 1], widths[i])
        tensors[f"gating.layers.{i}.bias"] = torch.randn(widths[i + 1])
    folder.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)
    said = config.to_dict() | {
        "architectures": ["LlamaForRewardModelWithGating"],
        "auto_map": {"AutoModelForSequenceClassification": "modeling_custom.Evil"},
        "gating_temperature": 10,
        "gating_hidden_dim": 12,
        "gating_n_hidden": 3,
        "num_objectives": 19,
    }
    (folder / "config.json").write_text(json.dumps(said, default=str))
    (folder / "modeling_custom.py").write_text("raise SystemExit('code was run')")
    tokenizer().save_pretrained(folder)
    return folder


WEIGHTS = "model.safetensors"


def classifier(
    folder: Path, kind: str = "Llama", seed: int = 0, template: str = TEMPLATE, **more: Any
) -> Path:
    """A folder with a sequence classifier of one of transformers' kinds."""
    import torch
    import transformers

    torch.manual_seed(seed)
    made = tokenizer(template, compact=True)
    ids = {
        "vocab_size": len(made),
        "bos_token_id": made.bos_token_id,
        "eos_token_id": made.eos_token_id,
        "pad_token_id": made.pad_token_id,
    }
    config = getattr(transformers, f"{kind}Config")(**shape(**{"num_labels": 1, **ids, **more}))
    network = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    network.save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def conversation(*contents: str, system: str | None = None, language: str = "zh-Hant-TW") -> Any:
    """A row of ``records.CONVERSATION``."""
    roles = ("user", "assistant")
    messages = [Message(role=roles[i % 2], content=said) for i, said in enumerate(contents)]
    if system is not None:
        messages.insert(0, Message(role="system", content=system))
    return {"messages": messages, "language": language}


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    """Conversations, numbered from 0."""
    return CONVERSATION.validate(
        CONVERSATION.frame(
            {
                "id": f"{number:05}",
                "source": "test",
                "rounds": sum(turn["role"] == "user" for turn in row["messages"]),
                "tokens": 10,
                "teacher": None,
                "prompt_version": None,
                "parents": ["test"],
                "passage_ids": [],
                "calls": [],
                "licence": "CC0-1.0",
                **row,
            }
            for number, row in enumerate(rows)
        )
    )


def armorm_reference(folder: Path, tokens: list[int]) -> tuple[float, np.ndarray]:
    """Score and rewards of one conversation, in loops and float64, from the tensors alone."""
    from safetensors.numpy import load_file

    w = {name: tensor.astype(np.float64) for name, tensor in load_file(folder / WEIGHTS).items()}
    said = json.loads((folder / "config.json").read_text())
    heads, kv_heads, layers = 4, 2, said["num_hidden_layers"]
    size = said["hidden_size"] // heads

    def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return x / np.sqrt(np.mean(x * x) + said["rms_norm_eps"]) * weight

    def turned(x: np.ndarray, position: int) -> np.ndarray:
        out = np.empty_like(x)
        for i in range(size // 2):
            angle = position / THETA ** (2 * i / size)
            a, b = x[i], x[i + size // 2]
            out[i] = a * np.cos(angle) - b * np.sin(angle)
            out[i + size // 2] = b * np.cos(angle) + a * np.sin(angle)
        return out

    states = [w["model.embed_tokens.weight"][token] for token in tokens]
    for number in range(layers):
        layer = f"model.layers.{number}."
        seen = [norm(x, w[layer + "input_layernorm.weight"]) for x in states]
        queries, keys, values = (
            [(w[f"{layer}self_attn.{part}_proj.weight"] @ x).reshape(-1, size) for x in seen]
            for part in "qkv"
        )
        for here in range(len(tokens)):
            out = []
            for head in range(heads):
                group = head // (heads // kv_heads)
                query = turned(queries[here][head], here)
                logits = [
                    query @ turned(keys[there][group], there) / size**0.5
                    for there in range(here + 1)
                ]
                shares = np.exp(np.array(logits) - max(logits))
                shares /= shares.sum()
                out.append(sum(s * values[i][group] for i, s in enumerate(shares)))
            states[here] = states[here] + w[layer + "self_attn.o_proj.weight"] @ np.concatenate(out)
        for here, x in enumerate(states):
            y = norm(x, w[layer + "post_attention_layernorm.weight"])
            gate = w[layer + "mlp.gate_proj.weight"] @ y
            up = w[layer + "mlp.up_proj.weight"] @ y
            states[here] = x + w[layer + "mlp.down_proj.weight"] @ (gate / (1 + np.exp(-gate)) * up)
    states = [norm(x, w["model.norm.weight"]) for x in states]
    rewards = w["regression_layer.weight"] @ states[-1]
    start = max(i for i in range(len(tokens)) if tokens[i : i + 5] == HEADER)
    gate = states[start]
    for i in range(said["gating_n_hidden"] + 1):
        gate = w[f"gating.layers.{i}.weight"] @ gate + w[f"gating.layers.{i}.bias"]
        if i < said["gating_n_hidden"]:
            gate = np.where(gate > 0, gate, 0)
    shares = np.exp(gate / said["gating_temperature"])
    shares = shares / shares.sum() * w["gating.logit_scale"][0]
    score = 0.0
    for i in range(19):
        freed = sum(rewards[k] * w["reward_transform_matrix"][k, i] for k in range(19))
        score += shares[i] * freed
    return score, rewards
