"""A trained model as others load it: bfloat16 weights and settings that every reader knows.

Transformers 5 writes tokenizers and configurations that transformers 4, and with it servers built
on it, cannot read (https://github.com/modelscope/ms-swift/issues/8352). What is written here loads
in 4.57 and in 5 with the same token ids.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from kyara_kedro.checkpoints import is_hub_name
from kyara_kedro.errors import UserError
from kyara_kedro.files import folder_written_whole
from kyara_kedro.reporting.model_card import Weights
from kyara_kedro.training.chat import END_OF_TURN, template
from kyara_kedro.training.model_ref import ModelRef, pretrained, verify

SHARD_BYTES = 5 * 10**9
"""Size from which on another file of weights begins, as on the Hub."""

_FLOATS = ("F64", "F32", "F16", "BF16")
_CHUNK = 1 << 24
"""Numbers that are in memory at once."""
_WEIGHTS = "*.safetensors"
_PIECES = "tokenizer.model"
_WRITTEN_BY_VERSION_5 = ("is_local", "local_files_only", "backend", "extra_special_tokens")
_OF_TRAINING = ("_name_or_path", "torch_dtype", "quantization_config", "attn_implementation")
_MARKS = re.compile(r"\{#.*?#\}\n|[ \t]*\{%-\s*(?:end)?generation\s*-%\}\n", re.DOTALL)
"""Comments and marks of the template; around a mark all white space is cut anyway."""


class _Tensor(NamedTuple):
    """A tensor on disk: its name, the file that holds it, and its shape."""

    name: str
    file: Path
    shape: list[int]

    @property
    def size(self) -> int:
        """Bytes in bfloat16."""
        return 2 * prod(self.shape)


def export_model(
    ref: ModelRef,
    directory: Path,
    extras: Mapping[str, str] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> ModelRef:
    """Write a model for transformers 4.57 and 5, vLLM, SGLang and converters.

    Weights go from file to file in pieces, so memory does not grow with the model.

    Args:
        ref: The model; its weights are safetensors of floating-point numbers.
        directory: The folder to make; replaced as a whole, or not at all.
        extras: More text files, such as the card, by their path in the folder.
        shard_bytes: Size from which on another file of weights begins.

    Returns:
        A reference to the folder.

    Raises:
        ModelRefError: the model is not what is on disk.
        UserError: a weight is not finite, an adapter's, quantised, or there is none.
    """
    verify(ref)
    source = Path(ref.path)
    config, tokenizer = _read(source / "config.json"), _read(source / "tokenizer_config.json")
    ids = _token_ids(_read(source / "tokenizer.json"), tokenizer)
    with folder_written_whole(directory) as target:
        _write_weights(_tensors(source, config), target, shard_bytes)
        for name, values in (
            ("config.json", exported_config(config) | ids),
            ("generation_config.json", ids),
            ("tokenizer_config.json", exported_tokenizer(tokenizer, config)),
        ):
            text = json.dumps(values, ensure_ascii=False, indent=2, sort_keys=True)
            (target / name).write_text(text + "\n", "utf-8")
        copied = [source / "tokenizer.json", *_pieces_of(ref)]
        for path in copied:
            (target / path.name).write_bytes(path.read_bytes())
        (target / "chat_template.jinja").write_text(exported_template(), "utf-8")
        for name, text in (extras or {}).items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_text(text, "utf-8")
    return replace(
        pretrained(str(directory)),
        fingerprint=ref.fingerprint,
        base=ref.base,
        run_id=ref.run_id,
        start=ref.start,
    )


def weights_of(ref: ModelRef) -> Weights:
    """What a model's files tell of its weights.

    Raises:
        ModelRefError: the model is not what is on disk.
        UserError: there are no weights of a whole model.
    """
    verify(ref)
    config = _read(Path(ref.path, "config.json"))
    return Weights(
        architecture=config["model_type"],
        parameters=sum(prod(tensor.shape) for tensor in _tensors(Path(ref.path), config)),
        context=config["max_position_embeddings"],
    )


def exported_template() -> str:
    """The chat template without the marks of what is learned, which only trainers know."""
    return _MARKS.sub("", template())


def exported_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration for inference, with the base of the rotation where version 4 looks for it."""
    values = {name: value for name, value in config.items() if name not in _OF_TRAINING}
    rope = dict(config.get("rope_parameters") or {})
    if "rope_theta" in rope:
        values["rope_theta"] = rope.pop("rope_theta")
        if rope.get("rope_type", "default") != "default":
            values["rope_scaling"] = rope
    return values | {"dtype": "bfloat16", "use_cache": True}


def exported_tokenizer(tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The tokenizer's settings without what only version 5 knows."""
    values = {name: value for name, value in tokenizer.items() if name not in _WRITTEN_BY_VERSION_5}
    special = tokenizer.get("extra_special_tokens") or []
    if isinstance(special, list) and special:
        values["additional_special_tokens"] = special
    return values | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "padding_side": "left",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": config["max_position_embeddings"],
    }


def _token_ids(vocabulary: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    """The ids that generation needs; both the end of a text and that of a turn end an answer."""
    ids = {token["content"]: token["id"] for token in vocabulary["added_tokens"]}

    def found(name: str) -> int:
        token = tokenizer[f"{name}_token"]
        return int(ids[token["content"] if isinstance(token, dict) else token])

    return {
        "bos_token_id": found("bos"),
        "pad_token_id": found("pad"),
        "eos_token_id": [found("eos"), int(ids[END_OF_TURN])],
    }


def _pieces_of(ref: ModelRef) -> list[Path]:
    """The tokenizer as SentencePiece has it, if the model or its base on this machine has one.

    llama.cpp's converter wants it for Gemma, and transformers 5 does not save it.
    """
    from huggingface_hub import try_to_load_from_cache

    places = [Path(ref.path, _PIECES), Path(ref.base, _PIECES)]
    if is_hub_name(ref.base):
        cached = try_to_load_from_cache(ref.base, _PIECES)
        places += [Path(cached)] if isinstance(cached, str) else []
    return [place for place in places if place.is_file()][:1]


def _tensors(source: Path, config: Mapping[str, Any]) -> list[_Tensor]:
    """The model's tensors by name; one that is tied to the embedding is there once."""
    from safetensors import safe_open

    tensors = []
    for path in sorted(source.glob(_WEIGHTS)):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                found = file.get_slice(name)
                if found.get_dtype() not in _FLOATS or "lora_" in name or ".base_layer." in name:
                    raise UserError(
                        f"{path}: {name} is {found.get_dtype()}, not a weight of a whole model; "
                        "merge adapters into float weights first"
                    )
                tensors.append(_Tensor(name, path, list(found.get_shape())))
    if config.get("tie_word_embeddings", True):
        tensors = [tensor for tensor in tensors if tensor.name != "lm_head.weight"]
    if not tensors:
        raise UserError(f"{source}: no weights as safetensors here")
    return sorted(tensors)


def _write_weights(tensors: list[_Tensor], target: Path, shard_bytes: int) -> None:
    """Write one file, or several with the index that tells where each tensor is."""
    shards = list(_shards(tensors, shard_bytes))
    if len(shards) == 1:
        _write_file(target / "model.safetensors", shards[0])
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write_file(target / name, shard)
        places |= {tensor.name: name for tensor in shard}
    index = {
        "metadata": {"total_size": sum(tensor.size for tensor in tensors)},
        "weight_map": places,
    }
    (target / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _shards(tensors: list[_Tensor], most: int) -> Iterator[list[_Tensor]]:
    shard: list[_Tensor] = []
    for tensor in tensors:
        if shard and sum(one.size for one in shard) + tensor.size > most:
            yield shard
            shard = []
        shard.append(tensor)
    yield shard


def _write_file(path: Path, tensors: list[_Tensor]) -> None:
    """Write a safetensors file (https://github.com/huggingface/safetensors#format) in pieces.

    The library's own writer takes whole tensors, of which a large vocabulary has one of gigabytes.
    """
    from safetensors import safe_open

    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for tensor in tensors:
        offsets = [start, start + tensor.size]
        header[tensor.name] = {
            "dtype": "BF16",
            "shape": tensor.shape,
            "data_offsets": offsets,
        }
        start = offsets[1]
    written = json.dumps(header, separators=(",", ":")).encode()
    written += b" " * (-len(written) % 8)
    with path.open("wb") as out:
        out.write(len(written).to_bytes(8, "little") + written)
        for tensor in tensors:
            with safe_open(tensor.file, "pt") as file:
                for piece in _pieces(file.get_slice(tensor.name), tensor):
                    out.write(piece)


def _pieces(source: Any, tensor: _Tensor) -> Iterator[memoryview]:
    """The bytes of a tensor in bfloat16, some rows at a time."""
    import torch

    rows = tensor.shape[0] if tensor.shape else 1
    step = max(1, _CHUNK * rows // max(1, prod(tensor.shape)))
    for start in range(0, rows, step):
        numbers = source[start : start + step] if tensor.shape else source[...]
        if not bool(torch.isfinite(numbers).all()):
            raise UserError(f"{tensor.file}: {tensor.name} is not finite; train the stage again")
        yield numbers.to(torch.bfloat16).contiguous().view(torch.int16).numpy().data


def _read(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); it belongs to every model") from error
    return values
