import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kyara_kedro.runners.code import CodeIndex

NODES = '''
"""Nodes."""
from toy import tools
from toy.tools import LIMIT as MOST, Tool
import toy.deep.words as words

TABLE = {"a": tools.first}

def plain(x):
    """Doc."""
    return x + 1  # more

def looked_up(x):
    return TABLE[x]()

def imported(x):
    return min(x, MOST)

def used(tool: Tool):
    return tool.work()

def late(x):
    from toy.deep.late import act
    return act(x)

def deep(x):
    return words.spell(x)
'''
TOOLS = """
LIMIT = 3

def first():
    return second()

def second():
    return 2

def unused():
    return 0

class Tool:
    def work(self):
        return LIMIT
"""


@pytest.fixture
def toy(tmp_path: Path) -> Any:
    package = tmp_path / "code" / "toy"
    (package / "deep").mkdir(parents=True)
    for name, text in {
        "__init__.py": "",
        "nodes.py": NODES,
        "tools.py": TOOLS,
        "deep/__init__.py": "",
        "deep/late.py": "def act(x):\n    return x\n",
        "deep/words.py": "from toy.tools import first as spell\n",
    }.items():
        (package / name).write_text(text)
    sys.path.insert(0, str(package.parent))
    import toy.nodes

    yield package, toy.nodes
    sys.path.remove(str(package.parent))
    for name in [name for name in sys.modules if name.partition(".")[0] == "toy"]:
        del sys.modules[name]


def changed(package: Path, cache: Path, nodes: Any, file: str, old: str, new: str) -> set[str]:
    """The functions whose digests a change of a file changes."""
    functions = [getattr(nodes, name) for name in dir(nodes) if callable(getattr(nodes, name))]
    functions = [function for function in functions if function.__module__ == "toy.nodes"]
    index = CodeIndex(cache)
    before = {function.__name__: index.digests(function) for function in functions}
    index.save()
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new))
    after = CodeIndex(cache)
    return {f.__name__ for f in functions if after.digests(f) != before[f.__name__]}


@pytest.mark.parametrize(
    ("file", "old", "new", "functions"),
    [
        ("nodes.py", "x + 1", "x + 2", {"plain"}),
        ("nodes.py", "Doc.", "Another doc.", set()),
        ("nodes.py", "  # more", "", set()),
        ("nodes.py", "\n\ndef late", "\n\n\n\ndef late", set()),
        ("tools.py", "return 2", "return 3", {"looked_up", "deep"}),
        ("tools.py", "LIMIT = 3", "LIMIT = 4", {"imported", "used"}),
        ("tools.py", "return LIMIT", "return -LIMIT", {"used"}),
        ("tools.py", "return 0", "return 1", set()),
        ("deep/late.py", "return x", "return -x", {"late"}),
        ("deep/words.py", "first as spell", "second as spell", {"deep"}),
    ],
)
def test_a_change_is_seen_by_the_functions_that_lead_to_it_alone(
    toy: Any, tmp_path: Path, file: str, old: str, new: str, functions: set[str]
) -> None:
    package, nodes = toy

    assert changed(package, tmp_path / "cache", nodes, file, old, new) == functions


def test_a_registration_counts_for_whatever_the_module_offers(toy: Any, tmp_path: Path) -> None:
    package, nodes = toy
    (package / "tools.py").write_text(
        TOOLS + "\nfrom functools import singledispatch\n"
        "@singledispatch\ndef kind(x):\n    return 'any'\n"
        "@kind.register\ndef _(x: int):\n    return 'int'\n"
    )

    assert changed(package, tmp_path, nodes, "tools.py", "'int'", "'number'") == {
        *("looked_up", "deep", "imported", "used")
    }


def test_what_a_function_is_bound_to_belongs_to_its_code(toy: Any, tmp_path: Path) -> None:
    _, nodes = toy
    index = CodeIndex(tmp_path)

    bound = index.digests(partial(nodes.plain, nodes.imported))

    assert bound.keys() == index.digests(nodes.plain).keys() | index.digests(nodes.imported).keys()


def test_a_name_that_is_not_there_is_not_looked_for_for_ever(toy: Any, tmp_path: Path) -> None:
    package, nodes = toy
    (package / "deep" / "words.py").write_text("from toy.nodes import spell\n")
    (package / "nodes.py").write_text(NODES + "from toy.deep.words import spell\n")

    assert "toy.nodes" in CodeIndex(tmp_path).digests(nodes.deep)


def test_files_that_a_module_reads_beside_it_count(toy: Any, tmp_path: Path) -> None:
    package, nodes = toy
    tools = (package / "tools.py").read_text()
    (package / "tools.py").write_text(
        tools.replace("return 2", "return open(__file__ + '/../page.jinja')")
    )
    (package / "page.jinja").write_text("one")

    assert changed(package, tmp_path / "c", nodes, "page.jinja", "one", "two") == {
        "looked_up",
        "deep",
    }


def test_a_function_of_a_notebook_counts_by_its_own_text(tmp_path: Path) -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("def one(x):\n    return x\ndef two(x):\n    return -x", scope)  # noqa: S102
    index = CodeIndex(tmp_path)

    assert list(index.digests(scope["one"]).values()) != list(index.digests(scope["two"]).values())


def test_what_is_damaged_or_older_is_read_anew(toy: Any, tmp_path: Path) -> None:
    _, nodes = toy
    index = CodeIndex(tmp_path)
    fresh = index.digests(nodes.looked_up)
    index.save()
    (tmp_path / "code.json").write_text('{"form": 0, "facts": {"x": 1}}')
    (tmp_path / "functions.json").write_text('{"form": 1, "fac')

    assert CodeIndex(tmp_path).digests(nodes.looked_up) == fresh
