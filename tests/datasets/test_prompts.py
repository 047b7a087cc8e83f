"""The prompt library in the catalog: the folders of the environments in use, and its preview."""

from pathlib import Path
from typing import Any

import pytest
from kedro.io import DatasetError

from kyara_kedro import settings
from kyara_kedro.config import ConfigLoader
from kyara_kedro.datasets import PromptLibraryDataset
from kyara_kedro.prompts import PromptLibrary

MINE = "{% block user %}{{ question }}{% endblock %}"


def put(folder: Path, name: str = "expand_query/zh-TW.jinja", text: str = MINE) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def entry(conf: Path, env: str | None) -> dict[str, Any]:
    (conf / "base").mkdir(exist_ok=True, parents=True)
    (conf / "base" / "catalog.yml").write_text(
        "prompt_library: {type: x, overrides: '${folders:prompts}'}", "utf-8"
    )
    loader = ConfigLoader(str(conf), env, base_env="base", default_run_env="local")
    found: dict[str, Any] = loader["catalog"]["prompt_library"]
    return found


def test_the_folders_of_the_environments_in_use_are_found(tmp_path: Path) -> None:
    for env in ("local", "openai"):
        (tmp_path / env).mkdir()
    assert entry(tmp_path, None)["overrides"] == []
    folders = {env: put(tmp_path / env / "prompts").parents[1] for env in ("base", "local")}
    assert entry(tmp_path, None)["overrides"] == [str(folders["base"]), str(folders["local"])]
    assert entry(tmp_path, "openai")["overrides"] == [str(folders["base"])]
    own = put(tmp_path / "openai" / "prompts").parents[1]
    assert entry(tmp_path, "openai")["overrides"] == [str(folders["base"]), str(own)]
    assert entry(tmp_path, "base")["overrides"] == [str(folders["base"])]


def test_the_project_uses_the_loader() -> None:
    assert settings.CONFIG_LOADER_CLASS is ConfigLoader


def test_the_nodes_of_a_run_share_one_library(tmp_path: Path) -> None:
    put(tmp_path)
    dataset = PromptLibraryDataset(overrides=[str(tmp_path)])
    library = dataset.load()
    assert isinstance(library, PromptLibrary)
    assert dataset.load() is library
    assert library.template("expand_query/zh-TW").overridden
    with pytest.raises(DatasetError, match="edited as files"):
        dataset.save("text")  # type: ignore[arg-type]


def test_a_faulty_file_is_told_when_the_library_is_loaded(tmp_path: Path) -> None:
    file = put(tmp_path, text="{% block user %}{{ qustion }}{% endblock %}")
    with pytest.raises(DatasetError, match="unknown inputs \\['qustion'\\]") as caught:
        PromptLibraryDataset(overrides=[str(tmp_path)]).load()
    assert str(file) in str(caught.value)


def test_the_preview_tells_version_and_origin_of_every_template(tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "local" / "prompts"
    put(folder)
    dataset = PromptLibraryDataset(overrides=[str(folder)])
    table: dict[str, Any] = dict(dataset.preview())  # type: ignore[call-overload]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    library = dataset.load()
    assert len(rows) == len(library.templates) == len(table["index"])
    by_name = {f"{row['task']}/{row['language']}": row for row in rows}
    assert by_name["judge_pair/en"]["source"] == "package"
    mine = by_name["expand_query/zh-TW"]
    assert mine["source"] == "local/prompts/expand_query/zh-TW.jinja"
    assert mine["version"] == library.template("expand_query/zh-TW").sha
    assert "查詢" in mine["description"]
