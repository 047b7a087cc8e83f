"""Model directories that only look like some, and what a registry does with them on any store."""

import json
from pathlib import Path

import pytest

from kyara_kedro.errors import UserError
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
    assert registry.promote(version, by="gate", reason="better")
    assert not registry.promote(version, by="gate", reason="still better")
    champion = registry.resolve("champion")
    assert champion is not None
    assert (champion.version, champion.path) == (version, first.resolve())
    assert champion.tags["stage"] == "dpo" and champion.tags["verdict"] == "promote"
    assert champion.tags["fingerprint"] == directory_fingerprint(first)
    with pytest.raises(UserError, match="no champion before the present one"):
        registry.roll_back(by="Ada", reason="too early")

    assert registry.nominate(model(folder / "copy", "a"), None, {}) == version
    second = registry.nominate(model(folder / "two", "b"), None, {"stage": "dpo"})
    assert second != version
    registry.promote(second, by="gate", reason="better still")
    again = ModelRegistry(uri, "kyara", "kyara-evaluate")
    assert [again.resolve(a).version for a in ("candidate", "champion")] == [second] * 2  # type: ignore[union-attr]
    former = again.resolve("former-champion")
    assert former is not None and former.version == version
    assert again.withdrawn(second) is None
    assert again.roll_back(by="Ada", reason="it answers in Simplified characters") == version
    rolled_back = again.resolve("champion")
    assert rolled_back is not None and rolled_back.path == first.resolve()
    back = again.withdrawn(second)
    assert back is not None and (back.by, back.former) == ("Ada", second)
    told = [(entry.version, entry.by) for entry in again.history()]
    assert told == [(version, "Ada"), (second, "gate"), (version, "gate")]
    again.promote(second, by="Ada", reason="mended")
    assert again.withdrawn(second) is None
    third = again.nominate(model(folder / "three", "c"), None, {})
    again.promote(third, by="gate", reason="better once more")
    assert [again.roll_back(by="Ada", reason="bad") for _ in range(2)] == [second, version]
    with pytest.raises(UserError, match="no champion before the present one"):
        again.roll_back(by="Ada", reason="worse")
    with pytest.raises(UserError, match=r"no version 9; there are: 1, 2, 3"):
        again.version(9)
