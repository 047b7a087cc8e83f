"""What the documentation says is so: its references, links, commands, claims and messages."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.project import configure_project

from kyara_kedro import reference

from support import ROOT

CONF = ROOT / "conf"
PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
OTHERS_SAY = (
    "Parameter validation failed",
    "Extra inputs are not permitted",
    "Given configuration path either does not exist",
    "No such command 'where'",
)
"""Messages of Kedro, pydantic and click that the pages explain too."""
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


def pieces(node: ast.AST) -> str | None:
    """A string of the source; what is filled in is an ellipsis."""
    if isinstance(node, ast.JoinedStr):
        return "".join(pieces(part) or "…" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


@cache
def said() -> tuple[str, ...]:
    """All that the code and the Makefile can say."""
    trees = (ast.parse(path.read_text("utf-8")) for path in (ROOT / "src").rglob("*.py"))
    strings = (pieces(node) for tree in trees for node in ast.walk(tree))
    return (*filter(None, strings), (ROOT / "Makefile").read_text("utf-8"))


def quoted() -> Iterator[tuple[str, str]]:
    """The messages that the pages explain: the first cells of their tables of messages."""
    for page in PAGES:
        table = False
        for line in page.read_text("utf-8").split("\n"):
            table = line.startswith("| it says |") or (table and line.startswith("|"))
            if table:
                for message in re.findall(r"`([^`]+)`", line.split(" | ")[0]):
                    yield page.name, message


def test_every_message_that_is_explained_is_still_said() -> None:
    def is_said(message: str) -> bool:
        words = [part.strip() for part in message.split("…") if part.strip()]
        form = re.compile(".*".join(map(re.escape, words)), re.DOTALL)
        return any(form.search(text) for text in said())

    messages = list(quoted())
    assert len(messages) > 80
    assert [one for one in messages if not is_said(one[1]) and one[1] not in OTHERS_SAY] == []
