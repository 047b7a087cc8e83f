from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, Gemma2Config, LlamaConfig, Qwen3Config

from kyara_kedro.training import estimate as costs
from kyara_kedro.training.adapters import lora_config
from kyara_kedro.training.estimate import (
    Estimate,
    Shape,
    estimate,
    flops_per_token,
    peak_flops,
    shape_of,
)
from kyara_kedro.training.job import Recipe, StageJob
from kyara_kedro.training.model_ref import ModelRef, pretrained
from kyara_kedro.training.options import (
    DPOOptions,
    LauncherOptions,
    MachineOptions,
    PeftOptions,
    SFTOptions,
)
from kyara_kedro.training.tokens import TokensRef

GEMMA_2_2B = Gemma2Config(
    vocab_size=256000, hidden_size=2304, intermediate_size=9216, num_hidden_layers=26,
    num_attention_heads=8, num_key_value_heads=4, head_dim=256, sliding_window=4096,
)  # fmt: skip
SMALL: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 48, "intermediate_size": 80, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
SFT = SFTOptions(epochs=1, max_length=4096, accumulation=8, attention_dropout=0.0)
H100 = "NVIDIA H100 80GB HBM3"


def job(recipe: Recipe, **more: Any) -> StageJob:
    data = TokensRef("p", "d", "conversations", 1, 0, 1)
    return StageJob(
        stage="s", start=pretrained("x"), data=data, recipe=recipe, store="s",
        **more,
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def counted() -> Iterator[None]:
    """Each network is counted once, for building it takes a second."""
    known: dict[tuple[str, PeftOptions], Shape] = {}

    def shape(config: Any, peft: PeftOptions | None = None) -> Shape:
        key = config.to_json_string(), peft or PeftOptions()
        if key not in known:
            known[key] = shape_of(config, peft)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "shape_of", shape)
        yield


@pytest.mark.parametrize(
    ("length", "expected"), [(1350, 16.1), (2048, 16.3), (4096, 17.0), (8192, 18.0)]
)
def test_gemma_2_2b_costs_what_was_calculated_by_hand(length: int, expected: float) -> None:
    assert flops_per_token(GEMMA_2_2B, [length]) / 1e9 == pytest.approx(expected, abs=0.05)


def test_gemma_2_2b_has_its_published_size() -> None:
    shape = shape_of(GEMMA_2_2B)
    assert shape.parameters == shape.trained == 2_614_341_888
    assert shape.output == 256_000 * 2304
    assert 6 * (shape.linear + shape.output) / 1e9 == pytest.approx(15.7, abs=0.05)
    needed = estimate(GEMMA_2_2B, job(SFT), [1350], device=H100)
    states = needed.weights_gb + needed.gradients_gb + needed.optimiser_gb
    assert states == pytest.approx(41.8, abs=0.05)


@pytest.mark.parametrize("method", ["none", "lora"])
@pytest.mark.parametrize("kind", ["embedded", LlamaConfig, Qwen3Config])
def test_a_real_network_is_counted_exactly(embedded: ModelRef, kind: Any, method: str) -> None:
    """Its linear layers are found by what they do: what a forward pass multiplies."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    peft = PeftOptions(method=method, r=4)
    config = (
        AutoConfig.from_pretrained(embedded.path)
        if kind == "embedded"
        else kind(**SMALL, num_hidden_layers=3, tie_word_embeddings=False)
    )
    config._attn_implementation = "eager"
    shape = shape_of(config, peft)
    network = AutoModelForCausalLM.from_config(config)
    if method == "lora":
        from peft import get_peft_model

        network = get_peft_model(network, lora_config(peft))
    assert shape.parameters == sum(one.numel() for one in network.parameters())
    assert shape.trained == sum(one.numel() for one in network.parameters() if one.requires_grad)
    with FlopCounterMode(display=False) as counter:
        network(input_ids=torch.ones(1, 1, dtype=torch.int64), use_cache=False)
    seen = 4 * config.num_attention_heads * config.head_dim * config.num_hidden_layers
    assert counter.get_total_flops() == 2 * (shape.linear + shape.output) + seen


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(1, 40))
def test_attention_is_counted_pair_by_pair(lengths: list[int], window: int) -> None:
    config = Gemma2Config(**SMALL, num_hidden_layers=2, sliding_window=window)
    pairs = 0
    for length in lengths:
        for query in range(length):
            pairs += min(query + 1, window) + query + 1  # a sliding layer and a full one
    assert costs._attention(config, lengths) == pytest.approx(4 * 4 * 16 * pairs / sum(lengths))


def test_unlearned_tokens_and_frozen_weights_save_work() -> None:
    whole, half = (flops_per_token(GEMMA_2_2B, [1350], learned) for learned in (1.0, 0.5))
    assert whole - half == 3 * 256_000 * 2304
    frozen = flops_per_token(GEMMA_2_2B, [1350], peft=PeftOptions(method="lora"))
    assert 0.65 < frozen / whole < 0.7


@contextmanager
def kept(network: Any) -> Iterator[dict[int, int]]:
    """Bytes that autograd keeps, by storage; those of weights and of their copies not counted."""
    import torch

    held: list[Any] = []
    sizes: dict[int, int] = {}
    shapes = {shape for one in network.parameters() for shape in (one.shape, one.shape[::-1])}

    def pack(tensor: Any) -> Any:
        if tensor.shape not in shapes:
            held.append(tensor)  # so that no address is used twice
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


@pytest.mark.parametrize("method", ["none", "lora"])
@pytest.mark.parametrize("half", [True, False])
def test_activations_are_what_autograd_keeps(half: bool, method: str) -> None:
    """A layer more keeps so many bytes more; counted, for a GPU with its autocast to bf16."""
    import torch

    peft = PeftOptions(method=method, r=2)
    machine = MachineOptions(device="cpu", attention="eager")

    def measured(layers: int) -> tuple[float, float]:
        config = Gemma2Config(**SMALL, num_hidden_layers=layers, attn_implementation="eager")
        network = AutoModelForCausalLM.from_config(config)
        if method == "lora":
            from peft import get_peft_model

            network = network.to(torch.bfloat16 if half else torch.float32)
            network = get_peft_model(network, lora_config(peft))
        ids = torch.randint(3, 50, (1, 96))
        with torch.autocast("cpu", torch.bfloat16, enabled=half), kept(network) as sizes:
            network.get_decoder()(input_ids=ids, use_cache=False)
        stage = job(SFT, machine=machine, peft=peft)
        calculated = costs._activations(config, shape_of(config, peft), stage, 96, half)
        return sum(sizes.values()) / 96, calculated

    (one, calculated_one), (two, calculated_two) = measured(1), measured(2)
    share = (two - one) / (calculated_two - calculated_one)
    if method == "none":
        assert share == pytest.approx(1.0)
    else:  # an upper bound: weights that are not trained keep no inputs
        assert 0.8 < share < 1.0


def test_memory_follows_what_is_trained_and_how() -> None:
    def needed(device: str | None = H100, **more: Any) -> Estimate:
        return estimate(GEMMA_2_2B, job(SFT, **more), [1350], device=device)

    full = needed()
    again = needed(machine=MachineOptions(activation_checkpointing=True))
    assert again.activations_gb < full.activations_gb / 8
    assert again.flops == full.flops
    assert 1.2 < again.work / full.work < 1.3
    lora, qlora = needed(peft=PeftOptions(method="lora")), needed(peft=PeftOptions(method="qlora"))
    assert lora.weights_gb == pytest.approx(2 * 2.614 + 4 * 0.0208, abs=0.01)
    assert qlora.weights_gb == pytest.approx(2.024 * 4.127 / 8 + 0.59 * 2 + 4 * 0.0208, abs=0.01)
    assert lora.optimiser_gb == qlora.optimiser_gb < 0.2
    copies = needed(launcher=LauncherOptions(kind="torchrun", processes=8))
    shards = needed(launcher=LauncherOptions(kind="torchrun", processes=8, sharded=True))
    assert copies.gradients_gb == 2 * full.gradients_gb
    assert shards.optimiser_gb == full.optimiser_gb / 8
    assert full.seconds == pytest.approx(8 * copies.seconds)
    assert needed(device="NVIDIA T1000").seconds is None
    for one in (full, again, lora, qlora, copies, shards):
        kinds = ("weights", "gradients", "optimiser", "copies", "activations")
        assert one.total_gb == pytest.approx(sum(getattr(one, f"{kind}_gb") for kind in kinds))


def test_a_preference_stage_pays_for_its_reference() -> None:
    lengths = np.full(10, 900)
    dpo = DPOOptions(epochs=2, max_length=2048, batch_size=2)
    needed = estimate(GEMMA_2_2B, job(dpo), lengths, device=H100)
    sft = SFTOptions(epochs=2, max_length=3600, attention_dropout=0.0)
    alike = estimate(GEMMA_2_2B, job(sft), lengths, device=H100)
    assert needed.activations_gb == pytest.approx(alike.activations_gb)  # 2 pairs of 2 x 900
    assert needed.flops == alike.flops
    assert needed.work - alike.work == pytest.approx(alike.flops / 6)


def test_without_a_known_device_no_time_is_promised(embedded: ModelRef) -> None:
    config = AutoConfig.from_pretrained(embedded.path)
    stage = job(SFTOptions(), machine=MachineOptions(device="cpu"))
    needed = estimate(config, stage, [30, 40])
    assert needed.seconds is None
    assert 0 < needed.total_gb < 0.2
    assert needed.flops == 20 * 70 * flops_per_token(config, [30, 40])


@pytest.mark.parametrize(
    ("device", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA L40S", 362), ("NVIDIA L4", 121),
        ("NVIDIA GeForce RTX 4090", 165), ("NVIDIA GeForce RTX 3090", 71),
    ],
)  # fmt: skip
def test_known_devices_have_their_published_rate(device: str, tflops: float) -> None:
    assert peak_flops(device) == tflops * 1e12


def test_an_unknown_device_has_none() -> None:
    assert peak_flops("NVIDIA A1000") is None
    assert peak_flops("NVIDIA H20") is None
