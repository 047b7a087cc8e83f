"""What a stage of training costs, calculated before it begins: work, memory and time.

Work is counted as in PaLM (arXiv:2204.02311, appendix B), but attention only over what is attended
to: causal, within the window of sliding layers, and inside each document. Memory is counted tensor
by tensor as autograd keeps them, for layers with gated feed-forward parts as in Gemma and Llama.
GB are 10^9 bytes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kyara_kedro.training.adapters import lora_config
from kyara_kedro.training.job import StageJob
from kyara_kedro.training.loading import choose_attention, on_accelerator
from kyara_kedro.training.options import PeftOptions

ASSUMED_UTILISATION = 0.4
"""Share of a device's published rate that training is assumed to reach, recomputation included.

MosaicML's llm-foundry publishes 0.42 to 0.46 for a model of 2.65 billion parameters on one H100.
"""

PEAK_TFLOPS = {
    "B200": 2250, "H200": 989, "GH200": 989, "H100 PCIe": 756, "H100 NVL": 835, "H100": 989,
    "A100": 312, "A800": 312, "A40": 150, "A10": 125, "A10G": 70, "L40S": 362, "L40": 181,
    "L4": 121, "RTX A6000": 155, "RTX 6000 Ada": 364, "RTX 5090": 210,
    "RTX 4090": 165, "RTX 3090": 71,
}  # fmt: skip
"""Dense bf16 with fp32 accumulation, in TFLOP/s, from the makers' data sheets."""

_TILE = 4096 * 32768
"""Logits that TRL's fused output layer holds at once."""
_GB = 1e9


@dataclass(frozen=True)
class Shape:
    """What of a network matters to its cost.

    Attributes:
        parameters: All weights, tied ones once.
        trained: Those that are trained.
        linear: Weights of linear layers but the output's; each is a multiplication and an addition
            a token.
        trained_linear: Those of them that are trained.
        output: Weights of the output layer.
        output_trained: Whether they are trained.
        norms: Normalisations of the whole width in a layer.
    """

    parameters: int
    trained: int
    linear: int
    trained_linear: int
    output: int
    output_trained: bool
    norms: int


@dataclass(frozen=True)
class Estimate:
    """What a stage needs, calculated and not measured.

    Attributes:
        weights_gb: Weights a device holds.
        gradients_gb: Their gradients; twice with several processes that are not sharded.
        optimiser_gb: AdamW's two moments.
        copies_gb: Half-precision copies of the weights that are kept for the backward pass, and the
            working memory of the output layer.
        activations_gb: What is kept of one batch for the backward pass.
        total_gb: The sum. The driver and unused gaps between tensors take some GB more.
        flops: Floating-point operations of the stage that a model needs, on all devices together.
        work: ``flops`` with what is computed twice to save memory, and the reference's pass.
        seconds: Time of the stage at ``ASSUMED_UTILISATION``; None on an unknown device.
    """

    weights_gb: float
    gradients_gb: float
    optimiser_gb: float
    copies_gb: float
    activations_gb: float
    total_gb: float
    flops: float
    work: float
    seconds: float | None


def peak_flops(device: str) -> float | None:
    """Published bf16 rate of a device in FLOP/s, None of an unknown one.

    Args:
        device: As ``torch.cuda.get_device_name`` gives it.
    """
    for name in sorted(PEAK_TFLOPS, key=len, reverse=True):
        if re.search(rf"\b{name}\b", device):
            return PEAK_TFLOPS[name] * 1e12
    return None


def shape_of(config: Any, peft: PeftOptions | None = None) -> Shape:
    """Count a network's weights, exactly: it is built without memory for them.

    Args:
        config: A transformers configuration of a dense causal language model.
        peft: Which weights are trained; all by default.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
        output = network.get_output_embeddings().weight
        width = config.get_text_config().hidden_size
        norms = [
            module
            for module in network.modules()
            if "RMSNorm" in type(module).__name__ and module.weight.numel() == width
        ]
        if (updates := lora_config(peft or PeftOptions())) is not None:
            from peft import get_peft_model

            network = get_peft_model(network, updates)
    linear = [
        module.weight
        for module in network.modules()
        if isinstance(module, torch.nn.Linear) and module.weight is not output
    ]
    weights = list(network.parameters())
    return Shape(
        parameters=_count(weights),
        trained=_count([one for one in weights if one.requires_grad]),
        linear=_count(linear),
        trained_linear=_count([one for one in linear if one.requires_grad]),
        output=output.numel(),
        output_trained=output.requires_grad,
        norms=(len(norms) - 1) // config.get_text_config().num_hidden_layers,
    )


def _count(weights: Sequence[Any]) -> int:
    return sum(one.numel() for one in weights)


def flops_per_token(
    config: Any,
    document_lengths: np.ndarray | Sequence[int],
    learned: float = 1.0,
    peft: PeftOptions | None = None,
) -> float:
    """Floating-point operations of training on one token, forward and backward, none twice.

    Args:
        config: A transformers configuration of a dense causal language model.
        document_lengths: Tokens of each document; attention stays within one.
        learned: Share of the tokens that are learned; only they go through the output layer.
        peft: Which weights are trained; frozen ones need no gradient.
    """
    return _flops(config, shape_of(config, peft), document_lengths, learned)


def _flops(
    config: Any, shape: Shape, document_lengths: np.ndarray | Sequence[int], learned: float
) -> float:
    linear = 4 * shape.linear + 2 * shape.trained_linear
    output = (4 + 2 * shape.output_trained) * shape.output
    return linear + output * learned + 3 * _attention(config, document_lengths)


def _attention(config: Any, document_lengths: np.ndarray | Sequence[int]) -> float:
    """Operations a token of all layers' scores and weighted sums, forward."""
    config = config.get_text_config()
    lengths = np.asarray(document_lengths, dtype=np.float64)
    seen = 0.0
    for window in _windows(config):
        inside = np.minimum(lengths, window)
        seen += float((inside * (inside + 1) / 2 + (lengths - inside) * inside).sum())
    return 4 * _heads_width(config) * seen / float(lengths.sum())


def _windows(config: Any) -> list[float]:
    """Tokens that each layer sees, its own included."""
    window = float(getattr(config, "sliding_window", None) or np.inf)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    return [window if kind == "sliding_attention" else np.inf for kind in kinds]


def _heads_width(config: Any) -> int:
    """Width of all query heads together."""
    width = getattr(config, "head_dim", None)
    return int(config.num_attention_heads * width if width else config.hidden_size)


def estimate(
    config: Any,
    job: StageJob,
    lengths: np.ndarray | Sequence[int],
    learned: float = 1.0,
    device: str | None = None,
) -> Estimate:
    """Calculate what a stage needs.

    Args:
        config: The transformers configuration of the model that it starts from.
        job: The stage.
        lengths: Tokens of each sequence; a pair has two, each with the prompt.
        learned: Share of the tokens that are learned.
        device: The device to calculate for, as ``torch.cuda.get_device_name`` gives it; by default
            the one that the stage would run on here.
    """
    import torch

    if device is None and on_accelerator(job.machine):
        device = torch.cuda.get_device_name()
    shape = shape_of(config, job.peft)
    memory = _memory(config, shape, job, max(lengths), device is not None)

    tokens = float(np.sum(lengths)) * job.recipe.epochs
    flops = tokens * _flops(config, shape, lengths, learned)
    forward = 2 * shape.linear + _attention(config, lengths)
    again = 2 * shape.output * learned  # TRL's output layer computes its logits twice
    if job.machine.activation_checkpointing:
        again += forward
    if job.recipe.kind != "sft":  # the reference's pass
        again += (forward + 2 * shape.output * learned) / job.recipe.epochs
    work = flops + tokens * again
    peak = peak_flops(device) if device else None
    rate = peak and peak * ASSUMED_UTILISATION * job.launcher.world_size
    return Estimate(
        **{name: size / _GB for name, size in memory.items()},
        total_gb=sum(memory.values()) / _GB,
        flops=flops,
        work=work,
        seconds=work / rate if rate else None,
    )


def _memory(
    config: Any, shape: Shape, job: StageJob, longest: int, accelerated: bool
) -> dict[str, float]:
    """Bytes on each device, by kind."""
    config = config.get_text_config()
    frozen = shape.parameters - shape.trained
    if job.peft.method == "qlora":  # 4 bits and 0.127 of scales (arXiv:2305.14314, section 3)
        quantised = shape.linear - shape.trained_linear
        held = quantised * 4.127 / 8 + (frozen - quantised) * 2
    else:
        held = frozen * (2 if accelerated else 4)
    processes = job.launcher.world_size
    shards = processes if job.launcher.sharded else 1
    buckets = 2 if processes > 1 and not job.launcher.sharded else 1
    tokens, row = _batch(job, longest)
    copies = 2 * shape.trained_linear if accelerated else 0
    tile = min(tokens * shape.output / config.hidden_size, _TILE) * (2 if accelerated else 4)
    return {
        "weights_gb": (held + 4 * shape.trained) / shards,
        "gradients_gb": 4 * shape.trained * buckets / shards,
        "optimiser_gb": 8 * shape.trained / shards,
        "copies_gb": copies + tile + 4 * shape.output * shape.output_trained,
        "activations_gb": tokens * _activations(config, shape, job, row, accelerated),
    }


def _batch(job: StageJob, longest: int) -> tuple[int, int]:
    """Tokens that go through the network at once, and those that are attended to together."""
    recipe = job.recipe
    if recipe.kind != "sft":
        return 2 * recipe.batch_size * longest, longest
    row = recipe.max_length if recipe.packing else longest
    return recipe.batch_size * row, row


def _activations(config: Any, shape: Shape, job: StageJob, row: int, accelerated: bool) -> float:
    """Bytes a token that autograd keeps.

    A layer keeps, of each normalisation, input and result in 32 bits; the inputs of its linear
    layers (one copy each where autocast makes it); queries, keys, values (repeated for all heads)
    and their mean; and four tensors of the feed-forward part's width. Eager attention adds the
    capped scores, the probabilities and, in half precision, copies of both. With checkpointing each
    layer keeps its input only, and one at a time all of it. Frozen weights keep somewhat less.
    """
    width = config.hidden_size
    short, inputs = (2, 5 * 2) if accelerated else (4, 2 * 4)
    layer = (
        (shape.norms * 8 + inputs) * width
        + short * 4 * _heads_width(config)
        + short * 4 * config.intermediate_size
        + shape.norms * 4
    )
    dropout = getattr(job.recipe, "attention_dropout", 0.0)
    if choose_attention(config, job.machine, dropout, accelerated) == "eager":
        layer += 8 * config.num_attention_heads * row
    layers = config.num_hidden_layers
    if job.machine.activation_checkpointing:
        return float(layers * 4 * width + layer)
    return float(layers * layer + 8 * width)
