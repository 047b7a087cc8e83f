"""What a node's code is: its function, and all functions, classes and constants that it leads to.

They are followed by name through the modules of this project and of the one that the function
belongs to, and told by their syntax: a change of comments, docstrings or layout, or of a function
that a node never comes to, makes no node run again. What a name stands for is looked up in the
text alone, so code that is chosen by a computed name is not seen, but for the classes of a registry
that is written out.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, TypedDict

import xxhash

from kyara_kedro.content import content_id
from kyara_kedro.files import stamp
from kyara_kedro.runners.memory import Shelf

_HOME = "kyara_kedro"
_PROMPTS = "kyara_kedro.prompts"
"""Templates have versions of their own, which are told one by one."""
_DEFINED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_FIELDS = {
    kind: [name for name in kind._fields if name not in ("ctx", "kind", "type_comment")]
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}
"""The fields of each kind of node that say something by themselves."""
_REST = ""
"""Name of what a module does besides defining something."""

Digests = dict[str, str]


class _Unit(TypedDict):
    """Something that a module defines.

    ``names`` are those that its text mentions, with an attribute where one is taken of them.
    """

    digest: str
    names: list[str]


class _Source(TypedDict):
    """A module: what it defines, and what the names that it imports stand for."""

    stamp: list[int]
    units: dict[str, _Unit]
    imports: dict[str, str]


class CodeIndex:
    """Digests of what functions execute.

    Args:
        folder: Keeps what is known of files and functions from run to run.
    """

    def __init__(self, folder: Path) -> None:
        self._sources: Shelf[_Source] = Shelf(folder / "code.json")
        self._functions: Shelf[Digests] = Shelf(folder / "functions.json")
        self._file = cache(_file)
        self._trees: dict[str, str] = {}
        self._modules: dict[str, _Source | None] = {}

    def digests(self, function: Callable[..., Any]) -> Digests:
        """The modules that a function leads to, by name, with 8 hex digits of what it uses there.

        Files that a module reads from its own folder, such as the templates of a report, count as
        well. A function that was typed into a console or a notebook counts by its own source.
        """
        found: Digests = {}
        for part in _parts(function):
            module, name = part.__module__, part.__qualname__.partition(".")[0]
            if self._file(module) is None:
                found[f"{module}.{name}"] = _short(_source(part))
                continue
            key = f"{module}:{name}@{self._tree(module)}"
            known = self._functions.get(key)
            if known is None:
                known = self._followed(module, name)
                self._functions.put(key, known)
            found |= known
        return found

    def save(self) -> None:
        """Keep what is known for the next run."""
        self._sources.save()
        trees = {f"@{tree}" for tree in self._trees.values()}
        self._functions.keep_only(lambda key: any(key.endswith(tree) for tree in trees))
        self._functions.save()

    def _tree(self, module: str) -> str:
        """Tells whether anything has changed in the packages that a module may lead to."""
        root = module.partition(".")[0]
        if root not in self._trees:
            files = sorted(path for name in {root, _HOME} for path in _package(name))
            self._trees[root] = content_id([[str(path), *stamp(path)] for path in files])[:16]
        return self._trees[root]

    def _followed(self, module: str, name: str) -> Digests:
        seen: dict[str, dict[str, str]] = {}
        waiting = [(module, name)]
        looked_up: set[tuple[str, str]] = set()
        while waiting:
            module, name = place = waiting.pop()
            source = self._module(module)
            if source is None or place in looked_up:
                continue
            looked_up.add(place)
            if module not in seen:
                seen[module] = {}
                waiting.append((module, _REST))
            unit = source["units"].get(name)
            if unit is None:
                waiting += self._led_to(source["imports"].get(name))
                continue
            seen[module][name] = unit["digest"]
            for used in unit["names"]:
                first, _, attribute = used.partition(".")
                if first in source["units"]:
                    waiting.append((module, first))
                else:
                    waiting += self._led_to(source["imports"].get(first), attribute)
            path = None if module.startswith(_PROMPTS) else self._file(module)
            if path and _reads_beside(unit, source):
                seen[module] |= {file.name: _short(file.read_bytes()) for file in _beside(path)}
        return {
            module: content_id(sorted(units.items()))[:8] for module, units in seen.items() if units
        }

    def _led_to(self, target: str | None, attribute: str = "") -> Iterator[tuple[str, str]]:
        """What an imported name stands for: something in a module, or a module or part of it."""
        if target is None:
            return
        module, _, name = target.partition(":")
        if name and self._file(f"{module}.{name}"):
            module, name = f"{module}.{name}", ""
        if name:
            yield module, name
        elif attribute:
            yield module, attribute
        elif source := self._module(module):
            yield from ((module, unit) for unit in source["units"])

    def _module(self, name: str) -> _Source | None:
        if name not in self._modules:
            path = self._file(name)
            self._modules[name] = self._read(name, path) if path else None
        return self._modules[name]

    def _read(self, module: str, path: Path) -> _Source:
        state = [*stamp(path), sys.hexversion]
        known = self._sources.get(str(path))
        if known is None or known["stamp"] != state:
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            units, imports = _parsed(path.read_bytes(), package)
            known = _Source(stamp=state, units=units, imports=imports)
            self._sources.put(str(path), known)
        return known


def _parts(function: Any) -> Iterator[Any]:
    """A function without what wraps it, and the functions and classes that it is bound to."""
    if isinstance(function, partial):
        yield from _parts(function.func)
        for value in (*function.args, *function.keywords.values()):
            yield value if inspect.isroutine(value) or inspect.isclass(value) else type(value)
            yield from filter(inspect.isfunction, getattr(value, "__dict__", {}).values())
    else:
        yield inspect.unwrap(function)


def _file(module: str) -> Path | None:
    """The file of a module of this project, or of one that a user has written; else None."""
    root, *rest = module.split(".")
    home = getattr(sys.modules.get(root), "__file__", None)
    if home is None or (root != _HOME and "site-packages" in home) or "lib/python" in home:
        return None
    if not rest:
        return Path(home)
    base = Path(home).parent.joinpath(*rest)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file() and home.endswith("__init__.py"):
            return path
    return None


def _package(name: str) -> Iterator[Path]:
    """The files of a top-level package, or the one of a module."""
    home = Path(str(sys.modules[name].__file__))
    if home.name != "__init__.py":
        yield home
        return
    for path in home.parent.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            yield path


class _Look:
    """What a statement says and mentions, read in one pass.

    Attributes:
        said: Its syntax as words, without docstrings.
        names: Names that it mentions, those of which an attribute is taken with it.
        imported: The imports in it.
    """

    def __init__(self, node: ast.AST) -> None:
        self.said: list[str] = []
        self.names: set[str] = set()
        self.imported: list[ast.Import | ast.ImportFrom] = []
        self._read(node)

    def _read(self, node: ast.AST) -> None:
        self.said.append(type(node).__name__)
        if isinstance(node, ast.Name):
            self.names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            self.said += (node.value.id, node.attr)
            self.names.add(f"{node.value.id}.{node.attr}")
            return
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self.imported.append(node)
        for field in _FIELDS[type(node)]:
            value = getattr(node, field, None)
            if isinstance(value, list):
                start = field == "body" and isinstance(node, _DEFINED) and _is_text(value[0])
                for part in value[start:]:
                    self._take(part)
                self.said.append("]")
            else:
                self._take(value)

    def _take(self, value: Any) -> None:
        if isinstance(value, ast.AST):
            self._read(value)
        else:
            self.said.append(repr(value))


def _is_text(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _parsed(text: bytes, package: str) -> tuple[dict[str, _Unit], dict[str, str]]:
    """What a module defines by name, everything else that it does under no name; its imports."""
    tree = ast.parse(text)
    own = {node.name for node in tree.body if isinstance(node, _DEFINED)}
    parts: dict[str, list[_Look]] = {_REST: []}
    imports: dict[str, str] = {}
    for node in tree.body:
        look = _Look(node)
        for name in _defined(node, own):
            parts.setdefault(name, []).append(look)
        for imported in look.imported:
            imports |= _meant(imported, package)
    units = {
        name: _Unit(
            digest=_short("\0".join(word for look in looks for word in look.said).encode()),
            names=sorted({used for look in looks for used in look.names}),
        )
        for name, looks in parts.items()
    }
    return units, imports


def _defined(node: ast.stmt, own: Iterable[str]) -> list[str]:
    """The names that a statement defines; of one that registers something with them, none."""
    if isinstance(node, _DEFINED):
        used = (name for part in node.decorator_list for name in _Look(part).names)
        taken = {name.partition(".")[0] for name in used}
        return [_REST] if taken.intersection(own) or node.name == "_" else [node.name]
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        parts = (part for target in targets for part in ast.walk(target))
        return [part.id for part in parts if isinstance(part, ast.Name)] or [_REST]
    imported = isinstance(node, ast.Import | ast.ImportFrom)
    typing = isinstance(node, ast.If) and "TYPE_CHECKING" in _Look(node.test).names
    return [] if imported or _is_text(node) or typing else [_REST]


def _meant(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, str]]:
    """The names that a statement imports, and what they stand for: ``module:name``."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (alias.asname, alias.name) if alias.asname else (alias.name,) * 2
        return
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    parts = [*(base if node.level else ()), *([node.module] if node.module else ())]
    for alias in node.names:
        yield alias.asname or alias.name, f"{'.'.join(parts)}:{alias.name}"


def _reads_beside(unit: _Unit, source: _Source) -> bool:
    """Whether something finds files that lie beside its module."""
    resources = source["imports"].get("files") == "importlib.resources:files"
    return "__file__" in unit["names"] or (resources and "files" in unit["names"])


def _beside(path: Path) -> Iterator[Path]:
    """The files in the folder of a module that are no code, but for those of packages below it."""
    for entry in sorted(path.parent.iterdir()):
        if entry.is_file() and entry.suffix not in (".py", ".pyc"):
            yield entry
        elif entry.is_dir() and not any(entry.glob("*.py*")):
            yield from sorted(file for file in entry.rglob("*") if file.is_file())


def _source(part: Any) -> bytes:
    try:
        return inspect.getsource(part).encode()
    except (OSError, TypeError):
        code = getattr(part, "__code__", None)
        return repr((code.co_code, code.co_consts) if code else part).encode()


def _short(content: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(content)[:8]
