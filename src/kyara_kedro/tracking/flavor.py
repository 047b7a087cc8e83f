"""A trained model as MLflow loads it: signature, exact requirements, and where the weights are."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("accelerate", "jinja2", "mlflow", "safetensors", "tokenizers", "torch", "transformers")
_TASK = "llm/v1/chat"
_WEIGHTS, _TOKENIZER = "model", "components/tokenizer"
"""Where MLflow looks for them in a complete model."""
_OF_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "chat_template*", "*.model")


def write_flavor(model: Path, target: Path, *, fingerprint: str, complete: bool) -> None:
    """Write what makes MLflow load a model directory as a chat model.

    ``mlflow.transformers.load_model`` gives the network and tokenizer, ``mlflow.pyfunc.load_model``
    something that answers messages; the signature is that of chat completions.

    Args:
        model: Directory with weights and tokenizer.
        target: An empty directory for the files.
        fingerprint: Hash of the model directory's content.
        complete: Whether :func:`parts` will lie beside them; else MLflow loads weights and
            tokenizer from the model directory, which has to be reachable.
    """
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types.llm import CHAT_MODEL_INPUT_SCHEMA, CHAT_MODEL_OUTPUT_SCHEMA

    config = json.loads((model / "config.json").read_text("utf-8"))
    described = Model(
        signature=ModelSignature(CHAT_MODEL_INPUT_SCHEMA, CHAT_MODEL_OUTPUT_SCHEMA),
        metadata={"task": _TASK},
    )
    described.add_flavor(
        "transformers",
        transformers_version=version("transformers"),
        task="text-generation",
        inference_task=_TASK,
        instance_type="TextGenerationPipeline",
        pipeline_model_type=config["architectures"][0],
        components=["tokenizer"],
        tokenizer_type="AutoTokenizer",
        source_model_name=str(model),
        **({"model_binary": _WEIGHTS} if complete else _elsewhere(model, fingerprint)),
    )
    pyfunc.add_to_model(
        described, loader_module="mlflow.transformers", python_env="python_env.yaml"
    )
    described.save(str(target / "MLmodel"))
    (target / "requirements.txt").write_text("\n".join(requirements()) + "\n", "utf-8")
    python = {"python": platform.python_version(), "dependencies": ["-r requirements.txt"]}
    (target / "python_env.yaml").write_text(json.dumps(python) + "\n", "utf-8")


def parts(model: Path) -> Iterator[tuple[Path, str]]:
    """The files of a complete model, each with the folder that it belongs in."""
    for path in sorted(model.iterdir()):
        yield path, _WEIGHTS
        if any(map(path.match, _OF_TOKENIZER)):
            yield path, _TOKENIZER


def requirements() -> list[str]:
    """The packages that load the model, pinned as they are installed here."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in _PACKAGES]


def _elsewhere(model: Path, fingerprint: str) -> dict[str, Any]:
    """The model directory in the place of a hub's repository, its content in that of a commit."""
    return {
        "source_model_revision": fingerprint,
        "tokenizer_name": str(model),
        "tokenizer_revision": fingerprint,
    }
