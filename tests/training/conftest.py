"""A model small enough to train in a second, for tests that do not look at what it learns."""

from pathlib import Path

import pytest

from kyara_kedro.training.embedded import build_embedded_base
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import EmbeddedModelOptions

TEXTS = [
    "玉山主峰的海拔是3,952公尺。",
    "玉山主峰的海拔是多少公尺？請直接回答。",
    "濁水溪全長186公里，濁水溪的出海口在彰化。",
    "Answer the question in one sentence, please.",
] * 3


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    settings = EmbeddedModelOptions(hidden=32, heads=2, kv_heads=1, intermediate=64, seed=3)
    directory: Path = tmp_path_factory.mktemp("models") / "embedded"
    return build_embedded_base(TEXTS, settings, directory)
