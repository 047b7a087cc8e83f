"""Model directories that only look like some, and what a registry does with them on any store."""

import json
from pathlib import Path

from kyara_kedro.tracking.registry import ModelRegistry, directory_fingerprint


def model(folder: Path, weights: str) -> Path:
    """A directory with the files that a registry looks at."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(weights)
    (folder / "config.json").write_text(json.dumps({"architectures": ["Gemma2ForCausalLM"]}))
    return folder


def walk(uri: str, folder: Path) -> None:
    """Register, promote, replace and roll back."""
    registry = ModelRegistry(uri, "kyara", "kyara-evaluate")
    assert registry.resolve("champion") is None

    first = model(folder / "one", "a")
    version = registry.nominate(first, None, {"stage": "dpo"})
    assert registry.nominate(first, None, {"verdict": "promote"}) == version
    registry.promote(version)
    champion = registry.resolve("champion")
    assert champion is not None
    assert (champion.version, champion.path) == (version, first.resolve())
    assert champion.tags["stage"] == "dpo" and champion.tags["verdict"] == "promote"
    assert champion.tags["fingerprint"] == directory_fingerprint(first)

    assert registry.nominate(model(folder / "copy", "a"), None, {}) == version
    second = registry.nominate(model(folder / "two", "b"), None, {"stage": "dpo"})
    assert second != version
    registry.promote(second)
    again = ModelRegistry(uri, "kyara", "kyara-evaluate")
    assert [again.resolve(a).version for a in ("candidate", "champion")] == [second] * 2  # type: ignore[union-attr]
    former = again.resolve("former-champion")
    assert former is not None and former.version == version
    again.promote(version)
    rolled_back = again.resolve("champion")
    assert rolled_back is not None and rolled_back.path == first.resolve()
