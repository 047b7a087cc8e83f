"""Prompts around a run: faults stop it early, and new texts reach MLflow once."""

import logging
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Node, Pipeline

from kyara_kedro.datasets.prompts import PromptLibraryDataset
from kyara_kedro.hooks.prompts import PromptHooks, mirror, registry_name
from kyara_kedro.prompts import PromptLibrary

ASKS = Pipeline([Node(len, "prompt_library", "asked", name="ask")])
DOES_NOT = Pipeline([Node(len, "other", "counted", name="count")])
LIBRARY = PromptLibrary()


@pytest.fixture(scope="module")
def uri(database: str) -> str:
    """A registry that holds the package's templates."""
    assert mirror(LIBRARY, database) == [
        registry_name(LIBRARY.template(name)) for name in LIBRARY.templates
    ]
    return database


def own(folder: Path, text: str) -> PromptLibrary:
    file = folder / "expand_query" / "zh-TW.jinja"
    file.parent.mkdir(exist_ok=True)
    file.write_text("{% block user %}" + text + "{{ question }}{% endblock %}", "utf-8")
    return PromptLibrary([folder])


def test_every_template_is_registered_with_its_text_and_hash(uri: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    for name in ("rag/zh-TW.1", "judge_pair/zh-CN", "expand_query/en"):
        template = LIBRARY.template(name)
        version = client.get_prompt_version(registry_name(template), 1)
        assert version is not None
        assert version.template == template.source
        assert version.tags["sha"] == template.sha
    assert registry_name(LIBRARY.template("rag/zh-TW.1")) == "kyara-rag-zh-TW.1"


def test_the_same_texts_are_registered_once_and_a_new_one_alone(uri: str, tmp_path: Path) -> None:
    assert mirror(LIBRARY, uri) == []
    assert mirror(own(tmp_path, "一"), uri) == ["kyara-expand_query-zh-TW"]
    assert mirror(own(tmp_path, "一"), uri) == []
    assert mirror(LIBRARY, uri) == ["kyara-expand_query-zh-TW"]
    assert mirror(LIBRARY, uri) == []


def hooks(folder: Path, **config: Any) -> PromptHooks:
    made = PromptHooks()
    settings = {"enabled": True, "prompts": True, "folder": "mlflow", "tracking_uri": None}
    context: Any = SimpleNamespace(project_path=folder, config_loader={"mlflow": settings | config})
    made.after_context_created(context)
    return made


def catalog(*overrides: Path) -> DataCatalog:
    library = PromptLibraryDataset(overrides=[str(folder) for folder in overrides])
    return DataCatalog({"prompt_library": library})


def test_a_faulty_file_stops_the_run_that_would_use_it(tmp_path: Path) -> None:
    (tmp_path / "stray.txt").write_text("x", "utf-8")
    faulty = catalog(tmp_path)
    with pytest.raises(DatasetError, match=r"stray\.txt: no such task"):
        hooks(tmp_path).before_pipeline_run(ASKS, faulty)
    hooks(tmp_path).before_pipeline_run(DOES_NOT, faulty)


@pytest.mark.parametrize(
    ("pipeline", "config"),
    [(DOES_NOT, {}), (ASKS, {"enabled": False}), (ASKS, {"prompts": False})],
)
def test_nothing_is_mirrored_unless_it_is_wanted(
    tmp_path: Path, pipeline: Pipeline, config: dict[str, bool]
) -> None:
    hooks(tmp_path, **config).after_pipeline_run(pipeline, catalog())
    assert not (tmp_path / "mlflow").exists()


def test_a_run_tells_how_many_are_new(
    uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mirror(LIBRARY, uri)
    own(tmp_path, "二")
    with caplog.at_level(logging.INFO, "kyara_kedro"):
        hooks(tmp_path, tracking_uri=uri).after_pipeline_run(ASKS, catalog(tmp_path))
        hooks(tmp_path, tracking_uri=uri).after_pipeline_run(ASKS, catalog(tmp_path))
    assert caplog.messages == ["prompt registry: 1 new versions"]


def test_a_registry_that_is_down_costs_seconds_and_fails_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    hooks(tmp_path, tracking_uri="http://127.0.0.1:9").after_pipeline_run(ASKS, catalog())
    assert time.monotonic() - started < 20
    assert "MLflow's prompt registry does not answer" in caplog.text
