"""kedro-viz: colours, diagrams, layers, and a site that opens without a network."""

import functools
import http.server
import json
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.project import configure_project, pipelines
from kedro.pipeline import Node
from tests.browser import browser

from kyara_kedro.errors import UserError
from kyara_kedro.site import STYLES, offline, styles

from support import ROOT, run_kedro

PAGE = """<html><head><link rel="preconnect" href="https://fonts.gstatic.com" crossorigin />
<link
 href="https://fonts.googleapis.com/css2?family=Inter" rel="stylesheet" />
<link rel="stylesheet" crossorigin href="./assets/index.css"></head><body></body></html>"""


@pytest.fixture(scope="module")
def nodes() -> list[Node]:
    configure_project("kyara_kedro")
    return list(pipelines["__default__"].nodes)


def test_the_colours_in_the_repository_are_those_of_the_nodes(nodes: list[Node]) -> None:
    stored = json.loads((ROOT / STYLES).read_text("utf-8"))
    assert stored == styles(nodes), "run `make docs`"
    fills = {
        name: style["themes"]["light"]["fill"]
        for name, style in stored.items()
        if name in ("train_sft_base", "judge_responses", "index_passages")
    }
    assert len(set(fills.values())) == 3


def test_every_diagram_is_shown_by_a_node_and_every_node_that_loops_shows_one(
    nodes: list[Node],
) -> None:
    shown = {}
    for node in nodes:
        payload: Any = node.preview()
        if payload is not None:
            shown[node.name] = payload.to_dict()
    stored = {file.read_text("utf-8") for file in _diagrams().values()}
    assert {one["content"] for one in shown.values()} == stored
    assert all(one["content"].startswith("flowchart TD\n") for one in shown.values())
    looping = {"synthesize.inject_knowledge", "preference.judge_responses", "sft.train_sft_base"}
    assert looping <= shown.keys()


def _diagrams() -> dict[str, Path]:
    folder = Path(str(files("kyara_kedro.reporting"))) / "diagrams"
    return {file.stem: file for file in folder.glob("*.mmd")}


def test_a_site_asks_no_other_host_for_fonts(tmp_path: Path) -> None:
    pytest.importorskip("kedro_viz")
    (tmp_path / "index.html").write_text(PAGE)
    offline(tmp_path)
    once = (tmp_path / "index.html").read_text("utf-8")
    assert "http" not in once and "Noto Sans TC" in once and "assets/index.css" in once
    offline(tmp_path)
    assert (tmp_path / "index.html").read_text("utf-8") == once
    with pytest.raises(UserError, match="run `kedro viz build --include-previews` first"):
        offline(tmp_path / "nothing")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        logging.getLogger("http.server").setLevel(logging.CRITICAL)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.end_to_end
def test_a_built_site_has_its_layers_in_order_and_opens_without_a_network(
    project: Path, tmp_path: Path
) -> None:
    pytest.importorskip("kedro_viz")
    (project / STYLES).parent.mkdir()
    shutil.copy(ROOT / STYLES, project / STYLES)
    for command in (("viz", "build", "--include-previews"), ("viz-offline",)):
        done = run_kedro(project, *command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "circular" not in done.stdout + done.stderr
    site = project / "build"
    for file in (site / "api" / "pipelines").iterdir():
        told = json.loads(file.read_text("utf-8"))
        drawn = {node["layer"] for node in told["nodes"] if node.get("layer")}
        layers = [layer for layer in told["layers"] if layer in drawn]
        assert len(layers) >= 2, file
        if file.name != "train":  # pairs come in beside the models that they train
            assert layers == sorted(layers), file
    assert json.loads((site / "api/main").read_text("utf-8"))["layers"][0] == "01_raw"
    with served(site) as url, browser(tmp_path / "profile") as page:
        page.attach()
        page.call("Page.navigate", url=f"{url}/?pid=synthesize&expandAllPipelines=true")
        page.wait("document.querySelectorAll('.pipeline-node').length > 20", 60)
        time.sleep(0.5)
        assert not [
            asked for asked in page.requests if not asked.startswith((url, "data:", "blob:"))
        ]
        font = page.js("getComputedStyle(document.querySelector('.pipeline-node text')).fontFamily")
        assert "Noto Sans TC" in font
        task = (
            "[...document.querySelectorAll('.pipeline-node')].find(node => "
            "node.textContent.includes('inject_knowledge')).querySelector('rect')"
        )
        page.wait(f"getComputedStyle({task}).fill === 'rgb(23, 58, 99)'", 60)
