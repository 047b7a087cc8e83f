"""Model folders: where they are, what identifies them, and loading that runs nothing from them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import xxhash
from pydantic import Field

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError

Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_WEIGHTS = "*.safetensors"
_FILES = (
    _WEIGHTS,
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "vocab.*",
    "merges.txt",
    "*.model",
)
"""What a model is loaded from; other files, such as its card, do not change what it says."""
_BLOCK = 4 * 2**20
_SAFELY = {"local_files_only": True, "trust_remote_code": False}


def locate(model: str, revision: str | None = None) -> Path:
    """Find a model's folder; a name of the Hugging Face Hub is looked up in its cache or fetched.

    Args:
        model: A folder, or ``owner/name`` of the hub.
        revision: Branch, tag or commit of the hub's repository.

    Raises:
        UserError: the hub or its cache does not give the model.
    """
    if not is_hub_name(model):
        return Path(model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(_FILES)))
    except (OSError, ValueError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise UserError(
            f"model {model}: no such folder, and the hub does not give it: {_line(error)}"
        ) from error


def is_hub_name(model: str) -> bool:
    """Whether this is ``owner/name`` of the hub, and no folder of this machine."""
    return _HUB_NAME.fullmatch(model) is not None and not Path(model).exists()


def fingerprint(directory: Path) -> str:
    """Hash the names and bytes of all that a model is loaded from.

    Hashes of files are kept in memory until their size or time of change differs.

    Returns:
        32 hexadecimal digits.

    Raises:
        UserError: the directory is missing, or holds no configuration or no safetensors.
    """
    if not directory.is_dir():
        raise UserError(f"{directory}: no such model directory")
    if not (directory / "config.json").is_file():
        raise UserError(f"{directory}: no model here, since there is no config.json")
    if not any(directory.glob(_WEIGHTS)):
        raise UserError(f"{directory}: no weights as safetensors; other formats are not loaded")
    paths = {path for pattern in _FILES for path in directory.glob(pattern) if path.is_file()}
    digests = []
    for path in sorted(paths):
        status = path.stat()
        digest = _digest(str(path.resolve()), status.st_size, status.st_mtime_ns)
        digests.append((path.name, status.st_size, digest))
    return content_id(digests)


@lru_cache(maxsize=1024)
def _digest(path: str, size: int, changed: int) -> str:
    """Hash a file; size and time of change (ns) are there for the cache."""
    state = xxhash.xxh3_128()
    with Path(path).open("rb") as file:
        while block := file.read(_BLOCK):
            state.update(block)
    return state.hexdigest()


def choose_device(device: str) -> str:
    """Name the device: ``auto`` is an accelerator where there is one.

    Raises:
        UserError: an accelerator is asked for and there is none.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"device {device!r}: there is no accelerator here; use 'cpu' or 'auto'")
    return device


def weight_names(directory: Path) -> frozenset[str]:
    """Names of all tensors in a folder's safetensors, from their headers.

    Raises:
        UserError: a file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    names: set[str] = set()
    for path in sorted(directory.glob(_WEIGHTS)):
        try:
            with safe_open(path, "pt") as file:
                names.update(file.keys())
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path}: damaged weights: {_line(error)}") from error
    return frozenset(names)


def weights(directory: Path, names: frozenset[str]) -> dict[str, Any]:
    """Read some tensors of a folder's safetensors, in float32 on the CPU."""
    from safetensors import safe_open

    found = {}
    for path in sorted(directory.glob(_WEIGHTS)):
        with safe_open(path, "pt") as file:
            for name in names.intersection(file.keys()):
                found[name] = file.get_tensor(name).float()
    return found


def load_network(auto: Any, directory: Path, device: str, what: str) -> Any:
    """Load a network for inference: float32 on a CPU, bfloat16 on an accelerator.

    Args:
        auto: A model class of transformers.
        directory: The model's folder.
        device: As :func:`choose_device` names it.
        what: What the folder should be, for the message.

    Raises:
        UserError: it cannot be loaded without running code from it, or weights are missing, which
            transformers would fill with random numbers.
    """
    import torch
    from safetensors import SafetensorError

    try:
        with _quiet():
            network, report = auto.from_pretrained(
                directory,
                **_SAFELY,
                use_safetensors=True,
                dtype=torch.float32 if device == "cpu" else torch.bfloat16,
                device_map=device,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{directory}: the model cannot be loaded: {_line(error)}") from error
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"{directory}: {len(missing)} weights are missing and would be random, the first "
            f"{missing[0]}; it is no {what}, or not the whole of one"
        )
    return network.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar and no report of what was not loaded: that is checked, and not logged."""
    from transformers.utils import logging as reports

    verbosity, bar = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity_error()
    reports.disable_progress_bar()
    try:
        yield
    finally:
        reports.set_verbosity(verbosity)
        if bar:
            reports.enable_progress_bar()


def load_tokenizer(directory: Path) -> Any:
    """Load a tokenizer that has a chat template.

    Raises:
        UserError: it cannot be loaded without running code from its folder, or has no template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, **_SAFELY)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{directory}: the model cannot be loaded: {_line(error)}") from error
    if not tokenizer.chat_template:
        raise UserError(
            f"{directory}: the tokenizer has no chat template; save one as chat_template.jinja"
        )
    return tokenizer


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
