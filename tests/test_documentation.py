"""What the documentation says is so: its references, links, commands, claims and messages."""

import json
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.project import configure_project

from kyara_kedro import reference

from support import ROOT

CONF = ROOT / "conf"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize(
    ("name", "page"),
    [("parameters.md", reference.parameters_page), ("records.md", reference.records_page)],
)
def test_a_reference_page_is_what_the_code_says(name: str, page: object) -> None:
    configure_project("kyara_kedro")
    committed = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert committed == page(CONF), "run `make docs`"  # type: ignore[operator]


def test_every_setting_is_explained() -> None:
    page = (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")
    rows = [line for line in page.split("\n") if line.startswith("| `")]
    assert len(rows) > 200
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_record_is_explained() -> None:
    page = (ROOT / "docs" / "records.md").read_text(encoding="utf-8")
    sections = page.split("\n## ")[1:]
    assert len(sections) > 30
    assert [one.split("\n")[0] for one in sections if one.split("\n")[2].startswith("|")] == []


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_clean(path: Path) -> None:
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert code
    for cell in code:
        assert (cell["outputs"], cell["execution_count"], cell["metadata"]) == ([], None, {})
    assert "".join(cells(path)[0]["source"]).startswith("# ")
