"""How models and tokenizers are loaded, and the libraries kept quiet while they work."""

import gc
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kyara_kedro.errors import UserError
from kyara_kedro.training.adapters import four_bits
from kyara_kedro.training.chat import stop_tokens, template
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import MachineOptions, PeftOptions

ATTENTION = "eager"  # Gemma 2 caps its attention logits, which "sdpa" cannot do.


def load_tokenizer(ref: ModelRef) -> Any:
    """Load a model's tokenizer, padding on the left and speaking our chat template.

    Raises:
        UserError: there is no such model.
    """
    from transformers import AutoTokenizer

    with readable(ref):
        tokenizer = AutoTokenizer.from_pretrained(ref.path, padding_side="left")
    tokenizer.chat_template = template()
    return tokenizer


def fetched(ref: ModelRef) -> Path:
    """The directory of a model, fetched first where it is known by a published name.

    Raises:
        UserError: there is no such model.
    """
    directory = Path(ref.path)
    if directory.is_dir():
        return directory
    from huggingface_hub import snapshot_download

    with readable(ref):
        return Path(
            snapshot_download(ref.path, allow_patterns=["*.json", "*.safetensors", "*.model"])
        )


def stop_at_turns(network: Any, tokenizer: Any) -> None:
    """Let a network's generation stop at the end of a turn, besides where it stops already."""
    settings = network.generation_config
    stops = settings.eos_token_id
    known = stops if isinstance(stops, list) else [] if stops is None else [stops]
    settings.eos_token_id = list(dict.fromkeys([*known, *stop_tokens(tokenizer)]))


def on_accelerator(machine: MachineOptions) -> bool:
    """Whether a stage is computed on a CUDA device.

    Raises:
        UserError: one is asked for that is not here.
    """
    if machine.device == "cpu":
        return False
    import torch

    devices: int = torch.cuda.device_count()
    if machine.device == "auto":
        return devices > 0
    if not devices:
        raise UserError(
            "machine.device is cuda, but no CUDA device is here: "
            "run on a machine with one, or set machine.device: auto and a small model"
        )
    return True


def device_of(machine: MachineOptions) -> str:
    """The device of this process: under torchrun the one of its local rank.

    Raises:
        UserError: one is asked for that is not here.
    """
    if not on_accelerator(machine):
        return "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def choose_attention(
    config: Any,
    machine: MachineOptions,
    dropout: float = 0.0,
    accelerated: bool | None = None,
) -> str:
    """Choose the fastest implementation of attention that is exact for a model.

    Each of them keeps packed documents apart when it is given their positions, no mask and no
    cache; what they differ in is what they cannot do.

    Args:
        config: The model's transformers configuration.
        machine: What it runs on; a choice made there is kept or refused, never replaced.
        dropout: Share of attention weights left out.
        accelerated: Whether it runs on a CUDA device; by default what ``machine`` says.

    Raises:
        UserError: the implementation asked for would be wrong, or cannot run.
    """
    if accelerated is None:
        accelerated = on_accelerator(machine)
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None
    reasons = _attention_refused(capped, accelerated, dropout)
    if machine.attention == "auto":
        ranked = ("flash_attention_2", "flex_attention" if capped else "sdpa", "eager")
        return next(name for name in ranked if name not in reasons)
    if reason := reasons.get(machine.attention):
        raise UserError(f"machine.attention is {machine.attention}, but {reason}: set it to auto")
    return machine.attention


def _attention_refused(capped: bool, accelerated: bool, dropout: float) -> dict[str, str]:
    """Implementations that cannot be used, and why."""
    from transformers.utils import is_flash_attn_2_available, is_flash_attn_greater_or_equal

    reasons = {}
    if capped:
        reasons["sdpa"] = "it cannot cap attention logits as this model does"
    if not accelerated:
        reasons["flash_attention_2"] = "it runs on CUDA devices only"
        reasons["flex_attention"] = "it cannot train on the CPU"
        return reasons
    if dropout > 0:
        reasons["flex_attention"] = f"it has no dropout (attention_dropout is {dropout:g})"
    if not is_flash_attn_2_available():
        reasons["flash_attention_2"] = "flash-attn is not installed"
    elif capped and not is_flash_attn_greater_or_equal("2.6.0"):
        reasons["flash_attention_2"] = "flash-attn before 2.6 cannot cap attention logits"
    return reasons


def load_network(
    ref: ModelRef, machine: MachineOptions, peft: PeftOptions, dropout: float = 0.0
) -> Any:
    """Load a model as a trainer needs it.

    Weights that are trained are held in 32 bits, for steps of fine-tuning are too small for 16;
    those that only carry trained updates in 16 on an accelerator, or in 4 with QLoRA.

    Args:
        ref: The model.
        machine: What it runs on.
        peft: Which weights are trained.
        dropout: Share of attention weights left out.

    Returns:
        The network, on the device of this process.

    Raises:
        UserError: there is no such model, or it cannot be trained as asked for on this machine.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    device = device_of(machine)
    quantised = peft.method == "qlora"
    if quantised and device == "cpu":
        raise UserError("peft.method is qlora, which needs a CUDA device: set peft.method: lora")
    with readable(ref):
        config = AutoConfig.from_pretrained(ref.path)
    attention = choose_attention(config, machine, dropout)
    halved = device != "cpu" and peft.method != "none"
    with readable(ref):
        network = AutoModelForCausalLM.from_pretrained(
            ref.path,
            dtype=torch.bfloat16 if halved else torch.float32,
            attn_implementation=attention,
            use_safetensors=True,
            **({"quantization_config": four_bits(), "device_map": device} if quantised else {}),
        )
    if not quantised:
        network.to(device)
    # TRL's switch for dropout does not reach that of the attention
    for module in network.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = dropout
    if machine.compile_layers:  # one after the other: they are alike, so one compilation serves all
        for layer in network.get_decoder().layers:
            layer.compile()
    return network


def give_memory_back() -> None:
    """Free networks that nobody holds any more: their parts hold each other, so Python waits."""
    gc.collect()
    if "torch" in sys.modules:
        sys.modules["torch"].cuda.empty_cache()


@contextmanager
def readable(ref: ModelRef) -> Iterator[None]:
    """Say in one line that there is no such model."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(
            f"{ref.path}: neither a folder with a model in safetensors nor the name of one that "
            f"can be fetched ({str(error).strip().splitlines()[0]})"
        ) from None


@contextmanager
def quiet(threads: int) -> Iterator[None]:
    """Silence progress bars, warnings and logs below errors, and set torch's CPU threads.

    Everything is put back afterwards.
    """
    import datasets
    import torch
    import transformers

    with ExitStack() as undo:
        undo.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")

        undo.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)

        for name in ("trl", "accelerate", "datasets"):
            logger = logging.getLogger(name)
            undo.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        reports = transformers.utils.logging
        undo.callback(reports.set_verbosity, reports.get_verbosity())
        reports.set_verbosity_error()

        if reports.is_progress_bar_enabled():
            undo.callback(reports.enable_progress_bar)
            reports.disable_progress_bar()
        if not datasets.are_progress_bars_disabled():
            undo.callback(datasets.enable_progress_bars)
            datasets.disable_progress_bars()
        yield
