"""The trained model becomes the candidate, and evaluation finds that it is one."""

from pathlib import Path

import pytest

from kyara_kedro.pipelines.train.nodes import register_candidate
from kyara_kedro.tracking.registry import ModelRegistry
from kyara_kedro.training.model_ref import ModelRef


@pytest.fixture
def trained(tmp_path: Path) -> ModelRef:
    (tmp_path / "config.json").write_text('{"architectures": ["Gemma2ForCausalLM"]}')
    return ModelRef(str(tmp_path), "f" * 32, "dpo", "embedded", run_id="0" * 32)


def test_training_ends_with_a_candidate(trained: ModelRef, database: str) -> None:
    registry = ModelRegistry(database, "kyara", "e")
    register_candidate(trained, registry)
    candidate = registry.resolve("candidate")
    assert candidate is not None and candidate.path == Path(trained.path)
    assert candidate.tags["training_fingerprint"] == trained.fingerprint
    assert registry.nominate(Path(trained.path), None, {"verdict": "hold"}) == candidate.version
    assert registry.resolve("champion") is None


def test_a_registry_that_is_down_fails_no_training(
    trained: ModelRef, caplog: pytest.LogCaptureFixture
) -> None:
    register_candidate(trained, ModelRegistry("http://127.0.0.1:9", "kyara", "e"))
    assert "the candidate is registered by evaluate: the model registry does not" in caplog.text
