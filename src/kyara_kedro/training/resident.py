"""The model that has been asked last stays in memory, until a stage needs the room."""

from functools import lru_cache
from typing import Any

from kyara_kedro.training.loading import (
    ATTENTION,
    give_memory_back,
    load_tokenizer,
    readable,
)
from kyara_kedro.training.model_ref import ModelRef


@lru_cache(maxsize=1)
def load_model(model: ModelRef) -> tuple[Any, Any]:
    """Network and tokenizer; those of the last model used stay in memory."""
    import torch
    from transformers import AutoModelForCausalLM

    accelerated = torch.cuda.is_available()
    with readable(model):
        network = AutoModelForCausalLM.from_pretrained(
            model.path,
            dtype=torch.bfloat16 if accelerated else torch.float32,
            attn_implementation=ATTENTION,
            use_safetensors=True,
        )
    return network.to("cuda" if accelerated else "cpu").eval(), load_tokenizer(model)


def release() -> None:
    """Forget the model that stays in memory and what earlier stages left, which is in cycles.

    A stage needs all of the accelerator's memory, and in a process of its own could not take it
    from this one.
    """
    load_model.cache_clear()
    give_memory_back()
