"""What can be wrong with the model: looked at as it was loaded, before anything runs through it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kyara_kedro.training.chat import END_OF_TURN
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import SFTOptions
from kyara_kedro.training.preflight.flight import Flight

_COMPARED = 8
"""Weights that are compared with those on disk, evenly over the layers."""
_LINES = 16
"""Lines of each that are compared; reading all of a large model takes long."""


def check_master_weights(flight: Flight) -> str | None:
    """Weights that are trained must be float32: in bfloat16 small updates are rounded away.

    After twenty steps at a learning rate of 2e-5, 86 % of a model's bfloat16 weights had not moved.
    """
    import torch

    for name, weight in flight.network.named_parameters():
        if weight.requires_grad and weight.dtype != torch.float32:
            kind = str(weight.dtype).removeprefix("torch.")
            return f"{name} is trained in {kind}; hold what is trained in float32"
    return None


def check_trainable(flight: Flight) -> str | None:
    """All weights are trained, or with an adapter only the adapter's."""
    trained = {n: w.requires_grad for n, w in flight.network.named_parameters()}
    adapter = flight.job.peft.method != "none"
    wrong = [n for n, active in trained.items() if active != (not adapter or "lora_" in n)]
    if not any(trained.values()):
        return "no weight is trained"
    if wrong:
        state = "trained beside the adapter" if trained[wrong[0]] else "frozen"
        return f"{wrong[0]} is {state} ({len(wrong)} of {len(trained)} are); load the model anew"
    return None


def check_tied(flight: Flight) -> str | None:
    """Input and output embeddings that are one weight in the model must have stayed one."""
    network = flight.network
    if not network.config.get_text_config().tie_word_embeddings:
        return None
    if network.get_output_embeddings().weight is network.get_input_embeddings().weight:
        return None
    return "the output's embeddings are no longer the input's; call tie_weights() after loading"


def check_dropout(flight: Flight) -> str | None:
    """Dropout must be what was asked for; with any, policy and reference would never agree."""
    recipe = flight.job.recipe
    attention = recipe.attention_dropout if isinstance(recipe, SFTOptions) else 0.0
    other = flight.job.peft.dropout if isinstance(recipe, SFTOptions) else 0.0
    for name, module in flight.network.named_modules():
        found = getattr(module, "attention_dropout", attention)
        if found != attention:
            return f"attention_dropout of {name} is {found}, not {attention}"
        if type(module).__name__ == "Dropout" and module.p not in (0.0, other):
            return f"dropout of {name} is {module.p}, not {other}"
    return None


def check_stop_token(flight: Flight) -> str | None:
    """Generation must stop at the end of a turn."""
    stops = flight.network.generation_config.eos_token_id
    stops = stops if isinstance(stops, list) else [stops]
    if flight.tokenizer.convert_tokens_to_ids(END_OF_TURN) in stops:
        return None
    return f"{END_OF_TURN} is not among generation_config.eos_token_id {stops}; add it"


def check_padding_side(flight: Flight) -> str | None:
    """Padded on the right, a batch is answered from its padding."""
    side = flight.tokenizer.padding_side
    return None if side == "left" else f"the tokenizer pads on the {side}; set padding_side left"


def check_start(flight: Flight) -> str | None:
    """The weights must be those of the model that the stage starts from.

    Weights that are not in the files under their own name, or are held in 4 bits, are not compared.
    """
    import torch

    weights = {_plain(name): weight for name, weight in flight.network.named_parameters()}
    stored = [(n, file) for n, file in _files(flight.job.start) if n in weights]
    for name, file in stored[:: -(-len(stored) // _COMPARED) or 1]:
        weight = weights[name][:_LINES].detach().cpu()
        if not weight.is_floating_point():
            continue
        found = file.get_slice(name)[:_LINES].to(weight.dtype)
        if not torch.equal(weight.nan_to_num(), found.nan_to_num()):
            return f"{name} is not that of {flight.job.start.path}; was another model loaded?"
    return None


def _plain(name: str) -> str:
    """A weight's name without what an adapter adds to it."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")


def _files(start: ModelRef) -> Iterator[tuple[str, Any]]:
    """Names of the weights on disk, each with the open file that holds it."""
    from safetensors import safe_open
    from transformers.utils import cached_file

    def path(name: str) -> str | None:
        found: str | None = cached_file(
            start.path, name, _raise_exceptions_for_missing_entries=False
        )
        return found

    index = path("model.safetensors.index.json")
    if index is not None:
        names = sorted(set(json.loads(Path(index).read_text("utf-8"))["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    for name in names:
        if (file := path(name)) is not None:
            opened: Any = safe_open(file, framework="pt")
            yield from ((weight, opened) for weight in sorted(opened.keys()))
