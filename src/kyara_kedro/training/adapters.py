"""LoRA and QLoRA: what is trained instead of all weights, and how it becomes weights again."""

from importlib.util import find_spec
from typing import Any

from kyara_kedro.errors import UserError
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import PeftOptions


def lora_config(peft: PeftOptions) -> Any:
    """The updates to be trained, as a trainer's ``peft_config``; None where all weights are.

    A trainer that makes the updates itself takes the model without them as the reference of a
    preference stage. Given a model that has them already, it would keep a copy of them for that.
    """
    if peft.method == "none":
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=peft.r,
        lora_alpha=peft.alpha,
        lora_dropout=peft.dropout,
        target_modules=peft.target_modules
        if isinstance(peft.target_modules, str)
        else list(peft.target_modules),
        task_type="CAUSAL_LM",
    )


def four_bits() -> Any:
    """How QLoRA holds the weights that it does not train: NormalFloat in 4 bits, scales in 8.

    Raises:
        UserError: bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise UserError(
            "peft.method is qlora, but bitsandbytes is not installed: "
            "pip install 'kyara-kedro[qlora]', or set peft.method: lora"
        )
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def master_weights(network: Any) -> None:
    """Hold in 32 bits all that is trained.

    Small steps are lost in 16 bits, and a trainer puts the updates of a quantised model there.
    """
    for weights in network.parameters():
        if weights.requires_grad:
            weights.data = weights.data.float()


def merge(trained: Any, start: ModelRef) -> Any:
    """Add the trained updates to the weights that the stage started from.

    The start is read again in 32 bits, whatever precision it was trained on in.

    Args:
        trained: The network that a trainer was given with :func:`lora_config`.
        start: The model that it was loaded from.

    Returns:
        A plain network on the CPU, in 32 bits, without a trace of the updates.
    """
    import torch
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(
        start.path, dtype=torch.float32, use_safetensors=True
    )
    updated = get_peft_model(plain, trained.peft_config["default"])
    set_peft_model_state_dict(updated, get_peft_model_state_dict(trained))
    return updated.merge_and_unload(safe_merge=True)
