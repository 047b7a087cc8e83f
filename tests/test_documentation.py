"""What the documentation says is so: its references, links, commands, claims and messages."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from kedro.framework.cli.cli import KedroCLI
from kedro.framework.project import configure_project

from kyara_kedro import reference
from kyara_kedro.pipeline_registry import PIPELINES

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


def in_order(words: list[str], text: str) -> bool:
    place = 0
    for word in words:
        place = text.find(word, place)
        if place < 0:
            return False
        place += len(word)
    return True


def test_every_message_that_is_explained_is_still_said() -> None:
    def is_said(message: str) -> bool:
        words = [part.strip() for part in message.split("…") if part.strip()]
        return any(in_order(words, text) for text in said())

    messages = list(quoted())
    assert len(messages) > 80
    assert [one for one in messages if not is_said(one[1]) and one[1] not in OTHERS_SAY] == []


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_is_dead(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


def test_the_map_names_every_page() -> None:
    named = set(re.findall(r"\]\(([\w.-]+\.md)", (ROOT / "docs/index.md").read_text("utf-8")))
    assert named == {page.name for page in PAGES if page.parent == ROOT / "docs"} - {"index.md"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def commands() -> Iterator[tuple[str, list[str]]]:
    """All commands of the pages, in blocks and in lines."""
    for page in PAGES:
        shell = "".join(blocks(page, "(?:bash)?")).replace("\\\n", "")
        lines = shell.split("\n")
        for line in (*lines, *re.findall(r"`([^`\n]+)`", prose(page))):
            if line.startswith(("kedro ", "make ", "python ")):
                yield f"{page.name}: {line}", shlex.split(line.replace("...", "x"), comments=True)


def test_every_command_that_is_shown_is_there() -> None:
    kedro = KedroCLI(project_path=ROOT)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    shown = list(commands())
    assert len(shown) > 60
    for place, (program, *words) in shown:
        if program == "make":
            assert {word for word in words if "=" not in word} <= targets, place
        elif program == "kedro":
            checked(kedro, words, place)
        elif words[0].startswith("benchmarks/"):
            assert (ROOT / words[0]).exists(), place


def checked(command: click.Command, words: list[str], place: str) -> None:
    """Follow words through groups of commands; what is left are options of the last."""
    context = click.Context(command)
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, place
        command, words = found, words[1:]
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    for number, word in enumerate(words):
        if word.startswith("-"):
            assert word.partition("=")[0] in options | {"--help", "--version"}, place
        if (number and words[number - 1] == "--params") or word.startswith("--params="):
            for part in word.removeprefix("--params=").split(","):
                assert is_parameter(part.partition("=")[0]), f"{place}: {part}"


@cache
def settings() -> frozenset[str]:
    page = (ROOT / "docs" / "parameters.md").read_text("utf-8")
    return frozenset(re.findall(r"^\| `([\w.]+)`", page, re.MULTILINE))


def is_parameter(name: str) -> bool:
    """Whether a dotted name is a setting, or lies in one, or is an input of `ingest`."""
    parts = name.split(".")
    starts = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
    return name.startswith("raw_") or bool(starts & settings())


def leaves(value: object, prefix: str = "") -> Iterator[str]:
    if isinstance(value, dict) and value and not is_parameter(prefix.rstrip(".")):
        for name, inner in value.items():
            yield from leaves(inner, f"{prefix}{name}.")
    else:
        yield prefix.rstrip(".")


def test_every_setting_that_is_shown_is_one() -> None:
    shown = 0
    for page in PAGES:
        for block in blocks(page, "yaml"):
            for name, value in yaml.safe_load(block).items():
                if name in PIPELINES:
                    for leaf in leaves(value, f"{name}."):
                        shown += 1
                        assert is_parameter(leaf), f"{page.name}: {leaf}"
    assert shown > 40


TWINS = [
    ("README.md", "README.zh-TW.md"),
    ("docs/quick_start.md", "docs/quick_start.zh-TW.md"),
    ("docs/own_data.md", "docs/own_data.zh-TW.md"),
]


def proofs(page: Path) -> list[list[tuple[str, str]]]:
    """The links in the second cells of the table of claims."""
    rows = re.findall(r"^\| [^|]+ \| (\[.+) \|$", page.read_text("utf-8"), re.MULTILINE)
    return [re.findall(r"\[`?([^]`]+)`?\]\(([^)]+)\)", row) for row in rows]


@pytest.mark.parametrize("name", TWINS[0])
def test_every_claim_of_the_readme_has_a_proof(name: str) -> None:
    claims = proofs(ROOT / name)
    benchmarks = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    assert len(claims) > 15
    for claim in claims:
        assert claim
        for shown, target in claim:
            text = (ROOT / target).read_text("utf-8")
            if target.startswith("benchmarks/") and target.endswith(".py"):
                assert f"`{Path(target).name}`" in benchmarks, target
            elif shown.startswith("test_") and not shown.endswith(".py"):
                assert f"def {shown}(" in text, f"{target}: {shown}"


@pytest.mark.parametrize(("english", "chinese"), TWINS)
def test_twins_have_the_same_sections_commands_and_links(english: str, chinese: str) -> None:
    def shape(name: str) -> list[object]:
        page = ROOT / name
        text = page.read_text("utf-8")
        code = [
            re.sub(r"\s*#.*$", "", line)
            for block in blocks(page, ".*?")
            for line in block.split("\n")
        ]
        links = {
            target.replace(".zh-TW", "").partition("#")[0]
            for target in re.findall(r"\]\(([^)\s]+)\)", text)
        }
        return [
            [len(mark) for mark in re.findall(r"^(#+) ", prose(page), re.MULTILINE)],
            len(re.findall(r"^\|", prose(page), re.MULTILINE)),
            [line for line in code if line.startswith(("kedro", "make", "git", "cd", "source"))],
            sorted(links),
        ]

    for ours, theirs in zip(shape(english), shape(chinese), strict=True):
        assert ours == theirs
