from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from kyara_kedro.errors import UserError
from kyara_kedro.training.loading import (
    choose_attention,
    device_of,
    load_network,
    load_tokenizer,
    stop_at_turns,
)
from kyara_kedro.training.model_ref import ModelRef, pretrained
from kyara_kedro.training.options import MachineOptions, PeftOptions
from kyara_kedro.training.resident import load_model

CPU = MachineOptions(device="cpu")
ALL = PeftOptions()


@pytest.mark.parametrize("stops", [None, 1, [1], [1, 5]])
def test_generation_stops_at_the_end_of_a_turn(embedded: ModelRef, stops: Any) -> None:
    tokenizer = load_tokenizer(embedded)
    network = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=stops))
    stop_at_turns(network, tokenizer)
    assert network.generation_config.eos_token_id == [1, 5]
    assert tokenizer.convert_ids_to_tokens([1, 5]) == ["<eos>", "<end_of_turn>"]


@pytest.fixture(scope="module")
def gemma() -> Any:
    from transformers import Gemma2Config

    return Gemma2Config()


@pytest.fixture(scope="module")
def llama() -> Any:
    from transformers import LlamaConfig

    return LlamaConfig()


def flash_is(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    from packaging.version import Version
    from transformers import utils

    monkeypatch.setattr(utils, "is_flash_attn_2_available", lambda: version is not None)
    monkeypatch.setattr(
        utils,
        "is_flash_attn_greater_or_equal",
        lambda least: version is not None and Version(version) >= Version(least),
    )


@pytest.mark.parametrize(
    ("model", "accelerated", "flash", "dropout", "expected"),
    [
        ("gemma", False, None, 0.0, "eager"),
        ("gemma", True, None, 0.0, "flex_attention"),
        ("gemma", True, None, 0.1, "eager"),
        ("gemma", True, "2.8.3", 0.1, "flash_attention_2"),
        ("gemma", True, "2.5.8", 0.0, "flex_attention"),
        ("llama", False, None, 0.1, "sdpa"),
        ("llama", True, None, 0.0, "sdpa"),
        ("llama", True, "2.5.8", 0.0, "flash_attention_2"),
    ],
)
def test_the_fastest_exact_attention_is_chosen(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    accelerated: bool,
    flash: str | None,
    dropout: float,
    expected: str,
) -> None:
    flash_is(monkeypatch, flash)
    config = request.getfixturevalue(model)
    assert choose_attention(config, MachineOptions(), dropout, accelerated) == expected


@pytest.mark.parametrize(
    ("attention", "accelerated", "dropout", "message"),
    [
        ("sdpa", True, 0.0, "sdpa, but it cannot cap attention logits"),
        ("flex_attention", False, 0.0, "flex_attention, but it cannot train on the CPU"),
        ("flex_attention", True, 0.1, r"no dropout \(attention_dropout is 0.1\)"),
        ("flash_attention_2", False, 0.0, "flash_attention_2, but it runs on CUDA devices only"),
        ("flash_attention_2", True, 0.0, "flash-attn is not installed: set it to auto"),
    ],
)
def test_attention_that_would_be_wrong_is_refused(
    gemma: Any,
    monkeypatch: pytest.MonkeyPatch,
    attention: Any,
    accelerated: bool,
    dropout: float,
    message: str,
) -> None:
    flash_is(monkeypatch, None)
    with pytest.raises(UserError, match=message):
        choose_attention(gemma, MachineOptions(attention=attention), dropout, accelerated)


def test_a_choice_that_is_exact_is_kept(gemma: Any, llama: Any) -> None:
    assert choose_attention(llama, MachineOptions(attention="eager"), 0.0, True) == "eager"
    assert choose_attention(llama, MachineOptions(attention="sdpa"), 0.0, True) == "sdpa"
    assert choose_attention(gemma, MachineOptions(attention="eager"), 0.1, False) == "eager"


def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert device_of(MachineOptions()) == "cpu"
    with pytest.raises(UserError, match=r"machine\.device is cuda, but no CUDA device is here"):
        device_of(MachineOptions(device="cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of(MachineOptions(device="cpu")) == "cpu"
    assert device_of(MachineOptions()) == "cuda:0"
    with pytest.raises(ValidationError, match="Input should be 'auto', 'cpu' or 'cuda'"):
        MachineOptions(device="cuda:1")  # the trainer would go to the first one all the same
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device_of(MachineOptions(device="cuda")) == "cuda:1"


def test_a_network_has_master_weights_and_the_dropout_asked_for(
    embedded: ModelRef, tmp_path: Path
) -> None:
    """Also when the weights on disk have 16 bits, as published ones do."""
    import torch
    from transformers import AutoModelForCausalLM

    halved = AutoModelForCausalLM.from_pretrained(embedded.path, dtype=torch.bfloat16)
    halved.save_pretrained(tmp_path)
    network = load_network(pretrained(str(tmp_path)), CPU, ALL, dropout=0.25)
    assert {weights.dtype for weights in network.parameters()} == {torch.float32}
    assert network.config._attn_implementation == "eager"
    assert network.config.attention_dropout == 0.0
    assert network.get_decoder().layers[0].self_attn.attention_dropout == 0.25


def test_layers_are_compiled_where_that_is_asked_for(embedded: ModelRef) -> None:
    """Here by a compiler that changes nothing; the throughput benchmark uses the real one."""
    import torch

    ids = torch.arange(8, 40)[None]
    plain = load_network(embedded, CPU, ALL)
    with pytest.MonkeyPatch.context() as patch:
        compiled = torch.nn.Module.compile
        patch.setattr(torch.nn.Module, "compile", lambda layer: compiled(layer, backend="eager"))
        network = load_network(embedded, CPU.model_copy(update={"compile_layers": True}), ALL)
    layers = network.get_decoder().layers
    assert all(layer._compiled_call_impl is not None for layer in layers)
    assert network.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():
        found = network(input_ids=ids, use_cache=False).logits
        assert torch.allclose(found, plain(input_ids=ids, use_cache=False).logits, atol=1e-5)


@pytest.mark.parametrize("content", [None, "empty", "pickle"])
def test_a_model_that_is_not_there_is_one_line(
    embedded: ModelRef, tmp_path: Path, content: str | None
) -> None:
    import shutil

    path = tmp_path / "model"
    if content:
        path.mkdir()
    if content == "pickle":
        import torch

        shutil.copy(Path(embedded.path, "config.json"), path)
        torch.save({}, path / "pytorch_model.bin")
    with pytest.raises(UserError, match="neither a folder with a model in safetensors") as caught:
        load_network(pretrained(str(path)), CPU, ALL)
    assert "\n" not in str(caught.value)
    load_model.cache_clear()
    with pytest.raises(UserError, match="neither a folder with a model in safetensors"):
        load_model(pretrained(str(path)))
    if content != "pickle":
        with pytest.raises(UserError, match="neither a folder with a model in safetensors"):
            load_tokenizer(pretrained(str(path)))


def test_qlora_asks_for_a_gpu_and_for_bitsandbytes(
    embedded: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kyara_kedro.training import adapters, loading

    qlora = PeftOptions(method="qlora")
    with pytest.raises(UserError, match="qlora, which needs a CUDA device"):
        load_network(embedded, CPU, qlora)
    monkeypatch.setattr(loading, "device_of", lambda machine: "cuda:0")
    monkeypatch.setattr(loading, "on_accelerator", lambda machine: True)
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="bitsandbytes is not installed: pip install"):
        load_network(embedded, CPU.model_copy(update={"attention": "eager"}), qlora)


PACKED = (40, 3, 57)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(
    ("architecture", "attention"),
    [
        *(("gemma", "eager"), ("gemma", "flex_attention")),
        *(("llama", "eager"), ("llama", "flex_attention"), ("llama", "sdpa")),
    ],
)
def test_packed_documents_are_read_as_if_alone(architecture: str, attention: str) -> None:
    """By every implementation that runs here, against each document alone in eager attention.

    Flex attention is not compiled, which takes half a minute; the throughput benchmark does it.
    """
    import torch
    from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig

    shape: dict[str, Any] = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
        "attn_implementation": "eager",
    }  # fmt: skip
    if architecture == "gemma":
        config: Any = Gemma2Config(**shape, sliding_window=16, attn_logit_softcapping=0.5)
    else:
        config = LlamaConfig(**shape)
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.randint(3, 64, (1, sum(PACKED)))
    positions = torch.cat([torch.arange(length) for length in PACKED])[None]
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        alone = torch.cat(
            [network(input_ids=part, use_cache=False).logits for part in ids.split(PACKED, 1)], 1
        )
        network.set_attn_implementation(attention)
        packed = network(input_ids=ids, position_ids=positions, use_cache=False).logits
        leaking = network(input_ids=ids, use_cache=False).logits
    assert torch.allclose(packed, alone, atol=2e-6)
    assert not torch.allclose(leaking, alone, atol=1e-3)


def test_filled_up_places_change_nothing(embedded: ModelRef) -> None:
    """As `trainers.tuner` fills packed sequences on an accelerator."""
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    network = load_network(embedded, CPU, ALL)
    ids = torch.randint(8, 200, (90,)).tolist()
    row = {"input_ids": ids, "labels": ids, "seq_lengths": [50, 40]}
    losses = []
    for places in (None, 128):
        collate = DataCollatorForLanguageModeling(0, padding_free=True, pad_to_multiple_of=places)
        batch = collate([row])
        assert batch["input_ids"].shape == (1, places or 90)
        with torch.no_grad():
            losses.append(network(**batch, use_cache=False).loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
